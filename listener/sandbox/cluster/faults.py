"""Faults that can be switched on: what a cluster does to its clients on a bad day, on demand and for chosen requests
only.

Pure but for its own seeded generator. The server asks before it answers and before it sends a watch event, and does the
damage itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

FaultKind = Literal[
    "latency",  # answer after `seconds`
    "conflict",  # 409
    "throttle",  # 429 with Retry-After
    "error",  # 500
    "deny",  # 403, as an admission webhook denies
    "reset",  # the connection is reset, running watches too
    "cut",  # a watch sends half a line, then its connection is closed
    "expired",  # a new watch is refused with HTTP 410
    "expired-event",  # a watch, running or new, gets an ERROR event with 410
    "stall",  # a watch, running or new, stays open and silent
]
OPENING: frozenset[FaultKind] = frozenset({"conflict", "throttle", "error", "deny", "reset", "expired"})
RUNNING: frozenset[FaultKind] = frozenset({"reset", "cut", "expired-event", "stall"})
_WATCH_ONLY: frozenset[FaultKind] = frozenset({"cut", "expired", "expired-event", "stall"})

Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]


@dataclass(frozen=True, slots=True)
class Call:
    """A request as faults see it. `resource` is the plural; `verb` is RBAC's, so `watch` is not `list`."""

    verb: str
    resource: str
    subresource: str = ""
    namespace: str = ""
    name: str = ""


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    """One fault and the requests it strikes: those that fit every list that is not empty.

    `count` is how often it strikes before it is spent (None: always), `probability` how likely each time. `seconds` is
    the latency, `retry_after` the seconds that a throttled client is told to wait. An empty string in `subresources` is
    the object itself.
    """

    fault: FaultKind
    verbs: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    probability: Probability = 1.0
    seconds: Annotated[float, msgspec.Meta(ge=0, le=600)] = 0.1
    retry_after: Annotated[int, msgspec.Meta(ge=0, le=3600)] = 1

    def strikes(self, call: Call) -> bool:
        if self.fault in _WATCH_ONLY and call.verb != "watch":
            return False
        pairs = (
            (self.verbs, call.verb),
            (self.resources, call.resource),
            (self.subresources, call.subresource),
            (self.namespaces, call.namespace),
            (self.names, call.name),
        )
        return all(not allowed or value in allowed for allowed, value in pairs)


class FaultPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All faults at once, as `PUT /sandbox/faults` takes them. `seed` makes probabilities repeatable."""

    faults: tuple[Fault, ...] = ()
    seed: int | None = None


class Faults:
    """The faults that are switched on now, and how often each has struck."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._faults: list[Fault] = []
        self._hits: list[int] = []
        self._random = random.Random()  # noqa: S311 - chooses faults

    def set(self, faults: Iterable[Fault], seed: int | None = None) -> None:
        """Switch these on instead of all others. Running watches are struck at once."""
        self._faults = list(faults)
        self._hits = [0] * len(self._faults)
        self._random = random.Random(seed)  # noqa: S311 - chooses faults
        self._changed()

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)
        self._hits.append(0)
        self._changed()

    def clear(self) -> None:
        self.set(())

    @property
    def active(self) -> bool:
        return bool(self._faults)

    @property
    def hits(self) -> int:
        """How often the faults that are switched on have struck, all together."""
        return sum(self._hits)

    def take(self, call: Call, kinds: frozenset[FaultKind]) -> Fault | None:
        """Return the first fault of these kinds that strikes now, and count it."""
        for position, fault in enumerate(self._faults):
            spent = fault.count is not None and self._hits[position] >= fault.count
            if spent or fault.fault not in kinds or not fault.strikes(call):
                continue
            if fault.probability >= 1 or self._random.random() < fault.probability:
                self._hits[position] += 1
                return fault
        return None

    def shown(self) -> dict[str, Any]:
        """Return the plan as JSON shows it, each fault with its `hits`."""
        return {
            "faults": [
                {**msgspec.to_builtins(fault), "hits": hits}
                for fault, hits in zip(self._faults, self._hits, strict=True)
            ]
        }


def read_plan(body: bytes) -> FaultPlan:
    """Read a plan from JSON. Raises `msgspec.ValidationError`, which names the key that is wrong."""
    return msgspec.json.decode(body, type=FaultPlan)
