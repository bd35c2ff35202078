"""The kinds that follow tags: each once, each as its API calls it."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from listener.core import triggers
from listener.core.kinds import BUILD_CONFIG, DEPLOYMENT_CONFIG, KINDS, POD, REPLICA_SET, Form, Kind, custom
from listener.core.triggers import ContainerTrigger, RunTrigger

ROLLOUT = custom("argoproj.io/v1alpha1", "Rollout", ("spec", "template", "spec"))
KRUISE = custom("apps.kruise.io/v1beta1", "StatefulSet", ("spec", "template", "spec"))
DEEP = custom("example.com/v1", "Tree", ("spec", "a", "b", "c", "d"))
SHORT = custom("example.com/v1", "Bare", ("pod",))
TEMPLATE = custom("v1", "PodTemplate", ("template", "spec"))


@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("Deployment", "apps/v1 deployments spec.template.spec"),
        ("StatefulSet", "apps/v1 statefulsets spec.template.spec"),
        ("DaemonSet", "apps/v1 daemonsets spec.template.spec"),
        ("CronJob", "batch/v1 cronjobs spec.jobTemplate.spec.template.spec"),
        ("Job", "batch/v1 jobs spec.template.spec"),
        ("ReplicaSet", "apps/v1 replicasets spec.template.spec"),
        ("ReplicationController", "v1 replicationcontrollers spec.template.spec"),
        ("Pod", "v1 pods spec"),
        ("DeploymentConfig", "apps.openshift.io/v1 deploymentconfigs spec.template.spec"),
        ("BuildConfig", "build.openshift.io/v1 buildconfigs "),
        ("Build", "shipwright.io/v1beta1 builds "),
        ("Pipeline", "tekton.dev/v1 pipelines "),
    ],
)
def test_knows_where_the_pod_spec_stands(kind: str, where: str) -> None:
    [found] = [each for each in KINDS if each.name == kind]
    assert f"{found.api_version} {found.plural} {'.'.join(found.pod_spec_path)}" == where


def test_every_kind_has_a_label_of_its_own() -> None:
    assert set(Counter(kind.label for kind in (*KINDS, ROLLOUT, KRUISE, TEMPLATE)).values()) == {1}


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (ROLLOUT, "Rollout.argoproj.io"),
        (KRUISE, "StatefulSet.apps.kruise.io"),
        (TEMPLATE, "PodTemplate.core"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_custom_kind_is_told_from_another_group_of_the_same_name(kind: Kind, label: str) -> None:
    assert (kind.label, kind.plural, kind.everywhere, kind.form) == (label, "", False, Form.POD_SPEC)


def test_only_what_kubernetes_serves_itself_must_be_there() -> None:
    for kind in KINDS:
        group = kind.api_version.rpartition("/")[0]
        assert kind.everywhere == (group in ("", "apps", "batch"))


def test_what_is_run_says_how_and_the_rest_says_where_its_containers_are() -> None:
    for kind in KINDS:
        assert (kind.runs is not None) == (kind.form is Form.RUN)
        assert bool(kind.pod_spec_path) == (kind.form in (Form.POD_SPEC, Form.DEPLOYMENT_CONFIG))


@pytest.mark.parametrize("kind", [POD, REPLICA_SET], ids=lambda kind: kind.name)
def test_what_deployments_and_rollouts_make_is_left_out_by_the_server(kind: Kind) -> None:
    assert {"!pod-template-hash", "!rollouts-pod-template-hash"} <= set(kind.selector.split(","))


ANNOTATED = [kind for kind in KINDS if kind not in (DEPLOYMENT_CONFIG, BUILD_CONFIG)]


@pytest.mark.parametrize("kind", [*ANNOTATED, ROLLOUT, DEEP, SHORT, TEMPLATE], ids=lambda kind: kind.label)
def test_the_field_path_is_the_kinds_own(kind: Kind) -> None:
    if kind.runs:
        path = f'{".".join(kind.runs.parameters)}[?(@.name=="BASE")].value'
    else:
        path = f'{".".join(kind.pod_spec_path)}.initContainers[?(@.name=="web")].image'
    entry = {"from": {"kind": "ImageStreamTag", "name": "web:v1"}, "fieldPath": path}
    [trigger] = triggers.parse(json.dumps([entry]), namespace="shop", kind=kind).valid
    match trigger:
        case ContainerTrigger():
            assert (trigger.section, trigger.container) == ("initContainers", "web")
        case RunTrigger():
            assert trigger.parameter == "BASE"
    other = triggers.parse(json.dumps([{**entry, "fieldPath": f"x.{path}"}]), namespace="shop", kind=kind)
    assert (other.valid, len(other.problems)) == ((), 1)


@pytest.mark.parametrize("kind", [POD, ROLLOUT, SHORT], ids=lambda kind: kind.label)
def test_ephemeral_containers_follow_nothing(kind: Kind) -> None:
    """Kubernetes lets nobody change them."""
    path = f'{".".join(kind.pod_spec_path)}.ephemeralContainers[?(@.name=="web")].image'
    entry = {"from": {"kind": "ImageStreamTag", "name": "web:v1"}, "fieldPath": path}
    found = triggers.parse(json.dumps([entry]), namespace="shop", kind=kind)
    assert (found.valid, len(found.problems)) == ((), 1)
