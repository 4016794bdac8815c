"""Scores of parts of a text: by length, by frequency of words, and of sentences with numbers, names and unknown words.

The tables follow compare-mt (Neubig et al. 2019).
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from transformer.data.corpus import Pair
from transformer.evaluation.metrics import METRICS, check_metrics, make_task
from transformer.evaluation.names import names
from transformer.evaluation.numbers import lost_numbers, numbers
from transformer.evaluation.texts import reference_columns
from transformer.evaluation.words import words
from transformer.languages import WITHOUT_BLANKS, parse, script_without_blanks

LENGTHS = (0, 5, 10, 15, 20, 30, 40, 60)
"""The last length of each row of the tables of lengths, in words."""
FREQUENCIES = (1, 2, 5, 10, 100, 1000)
"""The first frequency of each row of the table of words, beside 0."""


@dataclass(frozen=True)
class Bucket:
    """A row of a table: some of the sentences."""

    label: str
    sentences: int
    """Number of sentences in it."""
    scores: dict[str, float]
    """From 0 to 100: `bleu` and `chrf` of these sentences together; for words, numbers and names `recall`. Empty if
    there are no sentences."""
    items: int = 0
    """In the tables of words, numbers and names: how many of them there are."""


@dataclass(frozen=True)
class Table:
    """A breakdown by one property."""

    name: str
    """`source_length`, `reference_length`, `word_frequency`, `numbers`, `names` or `unknown`."""
    title: str
    """What the rows are, in words."""
    rows: list[Bucket]
    items: str = ""
    """What `Bucket.items` counts, such as `words`, or empty."""

    def as_json(self) -> dict[str, Any]:
        """Return the table as a JSON object."""
        return asdict(self)


def break_down(
    pairs: Sequence[Pair],
    translations: Sequence[str],
    target_language: str = "",
    frequencies: Mapping[str, int] | None = None,
    *,
    source_language: str = "",
    unknown: Callable[[str], bool] | None = None,
) -> list[Table]:
    """Return the scores of parts of a text, table by table.

    Languages are codes of any form. `frequencies` is how often each word of the references occurs in the training
    text, as `frequencies.word_frequencies` counts it; without it that table is left out. `unknown` says whether a
    source has a piece that the tokenizer does not know; without it that table is left out.
    """
    scorer = _Scorer(pairs, translations, target_language)
    tables = [_by_length("source", [pair.source for pair in pairs], source_language, scorer)]
    tables.append(_by_length("reference", [pair.target for pair in pairs], target_language, scorer))
    if frequencies is not None:
        tables.append(_by_frequency(pairs, translations, frequencies))
    wanted = [numbers(pair.target) for pair in pairs]
    found = [
        each - lost_numbers(pair.target, line) for each, pair, line in zip(wanted, pairs, translations, strict=True)
    ]
    tables.append(_with_and_without("numbers", "sentences with numbers", wanted, found, scorer))
    if any(character.isupper() for pair in pairs for character in pair.target):
        wanted = [Counter(names(pair.target, pair.source, target_language)) for pair in pairs]
        found = [each & Counter(words(line)) for each, line in zip(wanted, translations, strict=True)]
        tables.append(_with_and_without("names", "sentences with names (capitalised words)", wanted, found, scorer))
    if unknown is not None:
        lacking = [unknown(pair.source) for pair in pairs]
        rows = [scorer.bucket(label, lacking, right) for label, right in (("with", True), ("without", False))]
        tables.append(Table("unknown", "sentences with characters that the vocabulary lacks", rows))
    return tables


class _Scorer:
    """Scores parts of a text. The statistics of each sentence are computed once."""

    def __init__(self, pairs: Sequence[Pair], translations: Sequence[str], target_language: str) -> None:
        columns = reference_columns(pairs)
        task = make_task(target_language, (text for column in columns for text in column if text))
        self.scorers = {name: METRICS[name].make(task) for name in check_metrics(())}
        self.statistics = {name: each.statistics(translations, columns) for name, each in self.scorers.items()}

    def bucket(self, label: str, keys: Sequence[object], key: object, **more: Any) -> Bucket:
        """Return the row of the sentences that have this key."""
        places = [place for place, each in enumerate(keys) if each == key]
        scores = {}
        for name, scorer in self.scorers.items() if places else ():
            rows = [self.statistics[name][place] for place in places]
            scores[name], _ = scorer.compute([sum(column) for column in zip(*rows, strict=True)])
        return Bucket(label, len(places), scores, **more)


def _by_length(side: str, texts: Sequence[str], language: str, scorer: _Scorer) -> Table:
    """Return the scores of sentences of similar length."""
    keys = [bisect.bisect_left(LENGTHS, len(words(text))) for text in texts]
    firsts = [0, *(last + 1 for last in LENGTHS)]
    labels = ["0", *(f"{first}–{last}" for first, last in zip(firsts[1:], LENGTHS[1:], strict=False))]
    labels.append(f"more than {LENGTHS[-1]}")
    single = parse(language).script in WITHOUT_BLANKS or script_without_blanks(texts)
    rows = [scorer.bucket(labels[key], keys, key) for key in sorted(set(keys))]
    return Table(f"{side}_length", f"{'characters' if single else 'words'} of the {side}", rows)


def _by_frequency(pairs: Sequence[Pair], translations: Sequence[str], frequencies: Mapping[str, int]) -> Table:
    """Return which words of the references are in the translations, by how often they were seen in training."""
    total, right, sentences = Counter[int](), Counter[int](), Counter[int]()
    for pair, line in zip(pairs, translations, strict=True):
        wanted, found = Counter(words(pair.target)), Counter(words(line))
        keys = {word: bisect.bisect_right(FREQUENCIES, frequencies.get(word, 0)) for word in wanted}
        sentences.update(set(keys.values()))
        for word, count in wanted.items():
            total[keys[word]] += count
            right[keys[word]] += min(count, found[word])
    labels = ["never", "once", *(f"{a}–{b - 1}" for a, b in pairwise(FREQUENCIES[1:])), f"{FREQUENCIES[-1]} and more"]
    rows = [
        Bucket(labels[key], sentences[key], {"recall": 100 * right[key] / total[key]}, total[key])
        for key in sorted(total)
    ]
    return Table("word_frequency", "words of the references, by how often the training text has them", rows, "words")


def _with_and_without(
    name: str, title: str, wanted: Sequence[Counter[str]], found: Sequence[Counter[str]], scorer: _Scorer
) -> Table:
    """Return the scores of sentences that have some items and of those that have none, and the share that is right."""
    has, total = [bool(each) for each in wanted], sum(each.total() for each in wanted)
    with_items = scorer.bucket("with", has, True, items=total)
    if total:
        with_items.scores["recall"] = 100 * sum(each.total() for each in found) / total
    return Table(name, title, [with_items, scorer.bucket("without", has, False)], name)
