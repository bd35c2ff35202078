"""What became of a delivery: the answer's body, the log's counts and the metric's label come from here."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from listener.core.events import Remark
from listener.core.streams import StreamKey


class Arrival(NamedTuple):
    """How a delivery reached us.

    `received` is a reading of the event loop's clock, `at` the same moment as people write it. `trace` is where what it
    causes belongs, if somebody collects traces (`spans`).
    """

    delivery_id: str
    received: float
    at: datetime
    trace: str = ""


class Moved(NamedTuple):
    """A stream tag that the delivery moved."""

    stream: StreamKey
    tag: str
    digest: str


class Receipt(NamedTuple):
    """Everything in `moved` is stored in the cluster.

    `unchanged` are tags that were already there, `ignored` is what was understood and is not for us, `refused` what was
    meant for us and can never be taken. `unanswered` is what its registry cannot speak about: it is stored nowhere, and
    the registry is asked again until it can.
    """

    moved: tuple[Moved, ...] = ()
    unchanged: tuple[Moved, ...] = ()
    ignored: tuple[Remark, ...] = ()
    refused: tuple[Remark, ...] = ()
    unanswered: tuple[Remark, ...] = ()

    @property
    def outcome(self) -> str:
        """One word for the whole delivery: the worst that a person should look at first."""
        if self.refused:
            return "refused"
        if self.unanswered:
            return "unanswered"
        if self.moved:
            return "moved"
        return "unchanged" if self.unchanged else "ignored"
