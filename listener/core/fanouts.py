"""Accounts of fan-outs: what became of a tag's move in numbers, and by name who was not reached and why.

A stream keeps a few of them. An account is open while its fan-out is followed; what continues it after a restart goes
on from its numbers. This room must not know who patches, how an account is stored, or what time it is.

Times are RFC 3339 in UTC with six digits of fraction, so that two of them compare as texts: the first and the last
patch of most fan-outs lie within one second.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from listener.core.outcomes import shortened

MAX_RECORDS: Final = 10
"""How many accounts a stream keeps."""
MAX_FAILURES: Final = 10
"""How many failures an account names."""
_MAX_FAILURES_OF_ALL: Final = 20
_LONGEST_REASON: Final = 200


class Phase(StrEnum):
    """How far a fan-out is, or how it ended."""

    PATCHING = "Patching"
    """Workloads wait for their patch, or for another attempt."""
    ROLLING_OUT = "RollingOut"
    """All were patched that can be; some are not rolled out yet."""
    DONE = "Done"
    """Nothing more will come."""
    TIMED_OUT = "TimedOut"
    """Nothing happened any more, so it is not followed any longer."""
    SUPERSEDED = "Superseded"
    """The tag moved on."""

    @property
    def is_open(self) -> bool:
        return self in (Phase.PATCHING, Phase.ROLLING_OUT)


@dataclass(frozen=True, slots=True)
class Failure:
    """A workload that could not be brought to the image. `kind` is its kind's label."""

    kind: str
    namespace: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class FanOutRecord:
    """The account of one fan-out.

    `docker_image_reference` is what the tag's followers pull, `image` its digest ("" for a reference tag). `cause` and
    `delivery` are "" where they are not known. Of the `matched` followers some were `patched`, some had the image
    before (`current`), some are `paused`, some `waiting` (for their turn, or for another tag), and some `failed`. Of
    the patched ones `rollouts` tell of their rollout, and `rolled_out` have ended it. Times are "" until they come.
    """

    tag: str
    docker_image_reference: str
    image: str
    generation: int
    started: str
    cause: str = ""
    delivery: str = ""
    phase: Phase = Phase.PATCHING
    matched: int = 0
    patched: int = 0
    current: int = 0
    paused: int = 0
    waiting: int = 0
    failed: int = 0
    rollouts: int = 0
    rolled_out: int = 0
    first_patched: str = ""
    last_patched: str = ""
    first_rolled_out: str = ""
    last_rolled_out: str = ""
    failures: tuple[Failure, ...] = ()

    @property
    def has_reached(self) -> bool:
        """Whether anything came of it."""
        return bool(self.patched or self.failed)

    def is_same(self, other: FanOutRecord) -> bool:
        """Whether both are accounts of one fan-out, be it at two times."""
        return self._identity == other._identity

    @property
    def _identity(self) -> tuple[str, str, str]:
        return self.tag, self.docker_image_reference, self.started


def written(moment: datetime) -> str:
    """Write a time as accounts hold it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def on_one_line(reason: str) -> str:
    """Put a reason on one line, as short as an account takes it."""
    return shortened(" ".join(reason.split()), _LONGEST_REASON)


def newest(records: Iterable[FanOutRecord], tag: str) -> FanOutRecord | None:
    """Return the last account of a tag."""
    return max((record for record in records if record.tag == tag), key=lambda record: record.started, default=None)


def merge(
    known: tuple[FanOutRecord, ...], news: Iterable[FanOutRecord], places: Mapping[str, str]
) -> tuple[FanOutRecord, ...]:
    """Return the accounts that a stream keeps after `news`, newest first; what is known of the same fan-out goes.

    `places` says by tag what its followers pull now. An open account of another place is closed as superseded. If
    nothing had come of it yet, it goes: of a burst of moves only those stay that reached a workload.
    """
    fresh = tuple(news)
    both = [*fresh, *(record for record in known if not any(record.is_same(other) for other in fresh))]
    both.sort(key=lambda record: record.started, reverse=True)
    kept = []
    tags = set()
    for record in both:
        is_newest = record.tag not in tags
        tags.add(record.tag)
        if record.phase.is_open and not (is_newest and places.get(record.tag) == record.docker_image_reference):
            kept.append(replace(record, phase=Phase.SUPERSEDED))
        else:
            kept.append(record)
    return _pruned([record for record in kept if record.has_reached or record.phase is not Phase.SUPERSEDED])


def sentence(record: FanOutRecord) -> str:
    """Sum up an account for a person."""
    parts = [f"{record.patched} patched of {record.matched}{_exceptions(record)}"]
    if record.last_patched:
        parts[0] += f" in {_span(record.started, record.last_patched)}"
    if record.rollouts and record.rolled_out >= record.rollouts and record.last_rolled_out:
        parts.append(f"rolled out after {_span(record.started, record.last_rolled_out)}")
    elif record.rollouts:
        parts.append(f"{record.rolled_out} of {record.rollouts} rolled out")
    match record.phase:
        case Phase.PATCHING | Phase.ROLLING_OUT:
            parts.append("goes on")
        case Phase.TIMED_OUT:
            parts.append("then nothing happened any more")
        case Phase.SUPERSEDED:
            parts.append("then the tag moved on")
    return ", ".join(parts)


def _exceptions(record: FanOutRecord) -> str:
    counts = {
        "current already": record.current,
        "paused": record.paused,
        "waiting": record.waiting,
        "failed": record.failed,
    }
    told = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f" ({told})" if told else ""


def _span(start: str, end: str) -> str:
    """The time between two moments, as exact as it matters."""
    seconds = max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min"


def _pruned(records: list[FanOutRecord]) -> tuple[FanOutRecord, ...]:
    """The records that fit, of those newest first. The last account of a tag outlives older ones of busier tags."""
    tags: set[str] = set()
    first: list[FanOutRecord] = []
    rest: list[FanOutRecord] = []
    for record in records:
        (rest if record.tag in tags else first).append(record)
        tags.add(record.tag)
    stay = sorted((first + rest)[:MAX_RECORDS], key=lambda record: record.started, reverse=True)
    names_left = _MAX_FAILURES_OF_ALL
    pruned = []
    for record in stay:
        failures = record.failures[: min(MAX_FAILURES, names_left)]
        names_left -= len(failures)
        pruned.append(record if failures == record.failures else replace(record, failures=failures))
    return tuple(pruned)
