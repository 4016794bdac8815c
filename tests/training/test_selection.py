"""The validation scores that select checkpoints: all references, and the same in each language and on each machine."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from transformer.data.corpus import Pair, ReferencedPair
from transformer.evaluation import metrics
from transformer.system.distributed import Ranks
from transformer.training.validation import Validator


class Fixed(Validator):
    """Measures given translations instead of a model's."""

    def __init__(self, target: str, pairs: list[Pair], texts: list[str]) -> None:
        train = SimpleNamespace(validate_text=True, samples=0, select_by="bleu")
        cfg = SimpleNamespace(train=train, data=SimpleNamespace(target=target))
        model = SimpleNamespace(eval=lambda: None)
        trainer: Any = SimpleNamespace(model=model, dtype=None, cfg=cfg, averaged=contextlib.nullcontext, ranks=Ranks())
        self.trainer, self.pairs, self.texts = trainer, pairs, texts

    def _mean_loss(self, *_: Any) -> float:
        return 1.0

    def _translate(self, *_: Any) -> list[str]:
        return self.texts


@pytest.mark.parametrize("target", ["ja", "jpn_Jpan", "zho_Hans", "tha", "khm_Khmr", "lo", "mya", "bod", "ko"])
def test_bleu_tells_good_from_bad_in_languages_without_blanks(target: str) -> None:
    texts = ["犬が速く走る", "ฉันไปโรงเรียน", "我是一个学生和老师"]
    pairs = [Pair("x", text) for text in texts]
    good, bad = (Fixed(target, pairs, found).measure(1)["bleu"] for found in (texts, [text[3:] for text in texts]))
    assert good == pytest.approx(100)
    assert 0 < bad < 80


def test_all_references_count() -> None:
    pairs: list[Pair] = [ReferencedPair("x", "eins zwei drei vier", "ein zwei drei vier"), Pair("y", "a b c d")]
    found = Fixed("de", pairs, ["ein zwei drei vier", "a b c d"]).measure(1)
    assert found["bleu"] == pytest.approx(100)
    assert found["chrf"] == pytest.approx(100)


def test_what_is_installed_changes_no_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_is_installed", lambda _: True)  # but it is not, so using it would fail
    assert Fixed("ja", [Pair("x", "犬が走る")], ["犬が走る"]).measure(1)["bleu"] == pytest.approx(100)
