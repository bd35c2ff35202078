"""Custom types: served as soon as they are defined, held to their schema, gone with their definition."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import (
    CONFIG_MAPS,
    DEFINITIONS,
    GADGETS,
    NAMESPACE,
    STRATEGIC_PATCH,
    TABLE,
    Api,
    Object,
    config_map,
    definition,
    gadget,
    serving,
)

DEFINITION = f"{DEFINITIONS}/gadgets.example.com"


async def test_is_served_as_soon_as_it_is_defined(api: Api) -> None:
    assert (await api.get(GADGETS)).code == 404
    created = await api.create(DEFINITIONS, definition())
    assert (await api.get(GADGETS)).body["kind"] == "GadgetList"
    conditions = {each["type"]: (each["status"], each["reason"]) for each in created["status"]["conditions"]}
    assert conditions == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert created["status"]["storedVersions"] == ["v1"]
    assert created["spec"]["names"]["singular"] == "gadget"
    assert created["spec"]["names"]["listKind"] == "GadgetList"


async def test_creations_wait_while_the_type_is_new_as_on_a_real_server() -> None:
    clock = asyncio.get_running_loop().time
    async with serving(Cluster(new_kind_seconds=2)) as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        await api.create(DEFINITIONS, definition())
        started = clock()
        await api.create(CONFIG_MAPS, config_map("others"))
        assert (await api.get(GADGETS)).body["items"] == []
        assert clock() - started < 1
        await api.create(GADGETS, gadget("first"))
        held = clock()
        assert held - started >= 2
        await api.create(GADGETS, gadget("second"))
        assert clock() - held < 1


async def test_is_found_by_discovery(gadgets: Api) -> None:
    found = (await gadgets.get("/apis/example.com/v1")).body
    assert [resource["name"] for resource in found["resources"]] == ["gadgets", "gadgets/scale", "gadgets/status"]
    assert found["resources"][0]["shortNames"] == ["gd"]
    assert found["resources"][0]["categories"] == ["all"]
    assert "shortNames" not in found["resources"][1]
    groups = (await gadgets.get("/apis")).body["groups"]
    assert "example.com" in [group["name"] for group in groups]


async def test_prunes_defaults_and_warns(gadgets: Api) -> None:
    reply = await gadgets("POST", GADGETS, gadget("g", foo=1, tags=[{"name": "x", "bar": 2}]))
    assert reply.body["spec"] == {"size": 1, "color": "blue", "tags": [{"name": "x"}]}
    assert reply.warnings == ['299 - "unknown field \\"spec.foo\\""', '299 - "unknown field \\"spec.tags[0].bar\\""']


INVALID: dict[str, tuple[Object, str]] = {
    "value": (
        {"size": 0},
        (
            'Gadget.example.com "g" is invalid: spec.size: Invalid value: 0: spec.size in body should be greater '
            "than or equal to 1"
        ),
    ),
    "type": (
        {"color": 5},
        (
            'Gadget.example.com "g" is invalid: spec.color: Invalid value: "integer": spec.color in body must be '
            "of type string: "
            '"integer"'
        ),
    ),
}


@pytest.mark.parametrize(("spec", "message"), INVALID.values(), ids=INVALID)
async def test_holds_objects_to_the_schema(gadgets: Api, spec: Object, message: str) -> None:
    refused = await gadgets("POST", GADGETS, gadget("g", **spec))
    assert (refused.code, refused.message) == (422, message)
    await gadgets.create(GADGETS, gadget("g"))
    patched = await gadgets.patch(f"{GADGETS}/g", {"spec": spec})
    assert (patched.code, patched.message) == (422, message)


MISMATCHED: dict[str, tuple[Object, int, str]] = {
    "version": (
        {"apiVersion": "example.com/v2"},
        400,
        "the API version in the data (example.com/v2) does not match the expected API version (example.com/v1)",
    ),
    "kind": (
        {"kind": "Gizmo"},
        422,
        'Gizmo.example.com "g" is invalid: kind: Invalid value: "Gizmo": must be Gadget',
    ),
}


@pytest.mark.parametrize(("change", "code", "message"), MISMATCHED.values(), ids=MISMATCHED)
async def test_refuses_another_type(gadgets: Api, change: Object, code: int, message: str) -> None:
    reply = await gadgets("POST", GADGETS, {**gadget("g"), **change})
    assert (reply.code, reply.message) == (code, message)


async def test_wants_the_version_with_every_update(gadgets: Api) -> None:
    created = await gadgets.create(GADGETS, gadget("g"))
    missing = await gadgets("PUT", f"{GADGETS}/g", gadget("g", size=2))
    assert missing.message == (
        'gadgets.example.com "g" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified '
        "for an update"
    )
    created["spec"]["size"] = 2
    assert (await gadgets("PUT", f"{GADGETS}/g", created)).body["spec"]["size"] == 2


async def test_has_no_strategic_merge(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g"))
    reply = await gadgets.patch(f"{GADGETS}/g", {}, STRATEGIC_PATCH)
    assert (reply.code, reply.message) == (
        415,
        (
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json-patch+json, "
            "application/merge-patch+json, application/apply-patch+yaml"
        ),
    )


WRITES: dict[str, tuple[str, Any, int]] = {
    "spec": ("", {"spec": {"size": 2}}, 2),
    "labels": ("", {"metadata": {"labels": {"a": "b"}}}, 1),
    "annotations": ("", {"metadata": {"annotations": {"a": "b"}}}, 1),
    "status by the back door": ("", {"status": {"phase": "x"}}, 1),
    "status": ("/status", {"status": {"phase": "x"}}, 1),
}


@pytest.mark.parametrize(("subresource", "patch", "generation"), WRITES.values(), ids=WRITES)
async def test_counts_generations_of_the_spec(gadgets: Api, subresource: str, patch: Any, generation: int) -> None:
    await gadgets.create(GADGETS, gadget("g"))
    reply = await gadgets.patch(f"{GADGETS}/g{subresource}", patch)
    assert reply.body["metadata"]["generation"] == generation
    assert reply.body.get("status") == ({"phase": "x"} if subresource else None)


async def test_a_status_write_changes_nothing_else(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g"))
    patch = {
        "status": {"phase": "x"},
        "spec": {"size": 9},
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
    }
    reply = await gadgets.patch(f"{GADGETS}/g/status", patch)
    assert (reply.body["status"], reply.body["spec"]["size"]) == ({"phase": "x"}, 1)
    assert not reply.body["metadata"].keys() & {"labels", "annotations"}


async def test_without_a_status_subresource_the_status_is_a_field_like_any(api: Api) -> None:
    await api.create(DEFINITIONS, definition(subresources={}))
    created = await api.create(GADGETS, {**gadget("g"), "status": {"phase": "x"}})
    assert created["status"] == {"phase": "x"}
    assert (await api.get(f"{GADGETS}/g/status")).code == 404
    changed = await api.patch(f"{GADGETS}/g", {"status": {"phase": "y"}})
    assert changed.body["metadata"]["generation"] == 2


async def test_scales_where_that_is_declared(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g"))
    unset = await gadgets.get(f"{GADGETS}/g/scale")
    assert (unset.code, unset.message) == (
        500,
        'Internal error occurred: the spec replicas field ".spec.replicas" does not exist',
    )
    assert (await gadgets.patch(f"{GADGETS}/g/scale", {"spec": {"replicas": 3}})).body["spec"] == {"replicas": 3}
    assert (await gadgets.get(f"{GADGETS}/g")).body["spec"]["replicas"] == 3


async def test_prints_the_columns_it_declares(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g", tags=[{"name": "x"}, {"name": "y"}]))
    table = (await gadgets.get(GADGETS, Accept=TABLE)).body
    assert [column["name"] for column in table["columnDefinitions"]] == ["Name", "Size", "Tag", "Since"]
    assert table["columnDefinitions"][2]["priority"] == 1
    # The first result of the path only, as the real server prints it.
    assert table["rows"][0]["cells"][:3] == ["g", 1, "x"]
    assert table["rows"][0]["cells"][3].endswith("s")


async def test_prints_name_and_age_where_it_declares_none(api: Api) -> None:
    await api.create(DEFINITIONS, definition(additionalPrinterColumns=[]))
    table = (await api.get(GADGETS, Accept=TABLE)).body
    assert [(column["name"], column["type"]) for column in table["columnDefinitions"]] == [
        ("Name", "string"),
        ("Age", "date"),
    ]


async def test_selects_by_the_fields_it_declares(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("red", color="red"))
    await gadgets.create(GADGETS, gadget("blue"))
    assert await gadgets.names(f"{GADGETS}?fieldSelector=spec.color%3Dred") == ["red"]
    refused = await gadgets.get(f"{GADGETS}?fieldSelector=spec.size%3D1")
    assert (refused.code, refused.message) == (400, "field label not supported: spec.size")


async def test_a_changed_definition_holds_from_then_on(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g"))
    crd = (await gadgets.get(DEFINITION)).body
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["weight"] = {"type": "integer", "default": 7}
    replaced = await gadgets("PUT", DEFINITION, crd)
    assert (replaced.code, replaced.body["metadata"]["generation"]) == (200, 2)
    assert (await gadgets.create(GADGETS, gadget("heavy")))["spec"]["weight"] == 7


async def test_serves_each_version_under_its_own_name(api: Api) -> None:
    crd = definition()
    first = crd["spec"]["versions"][0]
    crd["spec"]["versions"] = [
        {**first, "name": "v1beta1", "storage": False},
        first,
        {**first, "name": "v2", "storage": False, "served": False},
    ]
    await api.create(DEFINITIONS, crd)
    await api.create(GADGETS, gadget("g"))
    beta = (await api.get(GADGETS.replace("/v1/", "/v1beta1/") + "/g")).body
    assert (beta["apiVersion"], beta["spec"]["size"]) == ("example.com/v1beta1", 1)
    assert (await api.get(GADGETS.replace("/v1/", "/v2/"))).code == 404
    group = (await api.get("/apis/example.com")).body
    assert [version["version"] for version in group["versions"]] == ["v1", "v1beta1"]


REFUSED_DEFINITIONS: dict[str, tuple[Object, str]] = {
    "name": (
        {**definition(), "metadata": {"name": "foo"}},
        'metadata.name: Invalid value: "foo": must be spec.names.plural+"."+spec.group',
    ),
    "no schema": (definition(schema=None), "spec.versions[0].schema.openAPIV3Schema: Required value"),
    "conversion by webhook": (
        {**definition(), "spec": {**definition()["spec"], "conversion": {"strategy": "Webhook"}}},
        "spec.conversion",
    ),
}


@pytest.mark.parametrize(("crd", "message"), REFUSED_DEFINITIONS.values(), ids=REFUSED_DEFINITIONS)
async def test_refuses_a_definition(api: Api, crd: Object, message: str) -> None:
    reply = await api("POST", DEFINITIONS, crd)
    assert reply.code == 422
    assert message in reply.message
    assert await api.names(DEFINITIONS) == []


async def test_goes_with_its_definition_and_ends_its_watches(gadgets: Api) -> None:
    await gadgets.create(GADGETS, gadget("g"))
    async with gadgets.watch(GADGETS) as watch:
        assert await watch.told(1) == [("ADDED", "g")]
        assert (await gadgets("DELETE", DEFINITION)).code == 200
        assert [event["type"] for event in await watch.rest()] == ["DELETED"]
    assert (await gadgets.get(GADGETS)).code == 404
    await gadgets.create(DEFINITIONS, definition())
    assert await gadgets.names(GADGETS) == []


async def test_a_definition_that_comes_back_forgets_what_was(gadgets: Api) -> None:
    old = (await gadgets.create(GADGETS, gadget("g")))["metadata"]["resourceVersion"]
    await gadgets("DELETE", DEFINITION)
    await gadgets.create(DEFINITIONS, definition())
    async with gadgets.watch(f"{GADGETS}?resourceVersion={old}") as watch:
        (event,) = await watch.rest()
    assert (event["type"], event["object"]["code"]) == ("ERROR", 410)


async def test_lists_of_a_namespace_that_is_not_there_are_empty(gadgets: Api) -> None:
    assert await gadgets.names(GADGETS.replace(NAMESPACE, "never")) == []
    assert await gadgets.names(CONFIG_MAPS.replace(NAMESPACE, "never")) == []
    assert (await gadgets("POST", CONFIG_MAPS.replace(NAMESPACE, "never"), config_map("x"))).code == 404
