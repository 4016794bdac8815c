"""Scores equal sacreBLEU's, and come with signatures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import sacrebleu
from support.toy import toy_pairs

from transformer.errors import ConfigError, DataError, TransformerError
from transformer.evaluation import metrics
from transformer.evaluation.evaluate import Evaluation
from transformer.evaluation.metrics import score_corpus
from transformer.evaluation.scorers import SacreBleu

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
    with pytest.raises(DataError, match="there is nothing to score: no references"):
        score_corpus([], [])


def test_a_single_string_is_not_a_list() -> None:
    for translations, references in (("abc", "abc"), (["abc"], "abc"), ("abc", ["a", "b", "c"])):
        with pytest.raises(TypeError, match="must be lists of strings"):
            score_corpus(translations, references)


SENTENCES = {
    "zh zho chi cmn zho_Hans zh-Hant-TW yue ZH zh_CN wuu nan lzh zh-yue Chinese": "我是学生",
    "ja jpn JA ja_JP jpn_Jpan jpn_Hira": "犬が走る",
    "ko kor ko-KR kor_Hang": "안녕하세요",
    "th tha tha_Thai TH": "ฉันไปโรงเรียน",
    "km khm khm_Khmr": "ខ្ញុំទៅសាលារៀន",
    "lo lao lao_Laoo": "ຂ້ອຍໄປໂຮງຮຽນ",
    "my mya bur mya_Mymr": "ကျွန်တော်ကျောင်းသွားတယ်",
    "bo bod tib bod_Tibt dz dzo dzo_Tibt": "ང་སློབ་གྲྭར་འགྲོ",
    "shn shn_Mymr": "ၸဝ်ႈၵဝ်ႇၼႆႉ",
    "jav_Java": "ꦲꦏꦸꦭꦸꦔꦲ",
    "de deu deu_Latn de-AT": "ein Hund läuft schnell",
    "hi hin_Deva": "मैं स्कूल जाता हूँ",
    "ar arb_Arab": "أنا أذهب إلى المدرسة",
    "vi vie_Latn": "tôi đi học hôm nay",
}


@pytest.mark.parametrize("codes", SENTENCES)
def test_identical_text_is_perfect_in_each_language_by_each_code(codes: str) -> None:
    text = SENTENCES[codes]
    signatures = set()
    for code in codes.split():
        found = score_corpus([text, text[:4]], [text, text[:4]], code, portable=True)
        assert found["bleu"].score == pytest.approx(100), code
        assert found["chrf"].score == pytest.approx(100), code
        worse = score_corpus([text[: len(text) // 2], ""], [text, text[:4]], code, portable=True)
        assert worse["bleu"].score < 60
        signatures.add(found["bleu"].signature)
    assert len(signatures) == 1


def test_a_code_that_is_not_known_is_judged_by_the_text() -> None:
    texts = {"犬が走る": "char", "我是学生": "zh", "ฉันไปโรงเรียน": "char", "ein Hund": "13a", "": "13a"}
    for code in ("", "kr", "xx", "tgt", "de"):
        for text, tokenizer in texts.items():
            assert metrics.choose_tokenizer(code, [text], portable=True) == tokenizer, (code, text)


def test_the_code_decides_where_it_is_known() -> None:
    english = ["two words"]
    assert metrics.choose_tokenizer("zh", english) == "zh"
    assert metrics.choose_tokenizer("tha_Thai", english) == "char"


def test_mecab_is_used_where_it_is_installed_but_not_to_select_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    for language in ("ja", "ko"):
        monkeypatch.setattr(metrics, "_is_installed", lambda name: True)
        assert metrics.choose_tokenizer(language, []) == f"{language}-mecab"
        assert metrics.choose_tokenizer(language, [], portable=True) == "char"
        monkeypatch.setattr(metrics, "_is_installed", lambda name: False)
        assert metrics.choose_tokenizer(language, []) == "char"


def test_several_references_count() -> None:
    """The best reference of each sentence counts, as in sacreBLEU. None is a reference that is missing."""
    other = ["x"] * len(REFERENCES)
    found = score_corpus(REFERENCES, [other, REFERENCES], "de")
    assert found["bleu"].score == pytest.approx(100)
    assert found["chrf"].score == pytest.approx(100)
    assert found["bleu"].signature.startswith("nrefs:2|")
    columns: Any = [[*REFERENCES], [None, *TRANSLATIONS[1:]]]
    partly = score_corpus(TRANSLATIONS, columns, "de", interval=True)
    expected = sacrebleu.corpus_bleu(TRANSLATIONS, columns)
    assert partly["bleu"].score == pytest.approx(expected.score)
    assert partly["bleu"].signature.startswith("nrefs:var|")


def test_each_list_of_references_is_as_long_as_the_translations() -> None:
    with pytest.raises(DataError, match="60 translations cannot be scored against 59 references"):
        score_corpus(REFERENCES, [REFERENCES, REFERENCES[1:]])
    with pytest.raises(DataError, match="3 translations cannot be scored against 1 references"):
        score_corpus(["a", "b", "c"], [["a"], ["b"], ["c"]])  # by sentence instead of by list, as in ragas#2888
    with pytest.raises(DataError, match="sentence 2 has no reference"):
        score_corpus(["a", "b"], [["a", None], ["c", None]])


def test_confidence_intervals_equal_sacrebleu() -> None:
    for translations in (TRANSLATIONS, REFERENCES[:1] + TRANSLATIONS[1:][::-1]):
        found = score_corpus(translations, REFERENCES, "de", interval=True)
        for name, scorer in (("bleu", sacrebleu.BLEU()), ("chrf", sacrebleu.CHRF())):
            expected = scorer.corpus_score(translations, [REFERENCES], n_bootstrap=1000)._ci
            assert found[name].interval == pytest.approx(expected, abs=1e-5)


def test_there_is_an_interval_where_some_resamples_score_zero() -> None:
    """sacreBLEU 2.6 raises a TypeError here."""
    found = score_corpus(["a b c d e", "x", "y"], ["a b c d e", "p", "q"], interval=True)
    assert found["bleu"].interval is not None
    assert found["bleu"].interval > 10
    assert score_corpus(["a"], ["a"], interval=True)["bleu"].interval is None


@pytest.mark.parametrize("text", ["", " ", "\u00a0", "\u2028", "."])
def test_empty_lines_on_any_side_are_scored(text: str) -> None:
    for translations, references in ((["a b c d", text], ["a b c d", "e"]), (["a b c d", "e"], ["a b c d", text])):
        found = score_corpus(translations, references, interval=True)
        for score in found.values():
            assert 0 < score.score < 100.1
    for score in score_corpus([text, text], [text, text]).values():
        assert 0 <= score.score < 100.1


def test_select_by_must_be_a_metric() -> None:
    for name in ("loss", "bleu", "chrf", "chrf++", "ter"):
        metrics.check_select_by(name)
    for name in ("meteor", "comet"):  # not on each machine, or too slow
        with pytest.raises(ConfigError, match=r"train\.select_by: unknown metric"):
            metrics.check_select_by(name)
    with pytest.raises(ConfigError, match=r"train\.select_by: unknown metric 'blue'; did you mean bleu\?"):
        metrics.check_select_by("blue")
    with pytest.raises(ConfigError, match=r"train\.select_by: unknown metric 'zzz'; there are loss, bleu, chrf"):
        metrics.check_select_by("zzz")


def test_a_new_metric_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new metric, for which lower is better, is computed, printed, written as JSON and can select checkpoints."""
    from sacrebleu.metrics.ter import TER

    new = metrics.Metric("WER", lambda _: SacreBleu(TER()), higher_is_better=False, usual=True)
    monkeypatch.setitem(metrics.METRICS, "wer", new)
    scores = metrics.score_corpus(["a b c"], ["a b d"])
    assert scores["wer"].score == pytest.approx(100 / 3)
    assert Evaluation("x", ["a b c"], scores, 1.0, "float32").as_json()["wer"]["score"] == scores["wer"].score
    assert "WER 33.33" in metrics.in_words({"wer": scores["wer"].score})
    metrics.check_select_by("wer")
    assert metrics.merit({"wer": 40.0}, "wer") < metrics.merit({"wer": 30.0}, "wer")


def test_the_usual_metrics_come_first_and_others_where_they_are_asked_for() -> None:
    assert list(score_corpus(["a"], ["a"])) == ["bleu", "chrf"]
    assert list(score_corpus(["a"], ["a"], metrics=["ter", "chrf++", "bleu"])) == ["bleu", "chrf", "chrf++", "ter"]
    with pytest.raises(ConfigError, match=r"^unknown metric 'chrf\+'; did you mean chrf\+\+\?"):
        score_corpus(["a"], ["a"], metrics=["chrf+"])
    with pytest.raises(
        ConfigError, match=r"^unknown metric 'zzz'; there are bleu, chrf, chrf\+\+, ter, meteor, comet$"
    ):
        score_corpus(["a"], ["a"], metrics=["zzz"])


def test_ter_and_chrf_plus_plus_equal_sacrebleu() -> None:
    columns: Any = [REFERENCES, REFERENCES[::-1]]
    found = score_corpus(TRANSLATIONS, columns, "de", interval=True, metrics=["ter", "chrf++"])
    for name, scorer in (("ter", sacrebleu.TER()), ("chrf++", sacrebleu.CHRF(word_order=2))):
        expected = scorer.corpus_score(TRANSLATIONS, columns, n_bootstrap=1000)
        assert found[name].score == expected.score
        assert found[name].interval == pytest.approx(expected._ci, abs=1e-5)
        assert str(scorer.get_signature().format()).replace("bs:1000|seed:12345|", "") == found[name].signature


def test_ter_splits_chinese_and_japanese_and_warns_of_other_text_without_blanks(said: list[str]) -> None:
    for code, text, asian in (
        ("zh", "我是学生", "yes"),
        ("ja", "日本語", "yes"),
        ("ko", "안녕 하세요", "no"),
        ("de", "a b", "no"),
    ):
        ter = score_corpus([text[:-1]], [text], code, portable=True, metrics=["ter"])["ter"]
        assert f"|asian:{asian}|" in ter.signature
        assert 0 < ter.score < 60
    assert not said
    score_corpus(["ฉันไป"], ["ฉันไปโรงเรียน"], "th", metrics=["ter", "chrf++"])
    assert [line.split(" for a word")[0] for line in said] == [
        "chrF++ takes what is between blanks",
        "TER takes what is between blanks",
    ]


def test_the_tokenizer_of_bleu_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "|tok:char|" in score_corpus(["a b"], ["a b"], "de", tokenizer="char")["bleu"].signature
    with pytest.raises(ConfigError, match=r"^sacreBLEU does not know the tokenizer 'flores20'; did you mean flores200"):
        score_corpus(["a"], ["a"], tokenizer="flores20")

    def fail(*_: object) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.os.path.exists", lambda _: False)
    monkeypatch.setattr("sacrebleu.tokenizers.tokenizer_spm.download_file", fail)
    with pytest.raises(
        ConfigError,
        match=r"^tokenizer flores200 cannot be used here \(Network is unreachable\); if its model has to be "
        "downloaded, run once with a network connection$",
    ):
        score_corpus(["a"], ["a"], tokenizer="flores200")


class Prediction(NamedTuple):
    """What COMET's `predict` returns, of which only this is used."""

    scores: list[float]


class StandIn:
    """A model of COMET for which a translation is as good as its share of the reference's words."""

    def predict(self, rows: list[dict[str, str]], batch_size: int, gpus: int, progress_bar: bool) -> Prediction:
        assert all(row["src"] for row in rows)
        shares = [len({*row["mt"].split()} & {*row["ref"].split()}) / len(row["ref"].split()) for row in rows]
        return Prediction(shares)


def test_comet_is_computed_by_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    package: Any = ModuleType("comet")
    package.download_model, package.load_from_checkpoint = (lambda name: f"/{name}"), lambda path: StandIn()
    monkeypatch.setitem(sys.modules, "comet", package)
    columns: Any = [["a b", "c"], ["a c", None]]
    found = score_corpus(["a b", "x"], columns, metrics=["comet"], sources=["A", "B"], interval=True)["comet"]
    assert found.score == pytest.approx(100 * ((1 + 0.5) / 2 + 0) / 2)
    assert found.signature == "nrefs:2|model:Unbabel/wmt22-comet-da|mean:sentences|scale:100|unbabel-comet:unknown"
    assert found.interval is not None
    with pytest.raises(ConfigError, match="the metric comet needs the sources of the translations"):
        score_corpus(["a"], ["a"], metrics=["comet"])

    def fail(name: str) -> str:
        raise OSError(f"no network for {name}")

    package.download_model = fail
    with pytest.raises(
        TransformerError, match=r"needs the model Unbabel/wmt22-comet-da, which is not in the cache and"
    ):
        score_corpus(["a"], ["a"], metrics=["comet"], sources=["A"])
    assert list(score_corpus(["a"], ["a"], metrics=["chrf++"])) == ["bleu", "chrf", "chrf++"]


@pytest.mark.parametrize(
    ("metric", "module", "sentence"),
    [
        ("comet", "comet", r"^the metric comet needs the package unbabel-comet: pip install unbabel-comet$"),
        ("meteor", "nltk", r"^the metric meteor needs the package nltk: pip install nltk$"),
    ],
)
def test_a_missing_package_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, metric: str, module: str, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(TransformerError, match=sentence):
        score_corpus(["a"], ["a"], metrics=[metric], sources=["A"])


def test_meteor_counts_words_stems_and_english_synonyms(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("nltk", reason="the extra [meteor] is not installed")
    found = score_corpus(["der Hund lief", "x"], [["der Hund lief", "y"], ["z", "z"]], "de", metrics=["meteor"])
    assert found["meteor"].score == pytest.approx(50 * (1 - 0.5 / 27))  # one chunk of three words; no match
    assert found["meteor"].signature.startswith("nrefs:2|case:lc|tok:13a|stem:german|syn:none|mean:sentences|nltk:3")
    assert score_corpus(["die Hunde"], ["die Hund"], "de", metrics=["meteor"])["meteor"].score > 90
    assert score_corpus(["我是学生"], ["我是学生"], "zh", metrics=["meteor"])["meteor"].score > 99
    from nltk.corpus import wordnet

    def missing() -> None:
        raise LookupError("long advice")

    monkeypatch.setattr(wordnet, "ensure_loaded", missing)
    sentence = (
        "^the metric meteor needs WordNet for English, which is not on this machine: python -m nltk.downloader wordnet$"
    )
    with pytest.raises(TransformerError, match=sentence):
        score_corpus(["a"], ["a"], "en", metrics=["meteor"])


def test_meteor_knows_english_synonyms() -> None:
    """On a machine with NLTK's WordNet."""
    nltk = pytest.importorskip("nltk", reason="the extra [meteor] is not installed")
    try:
        nltk.corpus.wordnet.ensure_loaded()
    except LookupError:
        pytest.skip("there is no WordNet here")
    same, other = (
        score_corpus([text], ["the car is fast"], "en", metrics=["meteor"])["meteor"]
        for text in ("the car is quick", "the car is slow")
    )
    assert same.score > 95 > other.score + 15
    assert "|stem:porter|syn:wordnet-3" in same.signature


def test_a_caller_can_stop_the_scoring(monkeypatch: pytest.MonkeyPatch) -> None:
    """Translations are not copied but read while they are scored."""
    scored: list[str] = []
    real = sacrebleu.BLEU._preprocess_segment

    def record(self: sacrebleu.BLEU, text: str) -> str:
        scored.append(text)
        return real(self, text)

    class Stopping(list[str]):
        def __iter__(self) -> Iterator[str]:
            yield from self[:2]
            raise KeyboardInterrupt

    monkeypatch.setattr(sacrebleu.BLEU, "_preprocess_segment", record)
    with pytest.raises(KeyboardInterrupt):
        score_corpus(Stopping(TRANSLATIONS), REFERENCES, "de")
    assert scored == REFERENCES + TRANSLATIONS[:2]
