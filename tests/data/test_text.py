"""Raw text: what was learned can come out again, and what nobody sees changes nothing."""

from __future__ import annotations

import json
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import main
from support.toy import toy_pairs, write_pairs

import transformer
from transformer import config_file
from transformer.config import Config, Normalization, TokenizerConfig
from transformer.data.corpus import Pair
from transformer.data.prepare import prepare_pairs
from transformer.data.text import clean
from transformer.data.tokenizer import Tokenizer, learn_tokenizer, tokenizer_in_use
from transformer.errors import ConfigError, DataError
from transformer.runs.run import open_run

IGNORABLE = (
    "00AD 034F 061C 115F-1160 17B4-17B5 180B-180F 200B-200F 202A-202E 2060-206F 3164 FE00-FE0F FEFF FFA0 FFF0-FFF8 "
    "1BCA0-1BCA3 1D173-1D17A E0000-E0FFF"
)
"""Default_Ignorable_Code_Point of Unicode's DerivedCoreProperties.txt."""
LINES = [
    "Er maß 12 m² – ½ „groß“, № 5, 37 ℃ … ™ ﬁn ﬀ Ｆｕｌｌ　ｗｉｄｔｈ ｶﾞ ㌔",
    "他说：“你好，世界！（真的？）”。；、《书》——",
    "C'est l’été\u202f! Vraiment\u00a0? 10\u202f000\u00a0€ a\u2009b c\u2007d e\u200af",
    "می‌خواهم کتاب‌ها را بخوانم؛ ه‍.ش ۱۳۹۹ ۲۵٪",
    "مُحَمَّدٌ السَّلَامُ عَلَيْكُمْ ١٢٣ لاﷲ",
    "בְּרֵאשִׁ֖ית בָּרָ֣א אֱלֹהִ֑ים",
    "हिन्दी क़लम क्‍ष क्‌ष श्री १२३",
    "বাংলা র‍্যাব ক্ষ",
    "അവന്‍ വന്നു ന്റെ",
    "ශ්‍රී ලංකා",
    "ภาษาไทย กำลัง น้ำ",
    "ភាសា​ខ្មែរ​ស្អាត",
    "မြန်မာ​စာ",
    "한국어 각 ᅟᅡ 가",
    "日本語のテスト、葛\U000e0100城 か゛ が ㈱ ①",
    "Việt Nam: Tiếng Việt ỡ ặ",
    "Привет, ёлка й Раураl (раураl)",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 ❤️ 1️⃣ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f ☺︎",
    "ᠮᠣᠩᠭᠣᠯ ᠠᠨ᠎ᠠ",
    "<unk> <s>q</s> <pad> <0x41> ▁a ▅b ▁▂▃▄▅▆▇█ ⁇ #!/\\ {x} &amp;",
    "𝔘𝔫𝔦 𐍈 𒀀 ḍ̇ ẛ̣ Å Ω",
]
"""Text in many scripts, whose characters compatibility forms (NFKC) or SentencePiece's own rule would change."""


def ignorable() -> list[str]:
    ends = [[int(end, 16) for end in part.split("-")] for part in IGNORABLE.split()]
    return [chr(code) for first, *last in ends for code in range(first, (last or [first])[0] + 1)]


@cache
def learned(**how: Any) -> Tokenizer:
    return learn_tokenizer([(line, line) for line in LINES], TokenizerConfig(**{"vocab_size": 1000, **how}))


# ---- what is learned can come out again ------------------------------------------------------------------


@pytest.mark.parametrize("byte_fallback", [True, False])
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@pytest.mark.parametrize("normalization", ["nfc", "identity"])
def test_what_is_learned_comes_out_again(kind: str, byte_fallback: bool, normalization: str) -> None:
    """google/sentencepiece#643, #789, #329, #896, #629, #1331."""
    tok = learned(kind=kind, byte_fallback=byte_fallback, normalization=normalization)
    form = (lambda line: unicodedata.normalize("NFC", line)) if normalization == "nfc" else str
    expected = [form(line) for line in LINES]
    ids = tok.encode_target(LINES)
    assert tok.decode(ids) == expected
    assert not any(tok.unk in row for row in ids)
    source, target = tok.encode_pairs(LINES, LINES)
    assert source.ids.tolist() == target.ids.tolist() == [i for row in ids for i in row]
    assert tok.decode(tok.sample(LINES, LINES, 0.3, 1)[1]) == expected


@pytest.mark.parametrize("normalization", ["nfc", "identity"])
@settings(max_examples=300)
@given(st.lists(st.one_of(st.text(max_size=20), st.sampled_from(LINES), st.sampled_from(ignorable())), max_size=5))
def test_any_text_comes_out_as_the_rule_says(normalization: str, parts: list[str]) -> None:
    """Bytes spell what the vocabulary has never seen."""
    tok, text = learned(vocab_size=700, normalization=normalization), "".join(parts)
    rule = clean(text, nfc=normalization == "nfc")
    found = tok.decode(tok.encode_target([text]))
    assert found == [rule.replace("\ufdd0", "\u2581").replace("\ufdd1", "\u2585")]  # stand-ins, never characters
    assert tok.encode_target(found) == tok.encode_target([text])
    assert clean(rule, nfc=normalization == "nfc") == rule
    assert tok.encode_pairs([text], [text])[1].ids.tolist() == tok.encode_target([text])[0]


def test_every_character_comes_out_again() -> None:
    tok = learned()
    codes = [*range(0x3200), *range(0xD7B0, 0xD800), *range(0xF900, 0x10200), *range(0x1D100, 0x1D800, 3)]
    each = [c for c in map(chr, codes) if unicodedata.category(c) not in ("Cc", "Cs", "Zs", "Zl", "Zp")]
    texts = [f"a{c}b" for c in each if clean(f"a{c}b") != "ab" and c not in "\ufdd0\ufdd1"]
    assert tok.decode(tok.encode_target(texts)) == [unicodedata.normalize("NFC", text) for text in texts]


def test_targets_in_another_form_than_translations_are_a_warning(said: list[str]) -> None:
    """undertheseanlp/underthesea#161, Clear-Bible/macula-hebrew#138, google-research/bert#135."""
    pairs = [(line, unicodedata.normalize("NFD", line)) for line in ("một người bệnh", "한국어 각", "plain")]
    composed = [source for source, _ in pairs]
    for cfg, expected in (
        (TokenizerConfig(vocab_size=300), composed),
        (TokenizerConfig(vocab_size=300, normalization="identity"), [target for _, target in pairs]),
    ):
        tok = learn_tokenizer(pairs, cfg)
        assert tok.decode(tok.encode_target([target for _, target in pairs])) == expected
    (warning,) = said
    assert warning.startswith("2 of 3 target texts are not in Unicode's composed form (NFC), but translations will be")


@pytest.mark.parametrize(
    ("normalization", "out"),
    [
        ("nfc", "½ ﬁ Ａ É é"),
        ("identity", "½ ﬁ Ａ É e\u0301"),
        ("nfkc", "1⁄2 fi A É é"),
        ("nmt_nfkc_cf", "1⁄2 fi a é é"),
    ],
)
def test_normalization_is_a_setting(normalization: Normalization, out: str) -> None:
    tok = learned(normalization=normalization)
    assert tok.decode(tok.encode_target(["½ ﬁ Ａ É e\u0301"])) == [out]


def test_blanks_at_the_ends_and_runs_of_blanks_are_none() -> None:
    assert clean("\u3000\u00a0 a \u00a0b\t\tc\u00a0\u00a0d  e\u2009\n") == "a b c\u00a0d e"
    assert clean(" \u00a0\u3000\ufeff\u200b\t") == ""


# ---- what nobody sees ------------------------------------------------------------------------------------


def test_invisible_is_what_unicode_says() -> None:
    planes = (chr(code) for plane in (0, 1, 14) for code in range(plane << 16, plane + 1 << 16))
    assert [c for c in planes if clean(f"x{c}y") == "xy"] == ignorable()


@pytest.mark.parametrize("text", ["ein Wort", "два слова", "שתי מילים", "δύο λέξεις", "3,5 (x)", "Zu Hause. Ja!"])
def test_invisible_characters_change_nothing(text: str) -> None:
    for character in (c for c in ignorable() if ord(c) < 0xE0080 or ord(c) % 37 == 0):
        for place in range(len(text) + 1):
            assert clean(text[:place] + character + text[place:]) == text
        assert clean(character.join(text)) == text
        assert clean(f"{character} {text}{character * 2} ") == text


@pytest.mark.parametrize("line", LINES)
def test_meaningful_ones_stay(line: str) -> None:
    assert clean(line, nfc=False) == line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("می\u200c\u200cخواهم\u200c \u200cو", "می\u200cخواهم و"),
        ("می\u200f\u200c\ufeffخواهم", "می\u200cخواهم"),
        ("Auf\u200clage Ka\u200dffee", "Auflage Kaffee"),
        ("คำ\u200babc\u200b def", "คำabc def"),
        ("ab\ufe0f 1\ufe0f \u200d😀\u200d \u263a\ufe0f\ufe0f", "ab 1 😀 \u263a\ufe0f"),
        ("\U000e0067 x\U000e0100 \U0001f3f4\U000e0067", "x \U0001f3f4"),
        ("e\u00ad\u0301", "\u00e9"),
        ("a\ud83d\udc4db \udc4d\ud83d c", "a\U0001f44db c"),
    ],
)
def test_they_go_where_they_mean_nothing(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_all_commands_read_text_by_the_same_rule(trained_run: Path, tmp_path: Path) -> None:
    """browsermt/bergamot-translator#337, goavki/apertium-html-tools#315, mozilla/translations#26."""
    pairs = toy_pairs(6, 77)
    for end, column in (
        ("en", [p[0] for p in pairs]),
        ("de", [p[1] for p in pairs]),
        ("begin", [p[1][:6] for p in pairs]),
    ):
        text = "".join(f"{line}\n" for line in column)
        (tmp_path / f"plain.{end}").write_text(text, encoding="utf-8")
        marked = text.replace("e", "\u00ade\u200b").replace(" ", "\u2060 \t").replace("\n", "\u200f\n\ufeff")
        (tmp_path / f"marked.{end}").write_text(marked.removesuffix("\ufeff"), encoding="utf-8")
    found = {}
    for name in ("plain", "marked"):
        source, target, begin = (tmp_path / f"{name}.{end}" for end in ("en", "de", "begin"))
        model = transformer.load(trained_run, device="cpu")
        sources, targets = (path.read_text(encoding="utf-8").split("\n")[:-1] for path in (source, target))
        found[name] = [
            main("translate", trained_run, source).out,
            main("translate", trained_run, "--prefix", begin, source).out.replace(b"  ", b" "),  # blanks are as given
            main("score", trained_run, "--source", source, "--target", target).out,
            main("evaluate", trained_run, "--source", source, "--reference", tmp_path / "plain.de", "--json").code,
            (trained_run / "evaluations" / f"{source.name}.txt").read_bytes(),
            model.translate(sources),
            model.score(sources, targets),
        ]
    assert found["plain"] == found["marked"]


def test_training_text_is_read_by_the_same_rule(tok: Tokenizer) -> None:
    plain = ["one two three", "eins zwei"]
    odd = ["\ufeffone\u200b two thr\u00adee\u2060 ", "\u200eeins\u200f  zw\u034fei"]
    assert [side.ids.tolist() for side in tok.encode_pairs(odd, odd)] == [
        side.ids.tolist() for side in tok.encode_pairs(plain, plain)
    ]
    assert tok.sample(odd, odd, 0.3, 1) == tok.sample(plain, plain, 0.3, 1)
    cfg = TokenizerConfig(vocab_size=300)
    assert (
        learn_tokenizer([(odd[0], odd[1])] * 9, cfg).models == learn_tokenizer([(plain[0], plain[1])] * 9, cfg).models
    )


def test_text_that_is_read_as_equal_is_a_duplicate_and_overlaps(tiny: Config, tok: Tokenizer, tmp_path: Path) -> None:
    pairs = [Pair("one two", "eins"), Pair("\ufeffo\u00adne\u3000 two", "eins\u200b"), Pair("three", "dre\u2060i")]
    cfg = config_file.override(tiny, [f"data.train={{files: {write_pairs(tmp_path, 'own', pairs)}}}"])
    (count,) = prepare_pairs(cfg, tok, [Pair("x", "drei")], tmp_path / "prepared").report["corpora"]
    assert (count["duplicates"], count["overlap"]) == (1, 1)


# ---- what the model has never seen -----------------------------------------------------------------------


@pytest.mark.parametrize(("byte_fallback", "what"), [(True, "are single bytes of characters"), (False, "are unknown")])
def test_unknown_pieces_are_counted_and_much_of_it_is_a_warning(
    tiny: Config, tmp_path: Path, byte_fallback: bool, what: str, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """awslabs/sockeye#968, OpenNMT/OpenNMT-py#2602, mozilla/translations#887."""
    tok = learn_tokenizer(toy_pairs(300, 0), TokenizerConfig(vocab_size=340, byte_fallback=byte_fallback))
    pairs = [*toy_pairs(300, 5), Pair("one я", "eins")]
    cfg = config_file.override(tiny, [f"data.train={{files: {write_pairs(tmp_path, 'own', pairs)}}}"])
    for _ in range(2):  # also where they are found prepared
        (count,) = prepare_pairs(cfg, tok, [], tmp_path / "prepared").report["corpora"]
        unknown = 2 if byte_fallback else 1
        assert (count["source unknown"], count["target unknown"]) == (unknown, 0)
        assert count["source pieces"] == sum(map(len, tok.encode_source([pair.source for pair in pairs])))
        assert any(f"own.en + own.de: {unknown} of " in line and what in line for line in said)
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    cfg = config_file.override(
        tiny, [f"data.train={{files: {write_pairs(tmp_path, 'far', [Pair('где он', 'eins')] * 9)}}}"]
    )
    prepare_pairs(cfg, tok, [], tmp_path / "prepared")
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "source pieces (" in warning
    assert what in warning


def test_a_line_with_characters_without_pieces_is_named(trained_run: Path) -> None:
    found = main("translate", trained_run, stdin="one\none жук Ж\nдва\n".encode())
    warnings = [line for line in found.err.splitlines() if "vocabulary" in line]
    assert len(warnings) == 1
    assert "line 2 has characters that are not in this model's vocabulary: ж у к Ж; they are spelled in" in warnings[0]
    assert "vocabulary" not in main("translate", trained_run, stdin=b"one\xff two\n").err


# ---- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", get_args(Normalization))
@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_tokenizer_says_how_it_was_made(kind: Any, normalization: Normalization, tiny: Config) -> None:
    how = TokenizerConfig(
        kind=kind,
        vocab_size=350,
        normalization=normalization,
        byte_fallback=kind == "bpe",
        joint=kind == "bpe",
        character_coverage=0.9995,
    )
    tok = learn_tokenizer(toy_pairs(300, 0), how)
    cfg = config_file.override(tiny, ["model.tied=none"])
    asked = config_file.override(cfg, [f"tokenizer.{key}={value}" for key, value in vars(how).items()])
    assert tokenizer_in_use(asked, tok) == asked
    used = tokenizer_in_use(config_file.override(cfg, ["train.init_from=x"]), tok).tokenizer
    assert {**vars(used), "sample": how.sample, "vocab_size": how.vocab_size} == vars(how)
    assert used.vocab_size == max(tok.sizes)


def test_a_warm_start_states_the_tokenizer_that_it_uses(
    trained_run: Path, tiny_file: Path, tmp_path: Path, said: list[str]
) -> None:
    """facebookresearch/fairseq#1909, OpenNMT/OpenNMT-py#31."""
    wishes = [
        *(f"train.init_from={trained_run}", "tokenizer.vocab_size=9000", "tokenizer.kind=unigram", "train.max_steps=1"),
        *(f"model.{key}={value}" for key, value in vars(open_run(trained_run).config.model).items()),
        "data.max_length=40",
    ]
    for _ in range(2):  # the second time, the run is complete
        assert main("train", tiny_file, "--run", tmp_path / "run", *wishes).code == 0
        stated = config_file.load(tmp_path / "run" / "config.yaml").tokenizer
        assert (stated.kind, stated.byte_fallback, stated.vocab_size) == ("bpe", True, 340)
    (line,) = [line for line in said if f"uses the tokenizer of {trained_run}, so tokenizer.* is: kind=bpe" in line]
    assert "vocab_size=340" in line
    assert "vocab_size: 340" in (tmp_path / "run" / "README.md").read_text()
    counts = json.loads((tmp_path / "run" / "data.json").read_text())["corpora"][0]
    assert counts["source unknown"] == counts["target unknown"] == 0


def test_a_warm_start_from_two_vocabularies_needs_two_matrices(tiny_file: Path, tmp_path: Path) -> None:
    donor = tmp_path / "donor"
    donor.mkdir()
    learn_tokenizer(toy_pairs(50, 1), TokenizerConfig(joint=False, vocab_size=300)).save(donor)
    found = main("train", tiny_file, "--run", tmp_path / "run", f"train.init_from={donor}")
    assert found.code == ConfigError.exit_code
    assert "model.tied: all needs one vocabulary for both sides" in found.err


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_more_characters_than_pieces_names_the_settings(byte_fallback: bool) -> None:
    text = "".join(chr(0x4E00 + i) for i in range(400))
    ours = r" alone are \d+; raise tokenizer.vocab_size, or lower tokenizer.character_coverage"
    with pytest.raises(DataError, match=ours) as raised:
        learn_tokenizer([(text, text)], TokenizerConfig(vocab_size=300, byte_fallback=byte_fallback))
    assert ("or set tokenizer.byte_fallback: false, which saves 256" in str(raised.value)) is byte_fallback


def test_coverage_below_what_sentencepiece_takes_is_refused(tiny: Config) -> None:
    with pytest.raises(ConfigError, match=r"tokenizer.character_coverage must be a number from 0.98 to 1"):
        config_file.override(tiny, ["tokenizer.character_coverage=0.97"])
    assert config_file.override(tiny, ["tokenizer.character_coverage=0.98"])


def test_ids_of_bytes_and_unknown_are_lacking(tok: Tokenizer) -> None:
    assert np.flatnonzero(tok.lacking[0]).tolist() == [tok.unk, *range(4, 260)]
