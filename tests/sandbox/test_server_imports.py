"""ImageStreamImports: what OpenShift's API server answers, and what it stores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import pytest
import yaml

from listener.sandbox.cluster import Cluster
from tests.edges import fake_registry
from tests.edges.fake_registry import Registry
from tests.sandbox.api import DEFINITIONS, NAMESPACE, Api, Object, Reply, serving

GROUP = "/apis/image.openshift.io/v1"
STREAMS = f"{GROUP}/namespaces/{NAMESPACE}/imagestreams"
IMPORTS = f"{GROUP}/namespaces/{NAMESPACE}/imagestreamimports"
VERSION = {"apiVersion": "image.openshift.io/v1"}


@pytest.fixture
async def openshift() -> AsyncIterator[Api]:
    async with serving(Cluster(settle_seconds=0.02, imports=True)) as api:
        await api.create("/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        definition = files("listener.sandbox").joinpath("imagestreams.yaml").read_text()
        await api.create(DEFINITIONS, yaml.safe_load(definition))
        await api.create(STREAMS, {**VERSION, "kind": "ImageStream", "metadata": {"name": "web"}})
        yield api


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    registry = Registry()
    async with fake_registry.running(registry):
        yield registry


async def ask(openshift: Api, *images: Object, store: bool = True, **metadata: Any) -> Reply:
    body = {**VERSION, "kind": "ImageStreamImport", "metadata": {"name": "web", **metadata}}
    return await openshift("POST", IMPORTS, {**body, "spec": {"import": store, "images": list(images)}})


def image(registry: Registry, source: str, tag: str) -> Object:
    name = {"kind": "DockerImage", "name": f"{registry.host}/team/web:{source}"}
    return {"from": name, "to": {"name": tag}, "importPolicy": {"insecure": True}}


async def test_it_is_served_where_it_was_asked_for(openshift: Api, api: Api) -> None:
    found = {each["name"]: each["verbs"] for each in (await openshift.get(GROUP)).body["resources"]}
    assert found["imagestreamimports"] == ["create"]
    assert "imagestreams" in found
    assert (await openshift.get(IMPORTS)).code == 405
    assert (await api.get(GROUP)).code == 404


async def test_an_import_is_stored_and_told(openshift: Api, registry: Registry) -> None:
    digest = registry.push("team/web", "v1", fake_registry.manifest("1"))
    reply = await ask(openshift, image(registry, "v1", "prod"), image(registry, "v2", "next"))
    assert reply.code == 201
    good, bad = reply.body["status"]["images"]
    assert (good["status"]["status"], good["image"]["metadata"]["name"]) == ("Success", digest)
    assert (bad["status"]["status"], bad["status"]["reason"]) == ("Failure", "NotFound")
    stored = (await openshift.get(f"{STREAMS}/web")).body
    assert reply.body["status"]["import"] == stored
    tags = {tag["tag"]: tag for tag in stored["status"]["tags"]}
    (item,) = tags["prod"]["items"]
    assert (item["image"], item["dockerImageReference"]) == (digest, f"{registry.host}/team/web@{digest}")
    assert tags["next"]["conditions"][0]["reason"] == "NotFound"
    assert {tag["name"]: tag["from"]["name"] for tag in stored["spec"]["tags"]} == {
        "prod": f"{registry.host}/team/web:v1",
        "next": f"{registry.host}/team/web:v2",
    }


async def test_a_later_import_goes_on_top_and_the_same_one_changes_nothing(openshift: Api, registry: Registry) -> None:
    digests = []
    for seed in ("1", "2", "2"):
        digests.append(registry.push("team/web", "v1", fake_registry.manifest(seed)))
        await ask(openshift, image(registry, "v1", "prod"))
    (tag,) = (await openshift.get(f"{STREAMS}/web")).body["status"]["tags"]
    assert [item["image"] for item in tag["items"]] == [digests[1], digests[0]]


async def test_a_dry_run_stores_nothing(openshift: Api, registry: Registry) -> None:
    registry.push("team/web", "v1", fake_registry.manifest("1"))
    before = (await openshift.get(f"{STREAMS}/web")).body
    reply = await ask(openshift, image(registry, "v1", "prod"), store=False)
    assert reply.body["status"]["images"][0]["status"]["status"] == "Success"
    assert "import" not in reply.body["status"]
    assert (await openshift.get(f"{STREAMS}/web")).body == before


@pytest.mark.parametrize(
    ("metadata", "code"),
    [({"name": "none"}, 404), ({"uid": "another"}, 404), ({"resourceVersion": "1"}, 409)],
)
async def test_another_stream_or_state_is_refused(
    openshift: Api, registry: Registry, metadata: dict[str, Any], code: int
) -> None:
    assert (await ask(openshift, image(registry, "v1", "prod"), **metadata)).code == code
    assert registry.seen == []
