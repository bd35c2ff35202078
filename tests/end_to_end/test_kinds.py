"""Every kind that follows tags, on a cluster: one push moves them all, and each in its own way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from listener.core.kinds import (
    BUILD_CONFIG,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SHIPWRIGHT_BUILD,
    STATEFUL_SET,
    TEKTON_PIPELINE,
    Kind,
    custom,
)
from listener.edges.cluster import Cluster
from listener.sandbox.cluster import Fault
from tests.cluster_under_test import ClusterUnderTest, sandbox_cluster
from tests.definitions import define
from tests.end_to_end.parts import Api, Listener, eventually, push_event, registry, serve

HOST = "registry.example.com"
A, B = (f"sha256:{number:064x}" for number in (1, 2))
OURS, ALPHA = "image.openshift.io/triggers", "image.alpha.openshift.io/triggers"
OLD = "not-pushed-yet"

ROLLOUT = custom("argoproj.io/v1alpha1", "Rollout", ("spec", "template", "spec"))
KNATIVE_SERVICE = custom("serving.knative.dev/v1", "Service", ("spec", "template", "spec"))
KRUISE_STATEFUL_SET = custom("apps.kruise.io/v1beta1", "StatefulSet", ("spec", "template", "spec"))
CLONE_SET = custom("apps.kruise.io/v1alpha1", "CloneSet", ("spec", "template", "spec"))
BUILTIN = [DEPLOYMENT, STATEFUL_SET, DAEMON_SET, CRON_JOB, REPLICA_SET, REPLICATION_CONTROLLER, POD]
CUSTOM = {
    ROLLOUT: "rollouts.argoproj.io",
    KNATIVE_SERVICE: "services.serving.knative.dev",
    KRUISE_STATEFUL_SET: "statefulsets.apps.kruise.io",
    CLONE_SET: "clonesets.apps.kruise.io",
}
WORKLOADS = [
    {"apiVersion": kind.api_version, "kind": kind.name, "podSpecPath": ".".join(kind.pod_spec_path)} for kind in CUSTOM
]


def image(namespace: str, digest: str, stream: str = "web") -> str:
    return f"{HOST}/{namespace}/{stream}@{digest}"


def entry(path: str, tag: str = "web:latest") -> dict[str, Any]:
    return {"from": {"kind": "ImageStreamTag", "name": tag}, "fieldPath": path}


def follows(kind: Kind, container: str = '?(@.name=="web")', section: str = "containers") -> dict[str, str]:
    """The annotation for one container."""
    return {OURS: json.dumps([entry(f"{'.'.join(kind.pod_spec_path)}.{section}[{container}].image")])}


def workload(kind: Kind, name: str, annotations: Mapping[str, str] | None = None) -> dict[str, Any]:
    """One of the kinds with a pod spec: an init container `setup`, then `sidecar` and `web`. It runs nowhere."""
    labels = {"app": name}
    pod_spec: dict[str, Any] = {
        "initContainers": [{"name": "setup", "image": OLD}],
        "containers": [{"name": "sidecar", "image": "sidecar:1"}, {"name": "web", "image": OLD}],
        "restartPolicy": "Never" if kind in (JOB, CRON_JOB) else "Always",
        "nodeSelector": {"imagestreams.dev/nowhere": "true"},
    }
    template = {"metadata": {"labels": labels}, "spec": pod_spec}
    spec: dict[str, Any] = {"template": template, "replicas": 0, "selector": {"matchLabels": labels}}
    match kind.name:
        case "Pod":
            spec = pod_spec
        case "Job":
            spec = {"template": template, "suspend": True}
        case "CronJob":
            spec = {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": template}}}
        case "DaemonSet":
            del spec["replicas"]
        case "ReplicationController" | "DeploymentConfig":
            spec["selector"] = labels
        case "StatefulSet":
            spec["serviceName"] = name
    metadata = {"name": name, "annotations": dict(follows(kind) if annotations is None else annotations)}
    if not metadata["annotations"]:
        del metadata["annotations"]
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": spec}


async def path(api: Api, kind: Kind, namespace: str, name: str = "") -> str:
    group = f"/apis/{kind.api_version}" if "/" in kind.api_version else f"/api/{kind.api_version}"
    plural = kind.plural or await api.client.plural(kind.api_version, kind.name)
    return f"{group}/namespaces/{namespace}/{plural}" + (f"/{name}" if name else "")


async def create(api: Api, kind: Kind, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
    outcome = await api.client.create(await path(api, kind, namespace), body)
    assert outcome.stored is not None, outcome.message
    made: dict[str, Any] = msgspec.json.decode(outcome.stored)
    return made


async def fetch(api: Api, kind: Kind, namespace: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await api.client.get(await path(api, kind, namespace, name)))
    return found


async def items(api: Api, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.json.decode(await api.client.get(path))["items"]
    return found


def images(kind: Kind, found: Mapping[str, Any]) -> dict[str, str]:
    """Container name to image."""
    pod_spec: Any = found
    for part in kind.pod_spec_path:
        pod_spec = pod_spec[part]
    return {c["name"]: c.get("image", "") for c in (*pod_spec["initContainers"], *pod_spec["containers"])}


async def all_run(api: Api, names: list[tuple[Kind, str]], namespace: str, wanted: str) -> bool:
    found = await asyncio.gather(*(fetch(api, kind, namespace, name) for kind, name in names))
    return all(images(kind, one)["web"] == wanted for (kind, _), one in zip(names, found, strict=True))


class Pushes:
    """Pushes of one registry, each later than the one before."""

    def __init__(self, listener: Listener, namespace: str, first: int = 0) -> None:
        self.listener = listener
        self.namespace = namespace
        self._number = first

    async def __call__(self, digest: str, *, stream: str = "web", again: bool = False) -> None:
        self._number += not again
        event = push_event(HOST, f"{self.namespace}/{stream}", "latest", digest)
        event["timestamp"] = f"2026-01-01T00:00:{self._number:02}.000000000Z"
        status, answer = await self.listener.deliver(event)
        assert status == 200, answer


@asynccontextmanager
async def following(
    cluster: ClusterUnderTest, folder: Path, namespace: str, *, rbac: str = "", first: int = 0, workloads: Any = ()
) -> AsyncIterator[Pushes]:
    """The service, which sees that namespace only. `first` counts the pushes that earlier ones of it took. `rbac` is
    what is on of the chart's value.
    """
    settings: dict[str, Any] = {
        "registries": [registry(HOST, integrated=True, verify=False)],
        "namespaces": [namespace],
        "workloads": list(workloads),
    }
    async with serve(cluster, folder, rbac=dict.fromkeys(rbac.split(), True), **settings) as listener:
        await listener.ready()
        yield Pushes(listener, namespace, first)


async def test_one_push_moves_every_kind_with_a_pod_spec(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    """All are called `web`: those of Kubernetes and of OpenKruise that have the same kind's name are told apart."""
    await define(cluster, *CUSTOM.values())
    namespace = await cluster.namespace("kinds")
    names = [(kind, "web") for kind in (*BUILTIN, *CUSTOM)]
    for kind, name in names:
        await create(api, kind, namespace, workload(kind, name))
    async with following(cluster, tmp_path, namespace, workloads=WORKLOADS) as push:
        await push(A)
        wanted = image(namespace, A)
        await eventually(lambda: all_run(api, names, namespace, wanted), what="every kind runs the image")
        await push(A, again=True)

        async def all_told() -> bool:
            subjects = [event["involvedObject"] for event in await api.events(namespace, "ImageTriggered")]
            told = {(subject["kind"], subject["apiVersion"]) for subject in subjects}
            return told == {(kind.name, kind.api_version) for kind, _ in names}

        await eventually(all_told, what="an Event on each of them")
    for kind, name in names:
        found = await fetch(api, kind, namespace, name)
        assert images(kind, found) == {"setup": OLD, "sidecar": "sidecar:1", "web": wanted}, kind.label
        told = json.loads(found["metadata"]["annotations"]["imagestreams.dev/last-triggered"])
        assert (told["stream"], told["digest"]) == (f"{namespace}/web", A)
        assert found["metadata"]["generation"] == 2, kind.label


FORMS = {
    "by-name": (follows(POD), {"web"}),
    "by-index": (follows(POD, "1"), {"web"}),
    "init-by-name": (follows(POD, '?(@.name=="setup")', "initContainers"), {"setup"}),
    "init-by-index": (follows(POD, "0", "initContainers"), {"setup"}),
    "init-among-containers": (follows(POD, '?(@.name=="setup")'), {"setup"}),
    "in-single-quotes": (follows(POD, "?(@.name=='web')"), {"web"}),
    "alpha": ({ALPHA: follows(POD)[OURS]}, {"web"}),
    "both": ({ALPHA: follows(POD, '?(@.name=="setup")')[OURS], **follows(POD)}, {"web"}),
    "two": (
        {OURS: json.dumps([entry("spec.containers[1].image"), entry("spec.initContainers[0].image")])},
        {"web", "setup"},
    ),
    "ephemeral": (follows(POD, "0", "ephemeralContainers"), set[str]()),
    "other-kinds-path": (follows(DEPLOYMENT), set[str]()),
}


async def test_a_container_can_be_named_in_every_way_that_openshift_knows(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """Pods: their image is all that may be changed of them, and a wrong patch would be refused."""
    namespace = await cluster.namespace("forms")
    for name, (given, _) in FORMS.items():
        await create(api, POD, namespace, workload(POD, name, given))
    async with following(cluster, tmp_path, namespace) as push:
        await push(A)
        wanted = image(namespace, A)

        async def moved() -> bool:
            found = {name: images(POD, await fetch(api, POD, namespace, name)) for name in FORMS}
            return all(found[name][each] == wanted for name, (_, expected) in FORMS.items() for each in expected)

        await eventually(moved, what="every container runs the image")

        async def told() -> bool:
            found = await api.events(namespace, "TriggerInvalid")
            return {event["involvedObject"]["name"] for event in found} == {"ephemeral", "other-kinds-path"}

        await eventually(told, what="Events tell what follows nothing")
    for name, (_, expected) in FORMS.items():
        found = images(POD, await fetch(api, POD, namespace, name))
        assert {each for each, now in found.items() if now == wanted} == expected, name


async def test_a_job_cannot_be_changed_which_is_told_and_tried_once(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("job")
    await create(api, JOB, namespace, workload(JOB, "web"))
    await create(api, DEPLOYMENT, namespace, workload(DEPLOYMENT, "web"))
    async with following(cluster, tmp_path, namespace) as push:
        await push(A)
        wanted = image(namespace, A)
        await eventually(lambda: all_run(api, [(DEPLOYMENT, "web")], namespace, wanted), what="the Deployment runs it")
        [event] = await eventually(lambda: api.events(namespace, "TriggerFailed"), what="an Event tells of the Job")
        await asyncio.sleep(2.5)  # a second try would have come after one second, or two
        refused = 'listener_patches_total{kind="Job",outcome="refused"}'
        assert await push.listener.metric(refused) == 1
    assert (event["involvedObject"]["kind"], event["type"], event["count"]) == ("Job", "Warning", 1)
    assert "field is immutable" in event["message"]
    assert "create it anew" in event["message"]
    assert images(JOB, await fetch(api, JOB, namespace, "web"))["web"] == OLD


async def test_what_a_controller_made_is_left_to_it_though_it_has_a_copy_of_the_annotation(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("owned")
    owner = await create(api, DEPLOYMENT, namespace, workload(DEPLOYMENT, "web"))

    def made(kind: Kind, name: str, label: str) -> dict[str, Any]:
        """As a controller makes them. A Deployment's are marked by their label, others' by their owner alone."""
        body = workload(kind, name)
        labels = {"app": "web", label: "x"}
        body["metadata"]["labels"] = labels
        if kind is not POD:
            body["spec"]["template"]["metadata"]["labels"] = labels
            body["spec"]["selector"] = labels if kind is REPLICATION_CONTROLLER else {"matchLabels": labels}
        reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"]}
        body["metadata"]["ownerReferences"] = [{**reference, "controller": True}]
        return body

    copies = [(REPLICA_SET, "old", "pod-template-hash"), (POD, "old", "pod-template-hash")]
    copies += [(kind, "unmarked", "odd") for kind in (REPLICA_SET, REPLICATION_CONTROLLER, POD)]
    for kind, name, label in copies:
        await create(api, kind, namespace, made(kind, name, label))
    async with following(cluster, tmp_path, namespace) as push:
        for digest in (A, B):
            await push(digest)
            wanted = image(namespace, digest)
            await eventually(
                lambda wanted=wanted: all_run(api, [(DEPLOYMENT, "web")], namespace, wanted),  # type: ignore[misc]
                what="the Deployment runs the image",
            )
        for kind in (REPLICA_SET, REPLICATION_CONTROLLER, POD):
            assert await push.listener.metric(f'listener_workloads{{kind="{kind.label}"}}') == 0
            assert await push.listener.metric(f'listener_patches_total{{kind="{kind.label}"') == 0
        assert await push.listener.terminate() == 0
    for kind in (REPLICA_SET, REPLICATION_CONTROLLER, POD):
        for found in await items(api, await path(api, kind, namespace)):
            assert OURS in found["metadata"]["annotations"]
            if found["metadata"]["name"] in ("old", "unmarked"):
                assert images(kind, found)["web"] == OLD, kind.label


# OpenShift's own kinds


def image_change(tag: str, *containers: str, automatic: bool = True) -> dict[str, Any]:
    source = {"kind": "ImageStreamTag", "name": tag}
    parameters = {"automatic": automatic, "containerNames": list(containers), "from": source}
    return {"type": "ImageChange", "imageChangeParams": parameters}


def deployment_config(*triggers: dict[str, Any]) -> dict[str, Any]:
    body = workload(DEPLOYMENT_CONFIG, "web", {})
    body["spec"]["triggers"] = [{"type": "ConfigChange"}, *triggers]
    return body


async def _roll_out_a_deployment_config(cluster: ClusterUnderTest, api: Api, folder: Path) -> None:
    namespace = await cluster.namespace("config")
    triggers = [
        image_change("web:latest", "web", "setup"),
        image_change("api:latest", "sidecar"),
        image_change("never:latest", "sidecar", automatic=False),
    ]
    await create(api, DEPLOYMENT_CONFIG, namespace, deployment_config(*triggers))
    await create(api, DEPLOYMENT, namespace, workload(DEPLOYMENT, "witness"))

    def recorded(found: Mapping[str, Any]) -> list[str | None]:
        changes = [each["imageChangeParams"] for each in found["spec"]["triggers"] if each["type"] == "ImageChange"]
        return [change.get("lastTriggeredImage") for change in changes]

    async with following(cluster, folder, namespace, rbac="openshift") as push:
        await push(A)
        witness = [(DEPLOYMENT, "witness")]
        await eventually(lambda: all_run(api, witness, namespace, image(namespace, A)), what="the witness runs it")
        found = await fetch(api, DEPLOYMENT_CONFIG, namespace, "web")
        assert found["metadata"]["generation"] == 1, "the first rollout waits for every image"
        await push(A, stream="api")
        config = [(DEPLOYMENT_CONFIG, "web")]
        await eventually(lambda: all_run(api, config, namespace, image(namespace, A)), what="its first rollout")
        found = await fetch(api, DEPLOYMENT_CONFIG, namespace, "web")
        web, sidecar = image(namespace, A), image(namespace, A, "api")
        assert images(DEPLOYMENT_CONFIG, found) == {"setup": web, "web": web, "sidecar": sidecar}
        assert recorded(found) == [web, sidecar, None]
        assert found["metadata"]["generation"] == 2
        await push(B)
        web = image(namespace, B)
        await eventually(lambda: all_run(api, config, namespace, web), what="it follows the next push")
    found = await fetch(api, DEPLOYMENT_CONFIG, namespace, "web")
    assert images(DEPLOYMENT_CONFIG, found) == {"setup": web, "web": web, "sidecar": sidecar}
    assert recorded(found) == [web, sidecar, None]
    assert found["metadata"]["generation"] == 3


async def test_a_deployment_config_has_its_first_rollout_with_all_its_images(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    await define(cluster, "deploymentconfigs.apps.openshift.io")
    await _roll_out_a_deployment_config(cluster, api, tmp_path)


@asynccontextmanager
async def openshift(folder: Path) -> AsyncIterator[tuple[ClusterUnderTest, Api]]:
    """A sandbox that has OpenShift's own types."""
    async with (
        sandbox_cluster(folder, openshift=True) as cluster,
        await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as client,
    ):
        yield cluster, Api(client, cluster)


async def test_a_deployment_config_of_openshifts_own_server_does_too(tmp_path: Path) -> None:
    async with openshift(tmp_path) as (cluster, api):
        await _roll_out_a_deployment_config(cluster, api, tmp_path)


async def test_a_build_config_is_built_once_for_each_change_however_often_we_restart(tmp_path: Path) -> None:
    async with openshift(tmp_path) as (cluster, api):
        namespace = await cluster.namespace("builds")
        config = {
            "apiVersion": BUILD_CONFIG.api_version,
            "kind": "BuildConfig",
            "metadata": {"name": "app"},
            "spec": {
                "strategy": {
                    "type": "Source",
                    "sourceStrategy": {"from": {"kind": "ImageStreamTag", "name": "base:latest"}},
                },
                "triggers": [{"type": "ImageChange", "imageChange": {}}],
            },
        }
        await create(api, BUILD_CONFIG, namespace, config)
        await create(api, DEPLOYMENT, namespace, workload(DEPLOYMENT, "witness"))
        built: list[str] = []
        for number, digest in enumerate((A, A, B, A), start=1):
            async with following(cluster, tmp_path, namespace, rbac="openshift", first=2 * number) as push:
                await push(digest, stream="base")
                await push(digest, stream="base", again=True)
                if not built or built[-1] != digest:
                    built.append(digest)
                await eventually(lambda: _builds(api, namespace, built), what=f"{len(built)} builds")
                await push(f"sha256:{number + 10:064x}")
                wanted = image(namespace, f"sha256:{number + 10:064x}")
                await eventually(
                    lambda wanted=wanted: all_run(api, [(DEPLOYMENT, "witness")], namespace, wanted),  # type: ignore[misc]
                    what="what was pushed after it has moved",
                )
        assert await _builds(api, namespace, [A, B, A])
        found = await fetch(api, BUILD_CONFIG, namespace, "app")
        assert found["status"]["lastVersion"] == 3
        assert await api.events(namespace, "TriggerFailed") == []


async def _builds(api: Api, namespace: str, expected: list[str]) -> bool:
    """Whether the builds so far are of those digests, in this order."""
    found = await items(api, f"/apis/build.openshift.io/v1/namespaces/{namespace}/builds")
    numbered = sorted(found, key=lambda build: int(build["metadata"]["annotations"]["openshift.io/build.number"]))
    causes = [build["spec"]["triggeredBy"][0]["imageChangeBuild"]["imageID"] for build in numbered]
    assert len(causes) <= len(expected), causes
    return causes == [image(namespace, digest, "base") for digest in expected]


# What is run

RUNNING = "shipwright tekton"


def runnable(kind: Kind, **more: str) -> dict[str, Any]:
    assert kind.runs is not None
    paths = [f'{".".join(kind.runs.parameters)}[?(@.name=="{name}")].value' for name in more]
    entries = [entry(path, tag) for path, tag in zip(paths, more.values(), strict=True)]
    specs: dict[str, dict[str, Any]] = {
        "Build": {"strategy": {"name": "buildah"}, "output": {"image": f"{HOST}/app"}},
        "Pipeline": {"params": [{"name": name, "type": "string"} for name in more], "tasks": [{"name": "build"}]},
    }
    metadata = {"name": "app", "annotations": {OURS: json.dumps(entries)}}
    return {"apiVersion": kind.api_version, "kind": kind.name, "metadata": metadata, "spec": specs[kind.name]}


async def runs(api: Api, kind: Kind, namespace: str) -> list[dict[str, str]]:
    """The parameters of the runs so far, in their order."""
    assert kind.runs is not None
    where = f"/apis/{kind.runs.api_version}/namespaces/{namespace}/{kind.runs.plural}"
    found = []
    for run in await items(api, where):
        told = json.loads(run["metadata"]["annotations"]["imagestreams.dev/last-triggered"])
        parameters = run["spec"]["paramValues" if kind is SHIPWRIGHT_BUILD else "params"]
        found.append((told["number"], {each["name"]: each["value"] for each in parameters}))
        reference = run["spec"]["build" if kind is SHIPWRIGHT_BUILD else "pipelineRef"]
        assert reference == {"name": "app"}
    return [parameters for _, parameters in sorted(found, key=lambda each: each[0])]


async def _ran(api: Api, kind: Kind, namespace: str, expected: list[dict[str, str]]) -> bool:
    found = await runs(api, kind, namespace)
    assert len(found) <= len(expected), found
    return found == expected


async def _define_runs(cluster: ClusterUnderTest) -> None:
    shipwright = ("builds.shipwright.io", "buildruns.shipwright.io")
    await define(cluster, *shipwright, "pipelines.tekton.dev", "pipelineruns.tekton.dev")


@pytest.mark.parametrize("kind", [SHIPWRIGHT_BUILD, TEKTON_PIPELINE], ids=lambda kind: kind.name)
async def test_a_tag_that_moves_there_and_back_is_three_runs_however_often_we_restart(
    kind: Kind, cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    await _define_runs(cluster)
    namespace = await cluster.namespace("runs")
    await create(api, kind, namespace, runnable(kind, BASE="web:latest", TOOLS="tools:latest"))
    tools = image(namespace, A, "tools")
    expected: list[dict[str, str]] = []
    for number, digests in enumerate(((A,), (A,), (B, A)), start=1):
        async with following(cluster, tmp_path, namespace, rbac=RUNNING, first=3 * number) as push:
            for digest in digests:
                await push(digest)
                await push(digest, again=True)
                if not expected:
                    assert await runs(api, kind, namespace) == []  # the tools are not there yet
                    await push(A, stream="tools")
                wanted = {"BASE": image(namespace, digest), "TOOLS": tools}
                if expected[-1:] != [wanted]:
                    expected.append(wanted)
                await eventually(lambda: _ran(api, kind, namespace, expected), what=f"{len(expected)} runs")
            assert await push.listener.terminate() == 0  # whatever was begun is at its end
    assert len(expected) == 3
    assert await runs(api, kind, namespace) == expected
    record = json.loads(
        (await fetch(api, kind, namespace, "app"))["metadata"]["annotations"]["imagestreams.dev/last-triggered"]
    )
    assert (record["number"], record["images"][f"{namespace}/web:latest"]) == (3, image(namespace, A))


@pytest.mark.sandbox_only(reason="a real cluster cannot be told to fail")
async def test_a_run_whose_start_was_not_remembered_is_not_started_again(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """Killed between the two."""
    assert cluster.sandbox is not None
    await _define_runs(cluster)
    namespace = await cluster.namespace("runs")
    await create(api, SHIPWRIGHT_BUILD, namespace, runnable(SHIPWRIGHT_BUILD, BASE="web:latest"))
    cluster.sandbox.faults.set((Fault("error", verbs=("patch",), resources=("builds",)),))
    first, second = ({"BASE": image(namespace, digest)} for digest in (A, B))
    async with following(cluster, tmp_path, namespace, rbac=RUNNING) as push:
        await push(A)
        await eventually(lambda: runs(api, SHIPWRIGHT_BUILD, namespace), what="a run is started")
        await push.listener.kill()
    cluster.sandbox.faults.clear()
    async with following(cluster, tmp_path, namespace, rbac=RUNNING, first=1) as push:
        await push(B)

        async def both() -> bool:
            return await runs(api, SHIPWRIGHT_BUILD, namespace) == [first, second]

        await eventually(both, what="one run for each image")


async def test_what_the_cluster_does_not_serve_holds_nothing_up(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("absent")
    await create(api, DEPLOYMENT, namespace, workload(DEPLOYMENT, "web"))
    nobodys = {"apiVersion": "nobody.example.com/v1", "kind": "Thing", "podSpecPath": "spec"}
    async with following(cluster, tmp_path, namespace, workloads=[nobodys]) as push:
        await push(A)
        wanted = image(namespace, A)
        await eventually(lambda: all_run(api, [(DEPLOYMENT, "web")], namespace, wanted), what="the Deployment runs it")
        absent = {line["resource"] for line in push.listener.logged("watch.absent")}
        assert "things.nobody.example.com" in absent
        assert push.listener.logged("watch.interrupted") == []
        assert (await push.listener.get("/livez"))[0] == 200
