"""The Kubernetes API, kind by kind: what is found by discovery, listed, changed, started, and refused for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from listener.core import managers
from listener.core.actions import LAST_TRIGGERED, Start
from listener.core.changes import Seen
from listener.core.kinds import (
    BUILD_CONFIG,
    DEPLOYMENT,
    JOB,
    KINDS,
    POD,
    REPLICA_SET,
    SHIPWRIGHT_BUILD,
    TEKTON_PIPELINE,
    Kind,
    custom,
)
from listener.core.outcomes import End
from listener.core.streams import StreamKey
from listener.core.triggers import ANNOTATION
from listener.core.workloads import Container, Workload, WorkloadKey
from listener.edges.cluster import STREAMS_PATH, Cluster
from listener.errors import ClusterRefused, ClusterUnavailable, NotServed
from tests.cluster_under_test import ClusterUnderTest, sandbox_cluster
from tests.definitions import define
from tests.edges.api_server import api_server, refuses, says

ROLLOUT = custom("argoproj.io/v1alpha1", "Rollout", ("spec", "template", "spec"))
KRUISE = custom("apps.kruise.io/v1beta1", "StatefulSet", ("spec", "template", "spec"))
OF_CORE = custom("v1", "ReplicationController", ("spec", "template", "spec"))
NOBODYS = custom("nobody.example.com/v1", "Thing", ("spec",))
LABELS = {"app": "web"}


@pytest.fixture
async def ours(cluster: ClusterUnderTest) -> AsyncIterator[Cluster]:
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as ours:
        yield ours


def annotation(kind: Kind) -> str:
    path = ".".join(kind.pod_spec_path)
    return (
        '[{"from":{"kind":"ImageStreamTag","name":"web:latest"},'
        f'"fieldPath":"{path}.containers[?(@.name==\\"web\\")].image"}}]'
    )


def workload(kind: Kind, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    """An object of a kind with a pod spec, called `web`, with a container `web`."""
    pod_spec = {"restartPolicy": "Never" if kind is JOB else "Always", "containers": [{"name": "web", "image": "old"}]}
    body: dict[str, Any] = {**spec, **pod_spec} if kind is POD else pod_spec
    for part in reversed(kind.pod_spec_path):
        body = {part: body}
        if part == "template":
            body["template"]["metadata"] = {"labels": LABELS}
            body |= spec
    metadata = {"name": "web", "annotations": {ANNOTATION: annotation(kind)}, "labels": labels or {}}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, **body}


async def create(ours: Cluster, namespace: str, kind: Kind, body: Mapping[str, Any]) -> WorkloadKey:
    group = f"/apis/{kind.api_version}" if "/" in kind.api_version else f"/api/{kind.api_version}"
    plural = kind.plural or await ours.plural(kind.api_version, kind.name)
    made = await ours.create(f"{group}/namespaces/{namespace}/{plural}", body)
    assert made.end is End.APPLIED, made.message
    return WorkloadKey(kind.label, namespace, body["metadata"]["name"])


def replace(path: str, value: object) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": path, "value": value}]


async def names(ours: Cluster, kind: Kind, namespace: str) -> set[str]:
    return {key.name async for page in ours.workloads(kind, namespace).pages() for key in page.keys}


# Discovery


async def test_discovery_tells_what_a_kind_is_called_in_paths(cluster: ClusterUnderTest, ours: Cluster) -> None:
    await define(cluster, "rollouts.argoproj.io", "statefulsets.apps.kruise.io")
    assert await ours.plural("argoproj.io/v1alpha1", "Rollout") == "rollouts"
    assert await ours.plural("apps.kruise.io/v1beta1", "StatefulSet") == "statefulsets"
    # `pods/eviction` and others are of kinds, too; none of them is what is looked for.
    assert await ours.plural("v1", "Pod") == "pods"


@pytest.mark.parametrize(
    ("api_version", "kind"),
    [("nobody.example.com/v1", "Thing"), ("apps/v1", "Thing"), ("apps/v9", "Deployment"), ("v1", "Scale")],
)
async def test_a_kind_that_is_not_served_is_told(ours: Cluster, api_version: str, kind: str) -> None:
    with pytest.raises(NotServed) as told:
        await ours.plural(api_version, kind)
    assert told.value.status == 404


async def test_what_is_not_served_ends_every_request_as_such(ours: Cluster) -> None:
    key = WorkloadKey(NOBODYS.label, "default", "x")
    source = ours.workloads(NOBODYS)
    assert (source.is_optional, source.resource) == (True, "things.nobody.example.com")
    with pytest.raises(NotServed):
        await anext(source.pages())
    with pytest.raises(NotServed):
        await anext(source.changes("1"))
    with pytest.raises(NotServed):
        await ours.get_workload(NOBODYS, key)
    with pytest.raises(NotServed):
        await ours.managers(NOBODYS, key)
    outcome = await ours.patch_workload(NOBODYS, key, replace("/spec", 1))
    assert outcome.end is End.UNREACHABLE
    assert "nobody.example.com" in outcome.message


async def test_discovery_is_asked_once(tmp_path: Path) -> None:
    found = says(
        200, {"resources": [{"name": "rollouts/status", "kind": "Rollout"}, {"name": "ro", "kind": "Rollout"}]}
    )
    async with api_server(
        tmp_path, refuses(503, "later"), found, refuses(404, "none", details={"name": "x"})
    ) as server:
        with pytest.raises(ClusterUnavailable):
            await server.cluster.plural(ROLLOUT.api_version, ROLLOUT.name)
        for _ in range(3):
            assert await server.cluster.get_workload(ROLLOUT, WorkloadKey(ROLLOUT.label, "shop", "x")) is None
    assert [asked.path for asked in server.asked] == [
        *["/apis/argoproj.io/v1alpha1"] * 2,
        *["/apis/argoproj.io/v1alpha1/namespaces/shop/ro/x"] * 3,
    ]


@pytest.mark.parametrize("body", [b"<html>", {}, {"resources": None}, {"resources": [{"name": 1}]}], ids=str)
async def test_discovery_that_makes_no_sense_is_a_server_that_is_not_there(tmp_path: Path, body: Any) -> None:
    async with api_server(tmp_path, says(200, body)) as server:
        with pytest.raises(ClusterUnavailable, match=r"/apis/argoproj\.io/v1alpha1"):
            await server.cluster.plural(ROLLOUT.api_version, ROLLOUT.name)


# Lists, reads, patches


@pytest.mark.parametrize("kind", [ROLLOUT, KRUISE, OF_CORE], ids=lambda kind: kind.label)
async def test_a_custom_kind_is_listed_watched_read_and_patched(
    cluster: ClusterUnderTest, ours: Cluster, kind: Kind
) -> None:
    await define(cluster, "rollouts.argoproj.io", "statefulsets.apps.kruise.io")
    namespace = await cluster.namespace("custom")
    [empty] = [page async for page in ours.workloads(kind, namespace).pages()]
    selector = LABELS if kind is OF_CORE else {"matchLabels": LABELS}
    key = await create(ours, namespace, kind, workload(kind, replicas=0, selector=selector))
    [page] = [page async for page in ours.workloads(kind, namespace).pages()]
    assert page.keys == {key}
    [found] = page.objects
    assert (found.containers, len(found.triggers.valid)) == ((Container("web", "old"),), 1)
    assert await ours.get_workload(kind, key) == found
    image = "/" + "/".join((*kind.pod_spec_path, "containers/0/image"))
    outcome = await ours.patch_workload(kind, key, replace(image, "new"))
    assert outcome.stored is not None
    assert outcome.stored.containers == (Container("web", "new"),)
    seen: list[Workload] = []
    async with asyncio.timeout(10):
        async for change in ours.workloads(kind, namespace).changes(empty.resource_version):
            if isinstance(change, Seen):
                seen.append(change.value)
            if seen and seen[-1].containers == outcome.stored.containers:
                break
    assert (seen[0].key, seen[0].containers, seen[-1]) == (key, found.containers, outcome.stored)
    none = key._replace(name="none")
    assert await ours.get_workload(kind, none) is None
    assert (await ours.patch_workload(kind, none, replace(image, "new"))).end is End.GONE


@pytest.mark.parametrize("label", ["pod-template-hash", "rollouts-pod-template-hash"])
async def test_a_replica_set_that_a_deployment_made_is_not_even_listed(
    cluster: ClusterUnderTest, ours: Cluster, label: str
) -> None:
    """It has a copy of the annotation."""
    namespace = await cluster.namespace("selector")
    for name, labels in (("made", {label: "x"}), ("web", LABELS)):
        own = {"app": name, **labels}
        body = workload(REPLICA_SET, own, replicas=0, selector={"matchLabels": own})
        body["metadata"]["name"] = name
        body["spec"]["template"]["metadata"]["labels"] = own
        await create(ours, namespace, REPLICA_SET, body)
    assert await names(ours, REPLICA_SET, namespace) == {"web"}


@pytest.mark.parametrize(
    "label",
    [
        "pod-template-hash",
        "rollouts-pod-template-hash",
        "controller-revision-hash",
        "batch.kubernetes.io/controller-uid",
    ],
)
async def test_a_pod_that_a_controller_made_is_not_even_listed(
    cluster: ClusterUnderTest, ours: Cluster, label: str
) -> None:
    namespace = await cluster.namespace("selector")
    made = workload(POD, {label: "x"})
    made["metadata"]["name"] = "made"
    await create(ours, namespace, POD, made)
    await create(ours, namespace, POD, workload(POD, LABELS))
    assert await names(ours, POD, namespace) == {"web"}


async def test_a_selector_goes_along_with_lists_and_watches_and_with_nothing_else(tmp_path: Path) -> None:
    empty = says(200, {"metadata": {"resourceVersion": "5"}, "items": []})
    async with api_server(tmp_path, empty) as server:
        for kind in (POD, DEPLOYMENT):
            source = server.cluster.workloads(kind)
            assert [page.keys async for page in source.pages()] == [frozenset()]
            assert [change async for change in source.changes("5")] == []
        with pytest.raises(ClusterUnavailable):
            await server.cluster.get_workload(POD, WorkloadKey("Pod", "shop", "x"))
    pods, deployments = [POD.selector] * 2, [None] * 2
    assert [asked.query.get("labelSelector") for asked in server.asked] == [*pods, *deployments, None]


def test_only_what_a_cluster_need_not_serve_is_optional(tmp_path: Path) -> None:
    async def look() -> dict[str, bool]:
        async with api_server(tmp_path, says(200, {})) as server:
            assert not server.cluster.streams().is_optional
            return {kind.name: server.cluster.workloads(kind).is_optional for kind in (*KINDS, ROLLOUT)}

    optional = {name for name, is_optional in asyncio.run(look()).items() if is_optional}
    assert optional == {"DeploymentConfig", "BuildConfig", "Build", "Pipeline", "Rollout"}


# What can never be changed


async def test_what_is_immutable_is_refused_for_ever_and_the_reason_is_told(
    cluster: ClusterUnderTest, ours: Cluster
) -> None:
    """The reason stands at the end, behind the whole pod template."""
    namespace = await cluster.namespace("final")
    job = await create(ours, namespace, JOB, workload(JOB, suspend=True))
    outcome = await ours.patch_workload(JOB, job, replace("/spec/template/spec/containers/0/image", "new"))
    assert (outcome.end, outcome.is_final) == (End.REFUSED, True)
    assert outcome.message.endswith("field is immutable")


async def test_the_image_of_a_pod_can_be_changed_and_nothing_else_of_its_containers(
    cluster: ClusterUnderTest, ours: Cluster
) -> None:
    namespace = await cluster.namespace("final")
    pod = await create(ours, namespace, POD, workload(POD))
    outcome = await ours.patch_workload(POD, pod, replace("/spec/containers/0/name", "other"))
    assert (outcome.end, outcome.is_final) == (End.REFUSED, True)
    outcome = await ours.patch_workload(POD, pod, replace("/spec/containers/0/image", "new"))
    assert outcome.stored is not None
    assert outcome.stored.containers == (Container("web", "new"),)


@pytest.mark.parametrize(
    ("answer", "is_final"),
    [
        pytest.param(refuses(422, "x" * 5000 + ": field is immutable", details={"name": "a"}), True, id="a long one"),
        pytest.param(refuses(422, "pod updates may not change fields", details={"name": "a"}), True, id="a pod"),
        pytest.param(refuses(422, "image: Required value", details={"name": "a"}), False, id="what can be mended"),
        pytest.param(refuses(403, "field is immutable"), False, id="a missing right"),
        pytest.param(refuses(500, "field is immutable"), False, id="an error of the server"),
    ],
)
async def test_which_refusals_are_for_ever(tmp_path: Path, answer: Any, is_final: bool) -> None:
    async with api_server(tmp_path, answer) as server:
        outcome = await server.cluster.patch_workload(JOB, WorkloadKey("Job", "shop", "x"), replace("/a", 1))
    assert outcome.is_final is is_final


# What is started


def start(kind: Kind, name: str = "image-1", told: str | None = "what it was made of") -> Start:
    assert kind.runs is not None
    metadata = {"name": name, "annotations": {LAST_TRIGGERED: told} if told else {}}
    spec: dict[str, Any] = (
        {"build": {"name": "image"}} if kind is SHIPWRIGHT_BUILD else {"pipelineRef": {"name": "image"}}
    )
    body = {"apiVersion": kind.runs.api_version, "kind": kind.runs.name, "metadata": metadata, "spec": spec}
    return Start(kind.runs.api_version, kind.runs.plural, name, "", body)


@pytest.mark.parametrize("kind", [SHIPWRIGHT_BUILD, TEKTON_PIPELINE], ids=lambda kind: kind.name)
async def test_a_run_of_a_name_is_started_once_and_found_again(
    cluster: ClusterUnderTest, ours: Cluster, kind: Kind
) -> None:
    await define(cluster, "buildruns.shipwright.io", "pipelineruns.tekton.dev")
    namespace = await cluster.namespace("runs")
    assert (await ours.start(namespace, start(kind), dry_run=True)).end is End.APPLIED
    assert await ours.get_run_record(namespace, start(kind)) is None
    assert (await ours.start(namespace, start(kind))).end is End.APPLIED
    assert (await ours.start(namespace, start(kind, told="other"))).end is End.STALE
    assert await ours.get_run_record(namespace, start(kind)) == "what it was made of"
    assert (await ours.start(namespace, start(kind, "image-2", told=None))).end is End.APPLIED
    assert await ours.get_run_record(namespace, start(kind, "image-2")) is None
    assert (await ours.start("not-there", start(kind))).end is End.GONE


async def test_a_run_that_the_cluster_does_not_serve_is_refused_for_now(ours: Cluster) -> None:
    nobodys = Start("nobody.example.com/v1", "things", "x", "", {})
    outcome = await ours.start("default", nobodys)
    assert (outcome.end, outcome.may_pass) == (End.REFUSED, True)
    assert "nobody.example.com" in outcome.message
    with pytest.raises(ClusterRefused):
        await ours.get_run_record("default", nobodys)


async def test_a_run_that_makes_no_sense_is_a_server_that_is_not_there(tmp_path: Path) -> None:
    async with api_server(tmp_path, says(200, {"metadata": []})) as server:
        with pytest.raises(ClusterUnavailable, match="buildruns/image-1"):
            await server.cluster.get_run_record("shop", start(SHIPWRIGHT_BUILD))


async def test_a_build_is_asked_of_its_config(tmp_path: Path) -> None:
    asks = Start("build.openshift.io/v1", "buildconfigs", "image", "instantiate", {"kind": "BuildRequest"})
    async with api_server(tmp_path, says(201, {"kind": "Build"})) as server:
        assert (await server.cluster.start("shop", asks)).end is End.APPLIED
    [asked] = server.asked
    path = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs/image/instantiate"
    assert (asked.method, asked.path, asked.body) == ("POST", path, b'{"kind":"BuildRequest"}')


async def test_a_build_for_an_image_is_made_once(tmp_path: Path) -> None:
    async with (
        sandbox_cluster(tmp_path, openshift=True) as cluster,
        await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as ours,
    ):
        await _build_twice(ours, await cluster.namespace("builds"))


async def _build_twice(ours: Cluster, namespace: str) -> None:
    image = "r.example/base@sha256:" + "a" * 64
    source = {"kind": "ImageStreamTag", "name": "base:latest"}
    item = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": image, "image": "sha256:" + "a" * 64}
    stream = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": "base"}}
    made = await ours.create(f"{STREAMS_PATH}/namespaces/{namespace}/imagestreams", stream)
    assert made.end is End.APPLIED
    stored = await ours.get_stream(StreamKey(namespace, "base"))
    assert stored is not None
    tags = [{"tag": "latest", "items": [{**item, "generation": 1}]}]
    status = [{"op": "add", "path": "/status", "value": {"tags": tags}}]
    assert (await ours.patch_stream(stored.key, status, subresource="status")).end is End.APPLIED
    config = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "image"},
        "spec": {
            "strategy": {"type": "Source", "sourceStrategy": {"from": source}},
            "triggers": [{"type": "ImageChange", "imageChange": {}}],
        },
    }
    key = await create(ours, namespace, BUILD_CONFIG, config)
    body = {
        "kind": "BuildRequest",
        "apiVersion": "build.openshift.io/v1",
        "metadata": {"name": "image"},
        "from": source,
        "triggeredByImage": {"kind": "DockerImage", "name": image},
    }
    asks = Start("build.openshift.io/v1", "buildconfigs", "image", "instantiate", body)
    assert (await ours.start(namespace, asks)).end is End.APPLIED
    again = await ours.start(namespace, asks)
    assert again.end is not End.APPLIED
    assert "already instantiated" in again.message
    found = await ours.get_workload(BUILD_CONFIG, key)
    assert found is not None
    assert [getattr(trigger, "last", "") for trigger in found.triggers.valid] == [image]


# Who manages what


async def test_who_set_an_image_is_told_by_the_server(cluster: ClusterUnderTest, ours: Cluster) -> None:
    await define(cluster, "rollouts.argoproj.io")
    namespace = await cluster.namespace("managers")
    for kind in (POD, ROLLOUT):
        body = workload(kind) if kind is POD else workload(kind, selector={"matchLabels": LABELS})
        key = await create(ours, namespace, kind, body)
        found = await ours.managers(kind, key)
        manager = managers.of_image(found, kind.pod_spec_path, "web")
        assert manager is not None
        assert manager.name == "imagestream-listener"
        assert await ours.managers(kind, key._replace(name="none")) == ()
