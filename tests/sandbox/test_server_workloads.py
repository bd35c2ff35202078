"""Pods, Jobs and what owns pods: what of them may change, in the words of a real kube-apiserver (1.36)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.api import CORE, JSON_PATCH, MERGE_PATCH, NAMESPACE, STRATEGIC_PATCH, Api, Object, Reply

PODS = f"{CORE}/pods"
JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
APPS = f"/apis/apps/v1/namespaces/{NAMESPACE}"
CONTROLLERS = f"{CORE}/replicationcontrollers"
LABELS = {"app": "web"}
CONTAINERS = [{"name": "web", "image": "web:1"}, {"name": "proxy", "image": "proxy:1"}]
IS_WEB = {"op": "test", "path": "/spec/containers/0/name", "value": "web"}
FIXED = "field is immutable"
NOT_OURS = "!pod-template-hash,!controller-revision-hash,!batch.kubernetes.io/controller-uid"


def replace(path: str, value: Any) -> Object:
    return {"op": "replace", "path": path, "value": value}


def add(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


def remove(path: str) -> Object:
    return {"op": "remove", "path": path}


def template(**spec: Any) -> Object:
    return {"metadata": {"labels": LABELS}, "spec": {"containers": CONTAINERS, **spec}}


def pod(name: str = "web", **metadata: Any) -> Object:
    initial = [{"name": "first", "image": "first:1"}]
    return {"metadata": {"name": name, **metadata}, "spec": {"containers": CONTAINERS, "initContainers": initial}}


def job(name: str = "web", metadata: Object | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": name, **(metadata or {})},
        "spec": {"template": template(restartPolicy="Never"), **spec},
    }


async def running(api: Api) -> Object:
    """Return the Pod `web` as soon as it runs: until then the sandbox writes it, too."""
    return dict((await api.until(f"{PODS}/web", lambda reply: reply.body["status"]["phase"] == "Running")).body)


async def patched(api: Api, path: str, *operations: Object) -> Reply:
    return await api.patch(path, list(operations), JSON_PATCH)


def causes(reply: Reply) -> list[tuple[str, str]]:
    """Return what a refusal says, field by field, without the difference that the real server draws behind it."""
    assert reply.code == 422, reply
    return [(each["field"], each["message"].partition(": ")[2]) for each in reply.body["details"]["causes"]]


# Pods


async def test_a_pod_is_admitted_with_a_priority_and_time_to_stay(api: Api) -> None:
    created = await api.create(PODS, pod())
    assert (created["spec"]["priority"], created["spec"]["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    keys = [each["key"] for each in created["spec"]["tolerations"]]
    assert keys == ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]
    assert {each["tolerationSeconds"] for each in created["spec"]["tolerations"]} == {300}


async def test_a_pod_that_tolerates_everything_is_given_nothing_more(api: Api) -> None:
    anything = pod()
    anything["spec"]["tolerations"] = [{"operator": "Exists"}]
    assert (await api.create(PODS, anything))["spec"]["tolerations"] == [{"operator": "Exists"}]


TAKEN = {
    "image": ([IS_WEB, replace("/spec/containers/0/image", "web:2")], 2),
    "image of an init container": ([replace("/spec/initContainers/0/image", "first:2")], 2),
    "deadline": ([add("/spec/activeDeadlineSeconds", 100)], 2),
    "one more toleration": ([add("/spec/tolerations/-", {"key": "a", "operator": "Exists"})], 2),
    "longer toleration": ([replace("/spec/tolerations/0/tolerationSeconds", 600)], 2),
    "tolerations that admission gives back": ([replace("/spec/tolerations", [{"key": "a", "operator": "Exists"}])], 2),
    "annotation": ([add("/metadata/annotations", {"a": "b"})], 1),
    "label": ([add("/metadata/labels", {"a": "b"})], 1),
}


@pytest.mark.parametrize(("operations", "generation"), TAKEN.values(), ids=TAKEN)
async def test_little_of_a_pod_may_change(api: Api, operations: list[Object], generation: int) -> None:
    await api.create(PODS, pod())
    reply = await patched(api, f"{PODS}/web", *operations)
    assert (reply.code, reply.body["metadata"]["generation"]) == (200, generation)


MAY_CHANGE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
NO_CONTAINERS = "pod updates may not add or remove containers"
REFUSED = {
    "environment": ([add("/spec/containers/0/env", [{"name": "A", "value": "b"}])], ("spec", MAY_CHANGE)),
    "name of a container": ([replace("/spec/containers/0/name", "other")], ("spec", MAY_CHANGE)),
    "pull policy": ([replace("/spec/containers/0/imagePullPolicy", "Always")], ("spec", MAY_CHANGE)),
    "node": ([add("/spec/nodeName", "a")], ("spec", MAY_CHANGE)),
    "grace period": ([replace("/spec/terminationGracePeriodSeconds", 1)], ("spec", MAY_CHANGE)),
    "one container less": ([remove("/spec/containers/1")], ("spec.containers", NO_CONTAINERS)),
    "no init containers": ([remove("/spec/initContainers")], ("spec.initContainers", NO_CONTAINERS)),
    "image and more": (
        [replace("/spec/containers/0/image", "web:2"), add("/spec/nodeSelector", {"a": "b"})],
        ("spec", MAY_CHANGE),
    ),
    "deadline of nothing": (
        [add("/spec/activeDeadlineSeconds", 0)],
        ("spec.activeDeadlineSeconds", "0: must be between 1 and 2147483647, inclusive"),
    ),
    "gate": (
        [add("/spec/schedulingGates", [{"name": "example.com/a"}])],
        ("spec.schedulingGates[0].name", "only deletion is allowed, but found new scheduling gate 'example.com/a'"),
    ),
}


@pytest.mark.parametrize(("operations", "cause"), REFUSED.values(), ids=REFUSED)
async def test_the_rest_of_a_pod_may_not(api: Api, operations: list[Object], cause: tuple[str, str]) -> None:
    await api.create(PODS, pod())
    assert causes(await patched(api, f"{PODS}/web", *operations)) == [cause]


async def test_a_toleration_stays(api: Api) -> None:
    tolerant = pod()
    tolerant["spec"]["tolerations"] = [{"key": "a", "operator": "Exists"}]
    await api.create(PODS, tolerant)
    reply = await patched(api, f"{PODS}/web", remove("/spec/tolerations/0"))
    why = "existing toleration can not be modified except its tolerationSeconds"
    assert causes(reply) == [("spec.tolerations", why)]


async def test_a_deadline_comes_nearer_and_never_goes(api: Api) -> None:
    await api.create(PODS, pod())
    path, field = f"{PODS}/web", "spec.activeDeadlineSeconds"
    await patched(api, path, add("/spec/activeDeadlineSeconds", 100))
    later = await patched(api, path, replace("/spec/activeDeadlineSeconds", 200))
    assert causes(later) == [(field, "200: must be less than or equal to previous value")]
    never = await patched(api, path, remove("/spec/activeDeadlineSeconds"))
    assert causes(never) == [(field, "null: must not update from a positive integer to nil value")]
    assert (await patched(api, path, replace("/spec/activeDeadlineSeconds", 50))).code == 200


async def test_a_pod_can_be_replaced_by_what_was_applied(api: Api) -> None:
    """Whoever writes it again leaves out what admission added."""
    await api.create(PODS, pod())
    created = await running(api)
    spec = {key: value for key, value in created["spec"].items() if key not in ("priority", "preemptionPolicy")}
    spec["tolerations"] = []
    reply = await api("PUT", f"{PODS}/web", {**created, "spec": spec})
    assert (reply.code, reply.body["spec"]) == (200, created["spec"])


# Jobs


def generated(name: str, uid: str) -> Object:
    return {
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": name,
        "controller-uid": uid,
        "job-name": name,
    }


async def test_a_job_selects_its_pods_by_its_own_uid(api: Api) -> None:
    created = await api.create(JOBS, job())
    uid = created["metadata"]["uid"]
    assert created["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    assert created["spec"]["template"]["metadata"]["labels"] == {**LABELS, **generated("web", uid)}
    assert created["metadata"]["labels"] == {**LABELS, **generated("web", uid)}


async def test_a_job_with_labels_of_its_own_gets_no_others(api: Api) -> None:
    created = await api.create(JOBS, job(metadata={"labels": {"mine": "yes"}}))
    assert created["metadata"]["labels"] == {"mine": "yes"}
    assert "job-name" in created["spec"]["template"]["metadata"]["labels"]


async def test_a_job_may_be_told_whom_to_select(api: Api) -> None:
    created = await api.create(JOBS, job(manualSelector=True, selector={"matchLabels": LABELS}))
    assert created["spec"]["selector"] == {"matchLabels": LABELS}
    assert created["spec"]["template"]["metadata"]["labels"] == LABELS


NO_MATCH = "`selector` does not match template `labels`"
REFUSED_JOBS: dict[str, tuple[Object, list[tuple[str, str]]]] = {
    "a selector that it does not ask for": (
        {"selector": {"matchLabels": LABELS}},
        [("spec.selector", "`selector` not auto-generated")],
    ),
    "none where it brings its own": (
        {"manualSelector": True},
        [("spec.selector", ""), ("spec.template.metadata.labels", NO_MATCH)],
    ),
    "one of other pods": (
        {"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}},
        [("spec.template.metadata.labels", NO_MATCH)],
    ),
    "indexed without a number": (
        {"completionMode": "Indexed", "parallelism": 2},
        [("spec.completions", "when completion mode is Indexed")],
    ),
    "unknown mode": (
        {"completionMode": "Other"},
        [("spec.completionMode", '"Other": supported values: "NonIndexed", "Indexed"')],
    ),
}


@pytest.mark.parametrize(("spec", "told"), REFUSED_JOBS.values(), ids=REFUSED_JOBS)
async def test_refuses_a_job(api: Api, spec: Object, told: list[tuple[str, str]]) -> None:
    found = causes(await api("POST", JOBS, job(**spec)))
    assert [field for field, _ in found] == [field for field, _ in told]
    assert all(text.endswith(ending) for (_, text), (_, ending) in zip(found, told, strict=True))


IMAGE = replace("/spec/template/spec/containers/0/image", "web:2")


async def test_no_image_of_a_job_changes_while_it_runs(api: Api) -> None:
    await api.create(JOBS, job())
    ((field, why),) = causes(await patched(api, f"{JOBS}/web", IMAGE))
    assert field == "spec.template"
    assert why.endswith(FIXED)


async def test_no_image_of_a_job_changes_while_it_waits(api: Api) -> None:
    await api.create(JOBS, job(suspend=True))
    ((field, why),) = causes(await patched(api, f"{JOBS}/web", IMAGE))
    assert field == "spec.template.spec"
    assert why.endswith(FIXED)


PLACES = {
    "node selector": add("/spec/template/spec/nodeSelector", {"a": "b"}),
    "tolerations": add("/spec/template/spec/tolerations", [{"key": "a", "operator": "Exists"}]),
    "resources": add("/spec/template/spec/containers/0/resources", {"requests": {"cpu": "1"}}),
    "annotations of its pods": add("/spec/template/metadata/annotations", {"a": "b"}),
}


@pytest.mark.parametrize("operation", PLACES.values(), ids=PLACES)
async def test_where_a_job_runs_may_change_while_it_waits(api: Api, operation: Object) -> None:
    await api.create(JOBS, job(suspend=True))
    assert (await patched(api, f"{JOBS}/web", operation)).code == 200
    await patched(api, f"{JOBS}/web", replace("/spec/suspend", False))
    changed = {**operation, "value": [] if isinstance(operation["value"], list) else {}}
    assert causes(await patched(api, f"{JOBS}/web", changed))[0][0] == "spec.template"


STILL = {
    "completions": (replace("/spec/completions", 3), "spec.completions"),
    "mode": (replace("/spec/completionMode", "Indexed"), "spec.completionMode"),
    "backoff of an index": (add("/spec/backoffLimitPerIndex", 1), "spec.backoffLimitPerIndex"),
}


@pytest.mark.parametrize(("operation", "field"), STILL.values(), ids=STILL)
async def test_what_else_of_a_job_is_settled(api: Api, operation: Object, field: str) -> None:
    await api.create(JOBS, job(suspend=True))
    assert (field, True) in [
        (found, why.endswith(FIXED)) for found, why in causes(await patched(api, f"{JOBS}/web", operation))
    ]


async def test_the_selector_of_a_job_is_settled(api: Api) -> None:
    await api.create(JOBS, job())
    told = causes(await patched(api, f"{JOBS}/web", add("/spec/selector/matchLabels/a", "b")))
    assert [field for field, _ in told] == ["spec.selector", "spec.template.metadata.labels", "spec.selector"]
    assert told[-1][1].endswith(FIXED)


@pytest.mark.parametrize("spec", [{"parallelism": 3}, {"suspend": False}, {"backoffLimit": 1}])
async def test_how_a_job_runs_may_change(api: Api, spec: Object) -> None:
    await api.create(JOBS, job(suspend=True))
    reply = await api.patch(f"{JOBS}/web", {"spec": spec})
    assert (reply.code, reply.body["metadata"]["generation"]) == (200, 2)


async def test_an_indexed_job_grows_as_a_whole(api: Api) -> None:
    await api.create(JOBS, job(completionMode="Indexed", completions=2, parallelism=2))
    alone = await api.patch(f"{JOBS}/web", {"spec": {"completions": 3}})
    assert causes(alone) == [("spec.completions", "3: can only be modified in tandem with spec.parallelism")]
    assert (await api.patch(f"{JOBS}/web", {"spec": {"completions": 3, "parallelism": 3}})).code == 200


# ReplicaSets and ReplicationControllers

OWNERS = {
    "ReplicaSet": (f"{APPS}/replicasets", {"matchLabels": LABELS}),
    "ReplicationController": (CONTROLLERS, LABELS),
}


@pytest.mark.parametrize(("path", "selector"), OWNERS.values(), ids=OWNERS)
async def test_a_template_may_change(api: Api, path: str, selector: Object) -> None:
    await api.create(path, {"metadata": {"name": "web"}, "spec": {"selector": selector, "template": template()}})
    test = {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"}
    reply = await patched(api, f"{path}/web", test, IMAGE)
    assert reply.body["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
    assert reply.body["metadata"]["generation"] == 2
    stale = await patched(api, f"{path}/web", {**test, "value": "other"}, IMAGE)
    assert (stale.code, stale.body["reason"], stale.body["details"]) == (422, "Invalid", {})
    merged = {"spec": {"template": {"spec": {"containers": [{"name": "proxy", "image": "proxy:2"}]}}}}
    reply = await api.patch(f"{path}/web", merged, STRATEGIC_PATCH)
    images = [each["image"] for each in reply.body["spec"]["template"]["spec"]["containers"]]
    assert images == ["web:2", "proxy:2"]


async def test_the_selector_of_a_replica_set_is_settled(api: Api) -> None:
    path, selector = OWNERS["ReplicaSet"]
    await api.create(path, {"metadata": {"name": "web"}, "spec": {"selector": selector, "template": template()}})
    both = [add("/spec/selector/matchLabels/a", "b"), add("/spec/template/metadata/labels/a", "b")]
    ((field, why),) = causes(await patched(api, f"{path}/web", *both))
    assert (field, why.endswith(FIXED)) == ("spec.selector", True)


async def test_a_replication_controller_takes_its_labels_from_its_template(api: Api) -> None:
    created = await api.create(CONTROLLERS, {"metadata": {"name": "web"}, "spec": {"template": template()}})
    assert (created["spec"]["selector"], created["metadata"]["labels"]) == (LABELS, LABELS)
    both = [add("/spec/selector/a", "b"), add("/spec/template/metadata/labels/a", "b")]
    assert (await patched(api, f"{CONTROLLERS}/web", *both)).code == 200
    alone = await patched(api, f"{CONTROLLERS}/web", add("/spec/selector/c", "d"))
    assert [field for field, _ in causes(alone)] == ["spec.template.metadata.labels"]


@pytest.mark.parametrize(
    ("spec", "fields"),
    [
        ({}, ["spec.selector", "spec.template"]),
        ({"selector": LABELS}, ["spec.template"]),
        ({"template": {"spec": {"containers": CONTAINERS}}}, ["spec.selector"]),
        ({"selector": {"a": "b"}, "template": template()}, ["spec.template.metadata.labels"]),
        ({"template": template(restartPolicy="Never")}, ["spec.template.spec.restartPolicy"]),
        ({"template": template(), "replicas": -1}, ["spec.replicas"]),
    ],
    ids=["nothing", "no template", "no labels", "other labels", "pods that end", "less than none"],
)
async def test_refuses_a_replication_controller(api: Api, spec: Object, fields: list[str]) -> None:
    reply = await api("POST", CONTROLLERS, {"metadata": {"name": "web"}, "spec": spec})
    assert [field for field, _ in causes(reply)] == fields


async def test_a_daemon_set_counts_its_templates(api: Api) -> None:
    path, name = f"{APPS}/daemonsets", "deprecated.daemonset.template.generation"
    spec = {"selector": {"matchLabels": LABELS}, "template": template()}
    created = await api.create(path, {"metadata": {"name": "web"}, "spec": spec})
    assert created["metadata"]["annotations"] == {name: "1"}
    changed = await patched(api, f"{path}/web", IMAGE)
    assert changed.body["metadata"]["annotations"] == {name: "2"}
    cleared = await api.patch(f"{path}/web", {"metadata": {"annotations": None}}, MERGE_PATCH)
    assert cleared.body["metadata"]["annotations"] == {name: "2"}


# Those that no controller made

MARKS = ("pod-template-hash", "controller-revision-hash", "batch.kubernetes.io/controller-uid")


async def test_lists_only_what_no_controller_made_in_pages_too(api: Api) -> None:
    for number, mark in enumerate((*MARKS, "")):
        for side in "ab":
            await api.create(PODS, pod(f"{side}{number}", labels={mark: "x"} if mark else LABELS))
    assert await api.names(f"{PODS}?labelSelector={NOT_OURS}") == ["a3", "b3"]
    page = (await api.get(f"{PODS}?labelSelector={NOT_OURS}&limit=1")).body
    assert [each["metadata"]["name"] for each in page["items"]] == ["a3"]
    token = page["metadata"]["continue"]
    assert await api.names(f"{PODS}?labelSelector={NOT_OURS}&limit=1&continue={token}") == ["b3"]


@pytest.mark.parametrize("mark", MARKS)
async def test_a_watch_loses_what_a_controller_adopts_and_finds_it_again(api: Api, mark: str) -> None:
    await api.create(PODS, pod())
    await running(api)
    async with api.watch(f"{PODS}?labelSelector={NOT_OURS}&allowWatchBookmarks=true") as watch:
        assert await watch.told(1) == [("ADDED", "web")]
        await api.patch(f"{PODS}/web", {"metadata": {"labels": {mark: "x"}}})
        gone = await watch.event()
        assert gone["type"] == "DELETED"
        assert mark not in (gone["object"]["metadata"].get("labels") or {})
        await patched(api, f"{PODS}/web", replace("/spec/containers/0/image", "web:2"))
        await api.patch(f"{PODS}/web", {"metadata": {"labels": {mark: None}}})
        found = await watch.event()
        assert (found["type"], found["object"]["spec"]["containers"][0]["image"]) == ("ADDED", "web:2")
        assert int(found["object"]["metadata"]["resourceVersion"]) > int(gone["object"]["metadata"]["resourceVersion"])
