#!/usr/bin/env python3
"""Write a small English-German parallel corpus from a hand-written grammar.

    python scripts/make_quickstart_corpus.py OUT_DIR [--seed 1] [--train 60000] [--valid 500] [--test 1000]

The files are OUT_DIR/{train,words,valid,test}.{en,de}, one sentence per line.  The words are everyday ones
(quickstart/lexicon.py), and so are the sentences: statements, questions, commands and short phrases in the
present, past, perfect and future.  The grammar asks for what makes the pair hard: gender, case and adjective
endings, verb-second and verb-final order, verb brackets and separable verbs, negation, numbers and dates, and
names to copy.  The English sentence always decides the German one: "you" is "du"; the simple past is the German
perfect, but for war, hatte, wusste and the like; "is sleeping" is the German present.

English comes as people type it: some sentences are in small letters or capitals, or lack their stop.  The German
is spelled properly all the same, and has a full stop or question mark exactly when the English has one.  Words that
are no sentence get what a dictionary says: "dog" is "Hund", "the red car" is "das rote Auto", "sleep" is "schlafen";
there German begins with a capital where English does.

"words" is what a model has to learn by heart: single words and fixed phrases, each in several spellings; train with
more weight on it.  Some combinations of known words (see `is_held_out`) never stand in train; half of valid and test
contain one.  The sentences of quickstart_examples.tsv stand in no file, but for phrases and single words in "words".
The corpus depends on the seed alone: all chance comes from `random.Random.random`, which no Python changes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from quickstart.forms import key
from quickstart.grammar import Grammar
from quickstart.phrases import heart
from quickstart.sentences import Sentence

SIZES = {"train": 60_000, "valid": 500, "test": 1_000}
EXAMPLES = Path(__file__).with_name("quickstart_examples.tsv")


def examples() -> list[list[str]]:
    """Read what newcomers type first: English, then the translations that are right."""
    return [line.split("\t") for line in EXAMPLES.read_text(encoding="utf-8").splitlines()]


class Splits:
    """Draws sentences such that no split holds a sentence of another, however either is typed."""

    def __init__(self, seed: int) -> None:
        self.grammar = Grammar(seed)
        self.by_heart = [Sentence(en, de) for en, de in heart()]
        self.known: set[str] = set()
        self.english = {key(sentence.en) for sentence in self.by_heart} | {key(row[0]) for row in examples()}
        self.split_of = {key(sentence.de): "train" for sentence in self.by_heart}  # "words" is for training too

    def draw(self, split: str, count: int, held_out: bool) -> list[Sentence]:
        """Draw sentences that do or do not hold a held-out combination, of words that train knows."""
        drawn: list[Sentence] = []
        for _ in range(1_000 * count):
            if len(drawn) == count:
                break
            sentence = self.grammar.sentence()
            english, german = key(sentence.en), key(sentence.de)
            unknown = split != "train" and sentence.words() - sentence.fresh_words() - self.known
            if sentence.held_out != held_out or unknown or english in self.english:
                continue
            if self.split_of.setdefault(german, split) == split:
                self.english.add(english)
                drawn.append(sentence)
        if len(drawn) < count:
            raise ValueError("train is too small to hold the words of valid and test")
        return drawn


def generate(seed: int, sizes: Mapping[str, int] = SIZES) -> dict[str, list[Sentence]]:
    """Make train, words, valid and test; valid and test share no sentence with another, in English or in German."""
    splits = Splits(seed)
    corpus = {"train": splits.draw("train", sizes["train"], held_out=False), "words": splits.by_heart}
    splits.known.update(*(sentence.words() for sentence in corpus["train"]))
    for split in ("valid", "test"):
        half = sizes[split] // 2
        corpus[split] = splits.draw(split, half, held_out=True)
        corpus[split] += splits.draw(split, sizes[split] - half, held_out=False)
    return corpus


def main(argv: Sequence[str] | None = None) -> int:
    """Write the corpus."""
    parser = argparse.ArgumentParser(description="Write a small English-German parallel corpus.")
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    for split, size in SIZES.items():
        parser.add_argument(f"--{split}", type=int, default=size, help=f"sentences in {split} (default {size})")
    args = parser.parse_args(argv)
    args.out_dir.mkdir(parents=True, exist_ok=True)
    for split, sentences in generate(args.seed, {split: getattr(args, split) for split in SIZES}).items():
        for language in ("en", "de"):
            lines = "".join(getattr(sentence, language) + "\n" for sentence in sentences)
            (args.out_dir / f"{split}.{language}").write_bytes(lines.encode())
        print(f"{split}: {len(sentences)} pairs")
    return 0


if __name__ == "__main__":
    sys.exit(main())
