"""What a real API server refuses of a CustomResourceDefinition, so far as it concerns what the sandbox serves.

Beyond the schema itself, which `structural` reads: names that belong together, one storage version, columns and paths.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from listener.sandbox.cluster import structural
from listener.sandbox.cluster.field_errors import FieldError, forbidden, invalid, not_supported, required
from listener.sandbox.cluster.nodes import Node

SUBDOMAIN_RULE: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
DNS_1035_RULE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_1035: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")


def validate_crd(crd: Mapping[str, Any]) -> list[FieldError]:
    """List what is wrong with a CRD whose fields are of the right types: a 422 if there is anything."""
    spec = crd.get("spec", {})
    return [*_named(crd, spec), *_scoped(spec), *_versioned(spec)]


def _named(crd: Mapping[str, Any], spec: Mapping[str, Any]) -> Iterator[FieldError]:
    group, names = spec.get("group", ""), spec.get("names", {})
    name = crd.get("metadata", {}).get("name", "")
    if name != f"{names.get('plural', '')}.{group}":
        yield invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group')
    if not group:
        yield required("spec.group")
    elif not _SUBDOMAIN.fullmatch(group):
        yield invalid("spec.group", group, SUBDOMAIN_RULE)
    kind = names.get("kind", "")
    lower = {"plural": names.get("plural", ""), "singular": names.get("singular") or kind.lower()}
    for field, value in lower.items():
        yield from _dns_1035(value, f"spec.names.{field}")
    for field, value in {"kind": kind, "listKind": names.get("listKind") or (kind and f"{kind}List")}.items():
        if not value:
            yield required(f"spec.names.{field}")
        elif not _DNS_1035.fullmatch(value.lower()):
            why = f"may have mixed case, but should otherwise match: {DNS_1035_RULE}"
            yield invalid(f"spec.names.{field}", value, why)
    for field in ("shortNames", "categories"):
        for place, value in enumerate(names.get(field, ())):
            yield from _dns_1035(value, f"spec.names.{field}[{place}]")


def _dns_1035(value: str, path: str) -> Iterator[FieldError]:
    if not value:
        yield required(path)
    elif not _DNS_1035.fullmatch(value):
        yield invalid(path, value, DNS_1035_RULE)


def _scoped(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    scope = spec.get("scope", "")
    if not scope:
        yield required("spec.scope")
    elif scope not in ("Cluster", "Namespaced"):
        yield not_supported("spec.scope", scope, ("Cluster", "Namespaced"))
    if spec.get("preserveUnknownFields"):
        why = "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        yield invalid("spec.preserveUnknownFields", True, why)


def _versioned(spec: Mapping[str, Any]) -> Iterator[FieldError]:
    versions = spec.get("versions", [])
    names = [version.get("name", "") for version in versions]
    if len(set(names)) != len(names):
        yield invalid("spec.versions", names, "must contain unique version names")
    if sum(bool(version.get("storage")) for version in versions) != 1:
        stored = [version.get("name", "") for version in versions if version.get("storage")]
        yield invalid("spec.versions", stored, "must have exactly one version marked as storage version")
    for place, version in enumerate(versions):
        yield from _dns_1035(version.get("name", ""), f"spec.versions[{place}].name")
        # What all versions share is kept, and named, in one place.
        path = "spec" if len(versions) == 1 else f"spec.versions[{place}]"
        yield from _schema(version, place, path)
        yield from _columns(version, path)


def _schema(version: Mapping[str, Any], number: int, path: str) -> Iterator[FieldError]:
    openapi = version.get("schema", {}).get("openAPIV3Schema")
    if openapi is None:
        yield required(f"spec.versions[{number}].schema.openAPIV3Schema")
        return
    try:
        root = structural.read(openapi)
    except structural.UnsupportedSchema as unsupported:
        where = "spec.validation" if path == "spec" else f"{path}.schema"
        yield replace(unsupported.error, path=f"{where}.{unsupported.error.path}")
        return
    for place, selectable in enumerate(version.get("selectableFields", ())):
        node: Node | None = root
        for name in selectable.get("jsonPath", "").lstrip(".").split("."):
            node = node.fields.get(name) if node is not None else None
        if node is None or node.type not in ("string", "boolean", "integer"):
            where = f"{path}.selectableFields[{place}].jsonPath"
            yield invalid(where, selectable.get("jsonPath", ""), "is an invalid path: does not refer to a valid field")


def _columns(version: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    for place, column in enumerate(version.get("additionalPrinterColumns", ())):
        where = f"{path}.additionalPrinterColumns[{place}]"
        if column.get("type") not in _COLUMN_TYPES:
            yield invalid(f"{where}.type", column.get("type", ""), f"must be one of {','.join(_COLUMN_TYPES)}")
        json_path = column.get("jsonPath", "")
        if not json_path:
            yield required(f"{where}.JSONPath")
        elif not json_path.startswith("."):
            yield invalid(f"{where}.JSONPath", json_path, "must be a simple json path starting with .")
    scale = version.get("subresources", {}).get("scale")
    for field in ("specReplicasPath", "statusReplicasPath") if scale is not None else ():
        value = scale.get(field, "")
        if not value:
            yield required(f"{path}.subresources.scale.{field}")
        elif not value.startswith((".spec.", ".status.")):
            yield forbidden(f"{path}.subresources.scale.{field}", "must be a path below .spec or .status")
