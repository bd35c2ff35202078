"""What a server asks for in `WWW-Authenticate`: the grammar of RFC 9110, section 11, read the way servers write it.

This room knows the grammar of challenges and nothing of what they mean: no registry, no token, no credential.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

_SEPARATORS: Final = re.compile(r"[,\s]*")
_BLANKS: Final = re.compile(r"[ \t]*")
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# One lump of base64 or the like, and nothing else up to the next comma: `Negotiate YIIJvw==`.
_TOKEN68: Final = re.compile(r"[A-Za-z0-9._~+/-]+=*[ \t]*(?=,|$)")
_QUOTED: Final = re.compile(r'"((?:[^"\\]|\\.)*)"?', re.DOTALL)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
# By the RFC a token, in life a URL as well: `realm=https://auth.example.com/token`.
_BARE: Final = re.compile(r'[^,\s"]*')


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate. The scheme and the names of the parameters are in lower case.

    A challenge that is one lump of data (token68) has no parameters.
    """

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse(values: Sequence[str]) -> tuple[Challenge, ...]:
    """Read every challenge, in order, from the lines of a `WWW-Authenticate` header.

    Never raises: what cannot be read is passed over. Of a parameter that is given twice the first counts.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for value in values:
        _read_line(value, found)
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found)


def _read_line(text: str, found: list[tuple[str, dict[str, str]]]) -> None:
    """Add the challenges of one line to `found`.

    Whether a word is a scheme or the name of a parameter shows only behind it: there is a `=`, or there is none. A
    line may go on with the parameters of the line before it.
    """
    at = _skip(_SEPARATORS, text, 0)
    while at < len(text):
        word = _TOKEN.match(text, at)
        if word is None:
            at = _skip(_SEPARATORS, text, at + 1)
            continue
        at = _skip(_BLANKS, text, word.end())
        if text.startswith("=", at):
            value, at = _value(text, _skip(_BLANKS, text, at + 1))
            if found:
                found[-1][1].setdefault(word[0].lower(), value)
        else:
            found.append((word[0].lower(), {}))
            if lump := _TOKEN68.match(text, at):
                at = lump.end()
        at = _skip(_SEPARATORS, text, at)


def _value(text: str, at: int) -> tuple[str, int]:
    """Read a value; one whose closing quote is missing goes on to the end of the line."""
    if quoted := _QUOTED.match(text, at):
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    bare = _BARE.match(text, at)
    return (bare[0], bare.end()) if bare else ("", at)


def _skip(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at
