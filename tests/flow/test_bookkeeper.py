"""What is answered is stored, whoever else writes, and a burst costs little."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from listener.core import pushes, tracking
from listener.core.history import TagHistory
from listener.core.outcomes import End, Outcome
from listener.core.pushes import Effect, Push
from listener.core.receipts import Arrival
from listener.core.references import Reference
from listener.core.streams import Source, SpecTag, Stream, StreamKey
from listener.errors import ClusterRefused, ClusterUnavailable
from listener.flow.bookkeeper import Booked, Bookkeeper, Cause, NotBooked
from listener.flow.state import State
from tests.flow.fakes import (
    REPOSITORY,
    WEB,
    FakeCluster,
    Meter,
    Notices,
    arrival,
    digest,
    following,
    item,
    stream,
    unsettled,
)


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def state() -> State:
    return State()


SOURCE = Source.of(Reference("r.example", "shop/web", "latest"))


class Books(Bookkeeper):
    """A bookkeeper to whom pushes are told as briefly as these tests want."""

    def __init__(self, cluster: FakeCluster, state: State, settle: Callable[[Stream], Stream] = unsettled) -> None:
        self.meter, self.notices = Meter(), Notices()
        super().__init__(cluster, state, settle, self.notices, self.meter, max_in_flight=5)

    async def push(
        self, key: StreamKey, *found: Push, create: bool = False, by: Arrival | None = None
    ) -> Booked[tuple[Effect, ...]] | NotBooked:
        def change(stream: Stream) -> tuple[Stream, tuple[Effect, ...]]:
            effects = []
            for push in found:
                stream, effect = pushes.take(stream, push, limit=200)
                effects.append(effect)
            return stream, tuple(effects)

        return await self.book(key, change, cause=Cause.PUSH, arrival=by or arrival(), create=create, attest=True)


@pytest.fixture
def books(cluster: FakeCluster, state: State) -> Books:
    return Books(cluster, state)


def known(cluster: FakeCluster, state: State, given: Stream) -> Stream:
    """Put a stream into the cluster, and let the watch see it."""
    stored = cluster.put_stream(given)
    state.put_stream(stored)
    return stored


def entry(tag: str, letter: str) -> Push:
    return Push(tag, SOURCE, REPOSITORY, digest(letter), digest(letter), "2026-01-01T00:00:00Z", is_there=True)


def numbered(tag: str, number: int) -> Push:
    """One of many different images."""
    image = f"sha256:{number:064x}"
    return Push(tag, SOURCE, REPOSITORY, image, image, "2026-01-01T00:00:00Z", is_there=True)


def images(found: Stream, tag: str) -> list[str]:
    """Newest first."""
    return [i.image for i in found.history(tag).items]


async def test_stores_before_it_answers(cluster: FakeCluster, state: State, books: Books) -> None:
    known(cluster, state, stream(latest="a"))
    answer = await books.push(WEB, entry("latest", "b"))
    assert isinstance(answer, Booked)
    assert answer.answer == (Effect.MOVED,)
    assert answer.stream == cluster.streams[WEB]
    assert images(cluster.streams[WEB], "latest") == [digest("b"), digest("a")]


async def test_the_reply_is_known_at_once_without_the_watch(cluster: FakeCluster, state: State, books: Books) -> None:
    known(cluster, state, stream(latest="a"))
    await books.push(WEB, entry("latest", "b"), by=arrival("the delivery"))
    resolved = state.resolve(WEB, "latest")
    assert resolved is not None
    assert resolved.digest == digest("b")
    moved_by = state.arrival(WEB, "latest")
    assert moved_by is not None
    assert moved_by.delivery_id == "the delivery"


async def test_the_watch_may_show_a_move_before_its_answer_comes(
    cluster: FakeCluster, state: State, books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which delivery it was is known by then: the first workloads are patched at once."""
    known(cluster, state, stream(latest="a"))
    store, seen = cluster.store_status, []

    async def store_and_show(after: Stream) -> Outcome[Stream]:
        outcome = await store(after)
        assert outcome.stored is not None
        state.put_stream(outcome.stored)
        seen.append(state.arrival(WEB, "latest"))
        return outcome

    monkeypatch.setattr(cluster, "store_status", store_and_show)
    await books.push(WEB, entry("latest", "b"), by=(delivery := arrival("the delivery")))
    assert seen == [delivery]


async def test_items_carry_the_generation_of_the_stream_as_it_is(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    known(cluster, state, replace(stream(), generation=7))
    await books.push(WEB, entry("latest", "a"))
    head = cluster.streams[WEB].history("latest").head
    assert head is not None
    assert head.generation == 7


async def test_what_is_there_already_is_not_written(cluster: FakeCluster, state: State, books: Books) -> None:
    before = stream()
    known(cluster, state, before.with_history(TagHistory("latest", (replace(item("a"), generation=1),))))
    answer = await books.push(WEB, entry("latest", "a"))
    assert isinstance(answer, Booked)
    assert answer.answer == (Effect.UNCHANGED,)
    assert cluster.writes == []


async def test_a_delivery_that_moves_one_tag_does_not_claim_the_others(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    known(cluster, state, stream())
    await books.push(WEB, entry("v1", "a"), by=arrival("first"))
    await books.push(WEB, entry("v1", "a"), entry("latest", "a"), by=arrival("second"))
    arrivals = {tag: found.delivery_id for tag in ("v1", "latest") if (found := state.arrival(WEB, tag))}
    assert arrivals == {"v1": "first", "latest": "second"}


async def test_a_burst_to_one_stream_costs_few_writes_loses_none_and_keeps_its_order(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    known(cluster, state, stream())
    answers = await asyncio.gather(*(books.push(WEB, numbered("latest", n)) for n in range(100)))
    assert all(isinstance(answer, Booked) and answer.answer == (Effect.MOVED,) for answer in answers)
    assert images(cluster.streams[WEB], "latest") == [f"sha256:{n:064x}" for n in reversed(range(100))]
    assert cluster.count("store") <= 3


async def test_a_burst_that_trickles_in_loses_none_either(cluster: FakeCluster, state: State, books: Books) -> None:
    known(cluster, state, stream())
    cluster.latency = 0.05
    async with asyncio.TaskGroup() as group:
        for n in range(100):
            group.create_task(books.push(WEB, numbered("latest", n)))
            await asyncio.sleep(0.01)
    assert images(cluster.streams[WEB], "latest") == [f"sha256:{n:064x}" for n in reversed(range(100))]
    assert cluster.count("store") <= 25
    assert cluster.most_at_once == 1


async def test_many_streams_are_written_at_once_but_not_more_than_allowed(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    keys = [StreamKey("shop", f"s{n}") for n in range(40)]
    for key in keys:
        known(cluster, state, stream(key))
    await asyncio.gather(*(books.push(key, entry("latest", "a")) for key in keys))
    assert cluster.most_at_once == 5
    assert all(images(cluster.streams[key], "latest") == [digest("a")] for key in keys)


async def test_a_conflict_is_applied_again_to_what_is_there_now(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    known(cluster, state, stream(latest="a"))
    others = iter("de")

    def meanwhile(verb: str) -> None:
        if verb == "store" and (letter := next(others, None)):
            there = cluster.streams[WEB]
            cluster.put_stream(there.with_history(TagHistory(f"by-{letter}", (item(letter),))))

    cluster.meanwhile = meanwhile
    answer = await books.push(WEB, entry("latest", "b"))
    assert isinstance(answer, Booked)
    found = cluster.streams[WEB]
    assert [h.tag for h in found.tags] == ["by-d", "by-e", "latest"]
    assert images(found, "latest") == [digest("b"), digest("a")]
    assert cluster.count("store") == 1


async def test_what_another_replica_stored_in_between_is_not_stored_twice(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    before = known(cluster, state, stream())
    cluster.put_stream(before.with_history(TagHistory("latest", (replace(item("a"), generation=1),))))
    answer = await books.push(WEB, entry("latest", "a"))
    assert isinstance(answer, Booked)
    assert answer.answer == (Effect.UNCHANGED,)
    assert images(cluster.streams[WEB], "latest") == [digest("a")]
    assert state.streams.get(WEB) == cluster.streams[WEB]


async def test_gives_up_for_now_when_others_never_stop_writing(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    known(cluster, state, stream())

    def meanwhile(_verb: str) -> None:
        cluster.put_stream(cluster.streams[WEB])

    cluster.meanwhile = meanwhile
    with pytest.raises(ClusterUnavailable, match="changed by others"):
        await books.push(WEB, entry("latest", "a"))


async def test_an_unknown_stream_is_made_where_that_is_allowed(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    answer = await books.push(WEB, entry("latest", "a"), create=True)
    assert isinstance(answer, Booked)
    assert cluster.writes == [("create", WEB), ("store", WEB)]
    assert images(cluster.streams[WEB], "latest") == [digest("a")]
    assert state.resolve(WEB, "latest") is not None


async def test_a_stream_the_watch_has_not_shown_yet_is_found(cluster: FakeCluster, books: Books) -> None:
    cluster.put_stream(stream(latest="a"))
    answer = await books.push(WEB, entry("latest", "b"), create=True)
    assert isinstance(answer, Booked)
    assert cluster.writes == [("store", WEB)]
    assert images(cluster.streams[WEB], "latest") == [digest("b"), digest("a")]


async def test_two_replicas_that_make_the_stream_at_once_both_have_their_push_in_it(cluster: FakeCluster) -> None:
    replicas = [Books(cluster, State()) for _ in range(2)]
    answers = await asyncio.gather(
        *(books.push(WEB, entry(f"from-{number}", "a"), create=True) for number, books in enumerate(replicas))
    )
    assert all(isinstance(answer, Booked) for answer in answers)
    assert cluster.count("create") == 1
    assert [h.tag for h in cluster.streams[WEB].tags] == ["from-0", "from-1"]


@pytest.mark.parametrize("create", [False, True])
async def test_a_stream_deleted_meanwhile(cluster: FakeCluster, state: State, books: Books, create: bool) -> None:
    known(cluster, state, stream(latest="a"))
    del cluster.streams[WEB]
    answer = await books.push(WEB, entry("latest", "b"), create=create)
    if create:
        assert isinstance(answer, Booked)
        assert images(cluster.streams[WEB], "latest") == [digest("b")]
    else:
        assert answer == NotBooked("ImageStream shop/web does not exist any more")
        assert state.streams.get(WEB) is None


async def test_a_missing_namespace_is_told_and_is_no_reason_to_come_again(books: Books) -> None:
    answer = await books.push(StreamKey("nowhere", "web"), entry("latest", "a"), create=True)
    assert isinstance(answer, NotBooked)
    assert "'nowhere' does not exist" in answer.reason


@pytest.mark.parametrize(
    ("outcome", "is_kept"),
    [
        pytest.param(Outcome(End.REFUSED, message="forbidden", may_pass=True), True, id="403, a right can be given"),
        pytest.param(Outcome(End.UNREACHABLE, message="no answer"), True, id="no answer"),
        pytest.param(Outcome(End.THROTTLED, message="slow down"), True, id="429"),
        pytest.param(Outcome(End.REFUSED, message="spec.tags[0] is invalid"), False, id="422, never"),
    ],
)
@pytest.mark.parametrize("verb", ["create", "store"])
async def test_only_what_can_pass_asks_the_sender_to_come_again(
    cluster: FakeCluster, books: Books, verb: str, outcome: Outcome[None], is_kept: bool
) -> None:
    cluster.fault = lambda tried, _: outcome if tried == verb else None
    if is_kept:
        with pytest.raises(ClusterUnavailable, match=f"shop/web.*{outcome.message}"):
            await books.push(WEB, entry("latest", "a"), create=True)
    else:
        answer = await books.push(WEB, entry("latest", "a"), create=True)
        assert isinstance(answer, NotBooked)
        assert outcome.message in answer.reason


async def test_the_servers_advice_is_handed_on(cluster: FakeCluster, books: Books) -> None:
    cluster.fault = lambda *_: Outcome(End.THROTTLED, retry_after_seconds=17)
    with pytest.raises(ClusterUnavailable) as error:
        await books.push(WEB, entry("latest", "a"), create=True)
    assert error.value.retry_after_seconds == 17


async def test_after_a_failure_the_same_delivery_can_be_taken(cluster: FakeCluster, books: Books) -> None:
    """The answer was lost: it was stored, and the sender does not know. Nothing is stored twice."""
    cluster.put_stream(stream())
    cluster.fault = lambda *_: Outcome(End.UNREACHABLE)
    with pytest.raises(ClusterUnavailable):
        await books.push(WEB, entry("latest", "a"))
    cluster.fault = lambda *_: None
    for _ in range(2):
        assert isinstance(await books.push(WEB, entry("latest", "a")), Booked)
    assert images(cluster.streams[WEB], "latest") == [digest("a")]


@pytest.mark.parametrize(
    "error",
    [ClusterUnavailable("GET: no answer"), ClusterRefused("GET: forbidden", status=403)],
    ids=["no answer", "a right is missing"],
)
async def test_a_stream_that_cannot_be_read_fails_its_own_callers_only(
    cluster: FakeCluster, state: State, error: Exception
) -> None:
    books = Books(cluster, state)
    other = StreamKey("shop", "other")
    known(cluster, state, stream(other))
    cluster.read_error = error
    failed, stored = await asyncio.gather(
        books.push(WEB, entry("latest", "a")), books.push(other, entry("latest", "a")), return_exceptions=True
    )
    assert isinstance(failed, ClusterUnavailable)
    assert isinstance(stored, Booked)


async def test_a_bug_reaches_every_caller_and_the_next_one_is_served(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    known(cluster, state, stream())
    cluster.fault = lambda *_: 1 / 0  # type: ignore[assignment]
    answers = await asyncio.gather(*(books.push(WEB, entry("latest", "a")) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError] * 3
    cluster.fault = lambda *_: None
    assert isinstance(await books.push(WEB, entry("latest", "a")), Booked)


async def test_a_caller_who_leaves_takes_nothing_along(cluster: FakeCluster, state: State, books: Books) -> None:
    known(cluster, state, stream())
    leaving = asyncio.create_task(books.push(WEB, entry("latest", "a")))
    staying = asyncio.create_task(books.push(WEB, entry("v1", "b")))
    await asyncio.sleep(0.001)
    leaving.cancel()
    assert isinstance(await staying, Booked)
    assert leaving.cancelled()
    assert images(cluster.streams[WEB], "latest") == [digest("a")]
    assert images(cluster.streams[WEB], "v1") == [digest("b")]


async def test_a_push_is_compared_with_what_is_stored_and_not_with_what_was_last_seen(
    cluster: FakeCluster, state: State, books: Books
) -> None:
    first = TagHistory("latest", (replace(item("a"), generation=1),))
    seen = known(cluster, state, stream().with_history(first))
    cluster.put_stream(seen.with_history(TagHistory("latest", (replace(item("b"), generation=1), *first.items))))
    await books.push(WEB, replace(entry("latest", "a"), is_sure=True))
    assert images(cluster.streams[WEB], "latest") == [digest("a"), digest("b"), digest("a")]


def settling(cluster: FakeCluster, state: State) -> Books:
    """A bookkeeper that settles as the service does."""

    def settle(stream: Stream) -> Stream:
        return tracking.settle(stream, state.streams.get, now="2026-01-01T00:00:00Z", limit=200)

    return Books(cluster, state, settle)


ALIAS = following("prod", "latest", kind="ImageStreamTag")


async def test_what_follows_a_tag_moves_in_the_same_write_and_by_the_same_delivery(
    cluster: FakeCluster, state: State
) -> None:
    books = settling(cluster, state)
    known(cluster, state, stream(spec_tags=[ALIAS]))
    await books.push(WEB, entry("latest", "a"), by=arrival("the delivery"))
    assert cluster.writes == [("store", WEB)]
    assert images(cluster.streams[WEB], "prod") == [digest("a")]
    moved_by = state.arrival(WEB, "prod")
    assert moved_by is not None
    assert moved_by.delivery_id == "the delivery"
    assert books.meter.moves == ["push", "tag"]
    assert [notice.message.partition("@")[0] for notice in books.notices.given] == [
        "web:latest moved to r.example/shop/web",
        "web:prod moved to r.example/shop/web",
    ]


async def test_settling_alone_writes_only_where_something_is_to_be_settled(cluster: FakeCluster, state: State) -> None:
    books = settling(cluster, state)
    known(cluster, state, stream(latest="a", spec_tags=[ALIAS]))
    for _ in range(2):
        assert isinstance(await books.settle(WEB), Booked)
    assert cluster.writes == [("store", WEB)]
    assert cluster.count("store") == 1
    assert images(cluster.streams[WEB], "prod") == [digest("a")]


@pytest.mark.parametrize(
    ("spec_tag", "cause"),
    [
        pytest.param(SpecTag("latest", hold=digest("a")), "rollback", id="held at an older image"),
        pytest.param(SpecTag("latest"), "release", id="held no longer"),
    ],
)
async def test_why_a_tag_moved_is_told(cluster: FakeCluster, state: State, spec_tag: SpecTag, cause: str) -> None:
    books = settling(cluster, state)
    history = TagHistory("latest", (item("b"), item("a")), waiting=(item("c"),))
    known(cluster, state, stream(spec_tags=[spec_tag]).with_history(history))
    await books.settle(WEB)
    assert books.meter.moves == [cause]
