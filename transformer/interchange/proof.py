"""Whether an exported model computes the same: its runtime and ours, on the same sentences.

Shape letters: B sentences, S source positions, T target positions, V vocabulary.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from transformer.data.corpus import Pair
from transformer.data.tokenizer import Tokenizer
from transformer.decoding.batches import Piece
from transformer.decoding.translator import Translator, make_translator
from transformer.errors import DataError, TransformerError
from transformer.evaluation.systems import TextChoice, text_to_check
from transformer.interchange.portable import unusual
from transformer.model.network import Transformer
from transformer.runs.run import Run

Floats = NDArray[np.float32]
Ids = Sequence[list[int]]
LARGEST = 1e-3
"""Largest difference of the log-probability of a token, in nats, of an export in float32. Measured: 7e-6 for
CTranslate2 and 1e-5 for Hugging Face, of a model with 3 + 3 layers of width 256."""
EXACT = (None, "float32")
"""Quantizations that change nothing."""
MEANS = {"float16": 0.01, "bfloat16": 0.05}
QUANTIZED = 0.1
"""Largest mean difference of quantized exports, by the quantization, and of the others. Measured with the same model:
0.0003 for float16, 0.002 for bfloat16, 0.011 for int8."""
SHARE = 0.95
"""Least share of equal translations, and of sentences with equal ids, of an export in float32. Searches may end
differently; of the same model all were equal."""
BATCH = 16
"""Sentences of similar length that are computed together."""


class Runtime(Protocol):
    """An exported model in its own runtime. Ids are those of the runtime's files; eos is not among them."""

    name: str
    """Name and version of the runtime."""
    bans: bool
    """Whether ids that are never chosen have no probability, instead of being suppressed in the search."""

    def encode(self, texts: Sequence[str]) -> Ids:
        """Return the source ids of texts, by the exported tokenizer."""
        ...

    def decode(self, ids: Ids) -> list[str]:
        """Return the texts of target ids, by the exported tokenizer."""
        ...

    def log_probs(self, sources: Ids, targets: Ids) -> list[Floats]:
        """Return the log-probability of each target id and of eos, given those before it."""
        ...

    def search(self, sources: Ids, beam: int, most: int) -> Ids:
        """Return the translation of each source with the highest probability, of at most `most` tokens."""
        ...


@dataclass(frozen=True)
class Proof:
    """What the comparison found."""

    runtime: str
    quantization: str | None
    text: str
    """The name of the text."""
    sentences: int
    tokens: int
    """Target tokens whose log-probabilities were compared."""
    largest: float
    """Largest difference of a log-probability, in nats."""
    mean: float
    """Mean difference."""
    greedy: tuple[int, int]
    """Equal translations by greedy search, and those compared, which did not have to end at a limit."""
    beam: int
    """Hypotheses of the beam search."""
    found: tuple[int, int]
    """The same by beam search."""
    encoded: int
    """Sentences that the exported tokenizer gives the same ids."""
    odd: int
    """Sentences in unusual forms, such as decomposed accents or invisible characters."""
    odd_encoded: int
    """Of these, those with the same ids."""

    @property
    def lines(self) -> list[str]:
        """The result in words."""
        allowed = f"as {self.quantization}, log-probabilities may differ by {self.allowed} on average"
        exact = self.quantization in EXACT
        return [
            f"checked equal in {self.runtime}" if exact else f"checked in {self.runtime}: {allowed}",
            f"{self.tokens:,} tokens of {self.sentences} sentences of {self.text}: log-probabilities differ by at most "
            f"{self.largest:.2g}, on average by {self.mean:.2g}",
            f"equal translations: {_share(*self.greedy)} greedy, {_share(*self.found)} with beam {self.beam}"
            if self.greedy[1] or self.found[1]
            else "translations were not compared, as none of this model ended before its limit",
            f"equal ids by the exported tokenizer: {self.encoded} of {self.sentences} sentences, {self.odd_encoded} of "
            f"{self.odd} with unusual characters",
        ]

    @property
    def allowed(self) -> float:
        """Largest mean difference of a quantized export."""
        return MEANS.get(str(self.quantization), QUANTIZED)


@dataclass(frozen=True)
class Sample:
    """The sentences to compare on."""

    name: str
    pairs: list[Pair]
    """Empty where they are made of random pieces."""
    texts: list[str]
    sources: list[list[int]]
    targets: list[list[int]]


def make_sample(run: Run, count: int) -> Sample:
    """Return sentences of a run from all over its test text, else of other text of it, else of pieces at random."""
    tok = run.tokenizer
    try:
        text = text_to_check(run, TextChoice(""))
        name, pairs = text.name, [pair for pair in text.pairs if pair.source.strip()]
    except DataError:
        name, pairs = "", []
    real = bool(pairs)
    if not real:
        name, pairs = "random pieces", _random_pairs(tok, count)
    chosen = [pairs[place * len(pairs) // count] for place in range(count)] if len(pairs) > count else pairs
    texts = [pair.source for pair in chosen]
    limit = run.config.data.max_length
    sources = [ids[:limit] for ids in tok.encode_source(texts)]
    references = tok.encode_target([pair.target for pair in chosen])
    targets = [[i for i in ids[:limit] if i not in tok.never_chosen] for ids in references]  # they have no probability
    return Sample(name, chosen if real else [], texts, sources, targets)


def prove(runtime: Runtime, run: Run, model: Transformer, sample: Sample, quantization: str | None) -> Proof:
    """Compare an exported model with ours. Raises TransformerError if it does not compute the same."""
    tok = run.tokenizer
    ours = token_log_probs(model, tok, sample.sources, sample.targets, runtime.bans)
    theirs = runtime.log_probs(sample.sources, sample.targets)
    gaps = np.abs(np.concatenate(ours) - np.concatenate(theirs))
    beam = max(2, run.config.decode.beam)
    odd = unusual(sample.texts[0])
    proof = Proof(
        runtime.name,
        quantization,
        sample.name,
        len(sample.texts),
        len(gaps),
        float(np.nan_to_num(gaps, nan=np.inf).max()),
        float(np.nan_to_num(gaps, nan=np.inf).mean()),
        _equal_translations(runtime, run, model, sample, 1),
        beam,
        _equal_translations(runtime, run, model, sample, beam),
        _equal(tok.encode_source(sample.texts), runtime.encode(tagged(tok, sample.texts))),
        len(odd),
        _equal(tok.encode_source(odd), runtime.encode(tagged(tok, odd))),
    )
    if (fault := _fault(proof)) is not None:
        raise TransformerError(f"nothing was written: in {runtime.name} the exported model is not the same: {fault}")
    return proof


def tagged(tok: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Return texts as users of other runtimes must write them: with the tag before each, if the model needs one."""
    return [f"{tok.source_prefix} {text}" for text in texts] if tok.source_prefix else list(texts)


def _share(count: int, total: int) -> str:
    return f"{count} of {total}"


def _fault(proof: Proof) -> str | None:
    """Return in which way the export is not the same, or None."""
    if proof.quantization in EXACT:
        if proof.largest > LARGEST:
            return f"log-probabilities differ by up to {proof.largest:.2g}, more than {LARGEST}"
        if few := next((each for each in (proof.greedy, proof.found) if each[0] < SHARE * each[1]), None):
            return f"only {_share(*few)} translations are equal"
    elif proof.mean > proof.allowed:
        return f"log-probabilities differ by {proof.mean:.2g} on average, more than the {proof.allowed} allowed"
    if proof.encoded < SHARE * proof.sentences:
        return f"its tokenizer gives only {proof.encoded} of {proof.sentences} sentences the same ids"
    return None


@torch.inference_mode()
def token_log_probs(
    model: Transformer, tok: Tokenizer, sources: Ids, targets: Ids, banned: bool = False
) -> list[Floats]:
    """Return the log-probability of each target id and of eos, in float32.

    `banned` gives the ids that are never chosen no probability.
    """

    def compute(places: Sequence[int]) -> list[Floats]:
        source_BS = padded([[*sources[i], tok.eos] for i in places], tok.pad)
        input_BT = padded([[model.start_id, *targets[i]] for i in places], tok.pad)
        answer_BT = padded([[*targets[i], tok.eos] for i in places], tok.pad)
        logits_BTV = model(source_BS, input_BT)
        if banned:
            logits_BTV[:, :, list(tok.never_chosen)] = -torch.inf
        found = logits_BTV.log_softmax(-1).gather(2, answer_BT[:, :, None])[:, :, 0].numpy()
        return [row[: len(targets[i]) + 1] for i, row in zip(places, found, strict=True)]

    return in_batches([len(target) for target in targets], compute)


def in_batches(lengths: Sequence[int], compute: Callable[[Sequence[int]], list[Any]]) -> list[Any]:
    """Return what `compute` returns for batches of places of similar length, in the order of the lengths."""
    order = sorted(range(len(lengths)), key=lambda place: lengths[place])
    found: list[Any] = [None] * len(lengths)
    for start in range(0, len(order), BATCH):
        places = order[start : start + BATCH]
        for place, each in zip(places, compute(places), strict=True):
            found[place] = each
    return found


def padded(rows: Ids, pad: int) -> torch.Tensor:
    """Return rows of ids as a rectangle."""
    width = max(map(len, rows))
    return torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows])


def _equal_translations(runtime: Runtime, run: Run, model: Transformer, sample: Sample, beam: int) -> tuple[int, int]:
    """Return how many translations are equal, and how many were compared.

    Both searches rank by probability alone. Translations that had to end at their limit are left out: each runtime has
    limits of its own.
    """
    translator = _translator(run, model, beam)
    pieces = [Piece(source) for source in sample.sources]
    ours = [list(best[0].ids) for best in translator.decoder.decode(pieces, 1)]
    ended = [len(ids) + 1 < translator.limits.most_tokens(each) for ids, each in zip(ours, pieces, strict=True)]
    most = max(map(translator.limits.most_tokens, pieces)) + 1
    theirs = runtime.search(sample.sources, beam, most)
    texts = run.tokenizer.decode(ours)
    others = map(run.tokenizer.rules[1].decoded, runtime.decode(theirs))  # without control characters, as ours
    same = [one == other and text == again for one, other, text, again in zip(ours, theirs, texts, others, strict=True)]
    return sum(equal and end for equal, end in zip(same, ended, strict=True)), sum(ended)


def _translator(run: Run, model: Transformer, beam: int) -> Translator:
    cfg = replace(
        run.config.decode,
        beam=beam,
        length_penalty=0.0,
        precision="float32",
        sampling=False,
        mbr_samples=0,
        ensemble=None,
    )
    return make_translator(model, run.tokenizer, cfg, run.config.data.max_length, torch.device("cpu"))


def _equal(ours: Ids, theirs: Ids) -> int:
    return sum(list(one) == list(other) for one, other in zip(ours, theirs, strict=True))


def _random_pairs(tok: Tokenizer, count: int) -> list[Pair]:
    """Return pairs of texts of random pieces, the same each time."""
    rng = random.Random(1)
    known = [np.flatnonzero(~lacking)[4:] for lacking in tok.lacking]  # without special pieces and bytes
    rows = [[[int(rng.choice(ids)) for _ in range(rng.randint(1, 20))] for ids in known] for _ in range(count)]
    return [Pair(tok.source.decode(source), tok.target.decode(target)) for source, target in rows]
