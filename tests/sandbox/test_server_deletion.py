"""Deletion: preconditions, finalizers, dependents, namespaces."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.sandbox.api import CONFIG_MAPS, CORE, DEPLOYMENTS, NAMESPACE, Api, Object, config_map, deployment

FINALIZER = "example.com/hold"


def owned(name: str, *owners: Object, **metadata: Any) -> Object:
    references = [
        {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}
        for owner in owners
    ]
    return config_map(name, ownerReferences=references, **metadata)


def gone(reply: Any) -> bool:
    return bool(reply.code == 404)


async def test_answers_what_was_deleted(api: Api) -> None:
    created = await api.create(DEPLOYMENTS, deployment("web", replicas=0))
    reply = await api("DELETE", f"{DEPLOYMENTS}/web")
    assert reply.body["status"] == "Success"
    uid = created["metadata"]["uid"]
    assert reply.body["details"] == {"name": "web", "group": "apps", "kind": "deployments", "uid": uid}
    assert (await api("DELETE", f"{DEPLOYMENTS}/web")).code == 404


async def test_some_types_answer_with_the_object_that_is_gone(api: Api) -> None:
    await api.create(f"{CORE}/serviceaccounts", {"metadata": {"name": "x"}})
    assert (await api("DELETE", f"{CORE}/serviceaccounts/x")).body["kind"] == "ServiceAccount"


PRECONDITIONS = {
    "uid": (
        {"uid": "0"},
        (
            "the UID in the precondition (0) does not match the UID in record ({uid}). The object might have "
            "been deleted and "
            "then recreated"
        ),
    ),
    "version": (
        {"resourceVersion": "1"},
        (
            "the ResourceVersion in the precondition (1) does not match the ResourceVersion in record "
            "({revision}). The object "
            "might have been modified"
        ),
    ),
}


@pytest.mark.parametrize(("preconditions", "why"), PRECONDITIONS.values(), ids=PRECONDITIONS)
async def test_holds_to_preconditions(api: Api, preconditions: dict[str, str], why: str) -> None:
    metadata = (await api.create(CONFIG_MAPS, config_map("x")))["metadata"]
    reply = await api("DELETE", f"{CONFIG_MAPS}/x", {"preconditions": preconditions})
    why = why.format(uid=metadata["uid"], revision=metadata["resourceVersion"])
    assert (reply.code, reply.message) == (409, f'Operation cannot be fulfilled on ConfigMap "x": {why}')
    right = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    assert (await api("DELETE", f"{CONFIG_MAPS}/x", {"preconditions": right})).code == 200


REFUSED: dict[str, tuple[Object, str]] = {
    "policy": (
        {"propagationPolicy": "Foo"},
        'propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil"',
    ),
    "policy twice": (
        {"propagationPolicy": "Orphan", "orphanDependents": True},
        'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be both set',
    ),
}


@pytest.mark.parametrize(("options", "message"), REFUSED.values(), ids=REFUSED)
async def test_refuses_options(api: Api, options: Object, message: str) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    reply = await api("DELETE", f"{CONFIG_MAPS}/x", options)
    assert (reply.code, reply.message) == (422, f'DeleteOptions.meta.k8s.io "" is invalid: {message}')


async def test_finalizers_hold_an_object_until_they_are_gone(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x", finalizers=[FINALIZER]))
    marked = await api("DELETE", f"{CONFIG_MAPS}/x")
    assert marked.body["metadata"]["deletionTimestamp"]
    assert marked.body["metadata"]["deletionGracePeriodSeconds"] == 0
    assert (await api("DELETE", f"{CONFIG_MAPS}/x")).revision == marked.revision
    assert (await api.patch(f"{CONFIG_MAPS}/x", {"metadata": {"labels": {"a": "b"}}})).code == 200
    more = await api.patch(f"{CONFIG_MAPS}/x", {"metadata": {"finalizers": [FINALIZER, "example.com/more"]}})
    assert (more.code, more.body["details"]["causes"][0]["field"]) == (422, "metadata.finalizers")
    async with api.watch(f"{CONFIG_MAPS}?resourceVersion={marked.revision}") as watch:
        assert (await api.patch(f"{CONFIG_MAPS}/x", {"metadata": {"finalizers": None}})).code == 200
        assert await watch.told(2) == [("MODIFIED", "x"), ("DELETED", "x")]
    assert gone(await api.get(f"{CONFIG_MAPS}/x"))


async def test_marking_for_deletion_counts_as_a_generation(api: Api) -> None:
    await api.create(DEPLOYMENTS, deployment("web", replicas=0, finalizers=[FINALIZER]))
    assert (await api("DELETE", f"{DEPLOYMENTS}/web")).body["metadata"]["generation"] == 2


async def test_deletes_a_selection(api: Api) -> None:
    for name, app in (("a", "web"), ("b", "web"), ("c", "db")):
        await api.create(CONFIG_MAPS, config_map(name, labels={"app": app}))
    reply = await api("DELETE", f"{CONFIG_MAPS}?labelSelector=app%3Dweb")
    assert [item["metadata"]["name"] for item in reply.body["items"]] == ["a", "b"]
    assert await api.names(CONFIG_MAPS) == ["c"]


@pytest.mark.parametrize("policy", [None, "Background"])
async def test_dependents_follow_their_owner(api: Api, policy: str | None) -> None:
    owner = await api.create(CONFIG_MAPS, config_map("owner"))
    child = await api.create(CONFIG_MAPS, owned("child", owner))
    await api.create(CONFIG_MAPS, owned("grandchild", child))
    await api("DELETE", f"{CONFIG_MAPS}/owner", None if policy is None else {"propagationPolicy": policy})
    await api.until(CONFIG_MAPS, lambda reply: reply.body["items"] == [])


async def test_a_dependent_stays_while_it_has_another_owner(api: Api) -> None:
    one, two = [await api.create(CONFIG_MAPS, config_map(name)) for name in ("one", "two")]
    await api.create(CONFIG_MAPS, owned("child", one, two))
    await api("DELETE", f"{CONFIG_MAPS}/one")
    left = await api.until(f"{CONFIG_MAPS}/child", lambda reply: len(reply.body["metadata"]["ownerReferences"]) == 1)
    assert left.body["metadata"]["ownerReferences"][0]["name"] == "two"
    await api("DELETE", f"{CONFIG_MAPS}/two")
    await api.until(f"{CONFIG_MAPS}/child", gone)


async def test_orphans_stay(api: Api) -> None:
    owner = await api.create(CONFIG_MAPS, config_map("owner"))
    await api.create(CONFIG_MAPS, owned("child", owner))
    await api("DELETE", f"{CONFIG_MAPS}/owner", {"propagationPolicy": "Orphan"})
    assert gone(await api.get(f"{CONFIG_MAPS}/owner"))
    assert "ownerReferences" not in (await api.get(f"{CONFIG_MAPS}/child")).body["metadata"]


async def test_foreground_keeps_the_owner_until_its_dependents_are_gone(api: Api) -> None:
    owner = await api.create(CONFIG_MAPS, config_map("owner"))
    await api.create(CONFIG_MAPS, owned("child", owner, finalizers=[FINALIZER]))
    reply = await api("DELETE", f"{CONFIG_MAPS}/owner", {"propagationPolicy": "Foreground"})
    assert reply.body["metadata"]["finalizers"] == ["foregroundDeletion"]
    await api.until(f"{CONFIG_MAPS}/child", lambda reply: "deletionTimestamp" in reply.body["metadata"])
    assert (await api.get(f"{CONFIG_MAPS}/owner")).code == 200
    await api.patch(f"{CONFIG_MAPS}/child", {"metadata": {"finalizers": None}})
    await api.until(f"{CONFIG_MAPS}/owner", gone)


async def test_a_dependent_of_nobody_goes_at_once(api: Api) -> None:
    ghost = {"metadata": {"name": "ghost", "uid": "00000000-0000-0000-0000-000000000000"}}
    await api.create(CONFIG_MAPS, owned("child", ghost))
    await api.until(f"{CONFIG_MAPS}/child", gone)


async def test_a_namespace_goes_with_everything_in_it(api: Api) -> None:
    # More than are deleted in one go.
    await asyncio.gather(*(api.create(CONFIG_MAPS, config_map(f"x{number}")) for number in range(50)))
    await api.create(DEPLOYMENTS, deployment("web"))
    reply = await api("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    assert reply.body["status"] == {"phase": "Terminating"}
    await api.until(f"/api/v1/namespaces/{NAMESPACE}", gone)
    for path in (CONFIG_MAPS, DEPLOYMENTS, f"{CORE}/serviceaccounts"):
        assert await api.names(path) == []


async def test_a_namespace_waits_for_finalizers_and_takes_nothing_new(api: Api) -> None:
    held = [config_map(f"a{number}", finalizers=[FINALIZER]) for number in range(30)]
    await asyncio.gather(*(api.create(CONFIG_MAPS, obj) for obj in held))
    await api.create(CONFIG_MAPS, config_map("held", finalizers=[FINALIZER]))
    await api("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    await api.until(f"{CONFIG_MAPS}/held", lambda reply: "deletionTimestamp" in reply.body["metadata"])
    refused = await api("POST", CONFIG_MAPS, config_map("new"))
    assert (refused.code, refused.message) == (
        403,
        (
            f'configmaps "new" is forbidden: unable to create new content in namespace {NAMESPACE} because it is '
            f"being terminated"
        ),
    )
    assert refused.body["details"]["causes"][0]["reason"] == "NamespaceTerminating"
    for name in await api.names(CONFIG_MAPS):
        assert (await api.get(f"/api/v1/namespaces/{NAMESPACE}")).code == 200
        await api.patch(f"{CONFIG_MAPS}/{name}", {"metadata": {"finalizers": None}})
    await api.until(f"/api/v1/namespaces/{NAMESPACE}", gone)


async def test_the_first_namespaces_cannot_be_deleted(api: Api) -> None:
    reply = await api("DELETE", "/api/v1/namespaces/default")
    assert (reply.code, reply.message) == (
        403,
        'namespaces "default" is forbidden: this namespace may not be deleted',
    )
