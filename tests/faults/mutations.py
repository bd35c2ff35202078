"""What can be taken out of the service, and which of its waits can be shortened: each replaces one thing in place.

A replacement begins with what it replaces, so where that has another name by now the program does not start.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any

import aiohttp

from listener.core import index, leases, patches
from listener.core.actions import Operation
from listener.core.outcomes import End, Outcome
from listener.edges import cluster
from listener.edges.cluster import Cluster, Collection
from listener.flow import leadership, watcher
from listener.flow.fanout import FanOut
from listener.flow.leadership import Leadership
from listener.flow.state import StreamSink, WorkloadSink
from listener.flow.watcher import Watcher


def replace(owner: object, name: str, make: Callable[[Any], Any]) -> None:
    """Put something else in the place of what `owner` has by that name; `make` is given that."""
    setattr(owner, name, make(getattr(owner, name)))


# What protects


def older_news_counts() -> None:
    """Whatever is told of an object is taken for its newest state, even if a newer one is known."""
    replace(index, "is_newer", lambda _: lambda _a, _b: True)


def failed_patches_are_left() -> None:
    """A patch that failed is not tried again."""
    replace(FanOut, "_retry", lambda _: lambda *_a: None)


def watches_begin_anew() -> None:
    """A watch does not go on from where the last one ended, but with what is there now."""
    replace(Collection, "changes", lambda follow: lambda self, _: follow(self, ""))


def chunks_are_lines() -> None:
    """What comes in pieces is not put together."""

    async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
        async for chunk in content.iter_any():
            for line in filter(None, chunk.split(b"\n")):
                yield line

    replace(cluster, "_lines", lambda _: lines)


def silence_is_patience() -> None:
    """A watch that tells nothing is waited for."""
    replace(cluster, "_WATCH_SILENCE", lambda _: aiohttp.ClientTimeout(total=None, sock_connect=15))


def advice_is_not_heard() -> None:
    """It does not matter how long the API server asks us to stay away."""
    replace(cluster, "_retry_after", lambda _: lambda _headers: None)


def lists_tell_nothing() -> None:
    """After the first list, another one says only where to watch on."""

    def make(listing: Any) -> Any:
        async def found(self: Watcher[Any, Any]) -> str:
            if not self.is_synced:
                return str(await listing(self))
            return [page.resource_version async for page in self._source.pages()][-1]

        return found

    replace(Watcher, "_list", make)


def lists_forget_nothing() -> None:
    """What a list does not name any more stays known."""

    def nothing(_self: object, _namespace: str | None) -> Iterable[Any]:
        return ()

    for sink in (StreamSink, WorkloadSink):
        replace(sink, "known", lambda _: nothing)


def silence_is_always_a_dead_line() -> None:
    """However often a watch is silent, it goes on from the same place."""
    replace(watcher, "_SILENT_WATCHES", lambda _: 1_000_000)


def time_goes_forwards_only() -> None:
    """A list that is older than what was known before is nothing special."""
    replace(watcher, "is_surely_older", lambda _: lambda _a, _b: False)


def acknowledged_before_stored() -> None:
    """The history is written a second after the sender was told that it is."""
    late: set[asyncio.Task[Any]] = set()

    def make(store: Any) -> Any:
        async def write(self: Cluster, stream: Any) -> None:
            await asyncio.sleep(1)
            await store(self, stream)

        async def found(self: Cluster, stream: Any) -> Outcome[Any]:
            late.add(asyncio.create_task(write(self, stream)))
            return Outcome(End.APPLIED, stream)

        return found

    replace(Cluster, "store_status", make)


def first_sight_is_no_news() -> None:
    """A start looks at nothing that was there before it."""

    def make(put: Any) -> Any:
        def found(self: index.WorkloadIndex, workload: Any) -> bool:
            is_first = self.get(workload.key) is None
            return bool(put(self, workload)) and not is_first

        return found

    replace(index.WorkloadIndex, "put", make)


def patches_test_no_image() -> None:
    """A patch sets an image whatever is there."""

    def make(set_image: Any) -> Any:
        def found(path: str, name: str, before: str, after: str) -> tuple[Operation, ...]:
            operations: tuple[Operation, ...] = set_image(path, name, before, after)
            return tuple(each for each in operations if (each["op"], each["path"]) != ("test", f"{path}/image"))

        return found

    replace(patches, "set_image", make)


def terms_go_by_the_wall_clock() -> None:
    """How long a Lease is held is measured by a clock that can be set."""

    def make(init: Any) -> Any:
        def found(self: Leadership, *given: Any) -> None:
            init(self, *given, clock=time.time)

        return found

    replace(Leadership, "__init__", make)


MUTATIONS: Mapping[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        acknowledged_before_stored,
        advice_is_not_heard,
        chunks_are_lines,
        failed_patches_are_left,
        first_sight_is_no_news,
        lists_forget_nothing,
        lists_tell_nothing,
        older_news_counts,
        patches_test_no_image,
        silence_is_always_a_dead_line,
        silence_is_patience,
        terms_go_by_the_wall_clock,
        time_goes_forwards_only,
        watches_begin_anew,
    )
}


# What takes long


def short_silence() -> None:
    """A watch is silent after 1 s instead of 100."""
    replace(cluster, "_WATCH_SILENCE", lambda _: aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=1))


def short_leases() -> None:
    """A Lease is free after 2 s instead of 15; its holder believes in it for 1.3 s instead of 10."""
    replace(leases, "LIFE_SECONDS", lambda _: 2)
    replace(leases, "HELD_SECONDS", lambda _: 1.3)
    replace(leases, "RENEW_SECONDS", lambda _: 0.3)
    replace(leadership, "_TRY_SECONDS", lambda _: 0.5)
    replace(leadership, "_RETRY_SECONDS", lambda _: 0.5)


SHORTER: Mapping[str, Callable[[], None]] = {each.__name__: each for each in (short_leases, short_silence)}
