"""`transformer export`: what is written computes the same as ours, and nothing is written that does not."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.command import main
from support.random_models import KINDS, build
from support.toy import toy_pairs

from transformer import api, atomic
from transformer.config import TokenizerConfig
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.decoding.batches import Piece
from transformer.errors import ConfigError, TransformerError
from transformer.interchange import argos, export, proof
from transformer.interchange.common import new_export
from transformer.interchange.export import Choices, export_run
from transformer.interchange.health import check_translations, in_words
from transformer.interchange.proof import Ids, Proof
from transformer.runs.models import load_model
from transformer.runs.run import open_run
from transformer.runs.tuning import keep_tuning

pytestmark = pytest.mark.filterwarnings("default")  # of other packages
INSTALLED = {name: importlib.util.find_spec(name) is not None for name in ("ctranslate2", "transformers")}
NEEDS = {"ctranslate2": "ctranslate2", "argos": "ctranslate2", "hugging-face": "transformers"}
FORMATS = [
    pytest.param(name, marks=pytest.mark.skipif(not INSTALLED[needed], reason=f"{needed} is not installed"))
    for name, needed in NEEDS.items()
]
ctranslate2 = pytest.mark.skipif(not INSTALLED["ctranslate2"], reason="ctranslate2 is not installed")
hugging_face = pytest.mark.skipif(not INSTALLED["transformers"], reason="transformers is not installed")
LINES = ["one two three", "nine nine zero four", "eight"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def exported(shared_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an export in each format whose runtime is installed."""
    folder = tmp_path_factory.mktemp("exported")
    for name, needed in NEEDS.items():
        if INSTALLED[needed]:
            export_run(shared_run, folder / name, name, Choices(lines=20))
    return folder


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_is_compared_before_it_is_written(to: str, trained_run: Path, tmp_path: Path) -> None:
    before = contents(trained_run)
    found = main("export", trained_run, tmp_path / "deep" / "out", "--to", to, "--lines", 8)
    assert found.code == 0, found.err
    first, *lines = found.out.decode().splitlines()
    best = (trained_run / "best").read_text().strip()
    assert first == f"{trained_run}, {best}, exported to {to}: {tmp_path}/deep/out"
    assert re.fullmatch(r"  checked equal in (CTranslate2|transformers) [\d.]+", lines[0])
    tokens, largest = re.search(r"([\d,]+) tokens of 8 sentences of test: .* at most ([\d.e-]+),", lines[1]).groups()  # type: ignore[union-attr]
    assert int(tokens) > 20
    assert 0 < float(largest) < 1e-4
    assert lines[2] == "  equal translations: 8 of 8 greedy, 8 of 8 with beam 4"
    assert lines[3].startswith("  equal ids by the exported tokenizer: 8 of 8 sentences, 16 of 16")
    assert re.fullmatch(r"  \d+ checks of its translations: .+", lines[4])
    assert atomic.damage(tmp_path / "deep" / "out") is None
    assert contents(trained_run) == before


@pytest.mark.parametrize("to", FORMATS)
def test_the_same_model_gives_the_same_bytes(to: str, exported: Path, shared_run: Path, tmp_path: Path) -> None:
    export_run(shared_run, tmp_path / "again", to, Choices(lines=20))
    assert contents(tmp_path / "again") == contents(exported / to)


def examples(folder: Path) -> str:
    (code,) = re.findall(r"^```python\n(.*?)^```$", (folder / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(code.splitlines()) <= 6
    return str(code)


@pytest.mark.parametrize("to", [each for each in FORMATS if each.values[0] != "argos"])
def test_the_lines_in_the_card_translate(
    to: str, exported: Path, shared_run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(exported / to)
    code = examples(exported / to)
    (ours,) = api.load(shared_run, {"decode.precision": "float32"}).translate(["five six"])
    exec(compile(code.replace("Text to translate.", "five six"), "README.md", "exec"), {})
    assert ours.text in capsys.readouterr().out


@hugging_face
def test_the_card_has_the_scores_of_these_weights(trained_run: Path, tmp_path: Path) -> None:
    api.evaluate(trained_run, {"decode.precision": "float32"}, save=True)
    api.evaluate(trained_run, checkpoint="step-00000150", split="valid", save=True)
    api.evaluate(trained_run, {"decode.sampling": True}, save=True)
    export_run(trained_run, tmp_path / "out", "hugging-face", Choices(lines=4, licence="cc-by-4.0"))
    from huggingface_hub import ModelCard

    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.language, card.data.license) == (["en", "de"], "cc-by-4.0")
    assert [(each.dataset_name, each.metric_type) for each in card.data.eval_results] == [
        ("test text", "bleu"),
        ("test text", "chrf"),
    ]
    assert card.data.eval_results[0].metric_value > 90
    text = (tmp_path / "out" / "README.md").read_text()
    assert "| train.en + train.de | 3000 |" in text
    assert str(trained_run.parent) not in text
    assert "checked equal in transformers" in text
    assert "## Licence\n\ncc-by-4.0\n" in text


@ctranslate2
def test_a_card_without_scores_and_licence(exported: Path) -> None:
    text = (exported / "ctranslate2" / "README.md").read_text()
    _, values, _ = text.split("---\n", 2)
    assert yaml.safe_load(values) == {
        "language": ["en", "de"],
        "library_name": "ctranslate2",
        "pipeline_tag": "translation",
        "tags": ["translation"],
    }
    assert "Not stated. The licences of the training data may restrict the use of the model." in text


@ctranslate2
def test_a_quantized_export_says_its_tolerance(trained_run: Path, tmp_path: Path) -> None:
    found = main("export", trained_run, tmp_path / "out", "--to", "ctranslate2", "--quantization", "int8")
    lines = found.out.decode().splitlines()
    assert re.search(r"checked in CTranslate2 .*: as int8, log-probabilities may differ by 0.1 on average", lines[1])
    assert int(re.search(r"equal translations: (\d+) of 100 greedy", lines[3])[1]) > 80  # type: ignore[index]
    whole = main("export", trained_run, tmp_path / "whole", "--to", "ctranslate2")
    assert whole.code == 0
    sizes = [(tmp_path / name / "model.bin").stat().st_size for name in ("out", "whole")]
    assert 1.5 * sizes[0] < sizes[1]


@hugging_face
def test_the_weights_of_the_chosen_checkpoint_are_exported(trained_run: Path, tmp_path: Path) -> None:
    run = open_run(trained_run)
    for name in ("step-00000150", "best"):
        found = export_run(trained_run, tmp_path / name, "hugging-face", Choices(checkpoint=name, lines=4))
        model, checkpoint = load_model(run, name)
        assert found.checkpoint == checkpoint.name
        weights = load_file(tmp_path / name / "model.safetensors")
        assert torch.equal(weights["model.shared.weight"], model.target_embedding.weight)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("step-00000150", "best"))
    assert not torch.equal(one["model.shared.weight"], other["model.shared.weight"])


class Other:
    """A runtime that computes something else than it was given."""

    name, bans = "another runtime 1.0", False

    def __init__(self, run: Path, shift: float = 0.0, other_ids: bool = False, other_text: bool = False) -> None:
        opened = open_run(run)
        self.tok, (self.model, _) = opened.tokenizer, load_model(opened)
        self.run, self.shift, self.other_ids, self.other_text = opened, shift, other_ids, other_text

    def encode(self, texts: Sequence[str]) -> Ids:
        return [ids[::-1] if self.other_ids else ids for ids in self.tok.encode_source(texts)]

    def decode(self, ids: Ids) -> list[str]:
        return [f"{text}." if self.other_text else text for text in self.tok.decode(ids)]

    def log_probs(self, sources: Ids, targets: Ids) -> list[Any]:
        return [each + self.shift for each in proof.token_log_probs(self.model, self.tok, sources, targets)]

    def search(self, sources: Ids, beam: int, most: int) -> Ids:
        translator = proof._translator(self.run, self.model, beam)
        return [list(best[0].ids) for best in translator.decoder.decode([Piece(each) for each in sources], 1)]


@pytest.mark.parametrize(
    ("change", "quantization", "sentence"),
    [
        ({"shift": 0.01}, None, r"log-probabilities differ by up to 0.01, more than 0.001"),
        ({"shift": float("nan")}, None, r"log-probabilities differ by up to inf, more than 0.001"),
        ({"shift": 0.2}, "int8", r"log-probabilities differ by 0.2 on average, more than the 0.1 allowed"),
        ({"shift": 0.02}, "float16", r"log-probabilities differ by 0.02 on average, more than the 0.01 allowed"),
        ({"other_ids": True}, None, r"its tokenizer gives only \d of 10 sentences the same ids"),
        ({"other_text": True}, None, r"only 0 of 10 translations are equal"),
    ],
)
def test_what_is_not_the_same_is_not_written(
    change: dict[str, Any],
    quantization: str | None,
    sentence: str,
    trained_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Other(trained_run, **change)
    fake = replace(export.FORMATS["hugging-face"], runtime=lambda *_: other, package="json", quantized=True)
    monkeypatch.setitem(export.FORMATS, "hugging-face", fake)
    choices = Choices(quantization, lines=10)
    whole = rf"nothing was written: in another runtime 1.0 the exported model is not the same: {sentence}"
    with pytest.raises(TransformerError, match=whole):
        export_run(trained_run, tmp_path / "out", "hugging-face", choices)
    assert list(tmp_path.iterdir()) == []


def test_a_runtime_that_fails_is_reported(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> Any:
        raise RuntimeError("no such layer\nin file 7")

    fake = replace(export.FORMATS["hugging-face"], runtime=broken, package="json")
    monkeypatch.setitem(export.FORMATS, "hugging-face", fake)
    sentence = "nothing was written: Hugging Face transformers fails with the exported model: no such layer$"
    with pytest.raises(TransformerError, match=sentence):
        export_run(trained_run, tmp_path / "out", "hugging-face", Choices())
    assert list(tmp_path.iterdir()) == []


def test_faults_of_translations_are_counted_in_the_runtime(trained_run: Path) -> None:
    pairs = toy_pairs(20, 3)

    class Silent(Other):
        def decode(self, ids: Ids) -> list[str]:
            return [""] * len(ids)

    good, silent = Other(trained_run), Silent(trained_run)
    for runtime, empty in ((good, 0), (silent, 20)):
        rows = {row.name: row for row in check_translations(runtime, runtime.tok, pairs, ("en", "de"))}
        assert (rows["empty"].count, rows["empty"].total) == (empty, 20)
        assert "paragraph" not in rows
    found = in_words(list(rows.values()))
    assert found.startswith(f"{len(rows)} checks of its translations: ")
    assert "failed (" in found
    assert rows["empty"].title in found
    assert in_words([replace(row, verdict="ok") for row in rows.values()]).endswith("translations: nothing found")


def test_tuned_settings_go_with_the_model(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # so that nothing is compared
    keep_tuning(open_run(trained_run), {"decode": {"beam": 7, "length_penalty": 1.5, "max_extra": "auto"}})
    export_run(trained_run, tmp_path / "out", "hugging-face", Choices())
    found = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert (found["num_beams"], found["length_penalty"]) == (7, 1.5)


@hugging_face
def test_an_average_is_exported(trained_run: Path, tmp_path: Path) -> None:
    assert main("average", trained_run, "--last", 2, "--output", tmp_path / "average").code == 0
    export_run(tmp_path / "average", tmp_path / "out", "hugging-face", Choices(lines=4))
    run = open_run(trained_run)
    weights = [load_model(run, path.name)[0].target_embedding.weight for path in run.steps()[-2:]]
    found = load_file(tmp_path / "out" / "model.safetensors")["model.shared.weight"]
    torch.testing.assert_close(found, torch.stack(weights).mean(0).detach(), atol=1e-6, rtol=1e-6)


def test_a_runtime_that_is_not_installed_is_named(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "transformers" else find(name))
    found = main("export", trained_run, tmp_path / "out", "--to", "hugging-face")
    sentence = "not checked: pip install transformers to compare it with Hugging Face transformers"
    assert found.out.decode().splitlines()[1] == f"  {sentence}"
    assert sentence in (tmp_path / "out" / "README.md").read_text()


def test_refusals(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    found = main("export", trained_run, tmp_path / "there", "--to", "hugging-face")
    assert found.code == 2
    assert "there already exists; choose a new folder to export to" in found.err
    found = main("export", trained_run, tmp_path / "out", "--to", "hugging-face", "--quantization", "int8")
    assert found.code == 2
    assert "hugging-face has no quantization; leave out --quantization=int8" in found.err
    found = main("export", trained_run, tmp_path / "out", "--to", "hugging-face", "--checkpoint", "step-7")
    assert "has no checkpoint 'step-7'" in found.err
    found = main("export", tmp_path, tmp_path / "out", "--to", "hugging-face")
    assert "is not a run directory" in found.err
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_folder_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="already exists"), new_export(tmp_path / "out"):  # noqa: PT012
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


@ctranslate2
def test_a_run_without_its_text_is_compared_on_pieces(trained_run: Path, tmp_path: Path) -> None:
    run = open_run(trained_run)
    shutil.rmtree(trained_run / "evaluations", ignore_errors=True)
    for stem in ("train", "valid", "test"):
        for language in ("en", "de"):
            (trained_run.parent / f"{stem}.{language}").unlink()
    found = export_run(run.path, tmp_path / "out", "ctranslate2", Choices(lines=30))
    assert found.proof is not None
    assert (found.proof.text, found.proof.sentences) == ("random pieces", 30)
    assert found.proof.largest < 1e-3


@ctranslate2
@pytest.mark.parametrize("kind", list(KINDS))
def test_every_architecture_goes_to_ctranslate2(kind: str, trained_run: Path, tok: Tokenizer, tmp_path: Path) -> None:
    """A model with random weights in a run of ours."""
    run = replace(open_run(trained_run), tokenizer=tok)
    run = replace(run, config=replace(run.config, model=KINDS[kind]))
    model = build(KINDS[kind], tok)
    subject = export.Subject(run, model, "best", Choices(lines=10))
    form = export.FORMATS["ctranslate2"]
    form.write(subject, tmp_path)
    found = proof.prove(form.runtime(subject, tmp_path), run, model, proof.make_sample(run, 10), None)
    assert found.largest < 1e-4


# ---- Argos Translate -------------------------------------------------------------------------------------


@ctranslate2
def test_an_argos_package_has_one_folder_with_its_parts(exported: Path, tmp_path: Path) -> None:
    assert sorted(contents(exported / "argos")) == ["README.md", "manifest.json", "translate-en_de-1_0.argosmodel"]
    with zipfile.ZipFile(exported / "argos" / "translate-en_de-1_0.argosmodel") as archive:
        assert archive.testzip() is None
        assert [name.removeprefix("translate-en_de-1_0/") for name in archive.namelist()] == [
            "README.md",
            "metadata.json",
            "model/config.json",
            "model/model.bin",
            "model/shared_vocabulary.json",
            "sentencepiece.model",
        ]
        metadata = json.loads(archive.read("translate-en_de-1_0/metadata.json"))
        assert archive.read("translate-en_de-1_0/README.md") == (exported / "argos" / "README.md").read_bytes()
    assert metadata == {
        "package_version": "1.0",
        "argos_version": "1.9.0",
        "from_code": "en",
        "from_name": "English",
        "to_code": "de",
        "to_name": "German",
        "type": "translate",
    }


def test_what_argos_cannot_have(trained_run: Path, tmp_path: Path) -> None:
    found = main("export", trained_run, tmp_path / "out", "--to", "argos", "--version", "v1")
    assert found.code == 2
    assert "the version of an Argos package has numbers and dots, such as 1.0, not 'v1'" in found.err
    pairs = toy_pairs(50, 1)
    two = learn_tokenizer([(pair.source, pair.target) for pair in pairs], TokenizerConfig(vocab_size=340, joint=False))
    model = build(KINDS["post-none"], two)
    with pytest.raises(ConfigError, match="it has one SentencePiece model for both sides, not two"):
        argos.fill_argos(model, two, tmp_path / "out", ("en", "de"), "1.0")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("code", ["../../x", "/etc", "", "e\nn"])
def test_a_package_is_never_named_after_a_path(code: str, tok: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is no language code, such as en or gsw, which a package is named after"):
        argos.fill_argos(build(KINDS["post"], tok), tok, tmp_path / "out", (code, "de"), "1.0")
    assert not list(tmp_path.iterdir())


def test_the_codes_of_argos() -> None:
    assert [argos.argos_code(code) for code in ("en_US", "deu", "pt-BR", "zh-Hant-TW", "zh")] == [
        "en",
        "de",
        "pb",
        "zt",
        "zh",
    ]


def test_translations_that_could_not_be_compared_are_said() -> None:
    proof = Proof("X 1.0", None, "test", 3, 9, 0.0, 0.0, (0, 0), 4, (0, 0), 3, 16, 16)
    assert proof.lines[2] == "translations were not compared, as none of this model ended before its limit"
    assert dataclasses.replace(proof, found=(1, 1)).lines[2] == "equal translations: 0 of 0 greedy, 1 of 1 with beam 4"


def test_ids_that_are_never_chosen_are_not_compared(trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reference has them where the vocabulary lacks a character. In other runtimes they have no probability."""
    run = open_run(trained_run)
    tok = run.tokenizer
    monkeypatch.setattr(tok, "encode_target", lambda texts: [[tok.unk, 9, tok.bos, 8]] * len(texts))
    assert proof.make_sample(run, 3).targets == [[9, 8]] * 3
