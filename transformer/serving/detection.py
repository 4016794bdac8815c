"""Which of the served source languages a text is written in."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from transformer import languages
from transformer.errors import ConfigError

log = logging.getLogger(__name__)


class Detector:
    """Ranks the served source languages for a text, with py3langid. Created by `make_detector`."""

    def __init__(self, identifier: Any, codes: dict[str, str]) -> None:
        self._identifier, self._codes = identifier, codes

    def rank(self, texts: Sequence[str]) -> list[dict[str, Any]]:
        """Return languages with a confidence from 0 to 100, the most probable first, as LibreTranslate does."""
        if self._identifier is None:
            return [{"confidence": 0.0, "language": code} for code in self._codes.values()]
        ranked = self._identifier.rank("\n".join(texts))
        return [{"confidence": round(100 * share, 1), "language": self._codes[code]} for code, share in ranked]


def make_detector(sources: Sequence[str]) -> Detector:
    """Return the detector of these languages, which are short codes. One language is not detected but assumed.

    Raises ConfigError if there are several and py3langid is not installed.
    """
    codes = {languages.parse(code).code: code for code in sources}
    if len(sources) == 1:
        return Detector(None, codes)
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError:
        raise ConfigError(
            "to detect the language of a text, serve needs the package py3langid: "
            "pip install 'transformer-translation[serve]'"
        ) from None
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    known = {code: short for code, short in codes.items() if code in identifier.labels}
    if unknown := sorted(set(sources) - set(known.values())):
        log.warning("the languages %s cannot be detected in a text; clients must name them", ", ".join(unknown))
    if not known:
        return Detector(None, codes)
    identifier.set_languages(list(known))
    return Detector(identifier, known)
