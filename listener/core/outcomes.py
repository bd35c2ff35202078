"""How a write to the cluster ended.

Each expected end is a value, so that one workload's failure is data for the one who retries it and never an exception
that takes its neighbours along.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")


class End(StrEnum):
    APPLIED = "applied"
    """Stored; the reply holds the object as it is now."""
    STALE = "stale"
    """Somebody changed the object since we read it (a failed `test`, or 409): look again, then decide anew."""
    GONE = "gone"
    """The object does not exist (any more)."""
    REFUSED = "refused"
    """The server will not take it as it is: a missing right, an admission webhook, an invalid field."""
    THROTTLED = "throttled"
    """429: the server asks us to slow down."""
    UNREACHABLE = "unreachable"
    """No answer, or a server error. It may or may not have been stored."""


class Outcome(NamedTuple, Generic[T]):
    """The end of one write.

    `stored` is the object as the server answered it, with APPLIED only. `message` is the server's sentence, for a
    person. `retry_after_seconds` is the server's advice, where it gave one. `may_pass`, with REFUSED, tells that
    somebody can mend it without a change of the request: a right or a quota is missing. `is_final`, with REFUSED, tells
    that it is for ever: what it would change is immutable.
    """

    end: End
    stored: T | None = None
    message: str = ""
    retry_after_seconds: float | None = None
    may_pass: bool = False
    is_final: bool = False

    @property
    def is_for_want_of_a_webhook(self) -> bool:
        """Whether the server is there, and an admission webhook that it must ask is not."""
        return 'failed calling webhook "' in self.message


def shortened(message: str, length: int) -> str:
    """Cut a server's sentence in the middle. It begins with what was refused and ends with why; between the two it may
    show a whole pod template."""
    if len(message) <= length:
        return message
    end = length // 2
    return f"{message[: length - end - 1]}…{message[-end:]}"
