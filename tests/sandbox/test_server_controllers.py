"""What happens behind the API: workloads are observed and ready, revisions are kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import DEPLOYMENTS, NAMESPACE, REPLICA_SETS, Api, Object, Reply, deployment, serving

APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
REVISION = "deployment.kubernetes.io/revision"
CAUSE = "kubernetes.io/change-cause"


def observed(reply: Reply) -> bool:
    metadata, status = reply.body["metadata"], reply.body.get("status") or {}
    return bool(status.get("observedGeneration") == metadata["generation"])


def images_at(image: str) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}


async def rolled(api: Api, patch: Object) -> Object:
    """Patch the Deployment `web`, wait until that is observed, and return it."""
    await api("PATCH", f"{DEPLOYMENTS}/web", patch, content_type="application/strategic-merge-patch+json")
    return dict((await api.until(f"{DEPLOYMENTS}/web", observed)).body)


async def revisions(api: Api) -> dict[int, tuple[str, int]]:
    """Return image and replicas of each ReplicaSet by its revision."""
    found = (await api.get(REPLICA_SETS)).body["items"]
    return {
        int(each["metadata"]["annotations"][REVISION]): (
            each["spec"]["template"]["spec"]["containers"][0]["image"],
            each["spec"]["replicas"],
        )
        for each in found
    }


async def test_a_deployment_becomes_ready_a_moment_after_it_changed(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, deployment("web", replicas=2))
    assert created["status"] == {}
    status = (await api.until(f"{DEPLOYMENTS}/web", observed)).body["status"]
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    assert {name: status[name] for name in counts} == dict.fromkeys(counts, 2)
    conditions = {each["type"]: (each["status"], each["reason"]) for each in status["conditions"]}
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }


async def test_a_deployment_owns_a_replica_set_for_each_template(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, deployment("web", image="web:1", replicas=2))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    (first,) = (await api.get(REPLICA_SETS)).body["items"]
    owner = first["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Deployment", created["metadata"]["uid"], True)
    digest = first["metadata"]["labels"]["pod-template-hash"]
    assert first["metadata"]["name"] == f"web-{digest}"
    assert first["spec"]["selector"]["matchLabels"] == {"app": "web", "pod-template-hash": digest}
    assert first["status"]["readyReplicas"] == 2
    changed = await rolled(api, images_at("web:2"))
    assert changed["metadata"]["annotations"][REVISION] == "2"
    assert await revisions(api) == {1: ("web:1", 0), 2: ("web:2", 2)}


async def test_going_back_makes_the_old_template_the_newest_revision(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", image="web:1"))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    await rolled(api, images_at("web:2"))
    await rolled(api, images_at("web:1"))
    assert await revisions(api) == {2: ("web:2", 0), 3: ("web:1", 1)}


async def test_scaling_is_no_new_revision(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", image="web:1"))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    await rolled(api, {"spec": {"replicas": 5}})
    assert await revisions(api) == {1: ("web:1", 5)}


async def test_each_revision_keeps_its_cause(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", image="web:1", annotations={CAUSE: "the beginning"}))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    await rolled(api, {"metadata": {"annotations": {CAUSE: "a push"}}, **images_at("web:2")})
    found = (await api.get(REPLICA_SETS)).body["items"]
    causes = {each["metadata"]["annotations"][REVISION]: each["metadata"]["annotations"][CAUSE] for each in found}
    assert causes == {"1": "the beginning", "2": "a push"}


async def test_a_cause_told_afterwards_reaches_the_current_revision(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    await rolled(api, {"metadata": {"annotations": {CAUSE: "told later"}}})
    (only,) = (await api.get(REPLICA_SETS)).body["items"]
    assert only["metadata"]["annotations"][CAUSE] == "told later"


SKIPPED = {
    "kubectl.kubernetes.io/last-applied-configuration": "{}",
    "deployment.kubernetes.io/revision-history": "1",
}


async def test_the_annotations_of_a_deployment_are_those_of_its_replica_set(api: Api) -> None:
    """A trigger among them: whoever looks for triggers finds it there too."""
    trigger = "image.openshift.io/triggers"
    await api.create(DEPLOYMENTS, deployment("web", annotations={trigger: "[]", "a": "b", **SKIPPED}))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    own = {REVISION: "1", **dict.fromkeys(COUNTS, "1"), "deployment.kubernetes.io/max-replicas": "2"}
    (only,) = (await api.get(REPLICA_SETS)).body["items"]
    assert only["metadata"]["annotations"] == {trigger: "[]", "a": "b", **own}
    await rolled(api, {"metadata": {"annotations": {"a": "c", trigger: None, "d": "e"}}})
    (only,) = (await api.get(REPLICA_SETS)).body["items"]
    # What goes is left behind, as a real controller leaves it.
    assert only["metadata"]["annotations"] == {trigger: "[]", "a": "c", "d": "e", **own}
    assert only["spec"]["template"]["metadata"] == {"labels": only["metadata"]["labels"]}


COUNTS = ("deployment.kubernetes.io/desired-replicas", "deployment.kubernetes.io/max-replicas")


async def test_a_template_that_comes_back_remembers_what_it_was(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", image="web:1"))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    for image in ("web:2", "web:1", "web:2", "web:1"):
        await rolled(api, images_at(image))
    found = [each["metadata"]["annotations"] for each in (await api.get(REPLICA_SETS)).body["items"]]
    history = {each[REVISION]: each["deployment.kubernetes.io/revision-history"] for each in found}
    assert history == {"4": "2", "5": "1,3"}


async def test_keeps_no_more_revisions_than_the_limit(api: Api) -> None:
    workload = deployment("web", image="web:0")
    workload["spec"]["revisionHistoryLimit"] = 1
    await api.create(DEPLOYMENTS, workload)
    await api.until(f"{DEPLOYMENTS}/web", observed)
    for number in (1, 2, 3):
        await rolled(api, images_at(f"web:{number}"))
    assert await revisions(api) == {3: ("web:2", 0), 4: ("web:3", 1)}


async def test_a_paused_deployment_is_observed_and_does_not_roll(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", image="web:1"))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    paused = await rolled(api, {**images_at("web:2"), "spec": {**images_at("web:2")["spec"], "paused": True}})
    progressing = next(each for each in paused["status"]["conditions"] if each["type"] == "Progressing")
    assert (progressing["status"], progressing["reason"]) == ("Unknown", "DeploymentPaused")
    assert (paused["status"]["replicas"], paused["status"].get("updatedReplicas")) == (1, None)
    assert await revisions(api) == {1: ("web:1", 1)}
    await rolled(api, {"spec": {"paused": False}})
    assert await revisions(api) == {1: ("web:1", 0), 2: ("web:2", 1)}
    again = await rolled(api, {**images_at("web:1"), "spec": {**images_at("web:1")["spec"], "paused": True}})
    assert (again["status"]["replicas"], again["status"].get("updatedReplicas")) == (1, None)
    assert await revisions(api) == {1: ("web:1", 0), 2: ("web:2", 1)}


async def test_deleting_a_deployment_takes_its_replica_sets(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web"))
    await api.until(f"{DEPLOYMENTS}/web", observed)
    await api("DELETE", f"{DEPLOYMENTS}/web")
    await api.until(REPLICA_SETS, lambda reply: reply.body["items"] == [])


def of_kind(kind: str) -> Object:
    workload = deployment("web", replicas=2)
    workload["kind"] = kind
    workload["spec"] |= {"serviceName": "web"} if kind == "StatefulSet" else {}
    if kind == "DaemonSet":
        del workload["spec"]["replicas"]
    return workload


READY: dict[str, tuple[str, Object]] = {
    "StatefulSet": (f"{APPS}/statefulsets", {"readyReplicas": 2, "updatedReplicas": 2, "availableReplicas": 2}),
    "DaemonSet": (
        f"{APPS}/daemonsets",
        {"desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberAvailable": 1},
    ),
    "ReplicaSet": (
        f"{APPS}/replicasets",
        {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2, "terminatingReplicas": 0},
    ),
}


@pytest.mark.parametrize("kind", READY)
async def test_other_workloads_become_ready_too(api: Api, kind: str) -> None:
    path, counts = READY[kind]
    await api.create(path, of_kind(kind))
    status = (await api.until(f"{path}/web", observed)).body["status"]
    assert {name: status[name] for name in counts} == counts


@pytest.mark.parametrize(
    ("kind", "replicas", "updated"),
    [("StatefulSet", 2, "updatedReplicas"), ("DaemonSet", 1, "updatedNumberScheduled")],
)
async def test_on_delete_a_pod_gets_the_new_template_when_somebody_deletes_it(
    api: Api, kind: str, replicas: int, updated: str
) -> None:
    path, counts = READY[kind]
    workload = of_kind(kind)
    workload["spec"]["updateStrategy"] = {"type": "OnDelete"}
    await api.create(path, workload)
    await api.until(f"{path}/web", observed)
    await api("PATCH", f"{path}/web", images_at("web:2"), content_type="application/strategic-merge-patch+json")
    status = (await api.until(f"{path}/web", observed)).body["status"]
    assert {name: status.get(name) for name in counts} == {**counts, updated: None}
    assert status.get("currentReplicas") == (2 if kind == "StatefulSet" else None)
    assert sorted(await images_of_pods(api)) == ["web:1"] * replicas
    await api("DELETE", f"{PODS}/{(await api.get(PODS)).body['items'][0]['metadata']['name']}")
    status = (await api.until(f"{path}/web", lambda reply: reply.body["status"].get(updated) == 1)).body["status"]
    assert {name: status[name] for name in counts} == {**counts, updated: 1}
    assert status.get("currentReplicas") == (1 if kind == "StatefulSet" else None)
    assert sorted(await images_of_pods(api)) == ["web:1", "web:2"][-replicas:]


PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


async def images_of_pods(api: Api) -> list[str]:
    return [each["spec"]["containers"][0]["image"].rpartition("/")[2] for each in (await api.get(PODS)).body["items"]]


@pytest.mark.parametrize("kind", ["StatefulSet", "DaemonSet"])
async def test_other_workloads_keep_their_templates_as_controller_revisions(api: Api, kind: str) -> None:
    path, _ = READY[kind]
    await api.create(path, of_kind(kind))
    await api.until(f"{path}/web", observed)
    await api.patch(f"{path}/web", {"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}})
    await api.until(f"{path}/web", observed)
    found = (await api.get(f"{APPS}/controllerrevisions")).body["items"]
    assert sorted(each["revision"] for each in found) == [1, 2]
    newest = max(found, key=lambda each: each["revision"])
    assert newest["data"]["spec"]["template"]["$patch"] == "replace"
    assert newest["data"]["spec"]["template"]["metadata"]["annotations"] == {"a": "b"}


@pytest.mark.parametrize(
    ("kind", "label"),
    [("StatefulSet", "controller.kubernetes.io/hash"), ("DaemonSet", "controller-revision-hash")],
)
async def test_a_controller_revision_has_the_annotations_of_its_owner(api: Api, kind: str, label: str) -> None:
    path, _ = READY[kind]
    workload = of_kind(kind)
    workload["metadata"]["annotations"] = {CAUSE: "the beginning", "a": "b"}
    created = await api.create(path, workload)
    await api.until(f"{path}/web", observed)
    (only,) = (await api.get(f"{APPS}/controllerrevisions")).body["items"]
    assert only["metadata"]["annotations"] == created["metadata"]["annotations"]
    assert label in only["metadata"]["labels"]


async def test_many_changes_of_one_workload_settle_as_one() -> None:
    """Keys are coalesced: what counts is the state when the key's turn comes."""
    async with serving(Cluster(settle_seconds=0.05)) as api:
        path = DEPLOYMENTS.replace(NAMESPACE, "default")
        await api.create(path, deployment("web"))
        patches: list[Any] = [api.patch(f"{path}/web", {"spec": {"replicas": number}}) for number in range(5, 15)]
        await asyncio.gather(*patches)
        settled = await api.until(f"{path}/web", observed)
        assert settled.body["status"]["replicas"] == settled.body["spec"]["replicas"]
        async with api.watch(f"{path}?resourceVersion=1") as watch:
            events = [await watch.event() for _ in range(12)]
    states = [event["object"]["status"].get("observedGeneration") for event in events]
    assert states[:-1] == [None] * 11


async def test_nothing_settles_before_its_time() -> None:
    async with serving(Cluster(settle_seconds=600)) as api:
        path = DEPLOYMENTS.replace(NAMESPACE, "default")
        created = await api.create(path, deployment("web"))
        # The account of a namespace does not wait: by the time it is there the task has been round.
        await api.create("/api/v1/namespaces", {"metadata": {"name": "later"}})
        await api.until("/api/v1/namespaces/later/serviceaccounts/default", lambda reply: reply.code == 200)
        assert (await api.get(f"{path}/web")).revision == created["metadata"]["resourceVersion"]
