"""What computes each metric: sacreBLEU, and for METEOR and COMET the packages that their extras bring."""

from __future__ import annotations

import functools
import importlib.metadata
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transformer import languages
from transformer.errors import ConfigError, TransformerError

COMET_MODEL = "Unbabel/wmt22-comet-da"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """What a metric may need to know beside translations and references."""

    tokenizer: str = "13a"
    """sacreBLEU's name of the tokenizer of the target language."""
    language: str = ""
    """The target language, in the form of `languages.Language.code`."""
    script: str = ""
    """The script of the references if it is Korean or written without blanks between words, else empty."""
    sources: Sequence[str] | None = None


class Scorer(Protocol):
    """A metric whose score of a text is computed from sums over its sentences."""

    def statistics(self, translations: Sequence[str], references: Sequence[Sequence[Any]]) -> Sequence[Sequence[float]]:
        """Return what is to be summed, a row for each sentence."""
        ...

    def compute(self, sums: Sequence[float]) -> tuple[float, str]:
        """Return the score of these sums, in percent, and details to print."""
        ...

    @property
    def signature(self) -> str:
        """What reproduces the score; known after `statistics`."""
        ...


class SacreBleu:
    """One of sacreBLEU's metrics."""

    def __init__(self, metric: Any, detail: Callable[[Any], str] = lambda _: "") -> None:
        self.metric, self.detail = metric, detail

    def statistics(self, translations: Sequence[str], references: Sequence[Sequence[Any]]) -> list[list[float]]:
        """Return sacreBLEU's own, such as counts of n-grams."""
        return self.metric._extract_corpus_statistics(translations, references)

    def compute(self, sums: Sequence[float]) -> tuple[float, str]:
        """Return sacreBLEU's score."""
        found = self.metric._compute_score_from_stats(sums)
        return float(found.score), self.detail(found)

    @property
    def signature(self) -> str:
        """sacreBLEU's signature, with the names in full."""
        return str(self.metric.get_signature().format(short=False))


def bleu(task: Task) -> SacreBleu:
    """Return BLEU of words or characters."""
    from sacrebleu.metrics.bleu import BLEU

    # without force it may print advice to standard error
    return SacreBleu(BLEU(tokenize=task.tokenizer, force=True), _bleu_parts)


def _bleu_parts(score: Any) -> str:
    return f" ({'/'.join(f'{p:.1f}' for p in score.precisions)} BP {score.bp:.3f})"


def chrf(_: Task) -> SacreBleu:
    """Return chrF, with sacreBLEU's settings."""
    from sacrebleu.metrics.chrf import CHRF

    return SacreBleu(CHRF())


def chrf_plus_plus(task: Task) -> SacreBleu:
    """Return chrF++: chrF that also counts words and pairs of words."""
    from sacrebleu.metrics.chrf import CHRF

    _warn_of_words(task, "chrF++")
    return SacreBleu(CHRF(word_order=2))


def ter(task: Task) -> SacreBleu:
    """Return the translation edit rate. Chinese and Japanese are split into characters, by sacreBLEU's options."""
    from sacrebleu.metrics.ter import TER

    asian = task.script in (languages.CHINESE, languages.JAPANESE)
    if not asian:
        _warn_of_words(task, "TER")
    return SacreBleu(TER(normalized=asian, asian_support=asian))


def _warn_of_words(task: Task, metric: str) -> None:
    if task.script in languages.WITHOUT_BLANKS:
        log.warning("%s takes what is between blanks for a word, and this text has no blanks between words", metric)


class MeanScorer:
    """A metric whose score of a text is the mean of the scores of its sentences, times 100."""

    signature = ""

    def compute(self, sums: Sequence[float]) -> tuple[float, str]:
        """Return the mean."""
        total, count = sums
        return 100 * float(total) / float(count), ""


class Meteor(MeanScorer):
    """METEOR by NLTK: matches of words, stems and, in English, synonyms that WordNet knows of the stem.

    The tokenizer is that of BLEU. Of several references the best one counts.
    """

    STEMMERS = {
        **{"ar": "arabic", "da": "danish", "nl": "dutch", "fi": "finnish", "fr": "french", "de": "german"},
        **{"hu": "hungarian", "it": "italian", "no": "norwegian", "nb": "norwegian", "nn": "norwegian"},
        **{"pt": "portuguese", "ro": "romanian", "ru": "russian", "es": "spanish", "sv": "swedish"},
    }
    """NLTK's Snowball stemmers by language."""

    def __init__(self, task: Task) -> None:
        """Raise TransformerError if NLTK is not installed, or if there is no WordNet for English."""
        try:
            import nltk
            from nltk.stem import PorterStemmer, SnowballStemmer
            from nltk.translate.meteor_score import meteor_score
        except ImportError:
            raise TransformerError("the metric meteor needs the package nltk: pip install nltk") from None
        self._score, self._tokenize = meteor_score, bleu(task).metric.tokenizer
        english = task.language == "en"
        nothing: Any = _NoSynonyms()
        self._wordnet = _wordnet() if english else nothing
        stemmer = "porter" if english else self.STEMMERS.get(task.language, "none")
        self._stemmer = {"porter": PorterStemmer, "none": _NoStemmer}.get(stemmer, lambda: SnowballStemmer(stemmer))()
        version = f"wordnet-{self._wordnet.get_version()}" if english else "none"
        self._rest = f"case:lc|tok:{task.tokenizer}|stem:{stemmer}|syn:{version}|mean:sentences|nltk:{nltk.__version__}"

    def statistics(self, translations: Sequence[str], references: Sequence[Sequence[Any]]) -> list[list[float]]:
        """Return the score of each sentence, and 1."""
        self.signature = f"nrefs:{len(references)}|{self._rest}"
        rows = []
        for translation, *others in zip(translations, *references, strict=True):
            words = [self._tokenize(text).split() for text in others if text is not None]
            found = self._score(
                words, self._tokenize(translation).split(), stemmer=self._stemmer, wordnet=self._wordnet
            )
            rows.append([float(found), 1.0])
        return rows


class _NoSynonyms:
    def synsets(self, word: str) -> list[Any]:
        """Return no meanings."""
        return []


class _NoStemmer:
    def stem(self, word: str) -> str:
        """Return the word."""
        return word


def _wordnet() -> Any:
    from nltk.corpus import wordnet

    try:
        wordnet.ensure_loaded()
    except (LookupError, OSError):
        raise TransformerError(
            "the metric meteor needs WordNet for English, which is not on this machine: "
            "python -m nltk.downloader wordnet"
        ) from None
    return wordnet


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


@functools.lru_cache(maxsize=1)
def _comet_model(load: Callable[[str], Any], path: str) -> Any:
    """Return the model, which has gigabytes, and is loaded once for many texts."""
    return load(path)


class Comet(MeanScorer):
    """COMET: a neural metric of source, translation and reference. Of several references the mean counts."""

    def __init__(self, task: Task) -> None:
        """Raise TransformerError if the package is not installed, or if the model cannot be had."""
        try:
            from comet import download_model, load_from_checkpoint
        except ImportError:
            raise TransformerError(
                "the metric comet needs the package unbabel-comet: pip install unbabel-comet"
            ) from None
        self.sources, self._load = task.sources, load_from_checkpoint
        try:
            self._path = download_model(COMET_MODEL)
        except Exception as error:  # of networks, and of the Hub
            reason = " ".join(str(error).split()) or type(error).__name__
            raise TransformerError(
                f"the metric comet needs the model {COMET_MODEL}, which is not in the cache and cannot be downloaded "
                f"({reason}); run once with a network connection"
            ) from None
        self._rest = f"model:{COMET_MODEL}|mean:sentences|scale:100|unbabel-comet:{_version('unbabel-comet')}"

    def statistics(self, translations: Sequence[str], references: Sequence[Sequence[Any]]) -> list[list[float]]:
        """Return the score of each sentence, and 1."""
        if self.sources is None:
            raise ConfigError("the metric comet needs the sources of the translations")
        import torch

        self.signature = f"nrefs:{len(references)}|{self._rest}"
        rows = [
            (number, {"src": source, "mt": translation, "ref": reference})
            for number, (source, translation, *others) in enumerate(
                zip(self.sources, translations, *references, strict=True)
            )
            for reference in others
            if reference is not None
        ]
        model, gpus = _comet_model(self._load, self._path), int(torch.cuda.is_available())
        scores = model.predict([row for _, row in rows], batch_size=8, gpus=gpus, progress_bar=False).scores
        sums = [[0.0, 0.0] for _ in translations]
        for (number, _), score in zip(rows, scores, strict=True):
            sums[number][0] += float(score)
            sums[number][1] += 1.0
        return [[total / count, 1.0] for total, count in sums]
