"""The shared nouns of what arrives: a raw delivery, the pushes in it, and remarks about the rest.

Every dialect turns a `Delivery` into a `Parsed`, so nothing behind it knows how a product spells its payload. This
room must not know any product, nor whether a push is true: everything here was written by a stranger.

What every delivery makes anew is a named tuple, here and behind: a frozen dataclass takes four times as long to make.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

LARGEST_BODY: Final = 1024 * 1024
"""Of a delivery, as it came and unpacked. The largest of a sender that gives up are some 100 KiB."""

LARGEST_PROVEN_BODY: Final = 10 * 1024 * 1024
"""Of who showed a secret before the body, and says how long that is.

distribution repeats what is refused for ever, and sends nothing else meanwhile. Its events are 1 KiB, but hold the
pusher's User-Agent: up to 6 MiB as it writes them. With its `includereferences` a manifest can make one of 6.5 MiB (and
one that is made for that 24 MiB); 10,000 events in one body, as many as are read, are 9.5 MiB.
"""

_MAX_SHOWN: Final = 256


UNREAD: Final = object()
"""Stands for the document of a delivery that nobody read yet."""


class _Request(NamedTuple):
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    source: str = ""


class Delivery(_Request):
    """One request as it came, raw and untrusted. Header names are in lower case.

    `source` is whose it is by its address, as far as that is known; "" where nobody asked. `document` is what its body
    was read as, once it was read: a dozen dialects may ask for it, and a stranger's megabyte is to be read once. A copy
    (`_replace`) is unread.
    """

    document: object = UNREAD


def joined(pairs: Iterable[tuple[str, str]], key: Callable[[str], str] = str) -> dict[str, str]:
    """Headers or parameters by name. What is there more than once is one value, so that no doubled secret fits."""
    found: dict[str, str] = {}
    for name, value in pairs:
        place = key(name)
        found[place] = f"{found[place]}, {value}" if place in found else value
    return found


class PushEvent(NamedTuple):
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
    """What was not acted on, and why, to be shown to people: both texts are made printable and bounded here.

    `is_internal`: they name objects of the cluster, or say what is in them, which strangers need not learn.
    """

    what: str
    why: str
    is_internal: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "what", printable(self.what))
        object.__setattr__(self, "why", printable(self.why))


class Parsed(NamedTuple):
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
