"""The OpenAPI v3 documents that kubectl reads: which kinds take `fieldValidation`, how lists merge, what fields mean.

One document per group and version, as kube-apiserver offers them, with what clients look at and no more: the PATCH
operations, whose parameters and media types kubectl goes by, the operations that name a kind, and the schemas.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from listener.sandbox.cluster.kinds import kind_node
from listener.sandbox.cluster.nodes import ABSENT, METADATA, Node

Document = dict[str, Any]

_PARAMETERS: Final = {"dryRun": "string", "fieldManager": "string", "fieldValidation": "string"}
_PATCHES: Final = ("application/apply-patch+yaml", "application/json-patch+json", "application/merge-patch+json")
_STRATEGIC: Final = "application/strategic-merge-patch+json"
_REF: Final = "#/components/schemas/"


@dataclass(frozen=True, slots=True)
class ResourceInfo:
    """A served type. `schema` is the OpenAPI v3 schema of a custom one, `None` for a built-in one."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    subresources: tuple[str, ...] = ()
    schema: dict[str, Any] | None = None


def v3_index(groups: Iterable[tuple[str, str]], prefix: str = "") -> Document:
    """Return what stands at `/openapi/v3`: where the document of each group and version is.

    `prefix` is what clients put before every path; client-go takes these addresses as they are.
    """
    paths = [_root(group, version).lstrip("/") for group, version in groups]
    return {"paths": {path: {"serverRelativeURL": f"{prefix}/openapi/v3/{path}"} for path in paths}}


def v3_document(group: str, version: str, resources: Sequence[ResourceInfo]) -> Document:
    """Return what stands at `/openapi/v3/apis/GROUP/VERSION`, or `/openapi/v3/api/VERSION` for the core group."""
    components: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for resource in resources:
        name = _component(resource, components)
        paths.update(_paths(_root(group, version), resource, name))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "sandbox"},
        "paths": paths,
        "components": {"schemas": components},
    }


def etag(document: bytes) -> str:
    """Name a document by what it says: clients cache by it."""
    return f'"{hashlib.sha256(document).hexdigest()[:32].upper()}"'


def _root(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def _gvk(resource: ResourceInfo) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _paths(root: str, resource: ResourceInfo, name: str) -> dict[str, Any]:
    """Describe the collection, the object and its subresources.

    A kind that is only ever created, as a review is, still has them here: no client asks for it by this way.
    """
    collection = (
        f"{root}/namespaces/{{namespace}}/{resource.plural}" if resource.namespaced else f"{root}/{resource.plural}"
    )
    single = f"{collection}/{{name}}"
    found = {
        collection: {
            "get": _operation("list", resource, name),
            "post": _operation("post", resource, name, writes=True),
        },
        single: {
            "get": _operation("get", resource, name),
            "put": _operation("put", resource, name, writes=True),
            "patch": _patch(resource, name),
            "delete": _operation("delete", resource, name),
        },
    }
    for subresource in resource.subresources:
        if subresource != "scale":
            found[f"{single}/{subresource}"] = {
                "get": _operation("get", resource, name),
                "patch": _patch(resource, name),
            }
    return found


def _operation(action: str, resource: ResourceInfo, name: str, *, writes: bool = False) -> Document:
    operation: Document = {
        "responses": {"200": {"description": "OK", "content": _content(("application/json",), name)}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(resource),
    }
    if writes:
        operation["parameters"] = _parameters(_PARAMETERS)
        operation["requestBody"] = {"content": _content(("*/*",), name), "required": True}
    return operation


def _patch(resource: ResourceInfo, name: str) -> Document:
    accepted = _PATCHES if resource.schema is not None else (*_PATCHES, _STRATEGIC)
    operation = _operation("patch", resource, name)
    operation["parameters"] = _parameters({**_PARAMETERS, "force": "boolean"})
    operation["requestBody"] = {
        "content": {each: {"schema": {"type": "object"}} for each in accepted},
        "required": True,
    }
    return operation


def _parameters(types: Mapping[str, str]) -> list[Document]:
    return [{"name": name, "in": "query", "schema": {"type": type_}} for name, type_ in types.items()]


def _content(media: tuple[str, ...], name: str) -> Document:
    return {each: {"schema": {"$ref": _REF + name}} for each in media}


# Schemas


def _component(resource: ResourceInfo, components: dict[str, Any]) -> str:
    """Add the schema of a kind, and of what it holds, and return its name."""
    node = None if resource.schema is not None else kind_node(_root_version(resource), resource.kind)
    if node is not None:
        name = _named(node, components)
    else:
        name = f"{'.'.join(reversed(resource.group.split('.')))}.{resource.version}.{resource.kind}"
        components[name] = _custom(resource.schema or {"type": "object"}, components)
    components[name] = {**components[name], "x-kubernetes-group-version-kind": [_gvk(resource)]}
    return name


def _root_version(resource: ResourceInfo) -> str:
    return f"{resource.group}/{resource.version}" if resource.group else resource.version


def _custom(schema: Mapping[str, Any], components: dict[str, Any]) -> Document:
    type_meta = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": _REF + _named(METADATA, components)}]},
    }
    return {**schema, "properties": {**schema.get("properties", {}), **type_meta}}


def _named(node: Node, components: dict[str, Any]) -> str:
    name = f"io.k8s.{node.go_type}"
    if name not in components:
        # There before it is complete, as a struct may hold itself.
        components[name] = {}
        components[name] = _written(node, components)
    return name


def _schema(node: Node, components: dict[str, Any]) -> Document:
    schema = {"$ref": _REF + _named(node, components)} if node.fields else _written(node, components)
    extra = _extensions(node)
    if node.fields and extra:
        return {"allOf": [schema], **extra}
    return {**schema, **extra}


def _written(node: Node, components: dict[str, Any]) -> Document:
    if node.int_or_string:
        return {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}
    if node.type == "quantity":
        return {"oneOf": [{"type": "string"}, {"type": "number"}]}
    if not node.type:
        return {}
    schema: Document = {"type": node.type}
    if node.format:
        schema["format"] = "date-time" if node.format == "micro-time" else node.format
    if node.items is not None:
        schema["items"] = _schema(node.items, components)
    if node.values is not None:
        schema["additionalProperties"] = _schema(node.values, components)
    if node.fields:
        schema["properties"] = {name: _schema(child, components) for name, child in node.fields.items()}
        if node.required:
            schema["required"] = list(node.required)
    if node.atomic_map:
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def _extensions(node: Node) -> Document:
    """Say what concerns the place and not the type: its text, and how it merges."""
    extra: Document = {}
    if node.description:
        extra["description"] = node.description
    if node.default is not ABSENT and not isinstance(node.default, dict):
        extra["default"] = node.default
    if node.type == "array":
        extra["x-kubernetes-list-type"] = node.list_type
        if node.list_keys:
            extra["x-kubernetes-list-map-keys"] = list(node.list_keys)
    strategies = [word for word, holds in _strategies(node) if holds]
    if strategies:
        extra["x-kubernetes-patch-strategy"] = ",".join(strategies)
    if node.merge_key:
        extra["x-kubernetes-patch-merge-key"] = node.merge_key
    return extra


def _strategies(node: Node) -> tuple[tuple[str, bool], ...]:
    return (("merge", node.merge_key is not None), ("replace", node.replace), ("retainKeys", node.retain_keys))
