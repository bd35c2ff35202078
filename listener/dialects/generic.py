"""Our own: one JSON object for a push, or a list of them, for a line of `curl` at the end of a pipeline.

It covers every registry that calls nobody, or in a way that we do not know: whoever pushes says so afterwards. How a
push is written is told in `plain`.

Facts:
- Who sends it decides what becomes of an answer: `curl` alone repeats nothing. `--retry` does so for 503 and for no
  answer, which is what we say while we cannot store.
- The tag has moved when this is sent, for it is sent after the push. So a digest is welcome, and not needed.
- An object that is none of ours is answered with an error, which `curl --fail` turns into a failed step. A bad entry
  of a list is refused alone, and the answer says which and why.
"""

from __future__ import annotations

from typing import Final

from listener.core.events import Delivery, Parsed
from listener.dialects import payload, plain
from listener.dialects.payload import Findings
from listener.errors import MalformedDelivery

_EXPECTED: Final = f"a JSON object such as {plain.EXAMPLE}, or a list of them"


def recognises(delivery: Delivery) -> bool:
    """Tell by the repository, which must be a text; to be asked last, for others have that too."""
    found = payload.peek(delivery)
    first = found[0] if isinstance(found, list) and found else found
    return isinstance(first, dict) and bool(payload.text(first, "repository"))


def parse(delivery: Delivery) -> Parsed:
    """Raises `MalformedDelivery` if the body is no object with a repository, and no list."""
    found = payload.decoded(delivery, _EXPECTED)
    findings = Findings()
    if isinstance(found, list):
        for position, each in enumerate(payload.bounded(found, "the list")):
            plain.take(each, f"[{position}]", findings)
        return findings.parsed()
    if not isinstance(found, dict):
        raise MalformedDelivery(f"expected {_EXPECTED}, the body is JSON but neither")
    if not found.get("repository"):
        raise MalformedDelivery(f'expected {_EXPECTED}, the body has no "repository"')
    plain.take(found, "push", findings)
    return findings.parsed()
