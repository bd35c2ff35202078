"""What must hold of a dialect whatever it is given; what is behind it relies on this and checks none of it again."""

from __future__ import annotations

import time
from typing import Final

from listener import dialects
from listener.core import references
from listener.core.events import Delivery, Parsed, PushEvent, Remark
from listener.dialects import Dialect
from listener.errors import MalformedDelivery

CPU_SECONDS: Final = 5.0
"""Of the processor, for one delivery of the largest size. The slowest that is known takes 0.25 s, and five times as
long where its branches are counted. What takes the square of its input takes minutes."""

_SHOWN: Final = 256
_COMPLAINT: Final = 512


class TooSlow(AssertionError):
    """One delivery kept the processor for longer than any may."""


def hold(dialect: Dialect, delivery: Delivery, *, detects: bool = True, cpu_seconds: float = CPU_SECONDS) -> None:
    """Read a delivery, and with `detects` also as `auto` would. Whatever is raised is a defect.

    What took too long is read once more: only what is slow twice is so by itself.
    """
    for _ in range(2):
        begun = time.process_time()
        outcomes = _outcomes(dialect, delivery, detects)
        spent = time.process_time() - begun
        if spent <= cpu_seconds:
            break
    else:
        raise TooSlow(
            f"{dialect.name}: {spent:.2f} s of the processor, at most {cpu_seconds} s are spent on a delivery"
        )
    for outcome in outcomes:
        if isinstance(outcome, str):
            _is_shown(outcome, _COMPLAINT)
        else:
            check(outcome)


def _outcomes(dialect: Dialect, delivery: Delivery, detects: bool) -> list[Parsed | str]:
    found = dialects.detect(delivery) if detects else None
    assert dialect.recognises(delivery) in {True, False}
    return [_outcome(each, delivery) for each in ((dialect,) if found in {None, dialect} else (dialect, found))]


def _outcome(dialect: Dialect, delivery: Delivery) -> Parsed | str:
    try:
        return dialect.parse(delivery)
    except MalformedDelivery as error:
        return str(error)


def check(parsed: Parsed) -> None:
    """Assert all that is promised of what a dialect made of a delivery."""
    assert type(parsed) is Parsed
    for push in parsed.pushes:
        _check_push(push)
    for remark in (*parsed.ignored, *parsed.refused):
        assert type(remark) is Remark
        _is_shown(remark.what)
        _is_shown(remark.why)
    for key, value in (parsed.reply or {}).items():
        _is_shown(key)
        _is_shown(value)
    # A URL goes on to a signer's gate, which looks at it again.
    assert parsed.confirm is None or (parsed.confirm.isascii() and parsed.confirm.startswith("https://"))


def _check_push(push: PushEvent) -> None:
    assert type(push) is PushEvent
    assert references.is_repository(push.repository), push
    assert push.repository == push.repository.lower(), push
    assert references.is_tag(push.tag), push
    assert push.digest is None or references.is_digest(push.digest), push
    moment = push.timestamp
    assert moment is None or (moment.tzinfo is not None and not moment.utcoffset()), push
    for text in (push.registry, push.media_type, push.actor, push.event_id):
        if text is not None:
            _is_shown(text)
    assert push.registry is None or push.registry == push.registry.lower(), push


def _is_shown(text: str, most: int = _SHOWN) -> None:
    """Fit for an answer, a log line and a terminal."""
    assert type(text) is str
    assert text
    assert text.isprintable(), repr(text)
    assert len(text) <= most, repr(text)
