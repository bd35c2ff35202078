"""What each image means, and who has the last word on it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jsonpatch
import msgspec
import pytest

from listener.core import lookup_edits, lookup_states
from listener.core.edits import EditRefused
from listener.core.history import TagHistory, TagItem
from listener.core.kinds import (
    CRON_JOB,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    POD,
    REPLICA_SET,
    SHIPWRIGHT_BUILD,
    Kind,
    custom,
)
from listener.core.lookup_states import LookupState
from listener.core.lookups import RESOLVE_NAMES, WAITS_FOR
from listener.core.streams import Stream, StreamKey
from listener.core.trigger_edits import Found
from listener.core.triggers import ANNOTATION
from listener.edges import objects

A = "sha256:" + "a" * 64
RUBY = f"r.io/ruby@{A}"
ALL = {RESOLVE_NAMES: "*"}
OWNERS = [{"kind": "ReplicaSet", "name": "web", "controller": True}]


def stream(name: str, *, local: bool = False, repository: str = "") -> Stream:
    item = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": f"r.io/{name}@{A}", "image": A, "generation": 1}
    body = {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {"lookupPolicy": {"local": local}},
        "status": {"tags": [{"tag": "2.7", "items": [item]}], "dockerImageRepository": repository},
    }
    return objects.read_stream(msgspec.json.encode(body))


STREAMS: Mapping[StreamKey, Stream | None] = {
    StreamKey("shop", "ruby"): stream("ruby", local=True, repository="r.cluster/shop/ruby"),
    StreamKey("shop", "base"): stream("base"),
    StreamKey("shop", "alias"): replace(
        stream("alias", local=True), tags=(TagHistory("1", (TagItem("", "perl:5", "", 1),)),)
    ),
    StreamKey("shop", "gone"): None,
}


def found(
    kind: Kind = DEPLOYMENT,
    *images: str,
    annotations: Any = None,
    template: Any = None,
    status: Any = None,
    spec: Any = None,
    **metadata: Any,
) -> Found:
    inner: Any = {"containers": [{"name": f"c{n}", "image": image} for n, image in enumerate(images)]}
    for part in reversed(kind.pod_spec_path):
        inner = {part: inner, **({"metadata": {"annotations": template}} if part == "spec" and template else {})}
        template = None
    inner.pop("metadata", None)
    own = {"name": "app", "namespace": "shop", "uid": "u", "resourceVersion": "7", **metadata}
    if annotations is not None:
        own["annotations"] = annotations
    inner.setdefault("spec", {}).update(spec or {})
    return Found(kind, {"metadata": own, "status": status or {}, **inner})


def look(of: Found) -> list[LookupState]:
    read = objects.read_workload(of.kind, msgspec.json.encode(of.document))
    workload = lookup_states.with_lookups(read, of)
    return list(lookup_states.look(workload, STREAMS, hindrance=lookup_edits.hindrance(of)))


@pytest.mark.parametrize(
    ("image", "annotations", "state", "tagged", "why"),
    [
        pytest.param("ruby:2.7", {}, "differs", RUBY, "", id="its stream looks up"),
        pytest.param("ruby", {}, "waits", "", "waits for ImageStreamTag shop/ruby:latest", id="no tag yet"),
        pytest.param("base:2.7", {}, "off", f"r.io/base@{A}", "is not looked up: ImageStream shop/base", id="off"),
        pytest.param("base:2.7", ALL, "differs", f"r.io/base@{A}", "", id="forced"),
        pytest.param("alias:1", {}, "unfit", "perl:5", "is not looked up: ImageStreamTag", id="points at a name"),
        pytest.param("lab/base:2.7", ALL, "differs", f"r.io/base@{A}", "", id="forced, with a namespace"),
        pytest.param("lab/base:2.7", {}, "none", "", "", id="a namespace"),
        pytest.param("gone:1", {}, "none", "", "", id="no stream"),
        pytest.param("gone:1", ALL, "missing", "", "is not looked up: there is no ImageStream shop/gone", id="missing"),
        pytest.param("other:1", {}, "unknown", "", "", id="a stream that is not known"),
        pytest.param("r.io/ruby:2.7", ALL, "none", "", "", id="a registry"),
        pytest.param(RUBY, ALL, "none", "", "", id="a digest"),
        pytest.param(
            "r.cluster/shop/ruby:9", {WAITS_FOR: '{"c0":"ruby:9"}'}, "waits", "", "waits for", id="put off, and waits"
        ),
        pytest.param("r.cluster/shop/ruby:2.7", {WAITS_FOR: '{"c0":"ruby:2.7"}'}, "differs", RUBY, "", id="put off"),
        pytest.param("r.io/mine:1", {WAITS_FOR: '{"c0":"ruby:2.7"}'}, "none", RUBY, "", id="set elsewhere since"),
        pytest.param("mine:1", {WAITS_FOR: '{"c0":"ruby:2.7"}'}, "unknown", "", "", id="set by somebody since"),
    ],
)
def test_how_an_image_stands(image: str, annotations: Any, state: str, tagged: str, why: str) -> None:
    (looked,) = look(found(DEPLOYMENT, image, annotations=annotations))
    assert (looked.container, looked.image, looked.state, looked.tagged) == ("c0", image, state, tagged)
    assert looked.why.startswith(why)
    assert bool(looked.why) == bool(why)


def test_a_container_with_a_trigger_is_left_to_it_unless_that_is_paused() -> None:
    source = {"kind": "ImageStreamTag", "name": "base:2.7"}
    entries = [
        {"from": source, "fieldPath": "spec.template.spec.containers[0].image"},
        {"from": source, "fieldPath": "spec.template.spec.containers[1].image", "paused": True},
    ]
    first, second = look(found(DEPLOYMENT, "ruby:2.7", "ruby:2.7", annotations={ANNOTATION: json.dumps(entries)}))
    assert (first.state, first.why) == ("triggered", "is left to the trigger on shop/base:2.7")
    assert second.state == "differs"
    parameters = {"from": source, "containerNames": ["c1"], "automatic": True}
    config = found(
        DEPLOYMENT_CONFIG,
        "ruby:2.7",
        "ruby:2.7",
        spec={"triggers": [{"type": "ImageChange", "imageChangeParams": parameters}]},
    )
    assert [each.state for each in look(config)] == ["differs", "triggered"]


DONE = {"conditions": [{"type": "Complete", "status": "True"}]}


@pytest.mark.parametrize(
    ("of", "why"),
    [
        pytest.param(found(JOB, "ruby:2.7"), "a Job stays as it was created", id="a Job"),
        pytest.param(found(JOB, "ruby:2.7", status=DONE), "it has run to its end", id="a Job that is done"),
        pytest.param(found(POD, "ruby:2.7", status={"phase": "Failed"}), "it has run to its end", id="a Pod"),
        pytest.param(
            found(REPLICA_SET, "ruby:2.7", ownerReferences=OWNERS), "it was made by ReplicaSet web", id="a copy"
        ),
        pytest.param(found(DEPLOYMENT, "ruby:2.7", deletionTimestamp="T"), "it is being deleted", id="going"),
        pytest.param(found(DEPLOYMENT, "ruby:2.7", ownerReferences=OWNERS), "it was made by ReplicaSet", id="owned"),
    ],
)
def test_what_comes_too_late(of: Found, why: str) -> None:
    (looked,) = look(of)
    assert looked.state == "late"
    assert looked.why.startswith(f"is not looked up any more: {why}")
    with pytest.raises(EditRefused, match=why):
        lookup_edits.force(of, on=True)


def test_a_job_of_a_file_is_not_too_late() -> None:
    assert [each.state for each in look(found(JOB, "ruby:2.7", uid=""))] == ["differs"]


# The annotation


TEST = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
FLAT = custom("x.io/v1", "Flat", ("spec", "pod"))


def patched(of: Found, *, on: bool) -> Found:
    """The object with the patch, after which there must be nothing left to do."""
    operations = [dict(each) for each in lookup_edits.force(of, on=on)]
    after = Found(of.kind, jsonpatch.apply_patch(of.document, operations))
    assert lookup_edits.is_forced(after) is on
    assert lookup_edits.force(after, on=on) == ()
    return after


@pytest.mark.parametrize("kind", [DEPLOYMENT, CRON_JOB, POD, DEPLOYMENT_CONFIG, FLAT], ids=lambda kind: str(kind.label))
@pytest.mark.parametrize("annotations", [None, {}, {"owner": "shop"}, {RESOLVE_NAMES: "yes"}], ids=str)
def test_on_is_said_of_the_object_and_touches_no_template(kind: Kind, annotations: Any) -> None:
    before = found(kind, "ruby:2.7", annotations=annotations)
    assert lookup_edits.force(before, on=True)[0] == TEST
    after = patched(before, on=True)
    assert after.document["spec"] == before.document["spec"]
    assert after.annotations == {**(annotations or {}), **ALL}
    assert not lookup_edits.restarts(after)


@pytest.mark.parametrize("kind", [DEPLOYMENT, CRON_JOB], ids=lambda kind: str(kind.label))
def test_off_is_said_of_both_places(kind: Kind) -> None:
    before = found(kind, "ruby:2.7", annotations={"owner": "shop", **ALL}, template={"a": "b", **ALL})
    assert lookup_edits.restarts(before)
    assert lookup_edits.force(before, on=True) == ()
    after = patched(before, on=False)
    assert after.annotations == {"owner": "shop"}
    assert after.document == json.loads(
        json.dumps(found(kind, "ruby:2.7", annotations={"owner": "shop"}, template={"a": "b"}).document)
    )


def test_a_kind_without_pod_spec_has_no_names() -> None:
    with pytest.raises(EditRefused, match="a Build has no pod spec"):
        lookup_edits.force(found(SHIPWRIGHT_BUILD), on=True)
