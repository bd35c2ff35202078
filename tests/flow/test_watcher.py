"""List, watch, and whatever the API server does: on it goes, and in the end the sink holds what the cluster holds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from structlog.testing import capture_logs

from listener.core.changes import Gone, Mark, Page, Seen
from listener.errors import ClusterRefused, ClusterUnavailable, NotServed, WatchExpired, WatchSilent
from listener.flow.watcher import Watcher

Change = Seen[tuple[str, int]] | Gone[str] | Mark
Step = Change | Exception


@dataclass
class Script:
    """A collection of `NAME: VALUE` objects, told to the watcher as a test wrote it.

    Each list answers the next of `lists`, each watch plays the next of `watches` and then ends; a step that is an
    exception is raised. After the last watch there is silence.
    """

    lists: list[Sequence[Page[str, tuple[str, int]] | Exception]]
    watches: list[Sequence[Step]] = field(default_factory=list)
    resource: str = "things"
    namespace: str | None = None
    is_optional: bool = False
    asked: list[tuple[float, str]] = field(default_factory=list)

    async def pages(self) -> AsyncIterator[Page[str, tuple[str, int]]]:
        self._note("list")
        for page in self.lists.pop(0):
            await asyncio.sleep(0.01)
            if isinstance(page, Exception):
                raise page
            yield page

    async def changes(self, resource_version: str) -> AsyncIterator[Change]:
        self._note(f"watch {resource_version}")
        if not self.watches:
            await asyncio.sleep(100_000)
        for step in self.watches.pop(0):
            await asyncio.sleep(0.01)
            if isinstance(step, Exception):
                raise step
            yield step

    def requests(self) -> list[str]:
        return [what for _, what in self.asked]

    def _note(self, what: str) -> None:
        self.asked.append((asyncio.get_running_loop().time(), what))


class Shelf:
    """A sink: what it was given, less what it was told is gone."""

    def __init__(self, **values: int) -> None:
        self.values = values

    def put(self, value: tuple[str, int]) -> None:
        self.values[value[0]] = value[1]

    def discard(self, key: str) -> None:
        self.values.pop(key, None)

    def known(self, _namespace: str | None) -> Iterable[str]:
        return self.values.keys()


def page(version: str, *, unreadable: Iterable[str] = (), **values: int) -> Page[str, tuple[str, int]]:
    return Page(tuple(values.items()), frozenset((*values, *unreadable)), version)


def seen(version: str, **values: int) -> Seen[tuple[str, int]]:
    [value] = values.items()
    return Seen(value, version)


@asynccontextmanager
async def watching(script: Script, shelf: Shelf) -> AsyncIterator[Watcher[str, tuple[str, int]]]:
    watcher = Watcher[str, tuple[str, int]](script, shelf)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
        assert not task.done(), "the loop ended"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_takes_in_the_list_then_the_changes() -> None:
    script = Script([[page("10", a=1, b=1), page("10", c=1)]], [[seen("11", b=2), Gone("a", "12"), Mark("19")]])
    shelf = Shelf()
    async with watching(script, shelf) as watcher:
        assert not watcher.is_synced
        await watcher.synced()
        assert shelf.values == {"a": 1, "b": 1, "c": 1}
        await asyncio.sleep(60)
        assert shelf.values == {"b": 2, "c": 1}
    assert script.requests() == ["list", "watch 10", "watch 19"]


async def test_is_synced_only_after_the_last_page() -> None:
    script = Script([[page("10", a=1), ClusterUnavailable("cut")], [page("20", a=1), page("20", b=1)]])
    shelf = Shelf()
    async with watching(script, shelf) as watcher:
        await asyncio.sleep(0.02)
        assert shelf.values == {"a": 1}
        assert not watcher.is_synced
        await watcher.synced()
        assert shelf.values == {"a": 1, "b": 1}


async def test_a_list_that_broke_off_discards_nothing() -> None:
    script = Script([[page("10", a=1), ClusterUnavailable("cut")], [page("20", a=1, old=1)]])
    shelf = Shelf(old=0)
    async with watching(script, shelf) as watcher:
        await asyncio.sleep(0.1)
        assert "old" in shelf.values
        await watcher.synced()
        assert shelf.values == {"a": 1, "old": 1}


async def test_lists_again_when_the_place_is_forgotten_and_discards_what_vanished_meanwhile() -> None:
    script = Script([[page("10", a=1, b=1)], [page("90", b=5, c=1)]], [[seen("11", d=1), WatchExpired("410")]])
    shelf = Shelf()
    async with watching(script, shelf):
        await asyncio.sleep(60)
        assert shelf.values == {"b": 5, "c": 1}
    assert script.requests() == ["list", "watch 10", "list", "watch 90"]


async def test_a_list_that_took_too_long_to_go_on_is_begun_anew() -> None:
    script = Script([[page("10", a=1), WatchExpired("410: the continue token is too old")], [page("50", a=1, b=1)]])
    shelf = Shelf()
    async with watching(script, shelf) as watcher:
        await watcher.synced()
        assert shelf.values == {"a": 1, "b": 1}


async def test_a_watch_that_broke_goes_on_from_the_last_version_it_saw() -> None:
    script = Script(
        [[page("10", a=1)]],
        [[seen("11", a=2), Mark("15"), ClusterUnavailable("cut")], [seen("16", a=3)]],
    )
    shelf = Shelf()
    async with watching(script, shelf):
        await asyncio.sleep(60)
        assert shelf.values == {"a": 3}
    assert script.requests() == ["list", "watch 10", "watch 15", "watch 16"]


@pytest.mark.parametrize("status", [400, 404], ids=["version of another server", "resource not served for a while"])
async def test_a_watch_that_is_refused_begins_anew_with_a_list(status: int) -> None:
    script = Script([[page("10", a=1)], [page("7", b=1)]], [[ClusterRefused("no", status=status)]])
    shelf = Shelf()
    async with watching(script, shelf):
        await asyncio.sleep(60)
        assert shelf.values == {"b": 1}
    assert script.requests() == ["list", "watch 10", "list", "watch 7"]


async def test_a_silent_watch_goes_on_from_where_it_was_at_once() -> None:
    """The connection was dead without knowing it; as often as that happens."""
    script = Script(
        [[page("10", a=1)]],
        [[WatchSilent("100 s")], [seen("11", a=2), WatchSilent("100 s")], [Mark("12"), WatchSilent("100 s")]],
    )
    async with watching(script, Shelf()):
        await asyncio.sleep(1)
    assert script.requests() == ["list", "watch 10", "watch 10", "watch 11", "watch 12"]


async def test_after_two_silent_watches_in_a_row_it_lists_again() -> None:
    """An API server that was restored from a backup waits for a version from the future, and says nothing."""
    silence = [WatchSilent("100 s")]
    script = Script(
        [[page("10", a=1, b=1)], [page("7", b=5), page("7", c=1)]], [[Mark("11"), *silence], silence, [seen("8", c=2)]]
    )
    shelf = Shelf()
    async with watching(script, shelf):
        await asyncio.sleep(2)
        assert shelf.values == {"b": 5, "c": 2}
    assert script.requests() == ["list", "watch 10", "watch 11", "list", "watch 7", "watch 8"]


@pytest.mark.parametrize(
    ("version", "forgotten"), [("9", ["a", "b"]), ("10", []), ("11", []), ("odd", [])], ids=["9", "10", "11", "odd"]
)
async def test_what_a_restored_server_lists_is_taken_in_afresh(version: str, forgotten: Sequence[str]) -> None:
    """What is known of it came later than what it tells, and must not be taken for newer."""
    discarded: list[str] = []

    class Noting(Shelf):
        def discard(self, key: str) -> None:
            discarded.append(key)
            super().discard(key)

    script = Script([[page("10", a=1, b=1)], [page(version, a=0), page(version, b=0)]], [[WatchExpired("410")]])
    shelf = Noting()
    async with watching(script, shelf):
        await asyncio.sleep(2)
    assert shelf.values == {"a": 0, "b": 0}
    assert discarded == forgotten


async def test_nothing_is_missing_while_a_restored_server_lists() -> None:
    """A hook that comes in between finds every stream, old or new."""
    shelf = Shelf()
    seen: list[set[str]] = []

    class Looking(Script):
        async def pages(self) -> AsyncIterator[Page[str, tuple[str, int]]]:
            async for found in super().pages():
                seen.append(set(shelf.values))
                yield found
            seen.append(set(shelf.values))

    unavailable = ClusterUnavailable("busy")
    lists: list[Sequence[Page[str, tuple[str, int]] | Exception]] = [
        [page("10", a=1, b=1)],
        [page("9", a=0), unavailable],
        [page("9", a=0), page("9", b=0)],
    ]
    async with watching(Looking(lists, [[WatchExpired("410")]]), shelf):
        await asyncio.sleep(60)
    assert seen[2:] == [{"a", "b"}] * 4
    assert shelf.values == {"a": 0, "b": 0}


async def test_an_object_that_cannot_be_read_is_passed_over_and_not_discarded() -> None:
    script = Script(
        [[page("10", a=1, odd=1)], [page("50", a=1, unreadable=["odd"])]],
        [[Mark("11"), WatchExpired("410")]],
    )
    shelf = Shelf()
    async with watching(script, shelf):
        await asyncio.sleep(60)
        assert shelf.values == {"a": 1, "odd": 1}


@pytest.mark.parametrize(
    "watch",
    [[], [Mark("10")], [ClusterUnavailable("cut")], [ClusterRefused("forbidden", status=403)], [WatchExpired("410")]],
    ids=["empty", "one bookmark", "cut", "forbidden", "expired"],
)
async def test_a_server_that_ends_each_watch_at_once_is_not_asked_in_a_hot_loop(watch: Sequence[Step]) -> None:
    script = Script([[page("10", a=1)] for _ in range(1000)], [watch for _ in range(1000)])
    async with watching(script, Shelf()):
        await asyncio.sleep(60)
        assert 2 < len(script.asked) < 250


async def test_failures_in_a_row_are_asked_ever_less_often_and_a_success_resets_that() -> None:
    failures = [[ClusterUnavailable("down")]] * 40
    script = Script([[page("10", a=1)]], [*failures, [Mark("11"), ClusterUnavailable("cut")], *failures])
    async with watching(script, Shelf()):
        await asyncio.sleep(3600)
    moments = [moment for moment, what in script.asked if what.startswith("watch")]
    gaps = [after - before for before, after in pairwise(moments)]
    assert max(gaps) > 15
    assert max(gaps) < 31
    assert gaps[40] < 2  # after the one that went well


async def test_waits_as_long_as_the_server_asks() -> None:
    script = Script([[ClusterUnavailable("429", retry_after_seconds=45)], [page("10", a=1)]])
    async with watching(script, Shelf()) as watcher:
        await watcher.synced()
    (first, _), (second, _), *_ = script.asked
    assert second - first >= 45


async def test_advice_to_wait_for_hours_is_not_followed() -> None:
    """The probe that looks for hung watches would not know the difference."""
    script = Script([[ClusterUnavailable("429", retry_after_seconds=86_400)], [page("10", a=1)]])
    async with watching(script, Shelf()) as watcher:
        await watcher.synced()
        assert asyncio.get_running_loop().time() < 120


async def test_a_missing_right_is_named() -> None:
    script = Script([[ClusterRefused("GET /things: 403 no", status=403)], [page("10")]])
    with capture_logs() as logs:
        async with watching(script, Shelf()) as watcher:
            await watcher.synced()
    [line] = [line for line in logs if line["event"] == "watch.interrupted"]
    assert "list and watch on things" in line["hint"]


def optional(
    *lists: Sequence[Page[str, tuple[str, int]] | Exception], watches: Sequence[Sequence[Step]] = ()
) -> Script:
    """A source that a cluster may well not serve."""
    return Script(list(lists), list(watches), is_optional=True)


NOT_SERVED = [NotServed("GET /things: 404 not found", status=404)]
FORBIDDEN = [ClusterRefused("GET /things: 403 forbidden", status=403)]


@pytest.mark.parametrize("refusal", [NOT_SERVED, FORBIDDEN], ids=["not served", "no right to it"])
async def test_what_a_cluster_need_not_serve_holds_nothing_up(refusal: Sequence[Exception]) -> None:
    script = optional(*[refusal] * 1000)
    with capture_logs() as logs:
        async with watching(script, Shelf()) as watcher:
            await watcher.synced()
            assert asyncio.get_running_loop().time() < 1
            await asyncio.sleep(3600)
            assert watcher.is_synced
            assert watcher.idle_seconds < 60
    assert 60 < len(script.asked) < 200
    # It is no failure: whoever reads the log is told once, and warned of nothing.
    assert [(line["event"], line["log_level"]) for line in logs] == [("watch.absent", "info")]
    assert "/things" in logs[0]["reason"]


async def test_what_is_served_later_is_followed_soon_after() -> None:
    script = optional(NOT_SERVED, NOT_SERVED, [page("10", a=1)], watches=[[seen("11", b=2)]])
    shelf = Shelf()
    with capture_logs() as logs:
        async with watching(script, shelf):
            await asyncio.sleep(90)
            assert shelf.values == {"a": 1, "b": 2}
    assert script.requests() == ["list", "list", "list", "watch 10", "watch 11"]
    assert [line["event"] for line in logs] == ["watch.absent", "watch.synced"]


@pytest.mark.parametrize("refusal", [NOT_SERVED, FORBIDDEN], ids=["not served", "no right to it"])
async def test_what_is_not_served_any_more_is_forgotten_and_learnt_again(refusal: Sequence[Exception]) -> None:
    script = optional([page("10", a=1)], refusal, [page("90", a=9)], watches=[[Mark("11"), *refusal]])
    shelf = Shelf()
    async with watching(script, shelf) as watcher:
        await watcher.synced()
        await asyncio.sleep(20)
        assert shelf.values == {}
        await asyncio.sleep(20)
        assert shelf.values == {"a": 9}
    assert script.requests() == ["list", "watch 10", "list", "list", "watch 90"]


async def test_nothing_is_forgotten_for_a_watch_that_was_refused_once() -> None:
    """A server that has just started may not know its definitions yet."""
    script = optional([page("10", a=1, b=1)], [page("20", a=2)], watches=[[Mark("11"), *NOT_SERVED]])
    shelf = Shelf()
    with capture_logs() as logs:
        async with watching(script, shelf):
            await asyncio.sleep(5)
            assert shelf.values == {"a": 2}
    assert "watch.absent" not in [line["event"] for line in logs]


@pytest.mark.parametrize(
    "failure",
    [ClusterUnavailable("503"), WatchExpired("410"), ClusterRefused("400 bad request", status=400)],
    ids=["not there", "expired", "refused for another reason"],
)
async def test_what_fails_otherwise_is_not_taken_for_absent(failure: Exception) -> None:
    script = optional([page("10", a=1)], [failure], [page("20", a=2)], watches=[[WatchExpired("410")]])
    shelf = Shelf()
    async with watching(script, shelf):
        await asyncio.sleep(0.3)
        assert shelf.values == {"a": 1}
        await asyncio.sleep(20)
        assert shelf.values == {"a": 2}


async def test_what_every_cluster_serves_is_waited_for_and_never_forgotten() -> None:
    script = Script([[page("10", a=1)], NOT_SERVED, FORBIDDEN, [page("20", a=2)]], [NOT_SERVED])
    shelf = Shelf()
    with capture_logs() as logs:
        async with watching(script, shelf):
            await asyncio.sleep(0.5)
            assert shelf.values == {"a": 1}
            await asyncio.sleep(30)
            assert shelf.values == {"a": 2}
    assert {line["event"] for line in logs if line["log_level"] == "warning"} == {"watch.interrupted"}


async def test_its_age_is_the_time_since_the_last_sign_of_life() -> None:
    script = Script([[page("10", a=1)]], [[Mark("11")]])
    async with watching(script, Shelf()) as watcher:
        assert watcher.age_seconds is None
        await watcher.synced()
        assert watcher.age_seconds == pytest.approx(0, abs=0.1)
        await asyncio.sleep(300)
        assert watcher.age_seconds == pytest.approx(300, abs=4)
        assert watcher.idle_seconds == pytest.approx(300, abs=4)


async def test_a_sink_with_a_bug_ends_the_loop_with_that_bug() -> None:
    class Broken(Shelf):
        def put(self, value: tuple[str, int]) -> None:
            raise ZeroDivisionError(value)

    run: Callable[[], Awaitable[None]] = Watcher[str, tuple[str, int]](Script([[page("10", a=1)]]), Broken()).run
    with pytest.raises(ZeroDivisionError):
        await run()
