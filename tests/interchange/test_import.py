"""Models of other programs become runs that compute the same."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.command import GREEDY, last_line_has, main
from support.foreign_models import PAIRS, hugging_face_marian
from support.toy import CPU, write_pairs

from transformer import config_file
from transformer.config import Config
from transformer.data.model_pieces import read_pieces
from transformer.data.tokenizer import Tokenizer, tagged
from transformer.decoding.loading import load_translator
from transformer.interchange import checking
from transformer.interchange.checking import RUNTIMES
from transformer.interchange.hugging_face import write_hugging_face
from transformer.model.network import Transformer
from transformer.runs.models import load_model
from transformer.runs.run import open_run

TEXTS = [pair.source for pair in PAIRS[:6]]


def same_logits(theirs: Any, model: Transformer, eos: int) -> None:
    """Compare on two sentences of different lengths, with padding."""
    source = torch.tensor([[5, 6, 7, 8, eos], [9, 10, eos, model.pad, model.pad]])
    target = torch.tensor([[model.start_id, 11, 12, 13], [model.start_id, 14, 15, 16]])
    with torch.inference_mode():
        found = theirs(input_ids=source, attention_mask=source != model.pad, decoder_input_ids=target).logits
        torch.testing.assert_close(model(source, target), found, atol=1e-4, rtol=1e-4)


@pytest.mark.filterwarnings("default")
def test_a_marian_model_of_hugging_face_becomes_a_run(tmp_path: Path) -> None:
    import transformers

    theirs = hugging_face_marian(tmp_path / "theirs")
    done = main("import", tmp_path / "theirs", tmp_path / "run")
    assert done.code == 0, done.err
    assert "Hugging Face transformers: en to de, 2+2 layers of width 32" in done.out.decode()
    assert "checked equal: transformers 5" in done.out.decode()
    run = open_run(tmp_path / "run")
    card = (run.path / "README.md").read_text(encoding="utf-8")
    assert "## Origin" in card
    assert "## Scores" not in card
    assert f"Imported from {tmp_path / 'theirs'} (Hugging Face transformers); checked equal: transformers" in card
    model, used = load_model(run)
    assert (run.config.model.decoder_start, run.config.model.output_bias, used.name) == ("zero", True, "step-00000000")
    same_logits(theirs, model, 0)
    reader = transformers.AutoTokenizer.from_pretrained(tmp_path / "theirs")
    reader.punc_normalizer = lambda text: text
    assert [[*ids, 0] for ids in run.tokenizer.encode_source(TEXTS)] == reader(TEXTS).input_ids
    _, translator, _ = load_translator(tmp_path / "run", [*GREEDY, "decode.precision=float32"], CPU)
    for text, hypotheses in zip(TEXTS, translator.translate(TEXTS), strict=True):
        best = hypotheses[0]
        ids = reader([text], return_tensors="pt").input_ids
        found = theirs.generate(
            ids, num_beams=1, max_new_tokens=len(best.ids) + 1, suppress_tokens=[1], bad_words_ids=[[model.pad]],
            forced_eos_token_id=None,
        )  # fmt: skip
        assert found[0, 1 : 1 + len(best.ids)].tolist() == list(best.ids)
    write_hugging_face(model, run.tokenizer, tmp_path / "again")
    same_logits(transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "again"), model, 0)
    source, target = (tmp_path / f"held.{each}" for each in ("en", "de"))
    source.write_text("".join(f"{pair.source}\n" for pair in PAIRS[:20]))
    target.write_text("".join(f"{pair.target}\n" for pair in PAIRS[:20]))
    done = main("evaluate", tmp_path / "run", "--source", source, "--reference", target, *GREEDY)
    assert done.code == 0, done.err
    assert main("info", tmp_path / "run").code == 0


def rewrite(path: Path, **changes: Any) -> None:
    """Change values of a JSON file; None removes one."""
    values = json.loads(path.read_text())
    values |= changes
    path.write_text(json.dumps({name: value for name, value in values.items() if value is not None}))


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of Hugging Face, to be copied."""
    folder = tmp_path_factory.mktemp("marian") / "opus-mt-en-de"
    hugging_face_marian(folder, tags=(">>fra<<", ">>deu<<"))
    return folder


@pytest.fixture
def theirs(copies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the model that a test may change. Its runtime is not there, which takes seconds to import."""
    monkeypatch.setitem(sys.modules, "transformers", None)
    return Path(shutil.copytree(copies, tmp_path / "opus-mt-en-de"))


def test_without_its_runtime_a_model_is_imported_unchecked(theirs: Path, tmp_path: Path) -> None:
    done = main("import", theirs, tmp_path / "run")
    assert done.code == 0, done.err
    assert "not checked: pip install transformers would check it" in done.out.decode()


def test_a_pickle_of_plain_tensors_is_read(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main("import", theirs, tmp_path / "one")
    torch.save(load_file(theirs / "model.safetensors"), theirs / "pytorch_model.bin")
    (theirs / "model.safetensors").unlink()
    assert main("import", theirs, tmp_path / "two").code == 0
    found = [(tmp_path / each / "checkpoints/step-00000000/model.safetensors").read_bytes() for each in ("one", "two")]
    assert found[0] == found[1]
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    done = main("import", theirs, tmp_path / "three")
    assert last_line_has("is pickled, which PyTorch 2.9.1.cpu does not read safely; use one from 2.10 on", done.err)
    monkeypatch.undo()
    torch.save({"weight": torch.nn.Linear(2, 2)}, theirs / "pytorch_model.bin")
    assert last_line_has("cannot be read as plain tensors", main("import", theirs, tmp_path / "three").err)
    torch.save([torch.zeros(2)], theirs / "pytorch_model.bin")
    assert last_line_has("holds other things than tensors", main("import", theirs, tmp_path / "three").err)
    assert not (tmp_path / "three").exists()


def test_a_model_for_several_languages_needs_a_tag(theirs: Path, tmp_path: Path) -> None:
    done = main("import", theirs, tmp_path / "run", "--tag", ">>fra<<")
    assert done.code == 0, done.err
    run = open_run(tmp_path / "run")
    assert run.config.tokenizer.source_prefix == ">>fra<<"
    (plain,) = Tokenizer(*(tagged(run.tokenizer, "").models)).encode_source(["one two"])
    assert run.tokenizer.encode_source(["one two", ">>deu<< one two"]) == [[2, *plain], [3, *plain]]
    done = main("import", theirs, tmp_path / "other", "--tag", ">>xho<<")
    assert last_line_has("the vocabulary has no tag '>>xho<<'; it has >>deu<<, >>fra<<", done.err)


def test_training_starts_from_an_imported_model(theirs: Path, tiny: Config, tmp_path: Path) -> None:
    main("import", theirs, tmp_path / "donor", "--tag", ">>fra<<")
    same = config_file.dump(open_run(tmp_path / "donor").config)
    model = same[same.index("model:") : same.index("train:", same.index("model:"))]
    (tmp_path / "fine.yaml").write_text(
        f"data: {{source: en, target: de, train: {{files: {write_pairs(tmp_path, 'own', PAIRS)}}}}}\n{model}"
        f"train: {{max_steps: 2, batch_tokens: 100, precision: float32, init_from: {tmp_path / 'donor'}}}\n"
    )
    done = main("train", tmp_path / "fine.yaml", "--run", tmp_path / "run")
    assert done.code == 0, done.err
    run = open_run(tmp_path / "run")
    assert run.config.tokenizer.source_prefix == ">>fra<<"
    weights = load_model(run)[0].target_embedding.weight
    assert not weights[run.tokenizer.pad].any()
    done = main("train", tmp_path / "donor" / "config.yaml", "--run", tmp_path / "other")
    assert done.code == 2
    assert last_line_has("data.train is empty; name the text to train on", done.err)
    done = main("train", tmp_path / "fine.yaml", "--run", tmp_path / "donor")
    assert done.code == 2
    assert last_line_has("donor is an imported model; start another run from it, with train.init_from=", done.err)
    done = main("train", tmp_path / "fine.yaml", "--run", tmp_path / "other", "model.decoder_start=bos")
    assert done.code == 2
    assert last_line_has("model.decoder_start: bos needs a vocabulary with a piece for bos", done.err)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"model_type": "t5"}, "has a model of type 't5', not marian or pegasus"),
    "activation": ({"activation_function": "gelu_new"}, "the activation is 'gelu_new', not one of relu, gelu, swish"),
    "scale": ({"scale_embedding": False}, "embeddings are not scaled, which this package always does"),
    "heads": ({"encoder_attention_heads": 2}, "encoder and decoder have different attention_heads"),
    "no width": ({"d_model": None}, "the configuration's d_model is None, which is not possible"),
    "odd width": ({"d_model": 33}, "width 33 is not even and a multiple of 4 heads"),
    "another width": ({"d_model": 64}, r"the imported model's target_embedding.weight has shape .*, not"),
    "layers": ({"encoder_layers": 3}, "lacks model.encoder.layers.2.self_attn.q_proj.weight"),
    "fewer layers": (
        {"encoder_layers": 1},
        "has model.encoder.layers.1.fc1.bias, which such a model does not have here",
    ),
    "start": ({"decoder_start_token_id": 5}, "the decoder starts with id 5, which is neither pad nor bos"),
    "special": ({"eos_token_id": 10**6}, "the id of a special piece is not in the vocabulary"),
    "separate": ({"share_encoder_decoder_embeddings": False}, "lacks model.encoder.embed_tokens.weight"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_this_package_cannot_compute_is_refused(theirs: Path, tmp_path: Path, name: str) -> None:
    changes, sentence = WRONG[name]
    rewrite(theirs / "config.json", **changes)
    done = main("import", theirs, tmp_path / "run")
    assert done.code in (1, 2)
    assert last_line_has(sentence, done.err), done.err
    assert not (tmp_path / "run").exists()


def test_damaged_folders_are_refused(theirs: Path, tmp_path: Path) -> None:
    def refused(sentence: str, *more: object) -> None:
        done = main("import", theirs, tmp_path / "run", *more)
        assert done.code in (1, 2)
        assert last_line_has(sentence, done.err), done.err
        assert not (tmp_path / "run").exists()

    refused("data.source and data.target are both 'en'", "--languages", "en", "en")
    weights = load_file(theirs / "model.safetensors")
    wrong = {**weights, "model.encoder.embed_positions.weight": torch.rand(64, 32)}
    save_file(wrong, theirs / "model.safetensors", metadata={"format": "pt"})
    refused("its position table is neither the paper's nor Marian's")
    save_file({**weights, "final_logits_bias": weights["final_logits_bias"] / 0}, theirs / "model.safetensors")
    refused("the imported model's output_bias has values that are not finite")
    save_file({name: each for name, each in weights.items() if "shared" not in name}, theirs / "model.safetensors")
    refused("lacks model.shared.weight")
    (theirs / "model.safetensors").write_bytes(b"no weights")
    refused("model.safetensors cannot be read")
    for name, tensor in (
        ("model.shared.weight", torch.zeros(())),
        ("model.shared.weight", torch.zeros(3, 3, 3)),
        ("model.encoder.layers.0.self_attn.q_proj.weight", torch.zeros(5, 5)),
        ("model.encoder.embed_positions.weight", torch.zeros(7)),
    ):
        save_file({**weights, name: tensor}, theirs / "model.safetensors", metadata={"format": "pt"})
        refused("cannot be read as a model: ")
    save_file(weights, theirs / "model.safetensors")
    vocabulary = (theirs / "vocab.json").read_text()
    rewrite(theirs / "vocab.json", **{"</s>": 7})
    refused("vocab.json does not number its pieces from 0 on")
    (theirs / "vocab.json").write_text('{"</s>": 0, "<unk>": 1}')
    refused("the vocabulary has 2 pieces, but the model")
    (theirs / "vocab.json").write_text("[]")
    refused("vocab.json is not what such a file holds")
    (theirs / "vocab.json").write_text("{")
    refused("vocab.json cannot be read")
    (theirs / "vocab.json").write_text(vocabulary)
    (theirs / "source.spm").write_bytes((theirs / "source.spm").read_bytes()[:100])
    refused("the tokenizer's file is not a SentencePiece model")
    (theirs / "source.spm").unlink()
    refused("has no source.spm")
    (theirs / "source.spm").symlink_to("/etc/hostname")
    refused("source.spm is a link out of its folder; copy the folder with cp -rL")
    (theirs / "source.spm").unlink()
    with (theirs / "source.spm").open("wb") as file:
        file.truncate(65 << 20)
    refused("source.spm is larger than 67108864 bytes")
    (theirs / "config.json").unlink()
    refused("has no model that can be imported: expected a folder of Hugging Face transformers")


def test_a_source_that_is_not_there_or_a_destination_that_is(theirs: Path, tmp_path: Path) -> None:
    done = main("import", tmp_path / "nothing", tmp_path / "run")
    assert last_line_has("no such folder or file: ", done.err)
    done = main("import", theirs, theirs)
    assert done.code == 2
    assert last_line_has("already exists; choose a new folder to import to", done.err)
    (theirs / "tokenizer_config.json").unlink()
    assert main("import", theirs, tmp_path / "named").code == 0
    theirs.rename(tmp_path / "model")
    done = main("import", tmp_path / "model", tmp_path / "run")
    assert last_line_has("does not say its languages; give them with --languages en de", done.err)
    assert main("import", tmp_path / "model", tmp_path / "run", "--languages", "fi", "et").code == 0
    assert open_run(tmp_path / "run").config.data.source == "fi"


def test_pieces_without_an_id_are_said(theirs: Path, tmp_path: Path) -> None:
    vocabulary = json.loads((theirs / "vocab.json").read_text())
    gone = next(piece for piece in vocabulary if len(piece) > 2 and piece in processor_pieces(theirs / "source.spm"))
    renamed = {"unheard of" if piece == gone else piece: i for piece, i in vocabulary.items()}
    (theirs / "vocab.json").write_text(json.dumps(renamed))
    done = main("import", theirs, tmp_path / "run")
    assert f"1 pieces of the source SentencePiece model have no id, such as '{gone}'" in done.out.decode()


def processor_pieces(path: Path) -> set[str]:
    return {each.text for each in read_pieces(path.read_bytes()) if each.kind == 1}


def test_a_model_that_differs_from_its_runtime_is_not_written(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNTIMES, "Hugging Face transformers", lambda *_: ([torch.zeros(2)], "x"))
    monkeypatch.setattr(checking, "SENTENCES", 1)
    done = main("import", theirs, tmp_path / "run")
    assert last_line_has(
        "the imported model differs from Hugging Face transformers by .* nothing was written", done.err
    )
    assert not (tmp_path / "run").exists()


def test_what_its_own_runtime_refuses_is_not_written(
    theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("no such\nthing")

    monkeypatch.setitem(checking.RUNTIMES, "Hugging Face transformers", broken)
    done = main("import", theirs, tmp_path / "run")
    assert last_line_has("Hugging Face transformers cannot load this model itself: 'no such", done.err)
    assert not (tmp_path / "run").exists()


def test_archives_are_unpacked_with_care(theirs: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "whole"), "zip", tmp_path, "opus-mt-en-de")
    assert main("import", tmp_path / "whole.zip", tmp_path / "run").code == 0
    with zipfile.ZipFile(tmp_path / "out.zip", "w") as archive:
        archive.writestr("../../out", b"x")
    done = main("import", tmp_path / "out.zip", tmp_path / "other")
    assert last_line_has("has a file outside its folder: '../../out'", done.err)
    (tmp_path / "no.zip").write_bytes(b"no zip")
    done = main("import", tmp_path / "no.zip", tmp_path / "other")
    assert last_line_has("no.zip is not a zip that can be unpacked", done.err)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        for i in range(10_001):
            archive.writestr(f"{i}", b"")
    done = main("import", tmp_path / "many.zip", tmp_path / "other")
    assert last_line_has("many.zip is larger than 68719476736 bytes, or has too many files", done.err)


def test_one_matrix_for_two_vocabularies_is_refused(theirs: Path, tmp_path: Path) -> None:
    vocabulary = json.loads((theirs / "vocab.json").read_text())
    turned = {
        piece: i if i < 5 or i == len(vocabulary) - 1 else len(vocabulary) + 3 - i for piece, i in vocabulary.items()
    }
    (theirs / "target_vocab.json").write_text(json.dumps(turned))
    done = main("import", theirs, tmp_path / "run")
    assert last_line_has("is a model that this package cannot have: model.tied: all needs one vocabulary", done.err)


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_full_disk_is_said_of_the_folder_that_is_written(
    shared_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("transformer.interchange.sources.opened", full)
    monkeypatch.setattr("transformer.interchange.export.export_run", full)
    how = ["--to", "marian"] if command == "export" else []
    done = main(command, shared_run, tmp_path / "new", *how)
    assert (done.code, done.out) == (1, b"")
    assert done.err.count("\n") == 1
    assert str(tmp_path / "new") in done.err
    assert "No space left on device" in done.err


def test_a_name_on_the_hub_is_downloaded(theirs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its cache has links to files beside them, which are followed, but no further."""
    cache = tmp_path / "models--Helsinki-NLP--opus-mt-en-de"
    snapshot = cache / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    theirs.rename(cache / "blobs")
    for file in (cache / "blobs").iterdir():
        (snapshot / file.name).symlink_to(file)
    asked: list[Any] = []

    def download(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, "pytorch_model.bin" in allow_patterns))
        if not snapshot.exists():
            raise OSError("no route to host\nand more")
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    done = main("import", "Helsinki-NLP/opus-mt-en-de", tmp_path / "run")
    assert done.code == 0, done.err
    assert asked == [("Helsinki-NLP/opus-mt-en-de", False)]
    assert open_run(tmp_path / "run").config.data.target == "de"
    torch.save(load_file(snapshot / "model.safetensors"), snapshot / "pytorch_model.bin")
    (snapshot / "model.safetensors").unlink()
    assert main("import", "Helsinki-NLP/opus-mt-en-de", tmp_path / "pickled").code == 0
    assert asked[1:] == [("Helsinki-NLP/opus-mt-en-de", False), ("Helsinki-NLP/opus-mt-en-de", True)]
    (snapshot / "vocab.json").unlink()
    (snapshot / "vocab.json").symlink_to("/etc/hostname")
    done = main("import", "Helsinki-NLP/opus-mt-en-de", tmp_path / "other")
    assert last_line_has("is a link out of its folder", done.err)
    shutil.rmtree(snapshot)
    done = main("import", "Helsinki-NLP/opus-mt-en-de", tmp_path / "other")
    assert last_line_has(
        "cannot download Helsinki-NLP/opus-mt-en-de from the Hugging Face Hub: no route to host$", done.err
    )
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    done = main("import", "Helsinki-NLP/opus-mt-en-de", tmp_path / "other")
    assert last_line_has("a model on the Hub needs a package: pip install huggingface-hub", done.err)
