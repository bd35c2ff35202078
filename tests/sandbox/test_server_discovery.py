"""What clients read before they do anything: versions, groups, types, OpenAPI, health."""

from __future__ import annotations

import pytest

from tests.sandbox.api import DEFINITIONS, Api, definition

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"


async def test_says_its_version(api: Api) -> None:
    version = (await api.get("/version")).body
    assert (version["major"], version["minor"], version["gitVersion"]) == ("1", "36", "v1.36.0-sandbox")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_says_that_it_is_well(api: Api, path: str) -> None:
    reply = await api.get(path)
    assert (reply.code, reply.body) == (200, "ok")


async def test_lists_groups_and_their_versions(api: Api) -> None:
    assert (await api.get("/api")).body["versions"] == ["v1"]
    groups = {
        group["name"]: group["preferredVersion"]["groupVersion"] for group in (await api.get("/apis")).body["groups"]
    }
    assert groups["apps"] == "apps/v1"
    assert groups["events.k8s.io"] == "events.k8s.io/v1"
    assert (await api.get("/apis/apps")).body["versions"] == [{"groupVersion": "apps/v1", "version": "v1"}]


async def test_lists_types_with_their_subresources(api: Api) -> None:
    found = (await api.get("/apis/apps/v1")).body
    assert (found["kind"], found["apiVersion"], found["groupVersion"]) == ("APIResourceList", "v1", "apps/v1")
    by_name = {each["name"]: each for each in found["resources"]}
    deployments = by_name["deployments"]
    assert (deployments["shortNames"], deployments["categories"], deployments["namespaced"]) == (
        ["deploy"],
        ["all"],
        True,
    )
    assert by_name["deployments/scale"] == {
        "name": "deployments/scale",
        "singularName": "",
        "namespaced": True,
        "group": "autoscaling",
        "version": "v1",
        "kind": "Scale",
        "verbs": ["get", "patch", "update"],
    }
    assert all("shortNames" not in each for name, each in by_name.items() if "/" in name)


async def test_tells_everything_at_once_where_asked(api: Api) -> None:
    await api.create(DEFINITIONS, definition())
    reply = await api.get("/apis", Accept=AGGREGATED)
    assert reply.headers["Content-Type"] == "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {group["metadata"]["name"]: group["versions"] for group in reply.body["items"]}
    (gadgets,) = groups["example.com"][0]["resources"]
    assert (gadgets["resource"], gadgets["scope"]) == ("gadgets", "Namespaced")
    assert gadgets["responseKind"] == {"group": "example.com", "version": "v1", "kind": "Gadget"}
    assert [each["subresource"] for each in gadgets["subresources"]] == ["scale", "status"]
    core = (await api.get("/api", Accept=AGGREGATED)).body["items"]
    assert [group["metadata"] for group in core] == [{}]


async def test_offers_openapi_v3_for_each_version(api: Api) -> None:
    await api.create(DEFINITIONS, definition())
    paths = (await api.get("/openapi/v3")).body["paths"]
    assert paths["api/v1"]["serverRelativeURL"].startswith("/openapi/v3/api/v1")
    for version in ("apis/apps/v1", "apis/example.com/v1"):
        document = await api.get(paths[version]["serverRelativeURL"])
        assert document.body["openapi"].startswith("3.")
        assert document.headers["ETag"]
    assert (await api.get("/openapi/v3/apis/nothing/v1")).code == 404


async def test_openapi_follows_definitions(api: Api) -> None:
    assert (await api.get("/openapi/v3/apis/example.com/v1")).code == 404
    await api.create(DEFINITIONS, definition())
    first = await api.get("/openapi/v3/apis/example.com/v1")
    crd = (await api.get(f"{DEFINITIONS}/gadgets.example.com")).body
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    schema["properties"]["spec"]["properties"]["weight"] = {"type": "integer"}
    await api("PUT", f"{DEFINITIONS}/gadgets.example.com", crd)
    second = await api.get("/openapi/v3/apis/example.com/v1")
    assert first.headers["ETag"] != second.headers["ETag"]
    assert "weight" in str(second.body)
