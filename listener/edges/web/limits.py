"""How much a stranger may ask for before it is told to come later, and how much is said about it.

A source is a client's address, or the network of 64 bits around it for IPv6, where each client has as many. All that
is kept by source is bounded: the sources seen least lately are forgotten.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import structlog
from cachetools import LRUCache, TTLCache

from listener.errors import Limited

log = structlog.get_logger()

Network = IPv4Network | IPv6Network
_Address = IPv4Address | IPv6Address

_SOURCES = 10_000
_MAX_HOPS = 32
_TOLD_SECONDS = 60
_SUMMARY_SECONDS = 10
_LINES = 20
_QUIET_LINES = 100
_BUSY_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """What one process takes. With all places taken and bodies at their limit that is some 270 MiB, and for each hook
    10 MiB more, and 32 MiB where bodies must be read to learn whose they are."""

    refused_burst: int = 100
    refused_per_second: float = 10
    """Requests of one source that one hook refuses, before it answers 429 instead."""
    deliveries: int = 250
    deliveries_per_hook: int = 150
    deliveries_reserved: int = 10
    """Deliveries under way: so many of a hook whatever those of others take, whose registries may not answer."""
    large_bodies: int = 2
    """Bodies of those who proved themselves that are larger than anybody's may be."""
    readers_per_hook: int = 32
    readers_per_source: int = 16
    """Bodies that are waited for, of whom nobody knows yet; `readers_per_source` at one hook."""
    connections_per_source: int = 256
    head_seconds: float = 10
    """From the connection to the end of its first request's headers."""
    idle_seconds: float = 75
    """From an answer to the end of the next request's headers. Load balancers keep a connection for 60 s: who closes
    first must be they, for what is sent as we close is lost."""
    body_seconds: float = 30
    """From a request's headers to the end of its body."""
    body_grace_seconds: float = 5
    body_bytes_per_second: float = 16 * 1024
    """A body that comes slower than this, after the grace, is cut off."""


class Sources:
    """Whose a request is. A proxy that is known is believed about whom it speaks for."""

    def __init__(self, proxies: Sequence[Network] = ()) -> None:
        self._proxies = tuple(proxies)
        self._keys: LRUCache[str, str] = LRUCache(_SOURCES)

    def is_proxy(self, address: str) -> bool:
        if not self._proxies:
            return False
        found = _address(address)
        return found is not None and any(found in network for network in self._proxies)

    def key(self, address: str) -> str:
        """The source an address belongs to, as text."""
        key = self._keys.get(address)
        if key is None:
            key = self._keys[address] = _key(address)
        return key

    def counted(self, address: str) -> str | None:
        """The source whose connections those of an address are. A proxy's are not counted: it holds them for many."""
        return None if self.is_proxy(address) else self.key(address)

    def of(self, peer: str, forwarded: str) -> str:
        """The source of a request from `peer`, whose X-Forwarded-For is `forwarded`.

        Everybody may write the header's beginning; only what our own proxies appended to it is true, and that ends
        with the last address that is no proxy's.
        """
        found = peer
        if self.is_proxy(peer):
            for hop in reversed(forwarded.split(",")[-_MAX_HOPS:]):
                address = _without_port(hop.strip())
                if _address(address) is None:
                    break
                found = address
                if not self.is_proxy(address):
                    break
        return self.key(found)


class Refused:
    """How many refusals each source has left at each hook: a bucket that fills by itself."""

    def __init__(self, limits: Limits, clock: Callable[[], float]) -> None:
        self._burst = limits.refused_burst
        self._rate = limits.refused_per_second
        self._clock = clock
        self._left: LRUCache[tuple[str, str], tuple[float, float]] = LRUCache(_SOURCES)

    def is_out(self, source: str, hook: str) -> bool:
        """Whether it has none left."""
        return self._now(source, hook) < 1

    def spend(self, source: str, hook: str) -> bool:
        """Take one; False if none was left."""
        left = self._now(source, hook)
        if left < 1:
            return False
        self._left[source, hook] = (left - 1, self._clock())
        return True

    def limited(self) -> Limited:
        return Limited(
            "too many of your requests to this hook were refused; see the earlier answers",
            retry_after_seconds=max(1, math.ceil(1 / self._rate)),
        )

    def _now(self, source: str, hook: str) -> float:
        left, then = self._left.get((source, hook), (float(self._burst), self._clock()))
        return min(float(self._burst), left + (self._clock() - then) * self._rate)


class Places:
    """Who is inside: so many in all, at one hook, and of one source at one hook. Empty places are not kept.

    So many as are `reserved` come in at each hook whatever is taken in all.
    """

    def __init__(self, what: str, *most: int, reserved: int = 0) -> None:
        self._what = what
        self._most = most
        self._reserved = reserved
        self._taken: dict[tuple[str, ...], int] = {}  # no Counter, whose zeros and deletions cost more than all this

    def place(self, *names: str) -> _Place:
        """Return what takes a place for the hook, or for the hook and the source, each time that it is entered.

        To enter raises Limited if there is none.
        """
        return _Place(self, [names[:depth] for depth in range(len(self._most))])

    def enter(self, keys: Sequence[tuple[str, ...]]) -> None:
        for key, most in zip(keys, self._most, strict=True):
            if self._taken.get(key, 0) >= most and (key or self._taken.get(keys[-1], 0) >= self._reserved):
                where = ("in all", "at this hook", "from your address at this hook")[len(key)]
                reason = f"{most} {self._what} are under way {where} already; come again"
                raise Limited(reason, retry_after_seconds=_BUSY_SECONDS)
        for key in keys:
            self._taken[key] = self._taken.get(key, 0) + 1

    def leave(self, keys: Sequence[tuple[str, ...]]) -> None:
        for key in keys:
            left = self._taken.pop(key) - 1
            if left:
                self._taken[key] = left


class _Place:
    """One to be had. (A generator would cost a hook more than the rest of its limits.)"""

    __slots__ = ("_keys", "_places")

    def __init__(self, places: Places, keys: Sequence[tuple[str, ...]]) -> None:
        self._places = places
        self._keys = keys

    def __enter__(self) -> None:
        self._places.enter(self._keys)

    def __exit__(self, *_: object) -> None:
        self._places.leave(self._keys)


class RefusalLog:
    """Says what was refused: the first of a source, hook and outcome in full, the rest as a count now and then."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._told: TTLCache[tuple[str, str, str], None] = TTLCache(_SOURCES, _TOLD_SECONDS, timer=clock)
        self._lines = 0
        self._more: Counter[str] = Counter()
        self._period = _Period(self.flush)

    def note(self, event: str, source: str, hook: str, outcome: str, **fields: object) -> None:
        """`hook` and `outcome` come from closed sets, the fields are fit for a log."""
        key = (source, hook, outcome)
        # Also bounded in all: many sources may belong to one stranger.
        if key in self._told or self._lines >= _LINES:
            self._more[f"{hook} {outcome}"] += 1
        else:
            self._told[key] = None
            self._lines += 1
            log.warning(event, source=source, **fields)
        self._period.begin()

    def flush(self) -> None:
        """Say what was only counted."""
        self._period.end()
        self._lines = 0
        if self._more:
            log.warning("hook.more_refused", requests=self._more.total(), by_outcome=dict(self._more))
            self._more.clear()


class QuietLog:
    """Which deliveries that bring no news have a line of their own: the first of each hook and outcome in a period. The
    rest are a count.

    Where a registry tells of each pull (as distribution does) there are thousands of them for each push.
    """

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], int] = {}
        self._period = _Period(self.flush)

    def has_room(self, hook: str, outcome: str) -> bool:
        """Whether this one has a line. `hook` and `outcome` come from closed sets."""
        self._period.begin()
        key = hook, outcome
        seen = self._seen[key] = self._seen.get(key, 0) + 1
        return seen <= _QUIET_LINES

    def flush(self) -> None:
        """Say what was only counted."""
        self._period.end()
        more = {
            f"{hook} {outcome}": seen - _QUIET_LINES
            for (hook, outcome), seen in self._seen.items()
            if seen > _QUIET_LINES
        }
        self._seen.clear()
        if more:
            log.info("hook.more_answered", requests=sum(more.values()), by_outcome=more)


class _Period:
    """A time that begins with what happens first, and is over with a call of `over`, which ends it."""

    def __init__(self, over: Callable[[], None]) -> None:
        self._over = over
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        if self._timer is None:
            # In a context of its own: the lines of that one tell of one delivery.
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_SUMMARY_SECONDS, self._over, context=Context())

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _key(address: str) -> str:
    found = _address(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found) >> 64 << 64, 64)))
    return "unknown" if found is None else str(found)


def _address(text: str) -> _Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _without_port(hop: str) -> str:
    """Some proxies write the port too: 192.0.2.1:4711, [2001:db8::1]:4711."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop
