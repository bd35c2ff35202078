"""The shared nouns of what arrives: a raw delivery, the pushes in it, and remarks about the rest.

Every dialect turns a `Delivery` into a `Parsed`, so nothing behind it knows how a product spells its payload. This
room must not know any product, nor whether a push is true: everything here was written by a stranger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

_MAX_SHOWN: Final = 256


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request as it came, raw and untrusted. Header names are in lower case."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A registry says that a manifest or an index was pushed to a tag.

    `registry` is the host as sent, in lower case: a hint that may be internal or invented, looked up in settings and
    never believed. `digest` is None where the product does not send one: it is then to be resolved by tag.
    `timestamp` is in UTC, and None where none that orders anything was sent. `actor` is for display, no identity to
    trust. `event_id` is the sender's and stable over its retries.
    """

    registry: str | None
    repository: str
    tag: str
    digest: str | None
    media_type: str | None
    timestamp: datetime | None
    actor: str | None
    event_id: str | None


@dataclass(frozen=True, slots=True)
class Remark:
    """What was not acted on, and why, to be shown to people: both texts are made printable and bounded here."""

    what: str
    why: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", printable(self.what))
        object.__setattr__(self, "why", printable(self.why))


@dataclass(frozen=True, slots=True)
class Parsed:
    """All that one delivery held.

    `ignored` was understood and is not for us (pull, blob, delete, push by digest); `refused` was meant as a push and
    cannot be used. Neither spoils the pushes beside it.

    `reply` is the JSON that its sender waits for instead of our report (a handshake). `confirm` is a URL that it wants
    to be asked before it sends anything; whether that may be done is decided where signatures are checked.
    """

    pushes: tuple[PushEvent, ...] = ()
    ignored: tuple[Remark, ...] = ()
    refused: tuple[Remark, ...] = ()
    reply: Mapping[str, str] | None = None
    confirm: str | None = None


def printable(text: str, limit: int = _MAX_SHOWN) -> str:
    """Return the text fit for an answer, a log line or a terminal.

    At most `limit` characters; control characters, line and direction marks and lone surrogates become U+FFFD.
    """
    if len(text) > limit:
        text = text[: limit - 1] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def timestamp(text: str) -> datetime | None:
    """Read an RFC 3339 time with 0 to 9 digits of fraction; None if it is none, or cannot be compared with others.

    A time without a zone orders nothing, and Go writes a time that was never set as year 1.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo and moment.year > 1 else None
    except (ValueError, OverflowError):
        return None
