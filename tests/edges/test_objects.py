"""Kubernetes' JSON, as strange as it may come, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from listener.core import triggers
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.notices import Notice, Reason, about_stream, about_workload
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.core.workloads import KINDS, Container, Kind, Workload, WorkloadKey
from listener.edges import objects

DEPLOYMENT, STATEFUL_SET, DAEMON_SET, CRON_JOB = KINDS
OURS, ALPHA = triggers.ANNOTATION, triggers.ALPHA_ANNOTATION
METADATA = {"name": "app", "namespace": "shop", "uid": "u1", "resourceVersion": "42"}


def annotation(stream: str = "web", path: str = "spec.template.spec") -> str:
    return json.dumps(
        [{"from": {"kind": "ImageStreamTag", "name": f"{stream}:latest"}, "fieldPath": f"{path}.containers[0].image"}]
    )


def read(kind: Kind, body: Any) -> Workload:
    return objects.read_workload(kind, json.dumps(body).encode())


def templated(annotations: Any, pod_spec: Any) -> dict[str, Any]:
    return {"metadata": {**METADATA, "annotations": annotations}, "spec": {"template": {"spec": pod_spec}}}


POD_SPEC = {
    "containers": [{"name": "web", "image": "r.io/web:1", "env": [{"name": "A", "value": "1"}]}, {"name": "side"}],
    "initContainers": [{"name": "setup", "image": None}],
    "volumes": None,
}
CONTAINERS = (Container("web", "r.io/web:1"), Container("side", ""))
INIT_CONTAINERS = (Container("setup", ""),)


@pytest.mark.parametrize("kind", [DEPLOYMENT, STATEFUL_SET, DAEMON_SET], ids=lambda kind: kind.name)
def test_a_workload_with_a_pod_template(kind: Kind) -> None:
    found = read(kind, templated({OURS: annotation(), "other": "x"}, POD_SPEC))
    assert (found.key, found.uid, found.resource_version) == (WorkloadKey(kind.name, "shop", "app"), "u1", "42")
    assert [(t.stream, t.tag) for t in found.triggers.valid] == [(("shop", "web"), "latest")]
    assert (found.containers, found.init_containers) == (CONTAINERS, INIT_CONTAINERS)


def test_a_cron_job_has_its_pod_spec_one_floor_below() -> None:
    path = "spec.jobTemplate.spec.template.spec"
    body = {
        "metadata": {**METADATA, "annotations": {OURS: annotation(path=path)}},
        "spec": {"jobTemplate": {"spec": {"template": {"spec": POD_SPEC}}}},
    }
    found = read(CRON_JOB, body)
    assert found.triggers.problems == ()
    assert [t.field_path for t in found.triggers.valid] == [f"{path}.containers[0].image"]
    assert (found.containers, found.init_containers) == (CONTAINERS, INIT_CONTAINERS)


@pytest.mark.parametrize(
    ("annotations", "streams"),
    [
        pytest.param({OURS: annotation("ours")}, ["ours"], id="ours"),
        pytest.param({ALPHA: annotation("alpha")}, ["alpha"], id="alpha"),
        pytest.param({ALPHA: annotation("alpha"), OURS: annotation("ours")}, ["ours"], id="both, ours counts"),
        pytest.param({ALPHA: annotation("alpha"), OURS: ""}, ["alpha"], id="ours is empty"),
        pytest.param({OURS: None, ALPHA: annotation("alpha")}, ["alpha"], id="ours is null"),
        pytest.param({}, [], id="none"),
        pytest.param(None, [], id="null"),
    ],
)
def test_which_annotation_counts(annotations: Any, streams: list[str]) -> None:
    found = read(DEPLOYMENT, templated(annotations, POD_SPEC))
    assert [t.stream.name for t in found.triggers.valid] == streams


def test_without_a_trigger_the_containers_are_left_out() -> None:
    found = read(DEPLOYMENT, templated({"other": "x"}, POD_SPEC))
    assert (found.containers, found.init_containers) == ((), ())


@pytest.mark.parametrize("kind", [DEPLOYMENT, CRON_JOB], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    "spec",
    [
        None,
        {},
        {"template": None, "jobTemplate": None},
        {"template": {}, "jobTemplate": {}},
        {"template": {"spec": None}, "jobTemplate": {"spec": None}},
        {"template": {"spec": {}}, "jobTemplate": {"spec": {"template": {"spec": {"containers": None}}}}},
        {"template": {"spec": {"containers": []}}, "jobTemplate": {"spec": {"template": None}}},
    ],
    ids=json.dumps,
)
def test_null_and_absent_are_the_same_at_every_level(kind: Kind, spec: Any) -> None:
    found = read(kind, {"metadata": {**METADATA, "annotations": {OURS: annotation()}}, "spec": spec})
    assert (found.containers, found.init_containers) == ((), ())
    absent = read(kind, {"metadata": {**METADATA, "annotations": {OURS: annotation()}}})
    assert found == absent


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"metadata": None},
        {"metadata": {"name": 5}},
        {"metadata": {**METADATA, "annotations": {OURS: {}}}},
        {"metadata": METADATA, "spec": []},
        {"metadata": {**METADATA, "annotations": {OURS: "[]"}}, "spec": {"template": {"spec": {"containers": {}}}}},
    ],
    ids=lambda body: json.dumps(body)[:60],
)
def test_a_workload_of_another_shape_is_told_as_such(body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(DEPLOYMENT, body)


def test_equal_annotations_are_parsed_to_one_shared_value() -> None:
    """Thousands of workloads carry the same text."""
    one, other = (read(DEPLOYMENT, templated({OURS: annotation()}, POD_SPEC)) for _ in range(2))
    assert one.triggers is other.triggers


def test_the_same_text_in_another_namespace_means_another_stream() -> None:
    body = templated({OURS: annotation()}, POD_SPEC)
    body["metadata"]["namespace"] = "other"
    assert [t.stream for t in read(DEPLOYMENT, body).triggers.valid] == [("other", "web")]


FULL_STREAM = {
    "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "42", "generation": 3},
    "spec": {
        "dockerImageRepository": "r.io/shop/web",
        "lookupPolicy": {"local": True},
        "tags": [
            {
                "name": "stable",
                "from": {"kind": "DockerImage", "name": "r.io/shop/web:v1", "namespace": "other"},
                "reference": True,
                "generation": 2,
                "referencePolicy": {"type": "Local"},
                "importPolicy": {"scheduled": True, "insecure": True, "importMode": "PreserveOriginal"},
                "annotations": {
                    "a": "b",
                    "imagestreams.dev/hold": "true",
                    "imagestreams.dev/import-interval": "30m",
                    "importer.image.openshift.io/prefer-os": "linux",
                    "importer.image.openshift.io/prefer-arch": "arm64",
                },
            },
            {"name": "placeholder"},
        ],
    },
    "status": {
        "dockerImageRepository": "inside:5000/shop/web",
        "publicDockerImageRepository": "outside/shop/web",
        "conditions": [{"type": "ImportSuccess", "status": "True"}],
        "tags": [
            {"tag": "v2", "items": None, "conditions": None},
            {
                "tag": "latest",
                "items": [
                    {
                        "created": "2026-01-01T00:00:00Z",
                        "dockerImageReference": "r.io/shop/web@sha256:1",
                        "image": "sha256:1",
                        "generation": 2,
                        "pushed": "2026-01-01T00:00:00.000001Z",
                    },
                    {"created": "2025-01-01T00:00:00Z", "dockerImageReference": "r.io/web:1", "image": ""},
                ],
                "conditions": [
                    {
                        "type": "ImportSuccess",
                        "status": "False",
                        "lastTransitionTime": "2026-01-01T00:00:00Z",
                        "reason": "NotFound",
                        "message": "no such image",
                        "generation": 2,
                    }
                ],
                "waiting": [
                    {
                        "created": "2026-01-02T00:00:00Z",
                        "dockerImageReference": "r.io/web@sha256:2",
                        "image": "sha256:2",
                    }
                ],
                "resolved": {
                    "kind": "DockerImage",
                    "name": "r.io/web:1",
                    "importMode": "Legacy",
                    "followed": "sha256:3",
                },
            },
        ],
    },
}
HISTORY = TagHistory(
    "latest",
    (
        TagItem("2026-01-01T00:00:00Z", "r.io/shop/web@sha256:1", "sha256:1", 2, "2026-01-01T00:00:00.000001Z"),
        TagItem("2025-01-01T00:00:00Z", "r.io/web:1", "", 0),
    ),
    (Condition("ImportSuccess", "False", "2026-01-01T00:00:00Z", "NotFound", "no such image", 2),),
    (TagItem("2026-01-02T00:00:00Z", "r.io/web@sha256:2", "sha256:2", 0),),
    Resolution("DockerImage", "", "r.io/web:1", False, "Legacy", "sha256:3"),
)


def test_a_stream_with_everything() -> None:
    assert objects.read_stream(json.dumps(FULL_STREAM).encode()) == Stream(
        key=StreamKey("shop", "web"),
        uid="u1",
        resource_version="42",
        generation=3,
        repository="r.io/shop/web",
        status_repository="inside:5000/shop/web",
        spec_tags=(
            SpecTag(
                "stable",
                "DockerImage",
                "other",
                "r.io/shop/web:v1",
                reference=True,
                generation=2,
                reference_policy="Local",
                import_mode="PreserveOriginal",
                scheduled=True,
                insecure=True,
                hold="",
                import_interval="30m",
                prefer_os="linux",
                prefer_architecture="arm64",
            ),
            SpecTag("placeholder"),
        ),
        tags=(HISTORY, TagHistory("v2")),  # sorted by tag
        public_repository="outside/shop/web",
        conditions=(Condition("ImportSuccess", "True", "", "", "", None),),
    )


EMPTY_STREAM = Stream(StreamKey("shop", "web"), "", "", 0, "", "", (), ())


@pytest.mark.parametrize(
    "rest",
    [
        {},
        {"spec": None, "status": None},
        {"spec": {}, "status": {}},
        {
            "spec": {"tags": None, "dockerImageRepository": None},
            "status": {"tags": None, "dockerImageRepository": None},
        },
        {"spec": {"tags": []}, "status": {"tags": []}},
    ],
    ids=json.dumps,
)
def test_a_stream_with_nothing(rest: Any) -> None:
    body = {"metadata": {"name": "web", "namespace": "shop", "generation": None, "annotations": None}, **rest}
    assert objects.read_stream(json.dumps(body).encode()) == EMPTY_STREAM


def test_nulls_inside_tags() -> None:
    body = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"tags": [{"name": "a", "from": None, "reference": None, "generation": None, "referencePolicy": None}]},
        "status": {
            "tags": [
                {
                    "tag": "a",
                    "items": [{"created": None, "dockerImageReference": None, "image": None, "generation": None}],
                    "conditions": [{"type": "T", "lastTransitionTime": None, "reason": None, "message": None}],
                }
            ]
        },
    }
    found = objects.read_stream(json.dumps(body).encode())
    assert found.spec_tags == (SpecTag("a"),)
    assert found.tags == (TagHistory("a", (TagItem("", "", "", 0),), (Condition("T", "", "", "", "", None),)),)


@pytest.mark.parametrize(
    "histories",
    [
        pytest.param((HISTORY, TagHistory("v2")), id="with a condition and without items"),
        pytest.param((TagHistory("a", (), (Condition("T", "True", "", "", "", None),)),), id="bare condition"),
        pytest.param((), id="nothing"),
    ],
)
def test_tags_come_back_as_they_were_written(histories: tuple[TagHistory, ...]) -> None:
    status = objects.write_status(replace(EMPTY_STREAM, tags=histories))
    body = {"metadata": {"name": "web", "namespace": "shop"}, "status": status}
    assert objects.read_stream(json.dumps(body).encode()).tags == histories


@pytest.mark.parametrize(
    ("annotations", "expected"),
    [
        pytest.param({}, {}, id="none"),
        pytest.param({"openshift.io/image.dockerRepositoryCheck": "2026"}, {"is_checked": True}, id="checked"),
        pytest.param({"openshift.io/image.dockerRepositoryCheck": ""}, {}, id="to be checked again"),
        pytest.param({"openshift.io/image.insecureRepository": "true"}, {"insecure_repository": True}, id="insecure"),
        pytest.param({"openshift.io/image.insecureRepository": "yes"}, {}, id="insecure, another word"),
        pytest.param(
            {"imagestreams.dev/shared-with": " prod, ,stage"},
            {"shared_with": frozenset({"prod", "stage"})},
            id="shared",
        ),
    ],
)
def test_annotations_of_a_stream(annotations: dict[str, str], expected: dict[str, Any]) -> None:
    body = {"metadata": {"name": "web", "namespace": "shop", "annotations": annotations}}
    assert objects.read_stream(json.dumps(body).encode()) == replace(EMPTY_STREAM, **expected)


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [(None, None), ("false", None), ("true", ""), ("", ""), ("sha256:1", "sha256:1")],
)
def test_how_a_tag_is_held(annotation: str | None, expected: str | None) -> None:
    annotations = {} if annotation is None else {"imagestreams.dev/hold": annotation}
    body = {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"tags": [{"name": "a", "annotations": annotations}]},
    }
    assert objects.read_stream(json.dumps(body).encode()).spec_tags == (SpecTag("a", hold=expected),)


def test_what_is_not_set_is_left_out_of_a_condition() -> None:
    [tag] = objects.write_tags([TagHistory("a", (), (Condition("T", "True", "", "", "", None),))])
    assert tag == {"tag": "a", "items": [], "conditions": [{"type": "T", "status": "True"}]}


@pytest.mark.parametrize(
    ("notice", "kind", "api_version", "event_type"),
    [
        pytest.param(
            Notice(about_stream(StreamKey("shop", "web"), "u1"), Reason.TAG_MOVED, "it moved"),
            "ImageStream",
            "image.openshift.io/v1",
            "Normal",
            id="stream",
        ),
        pytest.param(
            Notice(
                about_workload(WorkloadKey("CronJob", "shop", "web"), "batch/v1", "u1"), Reason.TRIGGER_FAILED, "no"
            ),
            "CronJob",
            "batch/v1",
            "Warning",
            id="workload, warning",
        ),
    ],
)
def test_an_event_names_its_object_as_kubectl_describe_looks_for_it(
    notice: Notice, kind: str, api_version: str, event_type: str
) -> None:
    time = datetime(2026, 1, 1, tzinfo=UTC).isoformat()
    event = objects.write_event("web.1", notice, count=3, first=time, last=time)
    assert event["involvedObject"] == {
        "apiVersion": api_version,
        "kind": kind,
        "namespace": "shop",
        "name": "web",
        "uid": "u1",
    }
    assert event["metadata"] == {"name": "web.1", "namespace": "shop"}
    assert (event["type"], event["reason"], event["message"]) == (event_type, str(notice.reason), notice.message)
    assert (event["count"], event["firstTimestamp"], event["lastTimestamp"]) == (3, time, time)
