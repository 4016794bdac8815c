"""Words of raw text, in any script. Where there are no blanks between words, each character is one."""

from __future__ import annotations

import re

from transformer.languages import WITHOUT_BLANKS

_SINGLE = "".join(WITHOUT_BLANKS.values())
_TOKEN = re.compile(rf"[{_SINGLE}]|(?:(?![{_SINGLE}])[\w\u0300-\u036f'’-])+|\s+|.", re.DOTALL)


def tokens(text: str) -> list[str]:
    """Return words, blanks and single other characters, which joined are the text."""
    return _TOKEN.findall(text)
