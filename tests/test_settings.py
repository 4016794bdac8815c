"""Settings that no other test would miss: each has a test that fails where the setting is ignored."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from support import hub
from support.random_models import SMALL
from support.toy import CPU, toy_pairs, write_pairs
from torch import Tensor

from transformer import config_file
from transformer.config import Config, DecodeConfig, ModelConfig, TokenizerConfig, TrainConfig
from transformer.data.corpus import Pair
from transformer.data.prepare import find_or_learn_tokenizer
from transformer.data.tokenizer import Tokenizer, learn_tokenizer
from transformer.decoding.parts import Translation
from transformer.decoding.translator import make_translator
from transformer.model.network import Transformer
from transformer.system.clock import Stopwatch
from transformer.system.distributed import Ranks
from transformer.training.flat_weights import FlatWeights
from transformer.training.optimizer import build_optimizer, learning_rate
from transformer.training.session import build_loop, train
from transformer.training.validation import Validator

LINES = [pair.source for pair in toy_pairs(30, 11)]


def checkpoints(folder: Path) -> list[str]:
    """Return the steps of the checkpoints that were kept, and what `best` names."""
    kept = sorted(path.name for path in (folder / "checkpoints").iterdir())
    return [*kept, (folder / "best").read_text().strip()]


def step_names(*steps: int) -> list[str]:
    return [f"step-{step:08d}" for step in steps]


# ---- data -------------------------------------------------------------------------------------------------

SPLITS = ("train", "validation", "test")
READ = """
import json, sys
from transformer.data_config import CorpusConfig
from transformer.data.corpus import read_pairs
print(json.dumps([list(read_pairs(CorpusConfig(**each), "en", "de")) for each in json.loads(sys.argv[1])]))
"""


def test_a_dataset_is_read_by_revision_name_and_split(tmp_path: Path) -> None:
    def both(word: str) -> list[tuple[str, str]]:
        return [(f"{word} {i}", f"{word} {i}") for i in range(2)]

    with hub.Hub() as server:
        commits = []
        for age in ("old", "new"):
            texts = {name: {split: both(f"{age} {name} {split}") for split in SPLITS} for name in ("de-en", "en-de")}
            commits.append(server.push("some/corpus", hub.parquet_files(texts)))
        wanted = [
            {"revision": commits[0], "name": "de-en", "split": "test"},
            {"revision": commits[1], "name": "de-en", "split": "test"},
            {"revision": commits[1], "name": "en-de", "split": "test"},
            {"revision": commits[1], "name": "en-de", "split": "train"},
            {"name": "en-de"},
        ]
        command = [sys.executable, "-c", READ, json.dumps([{"dataset": "some/corpus", **each} for each in wanted])]
        done = subprocess.run(command, env=server.environment(tmp_path), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first = [" ".join(found[0][0].split()[:3]) for found in json.loads(done.stdout)]
    assert first == ["old de-en test", "new de-en test", "new en-de test", "new en-de train", "new en-de train"]


def test_prepared_text_is_kept_where_asked_for(tiny: Config, tmp_path: Path) -> None:
    wishes = [f"data.prepared_dir={tmp_path / 'elsewhere'}", "train.max_steps=1", "data.valid=null"]
    train(config_file.override(tiny, wishes), tmp_path / "run", CPU)
    assert any((tmp_path / "elsewhere").iterdir())
    assert not (tmp_path / "prepared").exists()


# ---- tokenizer --------------------------------------------------------------------------------------------


def test_rare_characters_have_no_piece_where_coverage_is_lower() -> None:
    pairs = [*toy_pairs(300, 1), Pair("zero €", "null €")]
    cfg = TokenizerConfig(vocab_size=60, byte_fallback=False)
    for coverage, known in ((1.0, True), (0.99, False)):
        tok = learn_tokenizer(pairs, dataclasses.replace(cfg, character_coverage=coverage))
        assert (tok.unk not in tok.encode_source(["€"])[0]) is known
        assert tok.unk not in tok.encode_source(["one two"])[0]


def test_the_vocabulary_is_learned_from_as_many_pairs_as_asked_for(tiny: Config, tmp_path: Path) -> None:
    letters = "".join(chr(ord("a") + i) for i in range(20))
    pairs = [Pair(letter * 3, letter * 3) for letter in letters]
    cfg = config_file.override(tiny, [f"data.train={{files: {write_pairs(tmp_path, 'own', pairs)}}}"])
    for sample in (20, 5):
        made = find_or_learn_tokenizer(config_file.override(cfg, [f"tokenizer.sample={sample}"]), tmp_path / "cache")
        assert sum(made.unk not in ids for ids in made.encode_source(list(letters))) == sample


@pytest.mark.parametrize("size", [40, 60])
def test_a_vocabulary_is_as_large_as_asked_for(size: int) -> None:
    assert learn_tokenizer(toy_pairs(300, 1), TokenizerConfig(vocab_size=size, byte_fallback=False)).sizes[0] == size


# ---- model ------------------------------------------------------------------------------------------------


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, tuple[int, ...]]]:
    """The rate and the shape of each draw of dropout."""
    from transformer.model import dropout

    draws: list[tuple[float, tuple[int, ...]]] = []
    original = dropout.keep_mask

    def noted(like: Tensor, rate: float) -> Tensor:
        draws.append((rate, tuple(like.shape)))
        return original(like, rate)

    monkeypatch.setattr(dropout, "keep_mask", noted)
    return draws


@pytest.mark.parametrize(
    ("setting", "shapes"),
    [
        ("attention_dropout", [(2, 4, 5, 5)] * 2 + [(2, 4, 7, 7), (2, 4, 7, 5)] * 2),
        ("activation_dropout", [(2, 5, 32)] * 2 + [(2, 7, 32)] * 2),
        ("dropout", [(2, 5, 16)] * 5 + [(2, 7, 16)] * 7),
    ],
)
def test_each_dropout_zeroes_its_own_share(
    dropped: list[tuple[float, tuple[int, ...]]], setting: str, shapes: list[tuple[int, ...]]
) -> None:
    """Two layers a side: attention weights, inner activations, and sub-layer outputs with the sums of embeddings."""
    sizes = ModelConfig(width=16, heads=4, feed_forward=32, encoder_layers=2, decoder_layers=2, dropout=0.0)
    cfg = dataclasses.replace(sizes, **{setting: 0.25})  # type: ignore[arg-type]
    model = Transformer(cfg, (30, 30), 0, 2, max_length=20)
    source, target = torch.randint(4, 30, (2, 5)), torch.randint(4, 30, (2, 7))
    plain = model.eval()(source, target)
    assert dropped == []
    assert not torch.allclose(model.train()(source, target), plain)
    assert {rate for rate, _ in dropped} == {0.25}
    assert [shape for _, shape in dropped] == shapes


@pytest.mark.parametrize("start", ["bos", "pad", "zero"])
def test_the_decoder_reads_first_what_it_was_told(tiny: Config, tmp_path: Path, start: str) -> None:
    cfg = config_file.override(tiny, [f"model.decoder_start={start}"])
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    tok, batches = loop.data.tokenizer, next(loop.cut_updates()).batches
    assert set(batches[0].input_BT[:, 0].tolist()) == {tok.bos if start == "bos" else tok.pad}


@pytest.mark.parametrize("tied", ["all", "none"])
def test_a_decoder_that_starts_with_zeros_does_so_after_training(tiny: Config, tmp_path: Path, tied: str) -> None:
    wishes = ["model.decoder_start=zero", f"model.tied={tied}", "train.weight_decay=0.1", "train.label_smoothing=0.1"]
    loop = build_loop(config_file.override(tiny, wishes), tmp_path / "run", CPU, Ranks(), Stopwatch())
    model, tok = loop.trainer.model, loop.data.tokenizer
    before = model.target_embedding.weight.detach().clone()
    loop.update(next(loop.cut_updates()))
    changed = (model.target_embedding.weight != before).any(1)
    assert (model.target_embedding.weight[tok.pad] == 0).all()
    assert not changed[tok.pad]
    assert changed[tok.eos if tied == "all" else tok.bos + 2]


def test_norms_add_the_epsilon_that_they_were_given() -> None:
    cfg = dataclasses.replace(SMALL, norm="pre", norm_epsilon=0.01)
    norms = [each for each in Transformer(cfg, (9, 9), 0, 2, 8).modules() if isinstance(each, torch.nn.LayerNorm)]
    assert len(norms) == 2 * 2 + 3 * 3 + 2
    assert {each.eps for each in norms} == {0.01}


# ---- training ---------------------------------------------------------------------------------------------


def test_adam_has_the_numbers_it_was_given() -> None:
    cfg = TrainConfig(adam_betas=(0.8, 0.95), adam_epsilon=1e-4, weight_decay=0.1)
    for group in build_optimizer(FlatWeights(Transformer(SMALL, (9, 9), 0, 2, 8)), cfg).param_groups:
        assert (group["betas"], group["eps"]) == ((0.8, 0.95), 1e-4)


def test_warm_up_is_as_long_and_as_high_as_asked_for() -> None:
    cfg = TrainConfig(warmup_steps=10, peak_rate=0.5)
    assert [learning_rate(step, cfg, 512) for step in (1, 5, 10, 40)] == pytest.approx([0.05, 0.25, 0.5, 0.25])


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_labels_are_smoothed_as_much_as_asked_for(tiny: Config, tmp_path: Path, smoothing: float) -> None:
    cfg = config_file.override(tiny, [f"train.label_smoothing={smoothing}"])
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    model, batch = loop.trainer.model.eval(), next(loop.cut_updates()).batches[0]
    logits = model(batch.source_BS, batch.input_BT).flatten(0, 1)[batch.places_N]
    expected = F.cross_entropy(logits, batch.target_N, label_smoothing=smoothing, reduction="sum")
    torch.testing.assert_close(loop.trainer.loss(batch).smoothed, expected)


def test_an_update_has_the_tokens_asked_for_and_is_cut_as_asked_for(tiny: Config, tmp_path: Path) -> None:
    for tokens, limit in ((200, 100), (400, 60)):
        cfg = config_file.override(tiny, [f"train.batch_tokens={tokens}", f"train.micro_batch_tokens={limit}"])
        loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
        for _, cut in zip(range(2), loop.cut_updates(), strict=False):
            assert 0.8 * tokens < sum(batch.tokens for batch in cut.batches) < 1.2 * tokens
            assert max(batch.size for batch in cut.batches) <= limit
            assert len(cut.batches) > tokens // limit


def test_training_text_is_segmented_at_random_if_asked_for(tiny: Config, tmp_path: Path) -> None:
    def tokens(strength: float) -> int:
        cfg = config_file.override(tiny, [f"train.subword_sampling={strength}"])
        loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
        return sum(batch.tokens for batch in next(loop.cut_updates()).batches)

    assert tokens(0.0) < tokens(0.2) < tokens(0.9)


@pytest.mark.parametrize(("name", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_network_computes_in_the_precision_asked_for(
    tiny: Config, tmp_path: Path, name: str, dtype: torch.dtype
) -> None:
    cfg = config_file.override(tiny, [f"train.precision={name}"])
    loop = build_loop(cfg, tmp_path / "run", CPU, Ranks(), Stopwatch())
    computed: list[torch.dtype] = []
    loop.trainer.model.encoder[0].register_forward_hook(lambda module, given, found: computed.append(found.dtype))
    loop.update(next(loop.cut_updates()))
    assert set(computed) == {dtype}
    assert {p.dtype for p in loop.trainer.parameters} == {torch.float32}


def validations(monkeypatch: pytest.MonkeyPatch, **scores: list[float]) -> None:
    """Let the validations of a run have these scores, one after the other."""
    count = len(next(iter(scores.values())))
    each = iter([{name: values[i] for name, values in scores.items()} | {"ppl": 1.0} for i in range(count)])
    monkeypatch.setattr(Validator, "measure", lambda self, step, check: next(each))


@pytest.mark.parametrize(("count", "kept"), [(1, [6]), (2, [4, 6]), (3, [4, 6, 8])])
def test_as_many_of_the_best_are_kept_as_asked_for(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, kept: list[int]
) -> None:
    validations(monkeypatch, loss=[3.0, 2.0, 1.0, 2.5, 5.0, 6.0])
    often = ["train.validate_every=2", "train.save_every=2", "train.keep_last=1", f"train.keep_best={count}"]
    train(config_file.override(tiny, often), tmp_path / "run", CPU)
    assert checkpoints(tmp_path / "run") == step_names(*kept, 12, 6)


@pytest.mark.parametrize(("metric", "best"), [("loss", 2), ("bleu", 4), ("chrf", 6)])
def test_the_best_is_that_of_the_score_asked_for(
    tiny: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str, best: int
) -> None:
    validations(monkeypatch, loss=[1.0, 2.0, 3.0], bleu=[20.0, 30.0, 10.0], chrf=[40.0, 50.0, 60.0])
    wishes = ["train.max_steps=6", "train.validate_every=2", f"train.select_by={metric}"]
    train(config_file.override(tiny, wishes), tmp_path / "run", CPU)
    assert (tmp_path / "run" / "best").read_text().strip() == step_names(best)[0]


@pytest.mark.parametrize("count", [0, 2])
def test_as_many_translations_are_shown_as_asked_for(tiny: Config, tmp_path: Path, said: list[str], count: int) -> None:
    wishes = ["train.max_steps=2", "train.validate_every=1", "train.keep_last=1", f"train.samples={count}"]
    train(config_file.override(tiny, wishes), tmp_path / "run", CPU)
    assert sum(line.count("  translation  ") for line in said) == 2 * count


def test_validation_text_is_translated_only_if_asked_for(tiny: Config, tmp_path: Path) -> None:
    for wish in (True, False):
        run = tmp_path / str(wish)
        wishes = ["train.max_steps=1", f"train.validate_text={str(wish).lower()}"]
        train(config_file.override(tiny, wishes), run, CPU)
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        (found,) = [line for line in lines if line["kind"] == "valid"]
        assert ("bleu" in found) is wish


# ---- decoding ---------------------------------------------------------------------------------------------


@pytest.fixture
def endless(tok: Tokenizer) -> Transformer:
    """A model with random weights that never ends a translation by itself."""
    torch.manual_seed(1)
    cfg = ModelConfig(width=32, heads=2, feed_forward=64, encoder_layers=1, decoder_layers=1, output_bias=True)
    model = Transformer(cfg, tok.sizes, tok.pad, tok.bos, max_length=200).eval()
    assert model.output_bias is not None
    with torch.no_grad():
        model.output_bias[tok.eos] = -1e4
    return model


def translate(model: Transformer, tok: Tokenizer, **decode: Any) -> list[Translation]:
    cfg = DecodeConfig(precision="float32", **{"max_extra": 5, **decode})
    return [found[0] for found in make_translator(model, tok, cfg, 100, CPU).translate(LINES)]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_scores_are_penalised_by_length_as_asked_for(endless: Transformer, tok: Tokenizer, alpha: float) -> None:
    for found in translate(endless, tok, length_penalty=alpha):
        assert found.score == pytest.approx(found.log_prob / ((5 + len(found.ids) + 1) / 6) ** alpha, rel=1e-4)


@pytest.mark.parametrize("extra", [1, 9])
def test_translations_are_as_long_as_they_may_be(endless: Transformer, tok: Tokenizer, extra: int) -> None:
    found = translate(endless, tok, max_extra=extra)
    lengths = [len(ids) for ids in tok.encode_source(LINES)]
    more = {len(one.ids) - length for one, length in zip(found, lengths, strict=True)}
    assert more == {extra - 1}  # the end of sentence counts too


@pytest.mark.parametrize("narrow", [{"top_k": 1}, {"top_p": 0.0}])
def test_sampling_from_the_most_probable_token_is_greedy_search(
    endless: Transformer, tok: Tokenizer, narrow: dict[str, Any]
) -> None:
    greedy = [found.ids for found in translate(endless, tok, beam=1)]
    assert [found.ids for found in translate(endless, tok, sampling=True)] != greedy
    assert [found.ids for found in translate(endless, tok, sampling=True, **narrow)] == greedy


def test_cold_samples_are_more_probable(endless: Transformer, tok: Tokenizer) -> None:
    total = [
        sum(found.log_prob for found in translate(endless, tok, sampling=True, temperature=temperature))
        for temperature in (0.3, 1.0, 3.0)
    ]
    assert total == sorted(total, reverse=True)
    assert len(set(total)) == 3


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_translations_are_computed_in_the_precision_asked_for(
    endless: Transformer, tok: Tokenizer, precision: str
) -> None:
    cfg = DecodeConfig(precision=precision, max_extra=2)  # type: ignore[arg-type]
    computed: list[torch.dtype] = []
    endless.encoder[0].register_forward_hook(lambda module, given, found: computed.append(found.dtype))
    next(make_translator(endless, tok, cfg, 100, CPU).translate(LINES))
    assert set(computed) == {getattr(torch, precision)}


def test_as_many_tokens_are_decoded_at_once_as_asked_for(endless: Transformer, tok: Tokenizer) -> None:
    sizes: list[int] = []
    endless.encoder[0].register_forward_hook(lambda module, given, found: sizes.append(found[..., 0].numel()))
    batches = []
    for most in (100, 400):
        sizes.clear()
        translate(endless, tok, beam=2, batch_tokens=most)
        assert max(sizes) * 2 <= most
        batches.append(len(sizes))
    assert batches[0] > batches[1] > 1
