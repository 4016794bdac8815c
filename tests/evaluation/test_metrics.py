"""Scores equal sacreBLEU's, and come with signatures."""

from __future__ import annotations

import pytest
import sacrebleu
from support.toy import toy_pairs

from transformer.errors import ConfigError, DataError
from transformer.evaluation import metrics
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.metrics import score_corpus

REFERENCES = [pair.target for pair in toy_pairs(60, 1)]
TRANSLATIONS = [text.replace("eins", "zwei") for text in REFERENCES]


def test_scores_equal_sacrebleu() -> None:
    found = score_corpus(TRANSLATIONS, REFERENCES, "de", interval=True)
    assert found["bleu"].score == pytest.approx(sacrebleu.corpus_bleu(TRANSLATIONS, [REFERENCES]).score)
    assert found["chrf"].score == pytest.approx(sacrebleu.corpus_chrf(TRANSLATIONS, [REFERENCES]).score)
    assert found["bleu"].signature == f"nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert found["bleu"].interval is not None
    assert 0 < found["bleu"].interval < 20
    assert found["bleu"].signature in str(found["bleu"])


def test_perfect_and_hopeless() -> None:
    assert score_corpus(REFERENCES, REFERENCES)["bleu"].score == pytest.approx(100)
    for wrong in (["x"] * 60, [""] * 60):
        assert score_corpus(wrong, REFERENCES, interval=True)["bleu"].score < 1


def test_different_counts_are_refused() -> None:
    with pytest.raises(DataError, match="59 translations cannot be scored against 60 references"):
        score_corpus(TRANSLATIONS[1:], REFERENCES)
    with pytest.raises(DataError, match="nothing to score"):
        score_corpus([], [])


def test_chinese_is_scored_by_character() -> None:
    assert "tok:zh" in score_corpus(["我 是"], ["我是"], "zh")["bleu"].signature


def test_select_by_must_be_a_metric() -> None:
    for name in ("loss", *metrics.METRICS):
        metrics.check_select_by(name)
    with pytest.raises(ConfigError, match=r"train\.select_by: unknown metric 'blue'; did you mean bleu\?"):
        metrics.check_select_by("blue")
    with pytest.raises(ConfigError, match=r"train\.select_by: unknown metric 'zzz'; there are loss, bleu, chrf"):
        metrics.check_select_by("zzz")


def test_a_new_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new metric, for which lower is better, is computed, printed, written as JSON and can select checkpoints."""
    from sacrebleu.metrics.ter import TER

    monkeypatch.setitem(metrics.METRICS, "ter", metrics.Metric("TER", lambda _: TER(), higher_is_better=False))
    scores = metrics.score_corpus(["a b c"], ["a b d"])
    assert scores["ter"].score == pytest.approx(100 / 3)
    assert Evaluation("x", ["a b c"], scores, 1.0, "float32").as_json()["ter"]["score"] == scores["ter"].score
    assert "TER 33.33" in metrics.in_words({"ter": scores["ter"].score})
    metrics.check_select_by("ter")
    assert metrics.merit({"ter": 40.0}, "ter") < metrics.merit({"ter": 30.0}, "ter")
