"""Whether an imported model computes what the source's own runtime computes, where that is installed."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from transformer import atomic
from transformer.data.tokenizer import Tokenizer
from transformer.errors import TransformerError
from transformer.interchange.foreign import Folder, Imported
from transformer.interchange.marian_runtime import MarianRuntime, marian_is_there
from transformer.interchange.read_marian import weights_file
from transformer.interchange.runtimes import quiet_transformers
from transformer.model.network import Transformer
from transformer.system.memory import is_out_of_memory

SENTENCES, LENGTH = 8, 12
"""Random sentences that are compared, and ids of the longest."""
TOLERANCE = 2e-3
"""Largest difference of log-probabilities that rounding explains. Not measured."""


class Check(NamedTuple):
    """The result of a comparison."""

    difference: float | None
    """The largest difference of a log-probability, or None if nothing was compared."""
    words: str
    """What was done, or which package would do it."""


class Sentence(NamedTuple):
    """Ids of a source and of a target, without eos."""

    source: list[int]
    target: list[int]


def check_import(found: Imported, model: Transformer, path: Path) -> Check:
    """Compare with the runtime of the source. Raises TransformerError if they differ by more than rounding."""
    sentences = _sentences(found)
    try:
        with _quiet():
            theirs, words = RUNTIMES[found.kind](path, found, sentences)
    except ImportError as error:
        return Check(None, f"not checked: {error}")
    except TransformerError:
        raise
    except Exception as error:  # each runtime has errors of its own
        if is_out_of_memory(error):
            raise
        reason = str(error).strip().partition("\n")[0][:200]
        raise TransformerError(f"{found.kind} cannot load this model itself: {reason}; nothing was written") from None
    ours = [_ours(model, found, each) for each in sentences]
    difference = max(float((a - b).abs().max()) for a, b in zip(ours, theirs, strict=True))
    if not difference <= TOLERANCE:
        raise TransformerError(
            f"the imported model differs from {found.kind} by {difference:.3g} in a log-probability; nothing was "
            "written"
        )
    count = sum(each.numel() for each in theirs)
    return Check(
        difference, f"checked equal: {words}, {count:,} log-probabilities, largest difference {difference:.2g}"
    )


def _sentences(found: Imported) -> list[Sentence]:
    """Return random sentences of all lengths, of ids that a translation may contain."""
    rng, made = torch.Generator().manual_seed(1), []
    for i in range(SENTENCES):
        length = 1 + i * LENGTH // SENTENCES
        source, target = (_ids(found.tokenizer, size, length, rng) for size in found.tokenizer.sizes)
        made.append(Sentence(source, target))
    return made


def _ids(tok: Tokenizer, size: int, count: int, rng: torch.Generator) -> list[int]:
    usable = [i for i in range(size) if i not in (*tok.never_chosen, tok.eos)]
    picked: list[int] = torch.tensor(usable)[torch.randint(len(usable), (count,), generator=rng)].tolist()
    return picked


@torch.inference_mode()
def _ours(model: Transformer, found: Imported, sentence: Sentence) -> Tensor:
    """Return the log-probability of each target id and of eos."""
    tok = found.tokenizer
    logits = model(torch.tensor([[*sentence.source, tok.eos]]), torch.tensor([[model.start_id, *sentence.target]]))[0]
    logits[:, list(found.silent)] = -torch.inf
    return logits.log_softmax(-1).gather(1, torch.tensor([*sentence.target, tok.eos])[:, None])[:, 0]


def _hugging_face(path: Path, found: Imported, sentences: list[Sentence]) -> tuple[list[Tensor], str]:
    try:
        import transformers
    except ImportError:
        raise ImportError("pip install transformers would check it") from None
    with quiet_transformers():
        theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(path, local_files_only=True).eval()
    tok, made = found.tokenizer, []
    for each in sentences:
        ids = torch.tensor([[theirs.config.decoder_start_token_id, *each.target]])
        with torch.inference_mode():
            logits = theirs(input_ids=torch.tensor([[*each.source, tok.eos]]), decoder_input_ids=ids).logits[0]
        made.append(logits.log_softmax(-1).gather(1, torch.tensor([*each.target, tok.eos])[:, None])[:, 0])
    return made, f"transformers {transformers.__version__}"


def _ctranslate2(path: Path, found: Imported, sentences: list[Sentence]) -> tuple[list[Tensor], str]:
    try:
        import ctranslate2
    except ImportError:
        raise ImportError("pip install ctranslate2 would check it") from None
    path = path if (path / "model.bin").exists() else path / "model"
    translator = ctranslate2.Translator(str(path), device="cpu", compute_type="float32", intra_threads=1)
    tok = found.tokenizer
    end = [] if atomic.read_json(path / "config.json").get("add_source_eos") else [tok.eos]
    sources = [[tok.source.id_to_piece(i) for i in [*each.source, *end]] for each in sentences]
    scored = translator.score_batch(sources, [tok.pieces(each.target) for each in sentences])
    return [torch.tensor(each.log_probs) for each in scored], f"ctranslate2 {ctranslate2.__version__}"


def _marian(path: Path, found: Imported, sentences: list[Sentence]) -> tuple[list[Tensor], str]:
    """Score with Marian, given vocabularies in our order, without the padding that it does not have."""
    if not marian_is_there():
        raise ImportError("pip install pymarian would check it")
    tok, weights = found.tokenizer, weights_file(Folder(path))
    with np.load(weights, allow_pickle=False) as arrays:
        rows = [len(arrays[name if name in arrays else "Wemb"]) for name in ("encoder_Wemb", "decoder_Wemb")]
    with tempfile.TemporaryDirectory() as name:
        spm, vocabularies = [Path(name) / f"{i}.spm" for i in (0, 1)], [Path(name) / f"{i}.yml" for i in (0, 1)]
        for i, side in enumerate((tok.source, tok.target)):
            spm[i].write_bytes(tok.models[i % len(tok.models)])
            lines = (f"{json.dumps(side.id_to_piece(j), ensure_ascii=False)}: {j}\n" for j in range(rows[i]))
            vocabularies[i].write_text("".join(lines), encoding="utf-8")
        runtime = MarianRuntime(weights.parent, (spm[0], spm[1]), (vocabularies[0], vocabularies[1]), weights.name)
        scored = runtime.log_probs([each.source for each in sentences], [each.target for each in sentences])
    return [torch.from_numpy(each) for each in scored], runtime.name


RUNTIMES: dict[str, Callable[[Path, Imported, list[Sentence]], tuple[list[Tensor], str]]] = {
    "Hugging Face transformers": _hugging_face,
    "CTranslate2": _ctranslate2,
    "Marian": _marian,
}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what libraries say while they load a model."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
