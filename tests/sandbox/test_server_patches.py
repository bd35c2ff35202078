"""The four kinds of patch over HTTP: what they change, in which words they are refused, who owns what afterwards."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.api import (
    APPLY_PATCH,
    CONFIG_MAPS,
    DEPLOYMENTS,
    GADGETS,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Api,
    Object,
    config_map,
    deployment,
    gadget,
)

IMAGE = "/spec/template/spec/containers/0/image"
REJECTED = "the server rejected our request due to an error in our request"


def images(obj: Object) -> list[str]:
    return [container["image"].rpartition("/")[2] for container in obj["spec"]["template"]["spec"]["containers"]]


@pytest.fixture
async def web(api: Api) -> Api:
    await api.create(DEPLOYMENTS, deployment("web", replicas=0))
    return api


TAKEN: dict[str, tuple[str, Any]] = {
    "json": (
        JSON_PATCH,
        [
            {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"},
            {"op": "replace", "path": IMAGE, "value": "web:2"},
        ],
    ),
    "strategic": (
        STRATEGIC_PATCH,
        {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}},
    ),
}


@pytest.mark.parametrize(("kind", "patch"), TAKEN.values(), ids=TAKEN)
async def test_patches_one_container_and_leaves_the_other(web: Api, kind: str, patch: Any) -> None:
    reply = await web.patch(f"{DEPLOYMENTS}/web?fieldManager=me", patch, kind)
    assert (reply.code, images(reply.body)) == (200, ["web:2", "proxy:1"])
    assert reply.body["metadata"]["generation"] == 2
    mine = next(entry for entry in reply.body["metadata"]["managedFields"] if entry["manager"] == "me")
    assert mine["operation"] == "Update"
    containers = mine["fieldsV1"]["f:spec"]["f:template"]["f:spec"]["f:containers"]
    assert containers['k:{"name":"web"}'] == {"f:image": {}}


async def test_a_merge_patch_replaces_the_list(web: Api) -> None:
    containers = [{"name": "web", "image": "web:2"}]
    reply = await web.patch(f"{DEPLOYMENTS}/web", {"spec": {"template": {"spec": {"containers": containers}}}})
    assert images(reply.body) == ["web:2"]


REFUSED: dict[str, tuple[str, Any, int, str]] = {
    "test that fails": (JSON_PATCH, [{"op": "test", "path": IMAGE, "value": "other"}], 422, REJECTED),
    "path that is not there": (JSON_PATCH, [{"op": "remove", "path": "/spec/nothing"}], 422, REJECTED),
    "json patch that is no list": (
        JSON_PATCH,
        {"op": "add"},
        400,
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp",
    ),
    "merge patch cut short": (MERGE_PATCH, "{", 400, "error decoding patch: unexpected end of JSON input"),
    "merge patch that is a list": (
        MERGE_PATCH,
        [],
        400,
        "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    "no kind of patch": ("application/json", {}, 415, "415: Unsupported Media Type"),
    "rename": (
        JSON_PATCH,
        [{"op": "replace", "path": "/metadata/name", "value": "x"}],
        400,
        "the name of the object (x) does not match the name on the URL (web)",
    ),
    "nothing left to run": (
        JSON_PATCH,
        [{"op": "replace", "path": "/spec/template/spec/containers", "value": []}],
        422,
        'Deployment.apps "web" is invalid: spec.template.spec.containers: Required value',
    ),
    "strategic item without its key": (
        STRATEGIC_PATCH,
        {"spec": {"template": {"spec": {"containers": [{"image": "web:2"}]}}}},
        500,
        "map: map[image:web:2] does not contain declared merge key: name",
    ),
}


@pytest.mark.parametrize(("kind", "patch", "code", "message"), REFUSED.values(), ids=REFUSED)
async def test_refuses_in_the_words_of_the_real_server(
    web: Api, kind: str, patch: Any, code: int, message: str
) -> None:
    before = await web.get(f"{DEPLOYMENTS}/web")
    reply = await web.patch(f"{DEPLOYMENTS}/web", patch, kind)
    assert (reply.code, reply.message) == (code, message)
    assert images((await web.get(f"{DEPLOYMENTS}/web")).body) == images(before.body)


@pytest.mark.parametrize("kind", [JSON_PATCH, MERGE_PATCH])
async def test_a_stale_version_in_a_patch_is_a_conflict(web: Api, kind: str) -> None:
    patch: Any = {"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}}
    if kind == JSON_PATCH:
        patch = [{"op": "replace", "path": "/metadata/resourceVersion", "value": "1"}]
    reply = await web.patch(f"{DEPLOYMENTS}/web", patch, kind)
    assert (reply.code, reply.body["reason"]) == (409, "Conflict")


@pytest.mark.parametrize("kind", [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH])
async def test_patching_what_is_missing_is_404(api: Api, kind: str) -> None:
    reply = await api.patch(f"{DEPLOYMENTS}/nothing", [] if kind == JSON_PATCH else {}, kind)
    assert (reply.code, reply.message) == (404, 'deployments.apps "nothing" not found')


async def test_an_empty_patch_changes_nothing(web: Api) -> None:
    before = await web.patch(f"{DEPLOYMENTS}/web", {"metadata": {"labels": {"a": "b"}}})
    await web.until(f"{DEPLOYMENTS}/web", lambda reply: reply.body["status"].get("observedGeneration") == 1)
    settled = await web.get(f"{DEPLOYMENTS}/web")
    assert before.code == 200
    for kind, patch in ((JSON_PATCH, []), (MERGE_PATCH, {}), (STRATEGIC_PATCH, {})):
        assert (await web.patch(f"{DEPLOYMENTS}/web", patch, kind)).revision == settled.revision


async def test_warns_of_fields_a_patch_makes_up(web: Api) -> None:
    patch = [{"op": "add", "path": "/spec/foo", "value": 1}]
    warned = await web.patch(f"{DEPLOYMENTS}/web", patch, JSON_PATCH)
    assert (warned.code, warned.warnings) == (200, ['299 - "unknown field \\"spec.foo\\""'])
    strict = await web.patch(f"{DEPLOYMENTS}/web?fieldValidation=Strict", patch, JSON_PATCH)
    assert strict.code == 422
    assert strict.message.endswith('strict decoding error: unknown field "spec.foo"')


# Server-side apply


def applied(name: str, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


async def test_apply_creates_then_changes_then_changes_nothing(api: Api) -> None:
    path = f"{CONFIG_MAPS}/x?fieldManager=me"
    created = await api.patch(path, applied("x", a="1", b="2"), APPLY_PATCH)
    assert (created.code, created.body["metadata"]["managedFields"][0]["operation"]) == (201, "Apply")
    again = await api.patch(path, applied("x", a="1", b="2"), APPLY_PATCH)
    assert (again.code, again.revision) == (200, created.revision)
    changed = await api.patch(path, applied("x", a="3"), APPLY_PATCH)
    assert (changed.code, changed.body["data"]) == (200, {"a": "3"})


async def test_apply_takes_yaml(api: Api) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: y}\ndata: {a: 'true'}\n"
    reply = await api.patch(f"{CONFIG_MAPS}/y?fieldManager=me", manifest, APPLY_PATCH)
    assert (reply.code, reply.body["data"]) == (201, {"a": "true"})


async def test_apply_names_whose_field_it_would_take_and_takes_it_by_force(api: Api) -> None:
    await api.patch(f"{CONFIG_MAPS}/x?fieldManager=me", applied("x", a="1"), APPLY_PATCH)
    other = f"{CONFIG_MAPS}/x?fieldManager=you"
    refused = await api.patch(other, applied("x", a="2"), APPLY_PATCH)
    assert (refused.code, refused.message) == (409, 'Apply failed with 1 conflict: conflict with "me": .data.a')
    cause = {"reason": "FieldManagerConflict", "message": 'conflict with "me"', "field": ".data.a"}
    assert refused.body["details"] == {"causes": [cause]}
    forced = await api.patch(f"{other}&force=true", applied("x", a="2"), APPLY_PATCH)
    assert forced.body["data"] == {"a": "2"}


async def test_apply_of_the_status_leaves_the_rest(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g", size=3))
    manifest = {**gadget("g", size=9), "status": {"phase": "done"}}
    reply = await gadgets.patch(f"{GADGETS}/g/status?fieldManager=me", manifest, APPLY_PATCH)
    assert (reply.body["status"], reply.body["spec"]["size"]) == ({"phase": "done"}, 3)
    entry = next(entry for entry in reply.body["metadata"]["managedFields"] if entry["manager"] == "me")
    assert entry["subresource"] == "status"
    main = await gadgets.patch(f"{GADGETS}/g?fieldManager=me&force=true", manifest, APPLY_PATCH)
    assert (main.body["status"], main.body["spec"]["size"]) == ({"phase": "done"}, 9)


REFUSED_APPLIES: dict[str, tuple[str, Any, int, str]] = {
    "no manager": (
        "",
        applied("x"),
        422,
        'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
    ),
    "other name": (
        "?fieldManager=me",
        applied("y"),
        400,
        "the name of the object (y) does not match the name on the URL (x)",
    ),
    "no kind": ("?fieldManager=me", {"metadata": {"name": "x"}}, 400, "invalid object type: /, Kind="),
}


@pytest.mark.parametrize(("query", "patch", "code", "message"), REFUSED_APPLIES.values(), ids=REFUSED_APPLIES)
async def test_refuses_an_apply(api: Api, query: str, patch: Any, code: int, message: str) -> None:
    reply = await api.patch(f"{CONFIG_MAPS}/x{query}", patch, APPLY_PATCH)
    assert (reply.code, reply.message) == (code, message)


async def test_force_is_for_apply_only(api: Api) -> None:
    await api.create(CONFIG_MAPS, config_map("x"))
    reply = await api.patch(f"{CONFIG_MAPS}/x?force=true", {})
    assert reply.message == (
        'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch'
    )


async def test_a_manager_without_a_name_is_called_by_its_program(api: Api) -> None:
    created = await api.create(CONFIG_MAPS, config_map("x"))
    assert created["metadata"]["managedFields"][0]["manager"] == "tests"
