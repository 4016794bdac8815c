"""Every mistake in a configuration is reported, and values are read by the types of their fields."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transformer import config_file
from transformer.config import Config, TrainConfig
from transformer.data_config import CorpusConfig, DataConfig
from transformer.errors import ConfigError

GOOD = "data:\n  source: en\n  target: de\n  train: {files: [a, b]}\n"


def load(tmp_path: Path, text: str, *overrides: str) -> Config:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return config_file.load(path, overrides)


def test_defaults_are_those_of_the_paper(tmp_path: Path) -> None:
    cfg = load(tmp_path, GOOD)
    model = cfg.model
    assert (model.width, model.heads, model.feed_forward, model.encoder_layers, model.decoder_layers) == (
        512,
        8,
        2048,
        6,
        6,
    )
    assert (model.dropout, cfg.train.label_smoothing, cfg.train.warmup_steps) == (0.1, 0.1, 4000)
    assert cfg.train.adam_betas == (0.9, 0.98)
    assert (cfg.train.adam_epsilon, cfg.train.max_steps, cfg.train.batch_tokens) == (1e-9, 100_000, 25_000)
    assert (cfg.decode.beam, cfg.decode.length_penalty, cfg.decode.max_extra) == (4, 0.6, "auto")


def test_a_dumped_configuration_loads_to_an_equal_one(tmp_path: Path) -> None:
    cfg = load(tmp_path, GOOD, "train.adam_epsilon=1e-9", "data.train=[{tsv: 'a: b'}, {dataset: x/y, weight: 0.5}]")
    assert load(tmp_path, config_file.dump(cfg)) == cfg


def test_yaml_is_read_by_the_type_of_the_field(tmp_path: Path) -> None:
    cfg = load(tmp_path, GOOD.replace("source: en", "source: no"), "train.peak_rate=1e-4", "train.max_steps=1_000")
    assert cfg.data.source == "no"
    assert cfg.train.peak_rate == 1e-4
    assert cfg.train.max_steps == 1000


@pytest.mark.parametrize(
    ("text", "overrides", "sentence"),
    [
        (GOOD, ["train.max_step=10"], "unknown key train.max_step; did you mean train.max_steps? (command line)"),
        (GOOD + "modle: {}\n", [], "unknown key modle; did you mean model? ({path}, line 5)"),
        (GOOD + "model:\n  width: big\n", [], "model.width must be a whole number from 2 to 16384, not 'big' ({path}, line 6)"),
        (GOOD + "model:\n  width: 1.5\n", [], "model.width must be a whole number from 2 to 16384, not '1.5' ({path}, line 6)"),
        (GOOD + "train:\n  seed: 1\n  seed: 2\n", [], "train.seed is set twice ({path}, line 7)"),
        (GOOD, ["model.norm=middle"], "model.norm must be `post` or `pre`, not 'middle' (command line)"),
        (GOOD, ["model.dropout=1.0"], "model.dropout must be a number from 0 to 0.999, not '1.0' (command line)"),
        (GOOD, ["model.heads=7"], "model.width 512 must be even and a multiple of model.heads 7 (command line)"),
        ("data: {source: en, target: de}\n", [], "data.train is missing ({path}, line 1)"),
        (GOOD, ["data.train={files: [a]}"], "data.train.files needs two files, source and target, not 1 (command line)"),
        (
            GOOD,
            ["data.train={files: [a, b], tsv: c}"],
            "data.train must name exactly one of files, tsv, dataset, parquet, json, testset, opus, zip, tmx, mtdata, back_translate, distill, forward, not files and tsv (command line)",
        ),
        (GOOD, ["data.target=en"], "data.source and data.target are both 'en' ({path}, line 2)"),
        (GOOD, ["train.guided_alignment=0.1"], "train.guided_alignment needs a corpus of data.train with alignments ({path}, line 1)"),
        (GOOD, ["data.train={forward: {text: a, model: b}, alignments: c}"], "data.train.alignments is for text that is there, not for forward (command line)"),
        (GOOD, ["data.test={files: [a, b], alignments: c}"], "data.test.alignments would not be read; alignments are for training corpora ({path}, line 2)"),
        (GOOD, ["tokenizer.joint=false"], "model.tied: all needs one vocabulary for both sides; set tokenizer.joint or model.tied ({path}, line 1)"),
        (GOOD, ["train.patience=3"], "train.patience needs data.valid ({path}, line 1)"),
        (GOOD, ["steps"], "'steps' is not an override; write section.key=value"),
        (GOOD, ["data.source.x=1"], "'data.source.x=1' cannot be set: data.source is not a section"),
        (GOOD, ["train.validate_text=1"], "train.validate_text must be `true` or `false`, not '1' (command line)"),
        ("- a\n", [], "{path} is not a configuration: expected sections such as `data:` and `model:`"),
        ("", [], "{path} is not a configuration: expected sections such as `data:` and `model:`"),
        ("a: [", [], "{path}, line 1: not valid YAML"),
        ("a: &x 1\nb: *x\n", [], "{path}, line 1: YAML anchors and aliases are not supported"),
        (GOOD + "[a]: 1\n", [], "a key of the configuration must be plain text ({path}, line 5)"),
        (GOOD, [f"train.max_steps={'9' * 400}"], "train.max_steps must be a whole number from 1 to 1e+12, not '" + "9" * 57 + "...' (command line)"),
        (GOOD, ["train.average_last=9"], "train.average_last 9 is more than train.keep_last 5 ({path}, line 1)"),
        (GOOD, ["decode.precision=float32", "decode.instruction_set=avx2"], "decode.instruction_set is of int8, and decode.precision is float32 (command line)"),
        (GOOD, ["decode.sampling=true", "decode.mbr_samples=8"], "decode.sampling and decode.mbr_samples exclude each other; set one (command line)"),
        (GOOD, ["train.select_by=bleu", "train.validate_text=false"], "train.select_by: bleu needs train.validate_text: true ({path}, line 1)"),
        (GOOD + "model: big\n", [], "model must be a section with keys such as width, heads, feed_forward ({path}, line 5)"),
        (GOOD, ["train.adam_betas=[0.9]"], "train.adam_betas needs 2 values, not 1 (command line)"),
        (GOOD + "train: !!python/object:os.system {}\n", [], ""),
    ],
)  # fmt: skip
def test_mistakes_are_reported_in_one_sentence(tmp_path: Path, text: str, overrides: list[str], sentence: str) -> None:
    if "python/object" in text:  # tags are ignored: a section is read by the types of its fields
        assert load(tmp_path, text).train == TrainConfig()
        return
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, *overrides)
    expected = sentence.format(path=tmp_path / "c.yaml")
    assert str(caught.value).startswith(expected) if "not valid YAML" in expected else str(caught.value) == expected


def test_missing_file_and_binary_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config_file.load(tmp_path / "none.yaml")
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        config_file.load(tmp_path / "x.yaml")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text("abc:{}[],-\n #&*!'\"|> 1.", max_size=80).map(str.encode)))
def test_arbitrary_bytes_give_a_config_or_an_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError):
        config_file.load(path)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_arbitrary_overrides_give_a_config_or_an_error(text: str) -> None:
    cfg = Config(data=DataConfig(source="en", target="de", train=(CorpusConfig(tsv="a"),)))
    with contextlib.suppress(ConfigError):
        assert isinstance(config_file.override(cfg, [text]), Config)


def test_old_names_of_settings_are_read_wherever_they_are_set(tmp_path: Path) -> None:
    assert load(tmp_path, GOOD, "train={best: bleu, rate: cosine}").train.select_by == "bleu"
    assert load(tmp_path, GOOD + "train: {rate: linear}\n", "train.schedule=cosine").train.schedule == "cosine"
    with pytest.raises(ConfigError, match=r"train\.schedule is set twice"):
        load(tmp_path, GOOD + "train: {rate: linear, schedule: cosine}\n")
