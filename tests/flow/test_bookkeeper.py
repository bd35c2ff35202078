"""What is answered is stored, whoever else writes, and a burst costs little."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from listener.core.history import TagHistory
from listener.core.outcomes import End, Outcome
from listener.core.streams import Stream, StreamKey
from listener.errors import ClusterRefused, ClusterUnavailable
from listener.flow.bookkeeper import Booked, Bookkeeper, Entry, NotBooked
from listener.flow.queue import KeyQueue
from listener.flow.state import State
from tests.flow.fakes import WEB, FakeCluster, arrival, digest, item, stream


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
def state() -> State:
    return State(KeyQueue())


@pytest.fixture
def books(cluster: FakeCluster, state: State) -> Bookkeeper:
    return Bookkeeper(cluster, state, history_limit=200, max_in_flight=5)


def known(cluster: FakeCluster, state: State, given: Stream) -> Stream:
    """Put a stream into the cluster, and let the watch see it."""
    stored = cluster.put_stream(given)
    state.put_stream(stored)
    return stored


def entry(tag: str, letter: str, delivery_id: str = "delivery-1") -> Entry:
    return Entry(tag, item(letter), arrival(delivery_id))


def numbered(tag: str, number: int) -> Entry:
    """One of many different images."""
    image = f"sha256:{number:064x}"
    return Entry(tag, replace(item("a"), image=image, docker_image_reference=f"r.example/shop/web@{image}"), arrival())


def images(found: Stream, tag: str) -> list[str]:
    """Newest first."""
    return [i.image for i in found.history(tag).items]


async def test_stores_before_it_answers(cluster: FakeCluster, state: State, books: Bookkeeper) -> None:
    known(cluster, state, stream(latest="a"))
    answer = await books.book(WEB, [entry("latest", "b")])
    assert isinstance(answer, Booked)
    [change] = answer.changes
    assert change is not None
    assert change.after.image == digest("b")
    assert answer.stream == cluster.streams[WEB]
    assert images(cluster.streams[WEB], "latest") == [digest("b"), digest("a")]


async def test_the_reply_is_known_at_once_without_the_watch(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream(latest="a"))
    await books.book(WEB, [entry("latest", "b", "the delivery")])
    resolved = state.resolve(WEB, "latest")
    assert resolved is not None
    assert resolved.digest == digest("b")
    moved_by = state.arrival(WEB, "latest")
    assert moved_by is not None
    assert moved_by.delivery_id == "the delivery"


async def test_items_carry_the_generation_of_the_stream_as_it_is(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, replace(stream(), generation=7))
    await books.book(WEB, [entry("latest", "a")])
    head = cluster.streams[WEB].history("latest").head
    assert head is not None
    assert head.generation == 7


async def test_what_is_there_already_is_not_written(cluster: FakeCluster, state: State, books: Bookkeeper) -> None:
    before = stream()
    known(cluster, state, before.with_history(TagHistory("latest", (replace(item("a"), generation=1),))))
    answer = await books.book(WEB, [entry("latest", "a")])
    assert isinstance(answer, Booked)
    assert answer.changes == (None,)
    assert cluster.writes == []


async def test_a_delivery_that_moves_one_tag_does_not_claim_the_others(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream())
    await books.book(WEB, [entry("v1", "a", "first")])
    await books.book(WEB, [entry("v1", "a", "second"), entry("latest", "a", "second")])
    arrivals = {tag: found.delivery_id for tag in ("v1", "latest") if (found := state.arrival(WEB, tag))}
    assert arrivals == {"v1": "first", "latest": "second"}


async def test_a_burst_to_one_stream_costs_few_writes_loses_none_and_keeps_its_order(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream())
    answers = await asyncio.gather(*(books.book(WEB, [numbered("latest", n)]) for n in range(100)))
    assert all(isinstance(answer, Booked) and all(answer.changes) for answer in answers)
    assert images(cluster.streams[WEB], "latest") == [f"sha256:{n:064x}" for n in reversed(range(100))]
    assert cluster.count("store") <= 3


async def test_a_burst_that_trickles_in_loses_none_either(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream())
    cluster.latency = 0.05
    async with asyncio.TaskGroup() as group:
        for n in range(100):
            group.create_task(books.book(WEB, [numbered("latest", n)]))
            await asyncio.sleep(0.01)
    assert images(cluster.streams[WEB], "latest") == [f"sha256:{n:064x}" for n in reversed(range(100))]
    assert cluster.count("store") <= 25
    assert cluster.most_at_once == 1


async def test_many_streams_are_written_at_once_but_not_more_than_allowed(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    keys = [StreamKey("shop", f"s{n}") for n in range(40)]
    for key in keys:
        known(cluster, state, stream(key))
    await asyncio.gather(*(books.book(key, [entry("latest", "a")]) for key in keys))
    assert cluster.most_at_once == 5
    assert all(images(cluster.streams[key], "latest") == [digest("a")] for key in keys)


async def test_a_conflict_is_applied_again_to_what_is_there_now(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream(latest="a"))
    others = iter("de")

    def meanwhile(verb: str) -> None:
        if verb == "store" and (letter := next(others, None)):
            there = cluster.streams[WEB]
            cluster.put_stream(there.with_history(TagHistory(f"by-{letter}", (item(letter),))))

    cluster.meanwhile = meanwhile
    answer = await books.book(WEB, [entry("latest", "b")])
    assert isinstance(answer, Booked)
    found = cluster.streams[WEB]
    assert [h.tag for h in found.tags] == ["by-d", "by-e", "latest"]
    assert images(found, "latest") == [digest("b"), digest("a")]
    assert cluster.count("store") == 1


async def test_what_another_replica_stored_in_between_is_not_stored_twice(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    before = known(cluster, state, stream())
    cluster.put_stream(before.with_history(TagHistory("latest", (replace(item("a"), generation=1),))))
    answer = await books.book(WEB, [entry("latest", "a")])
    assert isinstance(answer, Booked)
    assert answer.changes == (None,)
    assert images(cluster.streams[WEB], "latest") == [digest("a")]
    assert state.streams.get(WEB) == cluster.streams[WEB]


async def test_gives_up_for_now_when_others_never_stop_writing(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream())

    def meanwhile(_verb: str) -> None:
        cluster.put_stream(cluster.streams[WEB])

    cluster.meanwhile = meanwhile
    with pytest.raises(ClusterUnavailable, match="changed by others"):
        await books.book(WEB, [entry("latest", "a")])


async def test_an_unknown_stream_is_made_where_that_is_allowed(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    answer = await books.book(WEB, [entry("latest", "a")], create=True)
    assert isinstance(answer, Booked)
    assert cluster.writes == [("create", WEB), ("store", WEB)]
    assert images(cluster.streams[WEB], "latest") == [digest("a")]
    assert state.resolve(WEB, "latest") is not None


async def test_a_stream_the_watch_has_not_shown_yet_is_found(cluster: FakeCluster, books: Bookkeeper) -> None:
    cluster.put_stream(stream(latest="a"))
    answer = await books.book(WEB, [entry("latest", "b")], create=True)
    assert isinstance(answer, Booked)
    assert cluster.writes == [("store", WEB)]
    assert images(cluster.streams[WEB], "latest") == [digest("b"), digest("a")]


async def test_two_replicas_that_make_the_stream_at_once_both_have_their_push_in_it(cluster: FakeCluster) -> None:
    replicas = [Bookkeeper(cluster, State(KeyQueue()), history_limit=50, max_in_flight=5) for _ in range(2)]
    answers = await asyncio.gather(
        *(books.book(WEB, [entry(f"from-{number}", "a")], create=True) for number, books in enumerate(replicas))
    )
    assert all(isinstance(answer, Booked) for answer in answers)
    assert cluster.count("create") == 1
    assert [h.tag for h in cluster.streams[WEB].tags] == ["from-0", "from-1"]


@pytest.mark.parametrize("create", [False, True])
async def test_a_stream_deleted_meanwhile(cluster: FakeCluster, state: State, books: Bookkeeper, create: bool) -> None:
    known(cluster, state, stream(latest="a"))
    del cluster.streams[WEB]
    answer = await books.book(WEB, [entry("latest", "b")], create=create)
    if create:
        assert isinstance(answer, Booked)
        assert images(cluster.streams[WEB], "latest") == [digest("b")]
    else:
        assert answer == NotBooked("ImageStream shop/web does not exist any more")
        assert state.streams.get(WEB) is None


async def test_a_missing_namespace_is_told_and_is_no_reason_to_come_again(books: Bookkeeper) -> None:
    answer = await books.book(StreamKey("nowhere", "web"), [entry("latest", "a")], create=True)
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
    cluster: FakeCluster, books: Bookkeeper, verb: str, outcome: Outcome[None], is_kept: bool
) -> None:
    cluster.fault = lambda tried, _: outcome if tried == verb else None
    if is_kept:
        with pytest.raises(ClusterUnavailable, match=f"shop/web.*{outcome.message}"):
            await books.book(WEB, [entry("latest", "a")], create=True)
    else:
        answer = await books.book(WEB, [entry("latest", "a")], create=True)
        assert isinstance(answer, NotBooked)
        assert outcome.message in answer.reason


async def test_the_servers_advice_is_handed_on(cluster: FakeCluster, books: Bookkeeper) -> None:
    cluster.fault = lambda *_: Outcome(End.THROTTLED, retry_after_seconds=17)
    with pytest.raises(ClusterUnavailable) as error:
        await books.book(WEB, [entry("latest", "a")], create=True)
    assert error.value.retry_after_seconds == 17


async def test_after_a_failure_the_same_delivery_can_be_taken(cluster: FakeCluster, books: Bookkeeper) -> None:
    """The answer was lost: it was stored, and the sender does not know. Nothing is stored twice."""
    cluster.put_stream(stream())
    cluster.fault = lambda *_: Outcome(End.UNREACHABLE)
    with pytest.raises(ClusterUnavailable):
        await books.book(WEB, [entry("latest", "a")])
    cluster.fault = lambda *_: None
    for _ in range(2):
        assert isinstance(await books.book(WEB, [entry("latest", "a")]), Booked)
    assert images(cluster.streams[WEB], "latest") == [digest("a")]


@pytest.mark.parametrize(
    "error",
    [ClusterUnavailable("GET: no answer"), ClusterRefused("GET: forbidden", status=403)],
    ids=["no answer", "a right is missing"],
)
async def test_a_stream_that_cannot_be_read_fails_its_own_callers_only(
    cluster: FakeCluster, state: State, error: Exception
) -> None:
    books = Bookkeeper(cluster, state, history_limit=50, max_in_flight=5)
    other = StreamKey("shop", "other")
    known(cluster, state, stream(other))
    cluster.read_error = error
    failed, stored = await asyncio.gather(
        books.book(WEB, [entry("latest", "a")]), books.book(other, [entry("latest", "a")]), return_exceptions=True
    )
    assert isinstance(failed, ClusterUnavailable)
    assert isinstance(stored, Booked)


async def test_a_bug_reaches_every_caller_and_the_next_one_is_served(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    known(cluster, state, stream())
    cluster.fault = lambda *_: 1 / 0  # type: ignore[assignment]
    answers = await asyncio.gather(*(books.book(WEB, [entry("latest", "a")]) for _ in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ZeroDivisionError] * 3
    cluster.fault = lambda *_: None
    assert isinstance(await books.book(WEB, [entry("latest", "a")]), Booked)


async def test_a_caller_who_leaves_takes_nothing_along(cluster: FakeCluster, state: State, books: Bookkeeper) -> None:
    known(cluster, state, stream())
    leaving = asyncio.create_task(books.book(WEB, [entry("latest", "a")]))
    staying = asyncio.create_task(books.book(WEB, [entry("v1", "b")]))
    await asyncio.sleep(0.001)
    leaving.cancel()
    assert isinstance(await staying, Booked)
    assert leaving.cancelled()
    assert images(cluster.streams[WEB], "latest") == [digest("a")]
    assert images(cluster.streams[WEB], "v1") == [digest("b")]


async def test_history_is_kept_to_its_limit(cluster: FakeCluster, state: State) -> None:
    known(cluster, state, stream())
    books = Bookkeeper(cluster, state, history_limit=3, max_in_flight=5)
    for letter in "abcde":
        await books.book(WEB, [entry("latest", letter)])
    assert images(cluster.streams[WEB], "latest") == [digest(letter) for letter in "edc"]


async def test_a_push_is_compared_with_what_is_stored_and_not_with_what_was_last_seen(
    cluster: FakeCluster, state: State, books: Bookkeeper
) -> None:
    first = TagHistory("latest", (replace(item("a"), generation=1),))
    seen = known(cluster, state, stream().with_history(first))
    cluster.put_stream(seen.with_history(TagHistory("latest", (replace(item("b"), generation=1), *first.items))))
    await books.book(WEB, [entry("latest", "a")])
    assert images(cluster.streams[WEB], "latest") == [digest("a"), digest("b"), digest("a")]
