"""Nothing is translated twice; several texts, several metrics; what is missing is said first."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import Outcome, main
from support.toy import CPU, toy_pairs, write_pairs

import transformer
from transformer.config import DecodeConfig
from transformer.decoding.translator import Translator, make_translator, planned_precision
from transformer.evaluation.evaluate import Scoring, evaluated
from transformer.evaluation.evaluated_model import EvaluatedModel
from transformer.evaluation.texts import EvaluationText, read_evaluation_text
from transformer.runs.models import load_model
from transformer.runs.run import open_run


@pytest.fixture
def run(trained_run: Path, tmp_path: Path) -> Path:
    """Return a run without evaluations."""
    return shutil.copytree(trained_run, tmp_path / "run")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the numbers of sentences that are translated in each call."""
    counts: list[int] = []
    real = Translator.translate

    def count(self: Translator, lines: Any, *args: Any, **options: Any) -> Any:
        counts.append(len(lines))
        return real(self, lines, *args, **options)

    monkeypatch.setattr(Translator, "translate", count)
    return counts


def evaluate(run: Path, *options: object) -> Outcome:
    return main("evaluate", run, "--device", "cpu", "decode.beam=1", *options)


def records(run: Path) -> dict[str, dict[str, Any]]:
    return {path.stem: json.loads(path.read_text()) for path in (run / "evaluations").glob("*.json")}


def test_nothing_is_translated_twice(run: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    first = json.loads(evaluate(run, "--json").out)
    with monkeypatch.context() as patch:
        patch.setattr("transformer.evaluation.evaluated_model.load_translator", None)  # the model is not even loaded
        second = evaluate(run, "--json")
    assert {**first, "translated": records(run)["test"]["time"]} == json.loads(second.out)
    assert "test was translated before: scoring test.txt" in second.err
    assert f"{first['seconds']:.1f} s at 20" in evaluate(run).out.decode()
    assert decoded == [100]
    again = json.loads(evaluate(run, "--json", "--again").out)
    assert decoded == [100, 100]
    assert "translated" not in again
    assert again["bleu"] == first["bleu"]
    assert list(records(run)) == ["test"]


def test_other_translations_are_not_taken(run: Path, decoded: list[int]) -> None:
    evaluate(run)
    steps = sorted(path.name for path in (run / "checkpoints").iterdir())
    others: list[list[object]] = [["decode.max_extra=20"], ["--checkpoint", steps[0]], ["data.max_length=30"]]
    others += [["--split", "valid"], ["decode.precision=bfloat16"]]
    for count, options in enumerate(others, 2):
        evaluate(run, *options)
        assert len(decoded) == count
    assert len(records(run)) == len(others) + 1


def test_the_same_translations_by_another_name_are_taken(run: Path, decoded: list[int], tmp_path: Path) -> None:
    """The same text from files is another record, and so is another name of the same checkpoint."""
    evaluate(run)
    test = open_run(run).config.data.test
    assert test is not None
    assert test.files is not None
    source, reference = test.files
    evaluate(run, "--source", source, "--reference", reference)
    best = (run / "best").read_text().strip()
    shutil.copytree(run / "checkpoints" / best, run / "checkpoints" / "average-00000001")
    evaluate(run, "--checkpoint", "average-00000001")
    assert decoded == [100]
    found = records(run)
    assert len(found) == 3
    assert {each["checkpoint"]["name"] for each in found.values()} == {best, "average-00000001"}
    assert len({each["time"] for each in found.values()}) == 1


def test_other_references_need_no_other_translations(run: Path, decoded: list[int], tmp_path: Path) -> None:
    """A second reference, or a corrected one, is no reason to translate again."""
    test = open_run(run).config.data.test
    assert test is not None
    assert test.files is not None
    text = [test.files[0], "--reference", test.files[1]]
    (tmp_path / "second.de").write_text("eins\n" * 100)
    evaluate(run, "--source", *text)
    two = json.loads(evaluate(run, "--source", *text, "--reference", tmp_path / "second.de", "--json").out)
    assert decoded == [100]
    assert two["bleu"]["signature"].startswith("nrefs:2")
    assert len(list((run / "evaluations").glob("*.json"))) == 2


def test_translations_of_version_0_4_are_taken(run: Path, decoded: list[int]) -> None:
    """It kept no digest of them, no text, and not which settings were changed."""
    evaluate(run)
    file = run / "evaluations" / "test.json"
    values = json.loads(file.read_text())
    old = {key: each for key, each in values.items() if key not in ("translations", "changed", "sentences_per_second")}
    file.write_text(json.dumps(old))
    shutil.rmtree(run / "evaluations" / "texts")
    evaluate(run, "--metrics", "ter")
    assert decoded == [100]
    assert {**json.loads(file.read_text()), **values} == json.loads(file.read_text())
    assert len(list((run / "evaluations" / "texts").iterdir())) == 1


def test_damaged_translations_are_made_anew(run: Path, decoded: list[int]) -> None:
    evaluate(run)
    file = run / "evaluations" / "test.txt"
    before = file.read_text()
    file.write_text(before.replace("eins", "zwei"))
    outcome = evaluate(run)
    assert f"{file} has changed since it was written, so it is not used" in outcome.err
    assert decoded == [100, 100]
    assert file.read_text() == before


def test_a_damaged_checkpoint_is_not_taken_for_the_best(run: Path, decoded: list[int]) -> None:
    """The one before it is used, and its translations are not made twice, either."""
    best = run / "checkpoints" / (run / "best").read_text().strip() / "model.safetensors"
    content = bytearray(best.read_bytes())
    content[-1] ^= 255
    best.write_bytes(content)
    first, second = (json.loads(evaluate(run, "--json").out) for _ in range(2))
    assert first["checkpoint"]["name"] == second["checkpoint"]["name"] != best.parent.name
    assert decoded == [100]


def test_more_metrics_extend_the_record(run: Path, decoded: list[int]) -> None:
    evaluate(run)
    before = records(run)["test"]
    out = evaluate(run, "--metrics", "ter", "bleu", "--metrics", "chrf++,bleu").out.decode()
    assert [line.split()[0] for line in out.splitlines()[:4]] == ["BLEU", "chrF", "chrF++", "TER"]
    assert json.loads(evaluate(run, "--json").out).keys().isdisjoint({"ter", "chrf++"})
    after = records(run)
    assert list(after) == ["test"]
    assert [key for key in after["test"] if key not in before] == ["chrf++", "ter"]
    assert {**after["test"], **before} == after["test"]
    assert decoded == [100]
    card = (run / "README.md").read_text()
    assert "| chrF++ " in card
    assert "| TER " in card
    evaluate(run, "--tokenizer", "char")  # another BLEU: a record of its own
    assert sorted(each["bleu"]["signature"].split("|")[3] for each in records(run).values()) == ["tok:13a", "tok:char"]
    assert decoded == [100]


def test_other_translations_of_the_same_evaluation_are_said(
    run: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    evaluate(run, "--metrics", "ter")
    monkeypatch.setattr(EvaluatedModel, "translate", lambda self, sources: ["x"] * len(sources))
    evaluate(run, "--again")
    found = records(run)["test"]
    assert "ter" not in found  # it was of the other translations
    assert any("test.txt is replaced: the same evaluation has other translations now" in line for line in said)


def test_several_test_sets_at_once(run: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    sets = {"wmt14/full": toy_pairs(7, 81), "wmt15": toy_pairs(9, 82), "wmt16": toy_pairs(5, 83)}

    def read(_: object, split: str, source: object, references: object, testset: str) -> Any:
        return EvaluationText(testset, sets[testset])

    monkeypatch.setattr("transformer.evaluation.texts.read_evaluation_text", read)
    names = ["--testset", "wmt14/full", "wmt15", "decode.max_extra=9", "wmt16", "--testset", "wmt14/full"]
    out = evaluate(run, *names).out.decode()
    assert decoded == [7, 9, 5]
    assert [line.split(" of ")[1].split()[0] for line in out.splitlines() if " sentences of " in line] == list(sets)
    *_, head, one, two, three = out.splitlines()
    assert head.split() == ["text", "sentences", "BLEU", "chrF", "seconds", "sentences/s"]
    assert [line.split()[:2] for line in (one, two, three)] == [["wmt14/full", "7"], ["wmt15", "9"], ["wmt16", "5"]]
    objects = [
        json.loads(line) for line in evaluate(run, *names, "--metrics", "ter", "chrf++", "--json").out.splitlines()
    ]
    assert all({"ter", "chrf++"} <= each.keys() for each in objects)
    assert [each["name"] for each in objects] == list(sets)
    assert len({each["bleu"]["score"] for each in objects} | {each["chrf"]["score"] for each in objects}) > 1


def test_what_is_missing_is_said_before_anything_is_translated(run: Path, decoded: list[int]) -> None:
    for options, code, sentence in (
        (["--testset", "wmt14/full", "wmt99"], 1, "sacreBLEU has no test set 'wmt99'; "),
        (["--metrics", "ter,blue"], 2, "unknown metric 'blue'; did you mean bleu?"),
        (["--tokenizer", "14a"], 2, "sacreBLEU does not know the tokenizer '14a'; did you mean 13a?"),
        (["nowhere"], 2, "nowhere"),
    ):
        outcome = evaluate(run, *options)
        assert (outcome.code, outcome.out) == (code, b"")
        assert sentence in outcome.err
    assert not decoded


@pytest.mark.parametrize("module", ["comet", "nltk"])
def test_a_metric_without_its_package_is_said_before_anything_is_translated(
    run: Path, decoded: list[int], monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    outcome = evaluate(run, "--metrics", {"nltk": "meteor"}.get(module, module))
    assert outcome.code == 1
    assert "needs the package" in outcome.err
    assert not decoded


def test_the_interface_of_python_has_the_same_choices(run: Path, decoded: list[int]) -> None:
    found = transformer.evaluate(run, metrics=["ter"], device="cpu", save=True)
    again = transformer.evaluate(run, metrics=["ter"], tokenizer="char", device="cpu")
    assert decoded == [100]
    assert (found.translated, again.translated) == (None, records(run)["test"]["time"])
    assert again.scores["ter"] == found.scores["ter"]
    assert "|tok:char|" in again.scores["bleu"].signature
    transformer.evaluate(run, device="cpu", again=True)
    assert decoded == [100, 100]
    with pytest.raises(TypeError, match="metrics must be a list of names, not a string"):
        transformer.evaluate(run, metrics="ter")


def test_a_loaded_translator_can_be_evaluated(run: Path, translator: Translator, decoded: list[int]) -> None:
    """As `tune` does, with many settings of one model."""
    opened = open_run(run)
    text = read_evaluation_text(opened, "valid", None, [], None)
    name = (run / "best").read_text().strip()
    one = evaluated(EvaluatedModel.loaded(opened, translator, name), text)
    two = evaluated(EvaluatedModel(run), text, Scoring(keep=False))
    assert one.translations == two.translations
    assert decoded == [50]


@pytest.mark.parametrize("precision", ["auto", "float32", "bfloat16"])
@pytest.mark.parametrize("more", [{}, {"sampling": True}, {"beam": 99}])
def test_the_precision_is_known_before_the_model_is_loaded(trained_run: Path, precision: Any, more: Any) -> None:
    run, cfg = open_run(trained_run), DecodeConfig(precision=precision, **more)
    model, _ = load_model(run)
    made = make_translator(model, run.tokenizer, cfg, 40, CPU)
    assert planned_precision(run.config.model, cfg, CPU) == made.precision


def test_scores_are_those_of_the_sacrebleu_command(run: Path, tmp_path: Path) -> None:
    """To the last digit it prints, with one and with two references, with its intervals."""
    pairs = toy_pairs(40, 91, longest=9)
    write_pairs(tmp_path, "x", pairs)
    (tmp_path / "other").write_text("".join(f"{pair.target} neun\n" for pair in pairs), encoding="utf-8")
    first = sorted((run / "checkpoints").iterdir())[0].name
    for references in (["x.de"], ["x.de", "other"]):
        options = [part for name in references for part in ("--reference", tmp_path / name)]
        source = ["--source", tmp_path / "x.en", "--checkpoint", first]
        ours = json.loads(evaluate(run, *source, *options, "--metrics", "chrf++,ter", "--json").out)
        (file,) = (
            path for path in (run / "evaluations").glob("x.en*.json") if f"nrefs:{len(references)}" in path.read_text()
        )
        theirs = command([tmp_path / name for name in references], file.with_suffix(".txt"), "bleu", "chrf", "ter")
        theirs += command(
            [tmp_path / name for name in references], file.with_suffix(".txt"), "chrf", "--chrf-word-order", "2"
        )
        for name, found in zip(("bleu", "chrf", "ter", "chrf++"), theirs, strict=True):
            assert f"{ours[name]['score']:.12f}" == f"{float(found['score']):.12f}", name
            assert ours[name]["confidence"] == pytest.approx(float(found["confidence_var"]), abs=1e-4)  # in float32
            assert ours[name]["signature"] == found["signature"].replace("bs:1000|seed:12345|", "")
        assert 0 < ours["bleu"]["score"] < 100


def command(references: list[Path], translations: Path, *metrics: str) -> list[Any]:
    """Return what sacreBLEU's command says of a file, as JSON."""
    call = [
        sys.executable,
        "-m",
        "sacrebleu",
        *references,
        "-i",
        translations,
        "--confidence",
        "-w",
        "12",
        "-m",
        *metrics,
    ]
    done = subprocess.run(list(map(str, call)), capture_output=True, check=True, text=True)
    found = json.loads(done.stdout)
    return found if isinstance(found, list) else [found]
