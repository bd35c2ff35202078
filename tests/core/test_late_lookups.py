"""From an object that still has names of stream tags to the patch that sets them, once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import msgspec
import pytest

from listener.core import plans
from listener.core.actions import CHANGE_CAUSE, LAST_TRIGGERED, Plan, View
from listener.core.history import TagHistory, TagItem
from listener.core.kinds import CRON_JOB, DEPLOYMENT, DEPLOYMENT_CONFIG, JOB, KINDS, POD, Kind, custom
from listener.core.lookups import RESOLVE_NAMES, WAITS_FOR
from listener.core.streams import Stream, StreamKey
from listener.edges import objects

NOW = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)
DIGEST = f"sha256:{'2' * 64}"
RUBY = f"r.io/ruby@{DIGEST}"
REPOSITORY = "local:5000/shop/ruby"
ARGO_ROLLOUT = custom("argoproj.io/v1alpha1", "Rollout", ("spec", "template", "spec"))
FLAT = custom("example.com/v1", "Flat", ("spec", "pod"))


def stream(name: str, *tags: str, local: bool = True, serves: str = "") -> Stream:
    items = (TagItem("", f"r.io/{name}@{DIGEST}", DIGEST, 1),)
    key = StreamKey("shop", name)
    return Stream(key, "u", "1", 1, "", serves, (), tuple(TagHistory(t, items) for t in tags), local_lookup=local)


STREAMS = {
    found.key: found
    for found in (stream("ruby", "2.7", "latest", serves=REPOSITORY), stream("base", "v1", local=False))
}


def made(
    kind: Kind,
    *images: str,
    annotations: Mapping[str, str] | None = None,
    template: Mapping[str, str] | None = None,
    owned: bool = False,
) -> dict[str, Any]:
    """An object with the containers c0, c1, …"""
    found: Any = {"containers": [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]}
    for depth, part in enumerate(reversed(kind.pod_spec_path)):
        found = {part: found}
        if depth == 0 and template is not None:
            found["metadata"] = {"annotations": dict(template)}
    metadata: dict[str, Any] = {"name": "web", "namespace": "shop", "uid": "u", "resourceVersion": "7"}
    if annotations:
        metadata["annotations"] = dict(annotations)
    if owned:
        metadata["ownerReferences"] = [{"controller": True}]
    return {"metadata": metadata, **found}


def plan(
    kind: Kind,
    found: Mapping[str, Any],
    streams: Mapping[StreamKey, Stream] = STREAMS,
    *,
    leave: Collection[tuple[str, str]] = (),
) -> Plan:
    def resolve(key: StreamKey, tag: str) -> Any:
        return streams[key].resolve(tag) if key in streams else None

    workload = objects.read_workload(kind, msgspec.json.encode(found), with_lookups=True)
    view = View(resolve, lambda *_: "delivery-1", stream=streams.get)
    return plans.plan(workload, kind, view, now=NOW, leave=leave)


def patched(kind: Kind, found: dict[str, Any], planned: Plan) -> dict[str, Any]:
    """The object with the patch, of which there must be nothing left to plan."""
    after: dict[str, Any] = jsonpatch.apply_patch(found, [dict(each) for each in planned.operations])
    assert plan(kind, after) == Plan()
    return after


def images(kind: Kind, found: Any) -> list[str]:
    for part in kind.pod_spec_path:
        found = found[part]
    return [container["image"] for container in found["containers"]]


@pytest.mark.parametrize(
    "kind",
    [each for each in (*KINDS, ARGO_ROLLOUT, FLAT) if each.pod_spec_path and each is not JOB],
    ids=lambda kind: str(kind.label),
)
def test_what_is_a_name_is_set_and_says_why(kind: Kind) -> None:
    found = made(kind, "ruby:2.7", "r.io/x:1", "base:v1", "unknown", "ruby")
    planned = plan(kind, found)
    after = patched(kind, found, planned)
    assert images(kind, after) == [RUBY, "r.io/x:1", "base:v1", "unknown", RUBY]
    annotations = after["metadata"]["annotations"]
    assert json.loads(annotations[LAST_TRIGGERED]) == {
        "stream": "shop/ruby",
        "tag": "latest",
        "generation": 1,
        "digest": DIGEST,
        "time": "2026-11-24T20:00:00Z",
        "delivery": "delivery-1",
    }
    assert annotations[CHANGE_CAUSE] == f"shop/ruby:2.7 -> {RUBY}, shop/ruby:latest -> {RUBY}"
    assert all(change.is_lookup for change in planned.changes)


@pytest.mark.parametrize("where", ["object", "template"])
@pytest.mark.parametrize("kind", [DEPLOYMENT, CRON_JOB, DEPLOYMENT_CONFIG], ids=lambda kind: str(kind.label))
def test_a_forced_object_needs_no_word_of_the_stream(kind: Kind, where: str) -> None:
    forced = {RESOLVE_NAMES: "*"}
    found = made(
        kind, "base:v1", template=forced if where == "template" else {}, annotations=forced if where == "object" else {}
    )
    assert images(kind, patched(kind, found, plan(kind, found))) == [f"r.io/base@{DIGEST}"]


def test_a_pod_is_its_own_template() -> None:
    found = made(POD, "base:v1", annotations={RESOLVE_NAMES: "*"})
    assert images(POD, patched(POD, found, plan(POD, found))) == [f"r.io/base@{DIGEST}"]


def test_what_a_kind_calls_metadata_of_its_own_is_none_of_a_template() -> None:
    found = made(FLAT, "ruby:2.7")
    found["spec"]["metadata"] = "anything"
    assert images(FLAT, patched(FLAT, found, plan(FLAT, found))) == [RUBY]


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        pytest.param(DEPLOYMENT, made(DEPLOYMENT, "ruby:2.7", owned=True), id="owned by a controller"),
        pytest.param(JOB, made(JOB, "ruby:2.7"), id="nothing about a job can change"),
        pytest.param(DEPLOYMENT, made(DEPLOYMENT, "ruby:3", "base:v1", RUBY), id="nothing that resolves"),
        pytest.param(
            DEPLOYMENT,
            made(DEPLOYMENT, "base:v1", annotations={RESOLVE_NAMES: "true"}),
            id="a value that means nothing",
        ),
    ],
)
def test_what_is_left_as_it_is(kind: Kind, found: dict[str, Any]) -> None:
    assert plan(kind, found) == Plan()


def test_a_container_with_a_trigger_is_left_to_it_unless_that_is_paused() -> None:
    entry = [
        {
            "from": {"kind": "ImageStreamTag", "name": "base:v1"},
            "fieldPath": "spec.template.spec.containers[0].image",
        },
        {
            "from": {"kind": "ImageStreamTag", "name": "base:v1"},
            "fieldPath": "spec.template.spec.containers[1].image",
            "paused": "true",
        },
    ]
    found = made(
        DEPLOYMENT, "ruby:2.7", "ruby:2.7", "ruby:2.7", annotations={"image.openshift.io/triggers": json.dumps(entry)}
    )
    after = patched(DEPLOYMENT, found, plan(DEPLOYMENT, found))
    assert images(DEPLOYMENT, after) == [f"r.io/base@{DIGEST}", RUBY, RUBY]


def test_a_deployment_config_s_containers_are_left_to_its_triggers() -> None:
    found = made(DEPLOYMENT_CONFIG, "ruby:2.7", "ruby:2.7")
    found["spec"]["triggers"] = [
        {
            "type": "ImageChange",
            "imageChangeParams": {
                "automatic": True,
                "containerNames": ["c0"],
                "from": {"kind": "ImageStreamTag", "name": "base:v1"},
            },
        }
    ]
    after = patched(DEPLOYMENT_CONFIG, found, plan(DEPLOYMENT_CONFIG, found))
    assert images(DEPLOYMENT_CONFIG, after) == [f"r.io/base@{DIGEST}", RUBY]


def test_what_waited_is_set_and_the_rest_waits_on() -> None:
    waits = {WAITS_FOR: json.dumps({"c0": "ruby:2.7", "c1": "ruby:3"})}
    found = made(DEPLOYMENT, f"{REPOSITORY}:2.7", f"{REPOSITORY}:3", annotations=waits)
    after = patched(DEPLOYMENT, found, plan(DEPLOYMENT, found))
    assert images(DEPLOYMENT, after) == [RUBY, f"{REPOSITORY}:3"]
    assert after["metadata"]["annotations"][WAITS_FOR] == '{"c1":"ruby:3"}'


def test_with_the_last_one_the_annotation_goes() -> None:
    found = made(DEPLOYMENT, f"{REPOSITORY}:2.7", annotations={WAITS_FOR: '{"c0":"ruby:2.7"}'})
    after = patched(DEPLOYMENT, found, plan(DEPLOYMENT, found))
    assert images(DEPLOYMENT, after) == [RUBY]
    assert WAITS_FOR not in after["metadata"]["annotations"]


def test_what_a_trigger_sets_waits_for_nothing_any_more() -> None:
    entry = {
        "from": {"kind": "ImageStreamTag", "name": "base:v1"},
        "fieldPath": "spec.template.spec.containers[0].image",
    }
    waits = {WAITS_FOR: json.dumps({"c0": "ruby:3"}), "image.openshift.io/triggers": json.dumps([entry])}
    found = made(DEPLOYMENT, f"{REPOSITORY}:3", annotations=waits)
    after = patched(DEPLOYMENT, found, plan(DEPLOYMENT, found))
    assert images(DEPLOYMENT, after) == [f"r.io/base@{DIGEST}"]
    assert WAITS_FOR not in after["metadata"]["annotations"]


def test_tags_that_point_at_each_other_by_name_set_nothing() -> None:
    def names(name: str, tag: str) -> TagHistory:
        return TagHistory(tag, (TagItem("", name, "", 1),))

    ring = stream("ring")
    ring = replace(ring, tags=(names("ring:2", "1"), names("ring:1", "2"), names("r.io/x:1", "3")))
    found = made(DEPLOYMENT, "ring:1", "ring:2", "ring:3")
    after = patched(DEPLOYMENT, found, plan(DEPLOYMENT, found, {ring.key: ring}))
    assert images(DEPLOYMENT, after) == ["ring:1", "ring:2", "r.io/x:1"]


def test_an_image_that_somebody_has_set_since_then_is_left() -> None:
    assert plan(DEPLOYMENT, made(DEPLOYMENT, "r.io/x:1", annotations={WAITS_FOR: '{"c0":"ruby:2.7"}'})) == Plan()


def test_what_is_left_to_somebody_else_is_told() -> None:
    found = made(DEPLOYMENT, "ruby:2.7")
    assert plan(DEPLOYMENT, found, leave={("c0", RUBY)}) == Plan(left=("c0",))


def test_without_annotations_a_concurrent_change_is_noticed() -> None:
    found = made(DEPLOYMENT, "ruby:2.7")
    planned = plan(DEPLOYMENT, found)
    found["metadata"]["resourceVersion"] = "8"
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(found, [dict(each) for each in planned.operations])
