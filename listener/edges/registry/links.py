"""The `Link` header, as far as paging needs it: where the next page is (RFC 8288)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_PARAMETER: Final = r'\s*;\s*([^\s=;,]+)(?:\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,"]*))?'
# No URL holds a `<`: without it in the class, a header of nothing else is looked through again from each of them.
_LINK: Final = re.compile(rf"<([^<>]*)>((?:{_PARAMETER})*)")
_EACH_PARAMETER: Final = re.compile(_PARAMETER)


def next_page(values: Sequence[str]) -> str | None:
    """Return the target of the first link whose relations name `next`, from the lines of the header."""
    for value in values:
        for link in _LINK.finditer(value):
            for name, relations in _EACH_PARAMETER.findall(link[2]):
                if name.lower() == "rel" and "next" in relations.strip('"').lower().split():
                    return link[1]
    return None
