"""Kubernetes' JSON, as strange as it may come, and back."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import yaml

from listener.core import triggers
from listener.core.actions import LAST_TRIGGERED
from listener.core.build_configs import BuildTrigger
from listener.core.deployment_configs import ConfigTrigger
from listener.core.fanouts import Failure, FanOutRecord, Phase
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.kinds import (
    BUILD_CONFIG,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    KINDS,
    POD,
    REPLICA_SET,
    SHIPWRIGHT_BUILD,
    STATEFUL_SET,
    TEKTON_PIPELINE,
    Form,
    Kind,
    custom,
)
from listener.core.managers import Manager
from listener.core.notices import Notice, Reason, about_stream, about_workload
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.core.triggers import RunTrigger
from listener.core.workloads import Container, Record, Workload, WorkloadKey
from listener.edges import objects

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


# Kinds of other shapes

SHORT = custom("example.com/v1", "Bare", ("pod",))
DEEP = custom("example.com/v1", "Tree", ("spec", "a", "b", "c", "d"))
ROLLOUT = custom("argoproj.io/v1alpha1", "Rollout", ("spec", "template", "spec"))
KRUISE = custom("apps.kruise.io/v1beta1", "StatefulSet", ("spec", "template", "spec"))
CORE = custom("v1", "PodTemplate", ("template", "spec"))
WITH_PODS = [kind for kind in KINDS if kind.form is Form.POD_SPEC]
OWNED = [kind for kind in WITH_PODS if not kind.owned]
CUSTOM = [SHORT, DEEP, ROLLOUT, KRUISE, CORE]


def following(kind: Kind, pod_spec: Any = POD_SPEC, **metadata: Any) -> dict[str, Any]:
    """An object of a kind with a pod spec, with a trigger on its first container."""
    body: Any = pod_spec
    for part in reversed(kind.pod_spec_path):
        body = {part: body}
    told = {OURS: annotation(path=".".join(kind.pod_spec_path))}
    return {"metadata": {**METADATA, "annotations": told, **metadata}, **body}


@pytest.mark.parametrize("kind", [*WITH_PODS, *CUSTOM], ids=lambda kind: kind.label)
def test_containers_are_read_where_the_kind_has_them(kind: Kind) -> None:
    found = read(kind, following(kind))
    assert found.key == WorkloadKey(kind.label, "shop", "app")
    assert (len(found.triggers.valid), found.triggers.problems) == (1, ())
    assert (found.containers, found.init_containers) == (CONTAINERS, INIT_CONTAINERS)


NOTHING: tuple[Any, ...] = (None, {})


@pytest.mark.parametrize("kind", CUSTOM, ids=lambda kind: kind.label)
def test_null_and_absent_are_the_same_on_every_step_of_a_path(kind: Kind) -> None:
    for depth in range(len(kind.pod_spec_path) + 1):
        for end in NOTHING:
            body = following(kind)
            inner = body
            for part in kind.pod_spec_path[:depth]:
                before, inner = inner, inner[part]
            if depth:
                before[kind.pod_spec_path[depth - 1]] = end
            else:
                del body[kind.pod_spec_path[0]]
            assert read(kind, body).containers == ()


@pytest.mark.parametrize("kind", CUSTOM, ids=lambda kind: kind.label)
def test_what_others_put_into_their_status_does_not_matter(kind: Kind) -> None:
    """The replicas of an Argo Rollout are text in its status."""
    body = following(kind) | {"status": {"observedGeneration": "5", "replicas": "3", "phase": 1, "conditions": {}}}
    found = read(kind, body)
    assert (found.containers, found.is_rolled_out) == (CONTAINERS, None)


@pytest.mark.parametrize("kind", [DEPLOYMENT, POD, ROLLOUT], ids=lambda kind: kind.label)
@pytest.mark.parametrize("annotations", [None, {}], ids=["none", "an empty map"])
def test_a_map_of_annotations_is_there_with_a_trigger(kind: Kind, annotations: Any) -> None:
    assert read(kind, following(kind)).has_annotations
    assert read(kind, following(kind, annotations=annotations)).triggers == triggers.Triggers()


@pytest.mark.parametrize(
    ("owners", "is_left_alone"),
    [
        pytest.param(None, False, id="null"),
        pytest.param([], False, id="none"),
        pytest.param([{"kind": "Thing", "name": "x"}], False, id="an owner that controls nothing"),
        pytest.param([{"kind": "Thing", "name": "x", "controller": False}], False, id="and says so"),
        pytest.param([{"kind": "Thing"}, {"kind": "Deployment", "controller": True}], True, id="a controller"),
    ],
)
@pytest.mark.parametrize("kind", OWNED, ids=lambda kind: kind.name)
def test_what_a_controller_owns_is_left_to_it(kind: Kind, owners: Any, is_left_alone: bool) -> None:
    found = read(kind, following(kind, ownerReferences=owners))
    assert (found.triggers == triggers.Triggers()) == is_left_alone
    assert (found.containers == ()) == is_left_alone
    assert (found.uid, found.resource_version) == ("u1", "42")


def test_which_kinds_are_left_to_a_controller() -> None:
    assert {kind.name for kind in OWNED} == {"Job", "ReplicaSet", "ReplicationController", "Pod"}


@pytest.mark.parametrize("kind", [DEPLOYMENT, STATEFUL_SET, CRON_JOB, ROLLOUT], ids=lambda kind: kind.label)
def test_what_an_operator_owns_is_followed_all_the_same(kind: Kind) -> None:
    """Its people put the trigger there, if not it itself."""
    assert read(kind, following(kind, ownerReferences=[{"controller": True}])).triggers.valid


@pytest.mark.parametrize("kind", [*WITH_PODS, *CUSTOM], ids=lambda kind: kind.label)
def test_what_is_being_deleted_is_left_alone(kind: Kind) -> None:
    found = read(kind, following(kind, deletionTimestamp="2026-01-01T00:00:00Z"))
    assert (found.triggers, found.containers) == (triggers.Triggers(), ())


def condition(kind: str, status: str = "True") -> dict[str, Any]:
    return {"conditions": [{"type": "Suspended", "status": "True"}, {"type": kind, "status": status}]}


@pytest.mark.parametrize(
    ("kind", "status", "is_over"),
    [
        pytest.param(POD, {"phase": "Pending"}, False, id="a pod that waits"),
        pytest.param(POD, {"phase": "Running"}, False, id="a pod that runs"),
        pytest.param(POD, {"phase": "Succeeded"}, True, id="a pod that is done"),
        pytest.param(POD, {"phase": "Failed"}, True, id="a pod that failed"),
        pytest.param(POD, None, False, id="a pod without a status"),
        pytest.param(JOB, {}, False, id="a new job"),
        pytest.param(JOB, {"conditions": None}, False, id="a job without conditions"),
        pytest.param(JOB, condition("Complete"), True, id="a job that is done"),
        pytest.param(JOB, condition("Failed"), True, id="a job that failed"),
        pytest.param(JOB, condition("Complete", "False"), False, id="a job that is not done"),
        pytest.param(JOB, condition("FailureTarget"), False, id="a job that is about to fail"),
        pytest.param(JOB, {"phase": "Failed"}, False, id="the word of another kind"),
        pytest.param(DEPLOYMENT, condition("Failed"), False, id="a condition of another kind"),
        pytest.param(SHORT, {"phase": "Failed"}, False, id="a kind that we do not know"),
    ],
)
def test_what_has_run_to_its_end_is_left_alone(kind: Kind, status: Any, is_over: bool) -> None:
    assert (read(kind, following(kind) | {"status": status}).triggers == triggers.Triggers()) == is_over


# How far a rollout is: the table of `kubectl rollout status` (staging/src/k8s.io/kubectl/pkg/polymorphichelpers)

DONE = {"observedGeneration": 2, "replicas": 3, "updatedReplicas": 3, "readyReplicas": 3, "availableReplicas": 3}
SCHEDULED = {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3}
NONE_WANTED = {"observedGeneration": 2}
ON_DELETE = {"updateStrategy": {"type": "OnDelete"}}


def partition(number: int | None) -> dict[str, Any]:
    return {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": number}}}


@pytest.mark.parametrize(
    ("kind", "spec", "status", "expected"),
    [
        pytest.param(DEPLOYMENT, {"replicas": 3}, DONE, True, id="Deployment: done"),
        pytest.param(DEPLOYMENT, {"replicas": 3}, None, False, id="Deployment: no status yet"),
        pytest.param(DEPLOYMENT, {"replicas": 3}, DONE | {"observedGeneration": 1}, False, id="Deployment: not seen"),
        pytest.param(DEPLOYMENT, {"replicas": 3}, DONE | {"updatedReplicas": 2}, False, id="Deployment: not updated"),
        pytest.param(DEPLOYMENT, {"replicas": 3}, DONE | {"replicas": 4}, False, id="Deployment: an old one is left"),
        pytest.param(DEPLOYMENT, {"replicas": 3}, DONE | {"availableReplicas": 2}, False, id="Deployment: unavailable"),
        pytest.param(DEPLOYMENT, {"replicas": 4}, DONE, False, id="Deployment: scaled up"),
        pytest.param(DEPLOYMENT, {"replicas": 0}, NONE_WANTED, True, id="Deployment: of none"),
        pytest.param(DEPLOYMENT, {"replicas": 0}, DONE, True, id="Deployment: all updated, though too many"),
        pytest.param(DEPLOYMENT, {}, NONE_WANTED, False, id="Deployment: one, if it does not say"),
        pytest.param(STATEFUL_SET, {"replicas": 3}, DONE, True, id="StatefulSet: done"),
        pytest.param(STATEFUL_SET, {"replicas": 3}, DONE | {"observedGeneration": 1}, False, id="StatefulSet: unseen"),
        pytest.param(STATEFUL_SET, {"replicas": 3}, DONE | {"updatedReplicas": 2}, False, id="StatefulSet: old"),
        pytest.param(STATEFUL_SET, {"replicas": 3}, DONE | {"readyReplicas": 2}, False, id="StatefulSet: not ready"),
        pytest.param(STATEFUL_SET, {"replicas": 0}, NONE_WANTED, True, id="StatefulSet: of none"),
        pytest.param(
            STATEFUL_SET,
            {"replicas": 3, **partition(2)},
            DONE | {"updatedReplicas": 1},
            True,
            id="StatefulSet: as far as it may",
        ),
        pytest.param(
            STATEFUL_SET,
            {"replicas": 3, **partition(1)},
            DONE | {"updatedReplicas": 1},
            False,
            id="StatefulSet: not as far as it may",
        ),
        pytest.param(
            STATEFUL_SET,
            {"replicas": 3, **partition(9)},
            DONE | {"updatedReplicas": 0},
            True,
            id="StatefulSet: it may not begin",
        ),
        pytest.param(STATEFUL_SET, {"replicas": 3, **partition(None)}, DONE, True, id="StatefulSet: no partition"),
        pytest.param(DAEMON_SET, {}, SCHEDULED, True, id="DaemonSet: done"),
        pytest.param(DAEMON_SET, {}, SCHEDULED | {"observedGeneration": 1}, False, id="DaemonSet: not seen"),
        pytest.param(DAEMON_SET, {}, SCHEDULED | {"updatedNumberScheduled": 2}, False, id="DaemonSet: not updated"),
        pytest.param(DAEMON_SET, {}, SCHEDULED | {"numberAvailable": 2}, False, id="DaemonSet: unavailable"),
        pytest.param(DAEMON_SET, {}, NONE_WANTED, True, id="DaemonSet: no node wants it"),
        pytest.param(DEPLOYMENT, {"paused": True}, DONE | {"updatedReplicas": 0}, None, id="Deployment: paused"),
        pytest.param(DEPLOYMENT, {"paused": True}, {"observedGeneration": 1}, None, id="Deployment: paused, not seen"),
        pytest.param(DEPLOYMENT, {"paused": False, "replicas": 3}, DONE, True, id="Deployment: not paused any more"),
        pytest.param(STATEFUL_SET, ON_DELETE, DONE | {"updatedReplicas": 0}, None, id="StatefulSet: on delete"),
        pytest.param(DAEMON_SET, ON_DELETE, SCHEDULED | {"updatedNumberScheduled": 0}, None, id="DaemonSet: on delete"),
        pytest.param(DAEMON_SET, ON_DELETE, {"observedGeneration": 1}, None, id="DaemonSet: on delete, not seen"),
        pytest.param(CRON_JOB, {}, {}, None, id="CronJob: it runs when its time comes"),
        pytest.param(REPLICA_SET, {"replicas": 3}, DONE, None, id="ReplicaSet: it replaces no Pods"),
    ],
)
def test_whether_it_is_rolled_out(kind: Kind, spec: dict[str, Any], status: Any, expected: bool | None) -> None:
    body = following(kind, generation=2)
    body["spec"].update(spec)
    assert read(kind, {**body, "status": status}).is_rolled_out is expected


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param(POD, {"spec": []}, id="a pod spec that is a list"),
        pytest.param(POD, {"spec": {"containers": [{"name": 5}]}}, id="a name that is none"),
        pytest.param(POD, {"spec": {"containers": [None]}}, id="a container that is null"),
        pytest.param(POD, {"status": {"phase": 1}}, id="a phase that is none"),
        pytest.param(JOB, {"metadata": {**METADATA, "ownerReferences": {}}}, id="owners that are no list"),
        pytest.param(SHORT, {"pod": "x"}, id="text for a pod spec"),
        pytest.param(DEEP, {"spec": {"a": {"b": 7}}}, id="a number on the way"),
        pytest.param(ROLLOUT, {"spec": {"template": {"spec": {"initContainers": {}}}}}, id="init containers: no list"),
        pytest.param(DEPLOYMENT_CONFIG, {"spec": {"triggers": {}}}, id="triggers that are no list"),
        pytest.param(DEPLOYMENT_CONFIG, {"spec": {"triggers": [{"type": 1}]}}, id="a type that is none"),
        pytest.param(
            DEPLOYMENT_CONFIG,
            {"spec": {"triggers": [{"imageChangeParams": {"containerNames": [1]}}]}},
            id="the name of a container that is none",
        ),
        pytest.param(BUILD_CONFIG, {"spec": {"triggers": ["x"]}}, id="a trigger that is text"),
        pytest.param(BUILD_CONFIG, {"spec": {"strategy": []}}, id="a strategy that is a list"),
        pytest.param(BUILD_CONFIG, {"status": {"imageChangeTriggers": [7]}}, id="a record that is a number"),
        pytest.param(SHIPWRIGHT_BUILD, {"metadata": {**METADATA, "annotations": []}}, id="annotations: no map"),
        pytest.param(
            TEKTON_PIPELINE, {"metadata": {**METADATA, "annotations": {LAST_TRIGGERED: 1}}}, id="a record of no text"
        ),
    ],
)
def test_another_shape_is_told_as_such_in_every_kind(kind: Kind, change: dict[str, Any]) -> None:
    body = following(kind) if kind.pod_spec_path else {"metadata": METADATA}
    with pytest.raises(msgspec.ValidationError):
        read(kind, body | change)


@pytest.mark.parametrize("kind", [*KINDS, *CUSTOM], ids=lambda kind: kind.label)
@pytest.mark.parametrize("body", [None, [], 7, "x", {}, {"metadata": None}, {"metadata": {}}], ids=json.dumps)
def test_what_is_no_object_is_told_as_such_in_every_kind(kind: Kind, body: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(kind, body)


# What OpenShift has, and what is run


def deployment_config(*entries: Any, **metadata: Any) -> dict[str, Any]:
    return {
        "metadata": {**METADATA, **metadata},
        "spec": {"triggers": list(entries), "replicas": 1, "template": {"spec": POD_SPEC}},
        "status": {"observedGeneration": 3, "details": {"causes": [{}]}},
    }


IMAGE_CHANGE = {
    "type": "ImageChange",
    "imageChangeParams": {
        "automatic": True,
        "containerNames": ["web", "setup"],
        "from": {"kind": "ImageStreamTag", "namespace": "base", "name": "web:v1"},
        "lastTriggeredImage": "r.io/web@sha256:old",
    },
}


def test_a_deployment_config_has_triggers_of_its_own() -> None:
    found = read(DEPLOYMENT_CONFIG, deployment_config({"type": "ConfigChange"}, IMAGE_CHANGE))
    assert found.key == WorkloadKey("DeploymentConfig", "shop", "app")
    [trigger] = found.triggers.valid
    assert isinstance(trigger, ConfigTrigger)
    assert (trigger.stream, trigger.tag, trigger.position) == (StreamKey("base", "web"), "v1", 1)
    assert (trigger.containers, trigger.last) == (("web", "setup"), "r.io/web@sha256:old")
    assert (found.containers, found.init_containers) == (CONTAINERS, INIT_CONTAINERS)
    assert not found.has_annotations


def test_a_deployment_config_with_annotations_says_so_and_our_own_is_none_of_its_triggers() -> None:
    found = read(DEPLOYMENT_CONFIG, deployment_config(IMAGE_CHANGE, annotations={OURS: annotation()}))
    assert found.has_annotations
    assert len(found.triggers.valid) == 1


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(deployment_config(), id="no triggers"),
        pytest.param(deployment_config({"type": "ConfigChange", "imageChangeParams": None}), id="no tags"),
        pytest.param(deployment_config() | {"spec": None}, id="no spec"),
        pytest.param(deployment_config() | {"spec": {"triggers": None}}, id="null for triggers"),
        pytest.param(deployment_config(IMAGE_CHANGE, deletionTimestamp="2026-01-01T00:00:00Z"), id="being deleted"),
    ],
)
def test_a_deployment_config_that_follows_nothing(found: dict[str, Any]) -> None:
    read_now = read(DEPLOYMENT_CONFIG, found)
    assert (read_now.triggers, read_now.containers) == (triggers.Triggers(), ())


def test_a_build_config_has_triggers_of_its_own() -> None:
    body = {
        "metadata": METADATA,
        "spec": {
            "triggers": [{"type": "ImageChange", "imageChange": {}}, {"type": "GitHub", "github": {}}],
            "strategy": {"type": "Source", "sourceStrategy": {"from": {"kind": "ImageStreamTag", "name": "web:v1"}}},
        },
        "status": {
            "lastVersion": 4,
            "imageChangeTriggers": [
                {"from": {"namespace": "shop", "name": "web:v1"}, "lastTriggeredImageID": "old", "lastTriggerTime": "x"}
            ],
        },
    }
    [trigger] = read(BUILD_CONFIG, body).triggers.valid
    assert isinstance(trigger, BuildTrigger)
    assert (trigger.stream, trigger.tag, trigger.last) == (StreamKey("shop", "web"), "v1", "old")
    body["metadata"] = {**METADATA, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert read(BUILD_CONFIG, body).triggers == triggers.Triggers()


@pytest.mark.parametrize("rest", [{}, {"spec": None, "status": None}, {"spec": {"triggers": [], "strategy": None}}])
def test_a_build_config_that_follows_nothing(rest: dict[str, Any]) -> None:
    assert read(BUILD_CONFIG, {"metadata": METADATA, **rest}).triggers == triggers.Triggers()


@pytest.mark.parametrize(
    ("told", "record"),
    [
        pytest.param({}, Record(), id="never run"),
        pytest.param({LAST_TRIGGERED: None}, Record(), id="null"),
        pytest.param({LAST_TRIGGERED: "what"}, Record(), id="no record"),
        pytest.param(
            {LAST_TRIGGERED: '{"number":3,"images":{"shop/web:latest":"r.io/web@sha256:a"}}'},
            Record(3, {"shop/web:latest": "r.io/web@sha256:a"}),
            id="run three times",
        ),
    ],
)
@pytest.mark.parametrize("kind", [SHIPWRIGHT_BUILD, TEKTON_PIPELINE], ids=lambda kind: kind.name)
def test_what_is_run_remembers_its_last_run(kind: Kind, told: dict[str, Any], record: Record) -> None:
    assert kind.runs is not None
    path = ".".join(kind.runs.parameters)
    text = json.dumps(
        [{"from": {"kind": "ImageStreamTag", "name": "web:latest"}, "fieldPath": f'{path}[?(@.name=="A")].value'}]
    )
    found = read(kind, {"metadata": {**METADATA, "annotations": {OURS: text, **told}}, "spec": "whatever"})
    [trigger] = found.triggers.valid
    assert isinstance(trigger, RunTrigger)
    assert (trigger.parameter, found.record, found.containers) == ("A", record, ())
    metadata = {**METADATA, "annotations": {OURS: text}, "deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert read(kind, {"metadata": metadata}).triggers == triggers.Triggers()


def test_a_run_says_what_it_was_made_of() -> None:
    run = {"metadata": {**METADATA, "annotations": {LAST_TRIGGERED: "x"}}, "status": {"conditions": [{}]}}
    assert objects.read_last_triggered(json.dumps(run).encode()) == "x"
    assert objects.read_last_triggered(json.dumps({"metadata": METADATA}).encode()) is None
    for body in (b"{}", b"[]", b'{"metadata": {"name": "x", "annotations": {"imagestreams.dev/last-triggered": 1}}}'):
        with pytest.raises(msgspec.ValidationError):
            objects.read_last_triggered(body)


def test_managers_are_read_with_the_fields_they_manage() -> None:
    fields: dict[str, Any] = {"f:spec": {"f:template": {}}}
    entry = {"manager": "helm", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields}
    body = {"metadata": {"managedFields": [{**entry, "subresource": "scale"}, {"time": None, "fieldsV1": None}]}}
    assert objects.read_managers(json.dumps(body).encode()) == [
        Manager("helm", "Update", "2026-01-01T00:00:00Z", fields),
        Manager("", "", "", {}),
    ]
    assert objects.read_managers(b'{"metadata": {"managedFields": null}}') == []
    with pytest.raises(msgspec.ValidationError):
        objects.read_managers(b'{"metadata": {"managedFields": {}}}')


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
                    "version": "41",
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
    Resolution("DockerImage", "", "r.io/web:1", False, "Legacy", "sha256:3", "41"),
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
        local_lookup=True,
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


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(FanOutRecord("prod", "r.io/web@sha256:1", "sha256:1", 0, "2026-01-01T00:00:00.000001Z"), id="new"),
        pytest.param(
            FanOutRecord(
                *("prod", "r.io/web@sha256:1", "sha256:1", 7, "2026-01-01T00:00:00.000001Z", "push", "4f2a"),
                Phase.TIMED_OUT,
                *(36, 1, 2, 3, 4, 5, 6, 7),
                *("2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z", "2026-01-01T00:00:03Z", "2026-01-01T00:00:04Z"),
                (Failure("Deployment", "shop", "app", "no"), Failure("Rollout.argoproj.io", "shop", "app", "no")),
            ),
            id="everything",
        ),
    ],
)
def test_a_fan_out_comes_back_as_it_was_written(record: FanOutRecord) -> None:
    status = objects.write_status(replace(EMPTY_STREAM, fan_outs=(record,)))
    assert yaml.safe_load(yaml.safe_dump(status)) == status
    body = {"metadata": {"name": "web", "namespace": "shop"}, "status": status}
    assert objects.read_stream(json.dumps(body).encode()).fan_outs == (record,)


def test_a_fan_out_of_another_release_or_hand_is_over() -> None:
    fan_outs = [{"tag": "prod", "phase": "Resting", "startedBy": "me"}, {"tag": "prod", "failures": None}]
    body = {"metadata": {"name": "web", "namespace": "shop"}, "status": {"fanOuts": fan_outs}}
    found = objects.read_stream(json.dumps(body).encode()).fan_outs
    assert {(record.tag, record.phase) for record in found} == {("prod", Phase.DONE)}


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
            Notice(about_workload(WorkloadKey("CronJob", "shop", "web"), CRON_JOB, "u1"), Reason.TRIGGER_FAILED, "no"),
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
