"""The Pods of workloads: as many as are wanted, made as their controllers make them, and gone with their owners."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import CORE, DEPLOYMENTS, JSON_PATCH, NAMESPACE, TABLE, Api, Object, Reply, deployment, serving

PODS = f"{CORE}/pods"
APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
LABELS = {"app": "web"}
CONTAINERS = [{"name": "web", "image": "registry.example.com/web:1"}]
SUFFIX = "[bcdfghjklmnpqrstvwxz2456789]{5}"


def template(**spec: Any) -> Object:
    return {"metadata": {"labels": LABELS, "annotations": {"a": "b"}}, "spec": {"containers": CONTAINERS, **spec}}


def bare(**spec: Any) -> Object:
    return {"metadata": {"name": "web", "labels": LABELS}, "spec": {"containers": CONTAINERS, **spec}}


def counted(number: int, **labels: str) -> Callable[[Reply], bool]:
    def holds(reply: Reply) -> bool:
        found = reply.body["items"]
        return len(found) == number and all(labels.items() <= each["metadata"]["labels"].items() for each in found)

    return holds


def observed(generation: int) -> Callable[[Reply], bool]:
    return lambda reply: bool(reply.body["status"].get("observedGeneration") == generation)


def running(reply: Reply) -> bool:
    return bool(reply.body["status"]["phase"] == "Running")


def images(reply: Reply) -> list[str]:
    return [each["spec"]["containers"][0]["image"] for each in reply.body["items"]]


async def pods(api: Api, number: int) -> list[Object]:
    """Return the Pods of the namespace as soon as there are so many."""
    return list((await api.until(PODS, counted(number))).body["items"])


async def create(api: Api, kind: str, name: str = "web", **spec: Any) -> Object:
    """Create a workload of the `apps` group."""
    body = {"metadata": {"name": name}, "spec": {"selector": {"matchLabels": LABELS}, "template": template(), **spec}}
    return await api.create(f"{APPS}/{kind}", body)


def owner(kind: str, created: Object, group: str = "apps/v1") -> list[Object]:
    metadata = created["metadata"]
    reference = {"apiVersion": group, "kind": kind, "name": metadata["name"], "uid": metadata["uid"]}
    return [reference | {"controller": True, "blockOwnerDeletion": True}]


async def test_the_pods_of_a_deployment_are_those_of_its_replica_set(api: Api) -> None:
    await create(api, "deployments", replicas=2)
    found = await pods(api, 2)
    (replica_set,) = (await api.get(f"{APPS}/replicasets")).body["items"]
    name, labels = replica_set["metadata"]["name"], replica_set["spec"]["template"]["metadata"]["labels"]
    assert "pod-template-hash" in labels
    for pod in found:
        metadata = pod["metadata"]
        assert re.fullmatch(f"{name}-{SUFFIX}", metadata["name"])
        assert (metadata["generateName"], metadata["labels"], metadata["annotations"]) == (
            f"{name}-",
            labels,
            {"a": "b"},
        )
        assert metadata["ownerReferences"] == owner("ReplicaSet", replica_set)
        spec = replica_set["spec"]["template"]["spec"]
        assert pod["spec"] == pod["spec"] | spec
        assert (pod["spec"]["serviceAccountName"], pod["spec"]["enableServiceLinks"]) == ("default", True)


async def test_a_pod_runs_with_all_its_containers(api: Api) -> None:
    digest = f"sha256:{1:064x}"
    initial = [{"name": "first", "image": "first:1"}, {"name": "mesh", "image": "mesh:1", "restartPolicy": "Always"}]
    await create(
        api,
        "deployments",
        template=template(
            initContainers=initial,
            containers=[{"name": "web", "image": f"r.example.com:5000/web:1@{digest}"}, {"name": "b", "image": "b:1"}],
        ),
    )
    (pod,) = await pods(api, 1)
    status = pod["status"]
    assert (status["phase"], status["qosClass"], status["startTime"]) == (
        "Running",
        "BestEffort",
        pod["metadata"]["creationTimestamp"],
    )
    assert pod["spec"]["nodeName"]
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    conditions = {each["type"]: each["status"] for each in status["conditions"]}
    ready = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    assert conditions == dict.fromkeys(ready, "True")
    shown = {each["name"]: each for each in (*status["initContainerStatuses"], *status["containerStatuses"])}
    assert {name: (each["ready"], each["started"], *each["state"]) for name, each in shown.items()} == {
        "first": (True, False, "terminated"),
        "mesh": (True, True, "running"),
        "web": (True, True, "running"),
        "b": (True, True, "running"),
    }
    assert (shown["web"]["image"], shown["web"]["imageID"], shown["b"]["imageID"]) == (
        f"r.example.com:5000/web:1@{digest}",
        f"r.example.com:5000/web@{digest}",
        "",
    )


QUALITIES: dict[str, tuple[list[Object], str]] = {
    "nothing": ([{}], "BestEffort"),
    "nothing of note": ([{"requests": {"cpu": "0", "example.com/gpu": "1"}}], "BestEffort"),
    "limits": ([{"limits": {"cpu": "1", "memory": "1Gi"}}], "Guaranteed"),
    "the same otherwise": (
        [{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m", "memory": "1024Mi"}}],
        "Guaranteed",
    ),
    "less than it may have": ([{"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}], "Burstable"),
    "no limit of memory": ([{"limits": {"cpu": "1"}}], "Burstable"),
    "one without": ([{"limits": {"cpu": "1", "memory": "1Gi"}}, {}], "Burstable"),
}


@pytest.mark.parametrize(("resources", "quality"), QUALITIES.values(), ids=QUALITIES)
async def test_a_pod_is_of_the_class_that_its_resources_say(api: Api, resources: list[Object], quality: str) -> None:
    containers = [{"name": f"c{at}", "image": "c", "resources": each} for at, each in enumerate(resources)]
    assert (await api.create(PODS, bare(containers=containers)))["status"]["qosClass"] == quality
    assert (await api.until(f"{PODS}/web", running)).body["status"]["qosClass"] == quality


async def test_no_two_pods_have_the_same_address(api: Api) -> None:
    await create(api, "deployments", replicas=3)
    assert len({pod["status"]["podIP"] for pod in await pods(api, 3)}) == 3


async def test_the_pods_are_there_by_the_time_the_rollout_is_done(api: Api) -> None:
    """Whoever has waited for a rollout finds its Pods, and none of those before."""
    await create(api, "deployments", replicas=2)
    for number in (2, 3, 4):
        changed = await api.patch(f"{DEPLOYMENTS}/web", image_patch(f"web:{number}"), JSON_PATCH)
        await api.until(f"{DEPLOYMENTS}/web", observed(changed.body["metadata"]["generation"]))
        assert images(await api.get(PODS)) == [f"web:{number}"] * 2


def image_patch(image: str) -> list[Object]:
    return [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": image}]


async def test_a_watch_sees_new_pods_come_before_the_old_ones_go(api: Api) -> None:
    await create(api, "deployments")
    (before,) = await pods(api, 1)
    async with api.watch(PODS) as watch:
        assert await watch.told(1) == [("ADDED", before["metadata"]["name"])]
        await api.patch(f"{DEPLOYMENTS}/web", image_patch("web:2"), JSON_PATCH)
        events = [await watch.event() for _ in range(2)]
    assert [(event["type"], event["object"]["status"]["phase"]) for event in events] == [
        ("ADDED", "Running"),
        ("DELETED", "Running"),
    ]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert int(before["metadata"]["resourceVersion"]) < versions[0] < versions[1]
    assert events[1]["object"]["metadata"]["uid"] == before["metadata"]["uid"]


async def test_pods_come_and_go_with_the_scale(api: Api) -> None:
    await create(api, "deployments", replicas=1)
    (first,) = await pods(api, 1)
    await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 3}})
    assert first in await pods(api, 3)
    await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 1}})
    assert await pods(api, 1) == [first]
    await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 0}})
    await pods(api, 0)


async def test_of_a_large_workload_the_first_hundred_are_shown(api: Api) -> None:
    await create(api, "deployments", replicas=1_000_000)
    await pods(api, 100)


@pytest.mark.parametrize("kind", ["deployments", "replicasets", "statefulsets", "daemonsets"])
async def test_a_pod_that_is_deleted_is_made_anew(api: Api, kind: str) -> None:
    await create(api, kind, **({"serviceName": "web"} if kind == "statefulsets" else {}))
    (before,) = await pods(api, 1)
    await api("DELETE", f"{PODS}/{before['metadata']['name']}")
    found = await api.until(PODS, lambda reply: [each["metadata"]["uid"] for each in reply.body["items"]] != [])
    (after,) = found.body["items"]
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    assert (after["metadata"]["name"] == before["metadata"]["name"]) is (kind == "statefulsets")
    assert after["spec"] == before["spec"]


async def test_a_pod_that_has_failed_is_made_good(api: Api) -> None:
    await create(api, "deployments")
    (pod,) = await pods(api, 1)
    await api.patch(f"{PODS}/{pod['metadata']['name']}/status", {"status": {"phase": "Failed"}})
    assert sorted(each["status"]["phase"] for each in await pods(api, 2)) == ["Failed", "Running"]


async def test_a_pod_that_others_hold_back_is_replaced_at_once(api: Api) -> None:
    await create(api, "deployments", template={**template(), "metadata": {"labels": LABELS, "finalizers": ["a.com/b"]}})
    (pod,) = await pods(api, 1)
    path = f"{PODS}/{pod['metadata']['name']}"
    assert (await api("DELETE", path)).body["metadata"]["deletionTimestamp"]
    await pods(api, 2)
    await api.patch(path, {"metadata": {"finalizers": None}})
    (left,) = await pods(api, 1)
    assert left["metadata"]["uid"] != pod["metadata"]["uid"]


@pytest.mark.parametrize("kind", ["deployments", "replicasets", "statefulsets", "daemonsets"])
async def test_pods_go_with_their_workload(api: Api, kind: str) -> None:
    await create(api, kind, **({"serviceName": "web"} if kind == "statefulsets" else {}))
    await pods(api, 1)
    await api("DELETE", f"{APPS}/{kind}/web")
    await pods(api, 0)


async def test_pods_of_a_replica_set_stay_when_its_template_changes(api: Api) -> None:
    created = await create(api, "replicasets")
    (pod,) = await pods(api, 1)
    assert pod["metadata"]["ownerReferences"] == owner("ReplicaSet", created)
    await api.patch(f"{APPS}/replicasets/web", image_patch("web:2"), JSON_PATCH)
    await api.until(f"{APPS}/replicasets/web", observed(2))
    assert await pods(api, 1) == [pod]


async def test_a_replication_controller_has_pods_too(api: Api) -> None:
    body = {"metadata": {"name": "web"}, "spec": {"replicas": 2, "selector": LABELS, "template": template()}}
    created = await api.create(f"{CORE}/replicationcontrollers", body)
    for pod in await pods(api, 2):
        assert re.fullmatch(f"web-{SUFFIX}", pod["metadata"]["name"])
        assert pod["metadata"]["labels"] == LABELS
        assert pod["metadata"]["ownerReferences"] == owner("ReplicationController", created, "v1")


async def test_the_pods_of_a_stateful_set_are_numbered(api: Api) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    given = template(volumes=[{"name": "tmp", "emptyDir": {}}, {"name": "data", "emptyDir": {}}])
    spec: Object = {"replicas": 2, "serviceName": "peers", "ordinals": {"start": 3}, "volumeClaimTemplates": [claim]}
    created = await create(api, "statefulsets", **spec, template=given)
    found = await pods(api, 2)
    revision = (await api.get(f"{APPS}/statefulsets/web")).body["status"]["updateRevision"]
    assert [pod["metadata"]["name"] for pod in found] == ["web-3", "web-4"]
    metadata, spec = found[0]["metadata"], found[0]["spec"]
    assert metadata["generateName"] == "web-"
    assert metadata["ownerReferences"] == owner("StatefulSet", created)
    assert metadata["labels"] == LABELS | {
        "apps.kubernetes.io/pod-index": "3",
        "controller-revision-hash": revision,
        "statefulset.kubernetes.io/pod-name": "web-3",
    }
    assert (spec["hostname"], spec["subdomain"]) == ("web-3", "peers")
    assert spec["volumes"] == [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-web-3"}},
        {"name": "tmp", "emptyDir": {}},
    ]


async def test_the_pods_of_a_stateful_set_keep_their_names_in_a_rollout(api: Api) -> None:
    await create(api, "statefulsets", replicas=2, serviceName="web")
    before = await pods(api, 2)
    await api.patch(f"{APPS}/statefulsets/web", [*image_patch("web:2"), scaled_to(3)], JSON_PATCH)
    after = (await api.until(PODS, lambda reply: images(reply) == ["web:2"] * 3)).body["items"]
    assert [pod["metadata"]["name"] for pod in after] == ["web-0", "web-1", "web-2"]
    assert not {pod["metadata"]["uid"] for pod in before} & {pod["metadata"]["uid"] for pod in after}
    await api.patch(f"{APPS}/statefulsets/web", [scaled_to(1)], JSON_PATCH)
    assert await pods(api, 1) == after[:1]


def scaled_to(replicas: int) -> Object:
    return {"op": "replace", "path": "/spec/replicas", "value": replicas}


async def test_a_daemon_set_has_one_pod_bound_for_the_node(api: Api) -> None:
    created = await create(api, "daemonsets")
    (pod,) = await pods(api, 1)
    metadata, spec = pod["metadata"], pod["spec"]
    assert metadata["ownerReferences"] == owner("DaemonSet", created)
    (revision,) = (await api.get(f"{APPS}/controllerrevisions")).body["items"]
    digest = revision["metadata"]["labels"]["controller-revision-hash"]
    assert metadata["labels"] == LABELS | {"controller-revision-hash": digest, "pod-template-generation": "1"}
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert terms == [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [spec["nodeName"]]}]}]
    assert {each["key"].partition("/")[2] for each in spec["tolerations"]} == {
        *("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
    }
    await api.patch(f"{APPS}/daemonsets/web", image_patch("web:2"), JSON_PATCH)
    after = (await api.until(PODS, lambda reply: images(reply) == ["web:2"])).body["items"]
    assert after[0]["metadata"]["labels"]["pod-template-generation"] == "2"


# Jobs


async def test_a_job_runs_to_its_end(api: Api) -> None:
    body = {"metadata": {"name": "web"}, "spec": {"completions": 2, "template": template(restartPolicy="Never")}}
    created = await api.create(JOBS, body)
    done = (await api.until(f"{JOBS}/web", lambda reply: "completionTime" in reply.body["status"])).body
    held = {each["type"]: each["status"] for each in done["status"]["conditions"]}
    assert (held, done["status"]["succeeded"]) == ({"SuccessCriteriaMet": "True", "Complete": "True"}, 2)
    for pod in await pods(api, 2):
        assert re.fullmatch(f"web-{SUFFIX}", pod["metadata"]["name"])
        assert pod["metadata"]["labels"] == created["spec"]["template"]["metadata"]["labels"]
        assert pod["metadata"]["ownerReferences"] == owner("Job", created, "batch/v1")
        assert pod["status"]["phase"] == "Succeeded"
        assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
        await api("DELETE", f"{PODS}/{pod['metadata']['name']}")
    # A job that is over makes no other Pods: by the time the next one is, its turn would have come.
    await api.create(JOBS, {**body, "metadata": {"name": "later"}})
    assert {pod["metadata"]["labels"]["job-name"] for pod in await pods(api, 2)} == {"later"}


async def test_the_pods_of_an_indexed_job_are_told_their_numbers(api: Api) -> None:
    spec = {
        "completions": 2,
        "parallelism": 1,
        "completionMode": "Indexed",
        "template": template(restartPolicy="Never"),
    }
    await api.create(JOBS, {"metadata": {"name": "web"}, "spec": spec})
    found = await pods(api, 2)
    numbers = [pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for pod in found]
    assert numbers == ["0", "1"]
    assert [pod["spec"]["hostname"] for pod in found] == ["web-0", "web-1"]
    assert all(pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX" for pod in found)
    assert (await api.get(f"{JOBS}/web")).body["status"]["completedIndexes"] == "0,1"


async def test_a_job_that_is_suspended_waits(api: Api) -> None:
    spec = {"suspend": True, "template": template(restartPolicy="Never")}
    created = await api.create(JOBS, {"metadata": {"name": "web"}, "spec": spec})
    await create(api, "deployments")  # by the time this one has its Pod, the job's turn has come
    await pods(api, 1)
    assert (await api.get(f"{JOBS}/web")).body == created
    await api.patch(f"{JOBS}/web", {"spec": {"suspend": False}})
    await pods(api, 2)


# Those that no controller made


async def test_a_pod_of_nobody_waits_for_a_moment_and_runs(api: Api) -> None:
    async with api.watch(PODS) as watch:
        created = await api.create(PODS, bare())
        assert (created["status"]["phase"], "nodeName" in created["spec"]) == ("Pending", False)
        events = [await watch.event() for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED"]
    found = events[1]["object"]
    assert (found["status"]["phase"], found["metadata"]["generation"]) == ("Running", 1)
    assert found["spec"] == created["spec"] | {"nodeName": found["spec"]["nodeName"]}
    await api("DELETE", f"{PODS}/web")
    assert (await api.get(f"{PODS}/web")).code == 404


async def test_a_pod_behind_a_gate_waits_until_it_is_opened(api: Api) -> None:
    gated = await api.create(PODS, bare(schedulingGates=[{"name": "example.com/a"}]))
    await create(api, "deployments")
    await pods(api, 2)
    assert (await api.get(f"{PODS}/web")).body == gated
    await api.patch(f"{PODS}/web", {"spec": {"schedulingGates": None}})
    await api.until(f"{PODS}/web", running)


async def test_a_container_is_run_anew_with_another_image(api: Api) -> None:
    both = [*CONTAINERS, {"name": "proxy", "image": "proxy:1"}]
    await api.create(PODS, bare(containers=both))
    await api.until(f"{PODS}/web", running)
    operation = {"op": "replace", "path": "/spec/containers/0/image", "value": "web:2"}
    assert (await api.patch(f"{PODS}/web", [operation], JSON_PATCH)).code == 200
    found = await api.until(f"{PODS}/web", observed(2))
    statuses = found.body["status"]["containerStatuses"]
    assert [(each["image"], each["restartCount"], each["ready"]) for each in statuses] == [
        ("web:2", 1, True),
        ("proxy:1", 0, True),
    ]
    assert "terminated" in statuses[0]["lastState"]


# Together


async def test_a_namespace_takes_its_pods_along_and_gets_no_others() -> None:
    """More than go at once, so that their owners are still there when the first are gone, and would miss them."""
    async with serving(Cluster(settle_seconds=0)) as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        assert await api.names(PODS) == []
        await create(api, "deployments", replicas=60)
        await create(api, "daemonsets")
        await pods(api, 61)
        async with api.watch(PODS) as watch:
            assert {kind for kind, _ in await watch.told(61)} == {"ADDED"}
            await api("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
            assert {kind for kind, _ in await watch.told(61)} == {"DELETED"}
        await api.until(f"/api/v1/namespaces/{NAMESPACE}", lambda reply: reply.code == 404)


async def test_many_changes_at_once_cost_one_pod() -> None:
    """What is watched is what the cluster ends on: none of the Pods between are made."""
    async with serving(Cluster(settle_seconds=0.05)) as api:
        path = DEPLOYMENTS.replace(NAMESPACE, "default")
        await api.create(path, deployment("web"))
        await asyncio.gather(*(api.patch(f"{path}/web", image_patch(f"web:{n}"), JSON_PATCH) for n in range(10)))
        generation = (await api.get(f"{path}/web")).body["metadata"]["generation"]
        await api.until(f"{path}/web", observed(generation))
        await api.create("/api/v1/namespaces/default/pods", {**bare(), "metadata": {"name": "last"}})
        async with api.watch("/api/v1/namespaces/default/pods?resourceVersion=1") as watch:
            events = [await watch.event() for _ in range(2)]
    assert [event["type"] for event in events] == ["ADDED", "ADDED"]
    assert events[1]["object"]["metadata"]["name"] == "last"


async def test_a_table_shows_how_they_are(api: Api) -> None:
    sidecar = {"name": "mesh", "image": "mesh:1", "restartPolicy": "Always"}
    await create(api, "deployments", "web", template=template(initContainers=[sidecar]))
    await api.create(JOBS, {"metadata": {"name": "done"}, "spec": {"template": template(restartPolicy="Never")}})
    found = await pods(api, 2)
    rows = (await api.get(PODS, Accept=TABLE)).body["rows"]
    assert [row["cells"][:4] for row in rows] == [
        [found[0]["metadata"]["name"], "0/1", "Completed", "0"],
        [found[1]["metadata"]["name"], "2/2", "Running", "0"],
    ]
    assert [row["cells"][5:7] for row in rows] == [[pod["status"]["podIP"], pod["spec"]["nodeName"]] for pod in found]
