"""Who must be looked at when the cluster changes, and which delivery brought what."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from listener.core.kinds import CRON_JOB
from listener.core.receipts import Arrival
from listener.core.streams import StreamKey
from listener.core.workloads import Workload, WorkloadKey
from listener.flow.state import State, StreamSink, WorkloadSink
from tests.flow.fakes import WEB, arrival, digest, pull_spec, stream, workload


@pytest.fixture
def state() -> State:
    return State()


async def woken(state: State) -> list[str]:
    """The names of the workloads in the queue, in its order; they are taken out."""
    names = []
    while len(state.queue):
        key = await state.queue.take()
        names.append(key.name)
        state.queue.done(key)
    return names


async def test_a_tag_that_moves_wakes_those_that_follow_it_and_nobody_else(state: State) -> None:
    state.put_workload(workload("follows-latest"))
    state.put_workload(workload("follows-v1", tag="web:v1"))
    state.put_workload(workload("follows-another-stream", tag="db:latest"))
    state.put_workload(workload("lives-elsewhere", namespace="other"))
    state.put_stream(stream(version=1, latest="a", v1="a"))
    for key in state.workloads.keys("Deployment"):
        state.rounds.begun(key)
    await woken(state)
    state.put_stream(stream(version=2, latest="b", v1="a"))
    assert await woken(state) == ["follows-latest"]


async def test_workloads_are_woken_in_the_order_of_their_names(state: State) -> None:
    for name in ("c", "a", "b"):
        state.put_workload(workload(name))
    await woken(state)
    state.put_stream(stream(latest="a"))
    assert await woken(state) == ["a", "b", "c"]


async def test_an_echo_or_an_old_state_wakes_nobody(state: State) -> None:
    state.put_workload(workload("app"))
    state.put_stream(stream(version=5, latest="b"))
    await woken(state)
    state.put_stream(stream(version=5, latest="b"))
    state.put_stream(stream(version=4, latest="a"))
    assert await woken(state) == []
    assert state.resolve(WEB, "latest") is not None
    assert state.streams.get(WEB) == stream(version=5, latest="b")


async def test_a_new_workload_is_looked_at_and_an_unchanged_one_is_not(state: State) -> None:
    state.put_workload(workload("app", version=1))
    assert await woken(state) == ["app"]
    state.put_workload(workload("app", version=2))  # its status changed, say
    assert await woken(state) == []
    state.put_workload(workload("app", version=3, image="somebody else's"))
    assert await woken(state) == ["app"]


@pytest.mark.parametrize(
    ("shows", "expected"),
    [
        pytest.param(workload("app", version=2, image=pull_spec("a")), [], id="what was expected"),
        pytest.param(workload("app", version=2, image="an admission webhook's"), ["app"], id="another image"),
        pytest.param(workload("app", version=2, image=pull_spec("a"), tag="web:v1"), ["app"], id="another trigger"),
        pytest.param(workload("app", version=2, image=pull_spec("a"), uid="another"), ["app"], id="another object"),
    ],
)
async def test_what_our_own_patch_makes_is_looked_at_only_if_it_is_not_that(
    state: State, shows: Workload, expected: list[str]
) -> None:
    before = workload("app", version=1)
    state.put_workload(before)
    await woken(state)
    with state.expecting(before, {"app": pull_spec("a")}):
        state.put_workload(shows)
    assert await woken(state) == expected


async def test_what_is_expected_of_a_patch_is_expected_no_longer_than_it_takes(state: State) -> None:
    before = workload("app", version=1)
    state.put_workload(before)
    await woken(state)
    with state.expecting(before, {"app": pull_spec("a")}):
        pass
    state.put_workload(workload("app", version=2, image=pull_spec("a")))
    assert await woken(state) == ["app"]


@pytest.mark.parametrize("how", ["deleted", "without annotation"])
async def test_a_workload_that_is_followed_no_more_is_looked_at_once_more(state: State, how: str) -> None:
    """So that whoever keeps something about it can forget it."""
    state.put_workload(workload("app", version=1))
    await woken(state)
    if how == "deleted":
        state.discard_workload(workload("app").key)
    else:
        state.put_workload(workload("app", version=2, annotation=""))
    assert await woken(state) == ["app"]
    state.discard_workload(workload("app").key)
    assert await woken(state) == []


async def test_an_answer_updates_what_is_known_but_brings_nothing_back(state: State) -> None:
    known, gone = workload("known"), workload("gone")
    state.put_workload(known)
    state.refresh_workload(replace(known, resource_version="2"))
    state.refresh_workload(gone)
    found = state.workloads.get(known.key)
    assert found is not None
    assert found.resource_version == "2"
    assert state.workloads.get(gone.key) is None


async def test_an_answer_about_an_object_that_was_replaced_is_dropped(state: State) -> None:
    state.put_workload(workload("app", uid="new", version=9))
    state.refresh_workload(workload("app", uid="old", version=10))
    found = state.workloads.get(workload("app").key)
    assert found is not None
    assert found.uid == "new"


def bring(state: State, version: int, image: str, by: Arrival) -> None:
    """A delivery moves the tag `latest`."""
    with state.bringing(WEB, {"latest": (digest(image), by)}):
        state.put_stream(stream(version=version, latest=image))


async def test_an_arrival_is_told_while_the_tag_is_where_it_brought_it(state: State) -> None:
    bring(state, 1, "a", first := arrival("first"))
    assert state.arrival(WEB, "latest") == first
    assert state.arrival(WEB, "v1") is None
    state.put_stream(stream(version=2, latest="a", v1="b"))  # of which it is no news
    assert state.arrival(WEB, "latest") == first
    state.put_stream(stream(version=3, latest="b"))  # moved by somebody else
    assert state.arrival(WEB, "latest") is None


@pytest.mark.parametrize("by", [None, "second"])
async def test_an_arrival_is_not_told_of_a_tag_that_came_back_without_it(state: State, by: str | None) -> None:
    bring(state, 1, "a", arrival("first"))
    if by:
        bring(state, 2, "b", arrival(by))
    else:
        state.put_stream(stream(version=2, latest="b"))
    state.put_stream(stream(version=3, latest="a"))  # a rollback
    assert state.arrival(WEB, "latest") is None


async def test_an_arrival_is_told_though_a_late_word_of_the_watch_came_between(state: State) -> None:
    """The tag was deleted before, which is seen only now; the answer knows better."""
    bring(state, 1, "a", arrival("first"))
    with state.bringing(WEB, {"latest": (digest("b"), second := arrival("second"))}):
        state.put_stream(stream(version=2))
        state.put_stream(stream(version=3, latest="b"))
    assert state.arrival(WEB, "latest") == second


async def test_an_arrival_whose_move_was_not_stored_is_nothing(state: State) -> None:
    bring(state, 1, "a", first := arrival("first"))
    with state.bringing(WEB, {"latest": (digest("b"), arrival("refused"))}):
        assert state.arrival(WEB, "latest") == first
    assert state.arrival(WEB, "latest") == first
    state.put_stream(stream(version=2, latest="b"))  # by somebody else, long after
    assert state.arrival(WEB, "latest") is None


@pytest.mark.parametrize("how", ["stream deleted", "tag deleted"])
async def test_an_arrival_is_forgotten_with_its_tag(state: State, how: str) -> None:
    bring(state, 1, "a", arrival())
    assert state.arrival(WEB, "latest") is not None
    if how == "stream deleted":
        state.discard_stream(WEB)
    else:
        state.put_stream(stream(version=2))
    assert state.arrival(WEB, "latest") is None
    state.put_stream(stream(version=3, uid="another", latest="a"))
    assert state.arrival(WEB, "latest") is None


async def test_a_deleted_stream_is_missed_by_those_that_follow_it(state: State) -> None:
    state.put_workload(workload("app"))
    state.put_workload(workload("follows-nothing-of-it", tag="web:none"))
    state.put_stream(stream(latest="a"))
    await woken(state)
    state.discard_stream(WEB)
    assert await woken(state) == ["app"]
    assert state.resolve(WEB, "latest") is None


async def test_sinks_know_their_own_kind_and_namespace_only(state: State) -> None:
    state.put_stream(stream())
    state.put_stream(stream(StreamKey("other", "web")))
    state.put_workload(workload("app"))
    state.put_workload(workload("app", namespace="other"))
    state.put_workload(workload("app", kind=CRON_JOB))
    streams, cron_jobs, deployments = (
        StreamSink(state),
        WorkloadSink(state, "CronJob"),
        WorkloadSink(state, "Deployment"),
    )
    assert set(streams.known(None)) == {WEB, ("other", "web")}
    assert set(streams.known("shop")) == {WEB}
    assert set(cron_jobs.known(None)) == {WorkloadKey("CronJob", "shop", "app")}
    assert set(deployments.known("other")) == {WorkloadKey("Deployment", "other", "app")}


async def test_what_sinks_are_given_arrives(state: State) -> None:
    streams, deployments = StreamSink(state), WorkloadSink(state, "Deployment")
    streams.put(stream(latest="a"))
    deployments.put(workload("app"))
    assert state.resolve(WEB, "latest") is not None
    assert await woken(state) == ["app"]
    streams.discard(WEB)
    deployments.discard(workload("app").key)
    await asyncio.sleep(0)
    assert len(state.streams) == len(state.workloads) == 0
