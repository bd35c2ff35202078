"""Who cares about what, and above all that it is forgotten again."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from listener.core import versions
from listener.core.history import TagHistory, TagItem
from listener.core.index import StreamIndex, StreamNews, WorkloadIndex
from listener.core.streams import Repository, SpecTag, Stream, StreamKey
from listener.core.triggers import ContainerTrigger, Triggers
from listener.core.workloads import Container, Workload, WorkloadKey

WEB = StreamKey("shop", "web")
API = StreamKey("shop", "api")
OTHER = StreamKey("other", "web")


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        pytest.param("2", "1", True, id="newer"),
        pytest.param("1", "2", False, id="older"),
        pytest.param("2", "2", False, id="equal"),
        pytest.param("10", "9", True, id="as numbers, not as texts"),
        pytest.param("x", "1", True, id="no number counts as newer"),
        pytest.param("1", "", True, id="than none"),
        pytest.param("", "1", True, id="none"),
    ],
)
def test_compares_resource_versions(a: str, b: str, expected: bool) -> None:
    assert versions.is_newer(a, b) is expected


def history(tag: str, image: str, generation: int = 1) -> TagHistory:
    return TagHistory(tag, (TagItem("2026-01-01T00:00:00Z", f"r.io/web@{image}", image, generation),))


def stream(
    *tags: TagHistory,
    version: str = "1",
    uid: str = "u1",
    source: str = "r.io/web",
    key: StreamKey = WEB,
    spec: str = "",
    follows: str = "",
    shared_with: str = "",
) -> Stream:
    spec_tags = [SpecTag("latest", "DockerImage", "", spec, False, 1, "Source")] if spec else []
    if follows:
        namespace, _, name = follows.rpartition("/")
        spec_tags.append(SpecTag("followed", "ImageStreamTag", namespace, f"{name}:latest", False, 1, "Source"))
    return Stream(
        key, uid, version, 1, source, "", tuple(spec_tags), tags, shared_with=frozenset(filter(None, [shared_with]))
    )


A, B = history("latest", "a"), history("v1", "b")


class TestStreams:
    @pytest.mark.parametrize(
        ("before", "after", "changed"),
        [
            pytest.param(None, stream(A, B), {"latest", "v1"}, id="new"),
            pytest.param(None, stream(TagHistory("latest")), set(), id="new, pointing at nothing"),
            pytest.param(stream(A, B), stream(history("latest", "c"), B, version="2"), {"latest"}, id="one tag moved"),
            pytest.param(stream(A, B), stream(A, version="2"), {"v1"}, id="one tag vanished"),
            pytest.param(stream(A), stream(A, version="2"), set(), id="nothing moved"),
            pytest.param(stream(A), stream(history("latest", "a", 2), version="2"), {"latest"}, id="generation"),
            pytest.param(stream(A, version="5"), stream(A, B, version="4", uid="u2"), {"v1"}, id="another object"),
        ],
    )
    def test_put_returns_the_tags_that_resolve_to_something_else(
        self, before: Stream | None, after: Stream, changed: set[str]
    ) -> None:
        streams = StreamIndex()
        if before:
            streams.put(before)
        assert streams.put(after) == StreamNews(frozenset(changed))

    @pytest.mark.parametrize("version", ["5", "4"], ids=["the same version again", "an older version"])
    def test_what_is_no_news_says_so(self, version: str) -> None:
        streams = StreamIndex()
        streams.put(stream(A, version="5"))
        assert streams.put(stream(B, version=version, follows="api")) is None
        assert streams.followers(API) == frozenset()

    def test_an_older_state_undoes_nothing(self) -> None:
        streams = StreamIndex()
        newest = stream(A, version="10", source="r.io/new")
        streams.put(newest)
        streams.put(stream(B, version="9", source="r.io/old"))
        assert streams.get(WEB) is newest
        assert streams.fed_by(Repository("r.io", "new")) == {WEB}
        assert streams.fed_by(Repository("r.io", "old")) == frozenset()

    def test_a_tag_resolves_to_what_the_newest_state_says(self) -> None:
        streams = StreamIndex()
        assert streams.resolve(WEB, "latest") is None
        for after in (
            stream(A),
            stream(history("latest", "c"), version="2"),
            stream(B, version="3"),
            stream(A, version="1", uid="u2"),
        ):
            streams.put(after)
            for tag in ("latest", "v1", "latest"):
                assert streams.resolve(WEB, tag) == after.resolve(tag)
        streams.discard(WEB)
        assert streams.resolve(WEB, "latest") is None

    def test_a_reference_policy_moves_the_pull_spec(self) -> None:
        digest = "sha256:" + "a" * 64
        local = SpecTag("latest", "", "", "", False, 1, "Local")
        before = replace(stream(history("latest", digest)), status_repository="in.svc/shop/web")
        streams = StreamIndex()
        streams.put(before)
        assert streams.put(replace(before, resource_version="2", spec_tags=(local,))) == StreamNews(
            frozenset({"latest"})
        )

    def test_finds_streams_by_what_feeds_them(self) -> None:
        streams = StreamIndex()
        streams.put(stream(A, spec="quay.io/base:1"))
        streams.put(stream(A, key=API))
        assert streams.fed_by(Repository("r.io", "web")) == {WEB, API}
        assert streams.fed_by(Repository("quay.io", "base")) == {WEB}
        assert streams.fed_by(Repository("r.io", "other")) == frozenset()

    def test_forgets_a_repository_that_no_stream_names_any_more(self) -> None:
        streams = StreamIndex()
        streams.put(stream(A, spec="quay.io/base:1"))
        streams.put(stream(A, source="", spec="quay.io/other:1", version="2"))
        assert streams.fed_by(Repository("r.io", "web")) == frozenset()
        assert streams.fed_by(Repository("quay.io", "base")) == frozenset()
        assert streams.fed_by(Repository("quay.io", "other")) == {WEB}

    def test_discard_forgets_everything_and_returns_what_resolved(self) -> None:
        streams = StreamIndex()
        streams.put(stream(A, B, TagHistory("empty")))
        streams.put(stream(A, key=API))
        assert streams.discard(WEB) == StreamNews(frozenset({"latest", "v1"}))
        assert streams.discard(WEB) == StreamNews()
        assert streams.get(WEB) is None
        assert streams.fed_by(Repository("r.io", "web")) == {API}
        assert len(streams) == 1
        assert streams.put(stream(A)) == StreamNews(frozenset({"latest"}))

    def test_lists_keys_of_a_namespace_or_all_and_may_be_changed_meanwhile(self) -> None:
        streams = StreamIndex()
        for key in (WEB, API, OTHER):
            streams.put(stream(A, key=key))
        assert streams.keys() == {WEB, API, OTHER}
        assert streams.keys("shop") == {WEB, API}
        for key in streams.keys("shop") | streams.keys("other"):
            streams.discard(key)
        assert len(streams) == 0


class TestFollowers:
    """Streams whose tags come from other streams."""

    def test_a_stream_that_changes_concerns_who_takes_tags_from_it(self) -> None:
        streams = StreamIndex()
        for follower in (API, OTHER):
            streams.put(stream(key=follower, follows="shop/web"))
        assert streams.followers(WEB) == {API, OTHER}
        assert streams.followers(API) == frozenset()
        assert streams.put(stream(A)) == StreamNews(frozenset({"latest"}), frozenset({API, OTHER}))

    def test_a_stream_need_not_exist_to_be_followed(self) -> None:
        streams = StreamIndex()
        news = streams.put(stream(key=API, follows="web"))
        assert news == StreamNews()
        assert streams.followers(WEB) == {API}
        assert streams.put(stream()) == StreamNews(frozenset(), frozenset({API}))

    def test_a_tag_that_follows_its_own_stream_concerns_nobody_else(self) -> None:
        streams = StreamIndex()
        assert streams.put(stream(A, follows="web")) == StreamNews(frozenset({"latest"}))
        assert streams.followers(WEB) == frozenset()

    @pytest.mark.parametrize(
        ("after", "is_seen"),
        [
            pytest.param(stream(B, version="2"), True, id="its tags"),
            pytest.param(stream(history("latest", "a", 2), version="2"), True, id="a generation"),
            pytest.param(stream(A, version="2", spec="r.io/x"), True, id="its spec tags"),
            pytest.param(stream(A, version="2", shared_with="other"), True, id="whom it is shared with"),
            pytest.param(stream(A, version="2", source="r.io/y"), False, id="its repository"),
            pytest.param(stream(A, version="2"), False, id="nothing"),
            pytest.param(stream(A, version="2", uid="u2"), False, id="only the object"),
            pytest.param(stream(version="2", uid="u2"), True, id="the object and its tags"),
        ],
    )
    def test_what_followers_see(self, after: Stream, is_seen: bool) -> None:
        streams = StreamIndex()
        streams.put(stream(key=API, follows="web"))
        streams.put(stream(A))
        news = streams.put(after)
        assert news
        assert news.concerns == (frozenset({API}) if is_seen else frozenset())

    def test_a_stream_that_goes_concerns_its_followers_and_follows_nobody(self) -> None:
        streams = StreamIndex()
        streams.put(stream(A, follows="api"))
        streams.put(stream(key=API, follows="web"))
        assert streams.discard(WEB) == StreamNews(frozenset({"latest"}), frozenset({API}))
        assert streams.followers(API) == frozenset()
        assert streams.followers(WEB) == {API}

    @pytest.mark.parametrize(
        "after",
        [
            pytest.param(stream(key=API, version="2"), id="its spec tag is gone"),
            pytest.param(stream(key=API, version="2", follows="elsewhere"), id="it follows another stream"),
            pytest.param(stream(key=API, version="2", follows="other/web"), id="it follows another namespace"),
            pytest.param(stream(key=API, version="0", uid="u2"), id="it was made anew"),
        ],
    )
    def test_forgets_a_follower_when(self, after: Stream) -> None:
        streams = StreamIndex()
        streams.put(stream(key=API, follows="web"))
        streams.put(stream(key=OTHER, follows="shop/web"))
        streams.put(after)
        assert streams.followers(WEB) == {OTHER}

    def test_a_list_read_again_changes_nothing(self) -> None:
        streams = StreamIndex()
        listed = [stream(A), stream(key=API, follows="web")]
        for found in (*listed, *listed):
            streams.put(found)
        assert [streams.put(found) for found in listed] == [None, None]
        assert streams.followers(WEB) == {API}
        streams.discard(API)
        assert streams.followers(WEB) == frozenset()


def trigger(key: StreamKey = WEB, tag: str = "latest", *, paused: bool = False) -> ContainerTrigger:
    return ContainerTrigger(key, tag, paused, "spec.template.spec.containers[0].image", "containers", 0)


def workload(
    *valid: ContainerTrigger,
    version: str = "1",
    uid: str = "u1",
    name: str = "web",
    kind: str = "Deployment",
    image: str = "r.io/web@a",
    problems: tuple[str, ...] = (),
) -> Workload:
    key = WorkloadKey(kind, "shop", name)
    return Workload(key, uid, version, Triggers(valid, problems), (Container("web", image),), ())


KEY = WorkloadKey("Deployment", "shop", "web")


class TestWorkloads:
    @pytest.mark.parametrize(
        ("after", "to_plan"),
        [
            pytest.param(workload(trigger(), version="2"), False, id="only the version (a scale, a status)"),
            pytest.param(workload(trigger(), version="2", image="other"), True, id="image"),
            pytest.param(workload(trigger(tag="v1"), version="2"), True, id="trigger"),
            pytest.param(workload(trigger(paused=True), version="2"), True, id="paused"),
            pytest.param(workload(trigger(), version="2", problems=("bad",)), True, id="problem"),
            pytest.param(workload(trigger(), version="1", image="other"), False, id="the same version again"),
            pytest.param(workload(trigger(), version="0", image="other"), False, id="an older version"),
            pytest.param(workload(trigger(), version="0", uid="u2"), True, id="another object of that name"),
            pytest.param(workload(version="2"), False, id="no trigger left"),
        ],
    )
    def test_put_tells_whether_there_is_something_to_plan(self, after: Workload, to_plan: bool) -> None:
        workloads = WorkloadIndex()
        assert workloads.put(workload(trigger())) is True
        assert workloads.put(after) is to_plan

    def test_init_containers_are_planned_too(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger()))
        changed = replace(workload(trigger(), version="2"), init_containers=(Container("init", "x"),))
        assert workloads.put(changed) is True

    def test_wakes_those_that_named_the_tag_and_no_other(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger(), trigger(API)))
        workloads.put(workload(trigger(tag="v1"), name="api"))
        workloads.put(workload(trigger(paused=True), name="held"))
        assert workloads.affected(WEB, "latest") == {KEY}
        assert workloads.affected(API, "latest") == {KEY}
        assert workloads.affected(WEB, "v1") == {KEY._replace(name="api")}
        assert workloads.affected(WEB, "v2") == frozenset()

    @pytest.mark.parametrize(
        "after",
        [
            pytest.param(workload(version="2"), id="the last trigger is gone"),
            pytest.param(workload(trigger(tag="v1"), version="2"), id="another tag"),
            pytest.param(workload(trigger(API), version="2"), id="another stream"),
            pytest.param(workload(trigger(paused=True), version="2"), id="paused"),
            pytest.param(workload(version="2", problems=("bad",)), id="the annotation became unreadable"),
            pytest.param(workload(trigger(API), uid="u2", version="0"), id="recreated with other triggers"),
            pytest.param(workload(uid="u2", version="0"), id="recreated without triggers"),
        ],
    )
    def test_forgets_the_tag_when(self, after: Workload) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger()))
        workloads.put(after)
        assert workloads.affected(WEB, "latest") == frozenset()

    def test_follows_the_tag_again_once_it_is_resumed(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger(paused=True)))
        assert workloads.put(workload(trigger(), version="2")) is True
        assert workloads.affected(WEB, "latest") == {KEY}

    def test_forgets_one_workload_and_keeps_its_neighbours(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger()))
        workloads.put(workload(trigger(), name="neighbour"))
        workloads.discard(KEY)
        workloads.discard(KEY)
        assert workloads.get(KEY) is None
        assert workloads.affected(WEB, "latest") == {KEY._replace(name="neighbour")}
        assert len(workloads) == 1

    def test_a_rename_is_a_discard_and_a_put(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger()))
        workloads.discard(KEY)
        workloads.put(workload(trigger(), name="renamed", uid="u2"))
        assert workloads.affected(WEB, "latest") == {KEY._replace(name="renamed")}

    def test_keeps_no_workload_without_triggers(self) -> None:
        workloads = WorkloadIndex()
        assert workloads.put(workload()) is False
        assert workloads.get(KEY) is None
        assert len(workloads) == 0

    def test_keeps_one_whose_annotation_has_only_problems(self) -> None:
        workloads = WorkloadIndex()
        bad = workload(problems=("bad",))
        assert workloads.put(bad) is True
        assert workloads.get(KEY) is bad

    def test_the_newest_state_is_kept_even_if_there_is_nothing_to_plan(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger()))
        newest = workload(trigger(), version="2")
        workloads.put(newest)
        assert workloads.get(KEY) is newest

    def test_counts_by_kind_and_lists_by_kind_and_namespace(self) -> None:
        workloads = WorkloadIndex()
        workloads.put(workload(trigger()))
        workloads.put(workload(trigger(), name="api", problems=("bad",)))
        workloads.put(workload(problems=("bad", "worse"), kind="CronJob"))
        assert workloads.counts() == {"Deployment": 2, "CronJob": 1}
        assert workloads.keys("Deployment") == {KEY, KEY._replace(name="api")}
        assert workloads.keys("Deployment", "shop") == {KEY, KEY._replace(name="api")}
        assert workloads.keys("Deployment", "other") == frozenset()
        assert workloads.keys("StatefulSet") == frozenset()
        for key in workloads.keys("Deployment") | workloads.keys("CronJob"):
            workloads.discard(key)
        assert workloads.counts() == {}


class ForgetsAsItLearns(RuleBasedStateMachine):
    """Whatever was put and discarded before, both indexes answer as if only the last states had ever been put."""

    names = st.sampled_from(["a", "b", "c"])

    def __init__(self) -> None:
        super().__init__()
        self.workloads, self.streams = WorkloadIndex(), StreamIndex()
        self.last_workloads: dict[WorkloadKey, Workload] = {}
        self.last_streams: dict[StreamKey, Stream] = {}
        self.version = 0

    @rule(
        name=names,
        uid=st.sampled_from(["u1", "u2"]),
        valid=st.lists(st.builds(trigger, st.sampled_from([WEB, API]), st.sampled_from("xy"), paused=st.booleans())),
        problems=st.sampled_from([(), ("bad",)]),
    )
    def put_workload(self, name: str, uid: str, valid: list[ContainerTrigger], problems: tuple[str, ...]) -> None:
        self.version += 1
        found = workload(*valid, name=name, uid=uid, version=str(self.version), problems=problems)
        self.workloads.put(found)
        self.last_workloads.pop(found.key, None)
        if valid or problems:
            self.last_workloads[found.key] = found

    @rule(name=names)
    def discard_workload(self, name: str) -> None:
        key = KEY._replace(name=name)
        self.workloads.discard(key)
        self.last_workloads.pop(key, None)

    @rule(
        key=st.sampled_from([WEB, API]),
        source=st.sampled_from(["", "r.io/x", "r.io/y"]),
        spec=st.sampled_from(["", "r.io/x"]),
        follows=st.sampled_from(["", "web", "api", "other/web"]),
    )
    def put_stream(self, key: StreamKey, source: str, spec: str, follows: str) -> None:
        self.version += 1
        found = stream(A, key=key, source=source, spec=spec, follows=follows, version=str(self.version))
        self.streams.put(found)
        self.last_streams[key] = found

    @rule(key=st.sampled_from([WEB, API]))
    def discard_stream(self, key: StreamKey) -> None:
        self.streams.discard(key)
        self.last_streams.pop(key, None)

    @invariant()
    def workloads_answer_from_the_last_states(self) -> None:
        assert self.workloads.keys("Deployment") == self.last_workloads.keys()
        for key in (WEB, API):
            for tag in "xy":
                assert self.workloads.affected(key, tag) == {
                    known.key
                    for known in self.last_workloads.values()
                    if any((t.stream, t.tag, t.paused) == (key, tag, False) for t in known.triggers.valid)
                }
                assert self.workloads.paused(key, tag) == {
                    known.key
                    for known in self.last_workloads.values()
                    if {t.paused for t in known.triggers.valid if (t.stream, t.tag) == (key, tag)} == {True}
                }

    @invariant()
    def streams_answer_from_the_last_states(self) -> None:
        assert self.streams.keys() == self.last_streams.keys()
        for name in "xy":
            repository = Repository("r.io", name)
            assert self.streams.fed_by(repository) == {
                key for key, known in self.last_streams.items() if repository in known.repositories()
            }
        for source in (WEB, API, OTHER):
            assert self.streams.followers(source) == {
                key for key, known in self.last_streams.items() if source in known.sources()
            }


ForgetsAsItLearns.TestCase.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)
TestForgetsAsItLearns = ForgetsAsItLearns.TestCase


def test_nothing_of_a_discarded_workload_is_referenced_any_more() -> None:
    workloads, streams = WorkloadIndex(), StreamIndex()
    key = WorkloadKey("Deployment", "shop", "only-here")
    followed = StreamKey("shop", "only-there")
    before = sys.getrefcount(key), sys.getrefcount(followed)
    workloads.put(replace(workload(trigger(followed)), key=key))
    streams.put(stream(A, key=followed))
    streams.put(stream(key=API, follows="shop/only-there"))
    workloads.discard(key)
    streams.discard(API)
    streams.discard(followed)
    assert (sys.getrefcount(key), sys.getrefcount(followed)) == before
