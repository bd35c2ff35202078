"""The OpenAPI documents: what kubectl looks for in them, and whether they say of built-in kinds what a cluster says."""

from __future__ import annotations

from typing import Any

from kubernetes_asyncio import config

from listener.sandbox.cluster.kinds import KINDS, kind_node
from listener.sandbox.cluster.nodes import Node
from listener.sandbox.cluster.openapi import ResourceInfo, etag, v3_document, v3_index
from tests.cluster_under_test import ClusterUnderTest

DEPLOYMENT = ResourceInfo("apps", "v1", "Deployment", "deployments", "deployment", True, ("scale", "status"))
STREAM = ResourceInfo(
    "image.openshift.io",
    "v1",
    "ImageStream",
    "imagestreams",
    "imagestream",
    True,
    ("status",),
    {"type": "object", "properties": {"spec": {"type": "object", "description": "What is wanted."}}},
)
NAMESPACE = ResourceInfo("", "v1", "Namespace", "namespaces", "namespace", False)


def schema_of(document: dict[str, Any], kind: str) -> dict[str, Any]:
    """Find a kind as kubectl does."""
    for schema in document["components"]["schemas"].values():
        if any(named["kind"] == kind for named in schema.get("x-kubernetes-group-version-kind", ())):
            return dict(schema)
    raise AssertionError(f"{kind} is not described")


def followed(document: dict[str, Any], schema: dict[str, Any], *fields: str) -> dict[str, Any]:
    """Return the schema of a field, with what stands beside its reference."""
    for field in fields:
        schema = schema["items"] if field == "[]" else schema["properties"][field]
        beside = {name: value for name, value in schema.items() if name not in ("allOf", "$ref")}
        for link in [schema, *schema.get("allOf", ())]:
            if "$ref" in link:
                target = document["components"]["schemas"][link["$ref"].removeprefix("#/components/schemas/")]
                beside = {**target, **beside}
        schema = beside
    return schema


def test_the_index_names_a_document_per_group_and_version() -> None:
    assert v3_index([("", "v1"), ("apps", "v1")]) == {
        "paths": {
            "api/v1": {"serverRelativeURL": "/openapi/v3/api/v1"},
            "apis/apps/v1": {"serverRelativeURL": "/openapi/v3/apis/apps/v1"},
        }
    }


def test_kubectl_finds_server_side_validation_and_the_patches_that_a_kind_takes() -> None:
    paths = v3_document("apps", "v1", [DEPLOYMENT])["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert "fieldValidation" in {each["name"] for each in patch["parameters"] if each["in"] == "query"}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]


def test_custom_kinds_take_no_strategic_merge() -> None:
    paths = v3_document("image.openshift.io", "v1", [STREAM])["paths"]
    patch = paths["/apis/image.openshift.io/v1/namespaces/{namespace}/imagestreams/{name}"]["patch"]
    assert sorted(patch["requestBody"]["content"]) == [
        "application/apply-patch+yaml",
        "application/json-patch+json",
        "application/merge-patch+json",
    ]


def test_cluster_wide_kinds_have_no_namespace_in_their_paths() -> None:
    paths = v3_document("", "v1", [NAMESPACE])["paths"]
    assert list(paths) == ["/api/v1/namespaces", "/api/v1/namespaces/{name}"]


def test_a_built_in_kind_is_described_to_its_depths() -> None:
    document = v3_document("apps", "v1", [DEPLOYMENT])
    deployment = schema_of(document, "Deployment")
    containers = followed(document, deployment, "spec", "template", "spec", "containers")
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    ports = followed(document, deployment, "spec", "template", "spec", "containers", "[]", "ports")
    assert ports["x-kubernetes-list-map-keys"] == ["containerPort", "protocol"]
    assert ports["x-kubernetes-patch-merge-key"] == "containerPort"
    replicas = followed(document, deployment, "spec", "replicas")
    assert (replicas["type"], replicas["format"]) == ("integer", "int32")
    assert replicas["description"].startswith("Number of desired pods.")


def test_a_custom_kind_keeps_its_own_words_and_gets_the_metadata_of_all() -> None:
    document = v3_document("image.openshift.io", "v1", [STREAM])
    stream = schema_of(document, "ImageStream")
    assert followed(document, stream, "spec")["description"] == "What is wanted."
    assert followed(document, stream, "metadata", "labels")["additionalProperties"] == {"type": "string"}
    assert STREAM.schema == {
        "type": "object",
        "properties": {"spec": {"type": "object", "description": "What is wanted."}},
    }


def test_every_reference_leads_somewhere() -> None:
    for api_version, kinds in KINDS.items():
        group, _, version = api_version.rpartition("/")
        infos = [ResourceInfo(group, version, kind, kind.lower(), kind.lower(), True) for kind in kinds.split()]
        document = v3_document(group, version, infos)
        assert set(_references(document)) <= document["components"]["schemas"].keys()


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        link = value.get("$ref")  # a JSONSchemaProps has a field of this name
        own = [link.removeprefix("#/components/schemas/")] if isinstance(link, str) else []
        return own + [found for item in value.values() for found in _references(item)]
    return [found for item in value for found in _references(item)] if isinstance(value, list) else []


def test_an_etag_follows_the_text() -> None:
    assert etag(b"a") == etag(b"a") != etag(b"b")


async def test_our_tables_agree_with_the_cluster(cluster: ClusterUnderTest) -> None:
    """On a real cluster this compares every field of the workloads, here what the sandbox publishes."""
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        answer = await api.call_api(
            "/openapi/v3/apis/apps/v1",
            "GET",
            response_types_map={},
            auth_settings=["BearerToken"],
            _preload_content=False,
        )
        document = await answer.json(content_type=None)
    differences: list[str] = []
    for kind in ("DaemonSet", "Deployment", "ReplicaSet", "StatefulSet"):
        node = kind_node("apps/v1", kind)
        assert node is not None
        _compare(document, node, schema_of(document, kind), kind, differences, set())
    assert differences == []


def _compare(
    document: dict[str, Any], node: Node, schema: dict[str, Any], at: str, differences: list[str], seen: set[int]
) -> None:
    if id(node) in seen:
        return
    seen.add(id(node))
    for name in schema.get("properties", {}):
        child, place = node.fields.get(name), f"{at}.{name}"
        if child is None:
            differences.append(f"{place} is not known")
            continue
        theirs = followed(document, schema, name)
        differences += [f"{place}: {told}" for told in _different(child, theirs)]
        inner = child.items if child.items is not None else child
        below = followed(document, theirs, "[]") if "items" in theirs else theirs
        _compare(document, inner, below, place, differences, seen)


def _different(node: Node, theirs: dict[str, Any]) -> list[str]:
    strategies = theirs.get("x-kubernetes-patch-strategy", "").split(",")
    pairs = {
        "list type": (node.list_type, theirs.get("x-kubernetes-list-type", "atomic")),
        "list keys": (list(node.list_keys), theirs.get("x-kubernetes-list-map-keys", [])),
        "atomic": (node.atomic_map, theirs.get("x-kubernetes-map-type") == "atomic"),
        "merge key": (node.merge_key or "", theirs.get("x-kubernetes-patch-merge-key", "")),
        "joined": (node.merge_key is not None, "merge" in strategies),
        "keys retained": (node.retain_keys, "retainKeys" in strategies),
    }
    return [f"{name} is {theirs} there, {ours} here" for name, (ours, theirs) in pairs.items() if ours != theirs]
