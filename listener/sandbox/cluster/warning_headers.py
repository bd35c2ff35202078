"""The `Warning` headers of an answer: kubectl prints them. Bounded and cleaned as a real server does it.

Pure.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

_LONGEST = 256
_ALTOGETHER = 4096


def headers(warnings: Iterable[str]) -> list[str]:
    """Return the values of the headers. What is too much in all is cut, each and the rest; what cannot be one is left
    out, and so is what has been said.
    """
    told = [text for text in dict.fromkeys(warnings) if text and not any(map(_is_control, text))]
    if sum(map(len, told)) > _ALTOGETHER:
        told = [text[:_LONGEST] for text in told]
    found, written = [], 0
    for text in told:
        written += len(text)
        if written > _ALTOGETHER:
            break
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        found.append(f'299 - "{quoted}"')
    return found


def _is_control(character: str) -> bool:
    return unicodedata.category(character) == "Cc"
