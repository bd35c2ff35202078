"""What an object is made of when it is created or changed: a patch of the least, and sentences for its author."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import jsonpatch
import pytest

from listener.core import admission
from listener.core.admission import NOTHING, Outcome, Subject
from listener.core.history import TagHistory, TagItem
from listener.core.kinds import BUILD_CONFIG, CRON_JOB, DEPLOYMENT, JOB, POD, TEKTON_PIPELINE, Kind
from listener.core.lookups import WAITS_FOR
from listener.core.streams import Stream, StreamKey
from listener.core.workloads import Container

DIGEST = f"sha256:{'2' * 64}"
RUBY = f"r.io/ruby@{DIGEST}"
REPOSITORY = "local:5000/shop/ruby"


def stream(name: str, *tags: str, local: bool = True, serves: str = "") -> Stream:
    items = (TagItem("", f"r.io/{name}@{DIGEST}", DIGEST, 1),)
    key = StreamKey("shop", name)
    return Stream(key, "u", "1", 1, "", serves, (), tuple(TagHistory(t, items) for t in tags), local_lookup=local)


STREAMS = {
    found.key: found
    for found in (
        stream("ruby", "2.7", "latest", serves=REPOSITORY),
        stream("base", "v1", local=False),
        stream("bare", "v1"),
    )
}


def subject(*images: str, init: str = "", waiting: Mapping[str, str] | None = None, **more: Any) -> Subject:
    """Containers c0, c1, …, and an init container `init`."""
    text = None if waiting is None else json.dumps(waiting)
    return Subject(
        tuple(Container(f"c{n}", image) for n, image in enumerate(images)),
        (Container("init", init),) if init else (),
        waiting=text,
        has_annotations=more.pop("has_annotations", waiting is not None),
        **more,
    )


def as_object(kind: Kind, found: Subject) -> dict[str, Any]:
    spec: Any = {
        name: [{"name": c.name, "image": c.image} for c in containers]
        for name, containers in (("containers", found.containers), ("initContainers", found.init_containers))
        if containers
    }
    for part in reversed(kind.pod_spec_path):
        spec = {part: spec}
    annotations = {WAITS_FOR: found.waiting} if found.waiting is not None else {}
    return {"metadata": {"annotations": annotations} if found.has_annotations else {}, **spec}


def judged(
    now: Subject, before: Subject | None = None, kind: Kind = DEPLOYMENT, namespace: str = "shop"
) -> tuple[dict[str, str], Any, admission.Verdict]:
    """The images and the annotation after the patch, and the verdict."""
    verdict = admission.judge(kind, namespace, now, before, STREAMS.get)
    document = jsonpatch.apply_patch(as_object(kind, now), [dict(each) for each in verdict.operations])
    spec = document
    for part in kind.pod_spec_path:
        spec = spec[part]
    images = {each["name"]: each["image"] for each in (*spec.get("initContainers", ()), *spec.get("containers", ()))}
    text = document["metadata"].get("annotations", {}).get(WAITS_FOR)
    return images, json.loads(text) if text else text, verdict


def test_names_are_looked_up_wherever_they_stand_and_the_rest_is_left() -> None:
    given = subject("ruby:2.7", "r.io/x:1", "ruby", "unknown:1", "base:v1", init="ruby:2.7")
    images, waiting, verdict = judged(given)
    assert images == {
        "init": RUBY,
        "c0": RUBY,
        "c1": "r.io/x:1",
        "c2": RUBY,
        "c3": "unknown:1",
        "c4": "base:v1",
    }
    assert waiting is None
    assert [each["op"] for each in verdict.operations] == ["replace"] * 3
    assert verdict.warnings == (
        f'container init: image "ruby:2.7" is {RUBY} now',
        f'container c0: image "ruby:2.7" is {RUBY} now',
        f'container c2: image "ruby" is {RUBY} now',
        'container c4: image "base:v1" is not looked up: ImageStream shop/base has no spec.lookupPolicy.local',
    )
    assert verdict.outcomes == (Outcome.RESOLVED, Outcome.RESOLVED, Outcome.RESOLVED, Outcome.UNRESOLVED)


@pytest.mark.parametrize("kind", [DEPLOYMENT, POD, CRON_JOB, JOB], ids=lambda kind: str(kind.label))
def test_the_pod_spec_is_where_the_kind_has_it(kind: Kind) -> None:
    images, _, _ = judged(subject("ruby:2.7", init="ruby"), kind=kind)
    assert images == {"init": RUBY, "c0": RUBY}


def test_a_forced_object_looks_up_every_name() -> None:
    images, _, verdict = judged(subject("base:v1", "any/ruby:2.7", "unknown:1", "r.io/ruby:2.7", forced=True))
    assert images == {"c0": f"r.io/base@{DIGEST}", "c1": RUBY, "c2": "unknown:1", "c3": "r.io/ruby:2.7"}
    assert verdict.warnings[-1] == (
        'container c2: image "unknown:1" is not looked up: there is no ImageStream shop/unknown'
    )


def test_streams_are_those_of_the_object_s_own_namespace() -> None:
    assert judged(subject("ruby:2.7"), namespace="other")[2] == NOTHING


@pytest.mark.parametrize(
    ("kind", "given", "before"),
    [
        pytest.param(DEPLOYMENT, subject("ruby:2.7", is_owned=True), None, id="owned by a controller"),
        pytest.param(JOB, subject("ruby:2.7"), subject("ruby"), id="a job that exists"),
        pytest.param(BUILD_CONFIG, subject("ruby:2.7"), None, id="no pod spec"),
        pytest.param(TEKTON_PIPELINE, subject("ruby:2.7"), None, id="no pod spec either"),
        pytest.param(DEPLOYMENT, subject("ruby:2.7"), subject("ruby:2.7"), id="as it was"),
        pytest.param(DEPLOYMENT, subject(RUBY), subject("ruby:2.7"), id="set by a trigger"),
        pytest.param(DEPLOYMENT, subject(), None, id="no containers"),
    ],
)
def test_what_is_not_looked_at(kind: Kind, given: Subject, before: Subject | None) -> None:
    assert admission.judge(kind, "shop", given, before, STREAMS.get) == NOTHING


def test_of_a_change_only_the_containers_count_that_have_another_image() -> None:
    given, before = subject("ruby:2.7", "ruby:2.7", "ruby"), subject("ruby:2.7", "ruby:2.6")
    assert judged(given, before)[0] == {"c0": "ruby:2.7", "c1": RUBY, "c2": RUBY}


def test_a_container_that_became_an_init_container_is_the_same() -> None:
    before = Subject((Container("init", "ruby:2.7"),))
    assert admission.judge(DEPLOYMENT, "shop", subject("x", init="ruby:2.7"), before, STREAMS.get) == NOTHING


@pytest.mark.parametrize(("now", "was"), [(True, False), (False, True)])
def test_when_names_are_forced_from_now_on_or_no_more_all_are_looked_up(now: bool, was: bool) -> None:
    given, before = subject("ruby:2.7", "base:v1", forced=now), subject("ruby:2.7", "base:v1", forced=was)
    assert judged(given, before)[0] == {"c0": RUBY, "c1": f"r.io/base@{DIGEST}" if now else "base:v1"}


class TestTagsThatPointAtNothingYet:
    @pytest.mark.parametrize("has_annotations", [False, True])
    def test_the_repository_is_put_in_and_the_name_remembered(self, has_annotations: bool) -> None:
        images, waiting, verdict = judged(subject("ruby:3", "r.io/x:1", has_annotations=has_annotations))
        assert images == {"c0": f"{REPOSITORY}:3", "c1": "r.io/x:1"}
        assert waiting == {"c0": "ruby:3"}
        assert verdict.outcomes == (Outcome.WAITING,)

    def test_without_a_repository_the_name_stays(self) -> None:
        images, waiting, verdict = judged(subject("bare:v2"))
        assert (images, waiting, verdict.operations) == ({"c0": "bare:v2"}, None, ())
        assert verdict.warnings == (
            'container c0: image "bare:v2" waits for ImageStreamTag shop/bare:v2, which points at nothing yet',
        )

    def test_what_still_waits_is_remembered(self) -> None:
        before = subject(f"{REPOSITORY}:3", "r.io/x:1", waiting={"c0": "ruby:3"})
        given = subject(f"{REPOSITORY}:3", "r.io/x:2", waiting={"c0": "ruby:3"})
        assert judged(given, before)[2] == NOTHING

    def test_of_several_each_is_remembered(self) -> None:
        before = subject(f"{REPOSITORY}:3", "r.io/x:1", waiting={"c0": "ruby:3"})
        given = subject(f"{REPOSITORY}:3", "ruby:4", waiting={"c0": "ruby:3"})
        images, waiting, _ = judged(given, before)
        assert images == {"c0": f"{REPOSITORY}:3", "c1": f"{REPOSITORY}:4"}
        assert waiting == {"c0": "ruby:3", "c1": "ruby:4"}

    @pytest.mark.parametrize("image", ["r.io/x:1", "ruby:2.7", "unknown:1"])
    def test_another_image_ends_the_wait(self, image: str) -> None:
        before = subject(f"{REPOSITORY}:3", waiting={"c0": "ruby:3"})
        images, waiting, _ = judged(subject(image, waiting={"c0": "ruby:3"}), before)
        assert images == {"c0": RUBY if image == "ruby:2.7" else image}
        assert waiting is None

    def test_the_same_name_written_again_waits_on(self) -> None:
        """As `kubectl apply` does with the same file."""
        before = subject(f"{REPOSITORY}:3", waiting={"c0": "ruby:3"})
        images, waiting, verdict = judged(subject("ruby:3", waiting={"c0": "ruby:3"}), before)
        assert (images, waiting) == ({"c0": f"{REPOSITORY}:3"}, {"c0": "ruby:3"})
        assert len(verdict.operations) == 1

    def test_what_waited_is_looked_up_when_all_is(self) -> None:
        before = subject(f"{REPOSITORY}:2.7", f"{REPOSITORY}:3", waiting={"c0": "ruby:2.7", "c1": "ruby:3"})
        given = subject(f"{REPOSITORY}:2.7", f"{REPOSITORY}:3", waiting={"c0": "ruby:2.7", "c1": "ruby:3"}, forced=True)
        images, waiting, _ = judged(given, before)
        assert (images, waiting) == ({"c0": RUBY, "c1": f"{REPOSITORY}:3"}, {"c1": "ruby:3"})

    def test_a_stream_that_is_gone_meanwhile_does_not_end_the_wait(self) -> None:
        waiting = {"c0": "gone:3", "c1": "ruby:3"}
        before = subject("r.io/gone:3", f"{REPOSITORY}:3", waiting=waiting)
        given = subject("r.io/gone:3", f"{REPOSITORY}:3", waiting=waiting, forced=True)
        assert judged(given, before)[:2] == ({"c0": "r.io/gone:3", "c1": f"{REPOSITORY}:3"}, waiting)

    def test_a_job_does_not_wait_for_it_is_never_changed(self) -> None:
        images, waiting, verdict = judged(subject("ruby:3", "bare:v2"), kind=JOB)
        assert (images, waiting) == ({"c0": f"{REPOSITORY}:3", "c1": "bare:v2"}, None)
        assert verdict.warnings == (
            (
                f'container c0: image "ruby:3" is {REPOSITORY}:3 for good: a Job is never changed,'
                " and ImageStreamTag shop/ruby:3 points at nothing yet"
            ),
            (
                'container c1: image "bare:v2" stays for good: a Job is never changed,'
                " and ImageStreamTag shop/bare:v2 points at nothing yet"
            ),
        )

    @pytest.mark.parametrize("text", ["{", "[]", '{"c0":1}'])
    def test_an_annotation_that_says_nothing_is_left_to_its_author(self, text: str) -> None:
        given = Subject((Container("c0", "r.io/x:1"),), has_annotations=True, waiting=text)
        assert admission.judge(DEPLOYMENT, "shop", given, None, STREAMS.get) == NOTHING
