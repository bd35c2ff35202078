"""What a request asks for: the path to a type, name and verb, the query and the headers to options, the body to an
object.

Pure: texts and bytes in, values out, every refusal an `ApiError` in the words of kube-apiserver. Knows neither the
store nor aiohttp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import msgspec
import yaml

from listener.sandbox.cluster import field_errors, protobuf, status
from listener.sandbox.cluster.field_errors import FieldError
from listener.sandbox.cluster.listing import Query, Selection
from listener.sandbox.cluster.resources import Catalog, Resource
from listener.sandbox.cluster.selectors import parse_fields, parse_labels
from listener.sandbox.cluster.status import ApiError, bad_request
from listener.sandbox.cluster.verbs import DeleteOptions, PatchKind, WriteOptions

Object = dict[str, Any]
Parameters = Mapping[str, str]
_DEFAULT_WATCH_SECONDS = 1800

PATCH_TYPES: dict[str, PatchKind] = {
    "application/json-patch+json": "json",
    "application/merge-patch+json": "merge",
    "application/strategic-merge-patch+json": "strategic",
    "application/apply-patch+yaml": "apply",
    "application/apply-patch+json": "apply",
}


@dataclass(frozen=True, slots=True)
class Target:
    """Which objects a path names. `namespace` None: of all namespaces, or of none for a type that has none."""

    resource: Resource
    namespace: str | None = None
    name: str | None = None
    subresource: str | None = None


def target(catalog: Catalog, path: str) -> Target | None:
    """Find what a path below /api or /apis names, or None for the documents of discovery. Raises 404."""
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        group, version, rest = "", "".join(parts[1:2]), parts[2:]
    else:
        group, version, rest = "".join(parts[1:2]), "".join(parts[2:3]), parts[3:]
    if not rest:
        return None
    namespace = None
    resource = catalog.find(group, version, rest[0])
    if rest[0] == "namespaces" and len(rest) >= 3 and (group or rest[2] != "status"):
        namespace, rest = rest[1], rest[2:]
        resource = catalog.find(group, version, rest[0])
        if resource is not None and not resource.namespaced:
            resource = None
    if resource is None or len(rest) > 3:
        raise status.not_served()
    name = rest[1] if len(rest) > 1 else None
    subresource = rest[2] if len(rest) > 2 else None
    if subresource is not None and subresource not in {*resource.subresources, *dict(resource.actions)}:
        raise status.not_served()
    if name is not None and resource.namespaced and namespace is None:
        raise status.not_served()
    return Target(resource, namespace, name, subresource)


_WORDS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


def verb(method: str, asked: Target, query: Parameters) -> str:
    """Return the verb as RBAC and audit logs name it. Raises 405 where the type does not have it."""
    found = _WORDS.get(method, "")
    if asked.name is None:
        found = {"get": "list", "delete": "deletecollection"}.get(found, found)
        if found == "list" and flag(query.get("watch")):
            found = "watch"
    missing = asked.resource.namespaced and asked.namespace is None and found in {"create", "deletecollection"}
    acts = asked.subresource in dict(asked.resource.actions)
    misplaced = found in {"update", "patch"} if asked.name is None else found == "create" and not acts
    allowed = {"get", "patch", "update"} if asked.subresource else set(asked.resource.verbs)
    if acts:
        allowed = {"create"}
    if found not in allowed or missing or misplaced:
        raise status.method_not_allowed()
    return found


def flag(text: str | None) -> bool:
    """Read a boolean parameter as apimachinery does: all but nothing, `false` and `0` is true."""
    return text is not None and text.lower() not in {"", "false", "0"}


def selection(asked: Target, query: Parameters) -> Selection:
    resource = asked.resource

    def refuse(path: str) -> ApiError:
        if resource.custom or resource.plural in _OWN_FIELD_LABELS:
            return bad_request(f"field label not supported: {path}")
        known = '"metadata.name", "metadata.namespace"'
        return bad_request(f'"{path}" is not a known field selector: only {known}')

    labels = parse_labels(query.get("labelSelector", ""))
    fields = parse_fields(query.get("fieldSelector", ""), resource.fields, refuse)
    return Selection(resource, asked.namespace, labels, fields)


_OWN_FIELD_LABELS = {
    "pods",
    "events",
    "secrets",
    "namespaces",
    "replicationcontrollers",
    "replicasets",
    "jobs",
    "services",
}


def list_query(query: Parameters) -> Query:
    revision = _revision(query, "invalid resource version: ", 400)
    match = query.get("resourceVersionMatch", "")
    faults: list[FieldError] = []
    if match and not revision:
        why = "resourceVersionMatch is forbidden unless resourceVersion is provided"
        faults.append(field_errors.forbidden("resourceVersionMatch", why))
    elif match not in {"", "Exact", "NotOlderThan"}:
        faults.append(field_errors.not_supported("resourceVersionMatch", match, ["Exact", "NotOlderThan", ""]))
    elif match == "Exact" and revision == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        faults.append(field_errors.forbidden("resourceVersionMatch", why))
    if query.get("sendInitialEvents") is not None:
        faults.append(field_errors.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if faults:
        raise status.invalid_options("ListOptions", faults)
    limit = max(0, _integer(query, "limit"))
    legacy = bool(limit and revision not in {"", "0"} and not match)
    return Query(revision, match == "Exact" or legacy, limit, query.get("continue", ""))


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """How to watch. `revision` None: begin with what is there now, unless `initial_events` is False."""

    revision: int | None
    initial_events: bool | None
    bookmarks: bool
    timeout_seconds: int


def watch_query(query: Parameters) -> WatchQuery:
    revision = _revision(query, "", 500)
    initial = query.get("sendInitialEvents")
    match = query.get("resourceVersionMatch", "")
    faults: list[FieldError] = []
    if initial is not None and match != "NotOlderThan":
        why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
        faults.append(field_errors.forbidden("resourceVersionMatch", why))
    elif initial is None and match:
        why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        faults.append(field_errors.forbidden("resourceVersionMatch", why))
    if faults:
        raise status.invalid_options("ListOptions", faults)
    start = None if revision in {"", "0"} else int(revision)
    timeout = _integer(query, "timeoutSeconds") or _DEFAULT_WATCH_SECONDS
    return WatchQuery(
        start, None if initial is None else flag(initial), flag(query.get("allowWatchBookmarks")), timeout
    )


def _revision(query: Parameters, prefix: str, code: int) -> str:
    text = query.get("resourceVersion", "")
    if text and not text.isdigit():
        why = f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        raise ApiError(code, prefix + why, reason="BadRequest" if code == 400 else "")
    return text


def _integer(query: Parameters, name: str) -> int:
    text = query.get(name, "")
    if not re.fullmatch(r"[+-]?\d+|", text):
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
    return int(text or 0)


def write_options(kind: str, query: Parameters, user_agent: str, *, applies: bool = False) -> WriteOptions:
    """Read the options of a write; `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`."""
    faults: list[FieldError] = []
    dry_run = query.get("dryRun", "")
    if dry_run not in {"", "All"}:
        faults.append(field_errors.not_supported("dryRun", [dry_run], ["All"]))
    validation = query.get("fieldValidation", "")
    if validation not in {"", "Ignore", "Strict", "Warn"}:
        faults.append(field_errors.not_supported("fieldValidation", validation, ["", "Ignore", "Strict", "Warn"]))
    manager = query.get("fieldManager", "")
    if len(manager) > 128:
        too_long = FieldError("fieldManager", "FieldValueTooLong", "Too long: may not be more than 128 bytes")
        faults.append(too_long)
    if kind == "PatchOptions":
        if applies and not manager:
            faults.append(field_errors.required("fieldManager", "is required for apply patch"))
        if not applies and query.get("force") is not None:
            faults.append(field_errors.forbidden("force", "may not be specified for non-apply patch"))
    if faults:
        raise status.invalid_options(kind, faults)
    return WriteOptions(
        manager=manager or user_agent.partition("/")[0][:128] or "unknown",
        dry_run=dry_run == "All",
        field_validation=cast(Literal["Ignore", "Warn", "Strict"], validation or "Warn"),
        force=flag(query.get("force")),
        named=tuple((name, query[name]) for name in ("fieldManager", "fieldValidation") if query.get(name)),
    )


def delete_options(body: bytes, content_type: str, query: Parameters) -> DeleteOptions:
    """Read a delete's options, from the body if it has one, else from the query."""
    given: Object = {}
    if body.strip():
        given = document(body, content_type, "DeleteOptions")
    else:
        given = {name: query[name] for name in ("propagationPolicy", "orphanDependents") if name in query}
        given |= {"dryRun": [query["dryRun"]]} if query.get("dryRun") else {}
    policy, orphan = given.get("propagationPolicy"), given.get("orphanDependents")
    faults: list[FieldError] = []
    if policy is not None and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        faults.append(field_errors.invalid("propagationPolicy", policy, why))
    elif policy not in {None, "Orphan", "Background", "Foreground"}:
        supported = ["Foreground", "Background", "Orphan", "nil"]
        faults.append(field_errors.not_supported("propagationPolicy", policy, supported))
    dry_run = given.get("dryRun") or []
    if dry_run not in ([], ["All"]):
        faults.append(field_errors.not_supported("dryRun", dry_run, ["All"]))
    if faults:
        raise status.invalid_options("DeleteOptions", faults)
    preconditions = given.get("preconditions") or {}
    return DeleteOptions(
        dry_run=bool(dry_run),
        propagation="Orphan" if orphan in {True, "true"} else policy,
        uid=preconditions.get("uid"),
        resource_version=preconditions.get("resourceVersion"),
    )


def document(body: bytes, content_type: str, kind: str) -> Object:
    """Read an object from JSON or YAML. `kind` is what it must become, for the words of the refusal."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == protobuf.MEDIA_TYPE:
        try:
            return protobuf.decode(body)
        except (protobuf.UndecodableError, UnicodeDecodeError) as error:
            raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {error}") from None
    if media_type not in {"", "application/json", "application/yaml"}:
        raise status.unknown_format(["application/json", "application/yaml", protobuf.MEDIA_TYPE])
    try:
        found = yaml.safe_load(body) if media_type == "application/yaml" else msgspec.json.decode(body)
    except (yaml.YAMLError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _unrecognized(body, kind, f"couldn't get version/kind; json parse error: {_go_words(error)}") from None
    if not isinstance(found, dict):
        names = {list: "array", str: "string", bool: "bool", type(None): "null"}
        why = f"json: cannot unmarshal {names.get(type(found), 'number')} into Go value of type struct"
        raise _unrecognized(body, kind, f"couldn't get version/kind; json parse error: {why}")
    return found


def patch_document(body: bytes, kind: PatchKind) -> Any:
    """Read a patch.

    Raises 400 for what is no JSON (for apply: no YAML), and for a list or object where the other belongs.
    """
    try:
        found = (
            yaml.safe_load(body)
            if kind == "apply" and not body.lstrip().startswith(b"{")
            else msgspec.json.decode(body)
        )
    except (yaml.YAMLError, msgspec.DecodeError, UnicodeDecodeError) as error:
        what = "error decoding YAML" if kind == "apply" else "error decoding patch"
        raise bad_request(f"{what}: {_go_words(error)}") from None
    wrong = f"error decoding patch: json: cannot unmarshal {_go_type(found)} into Go value of type"
    if kind == "json" and not isinstance(found, list):
        raise bad_request(f"{wrong} []handlers.jsonPatchOp")
    if kind != "json" and not isinstance(found, dict):
        raise bad_request(f"{wrong} map[string]interface {{}}")
    return found


def checked_type(resource: Resource, obj: Object, body: bytes) -> Object:
    """Return the object with its kind and version, which a built-in type may leave out. Refuse one of another type."""
    kind, version = obj.get("kind") or "", obj.get("apiVersion") or ""
    if resource.custom:
        if not kind or not version:
            missing = "Kind" if not kind else "apiVersion"
            raise _unrecognized(
                body, resource.kind, f"Object '{missing}' is missing in '{body.decode(errors='replace')}'"
            )
        if version != resource.api_version:
            expected = f"the expected API version ({resource.api_version})"
            raise bad_request(f"the API version in the data ({version}) does not match {expected}")
        if kind != resource.kind:
            fault = field_errors.invalid("kind", kind, f"must be {resource.kind}")
            name = (obj.get("metadata") or {}).get("name", "")
            raise status.invalid(kind, resource.group, name, [fault])
        return obj
    if (kind or resource.kind, version or resource.api_version) != (resource.kind, resource.api_version):
        number = version.rpartition("/")[2] or resource.version
        why = f'no kind "{kind}" is registered for version "{version}"'
        raise bad_request(f'{kind} in version "{number}" cannot be handled as a {resource.kind}: {why}')
    return {**obj, "kind": resource.kind, "apiVersion": resource.api_version}


def _unrecognized(body: bytes, kind: str, why: str) -> ApiError:
    text = body.decode(errors="replace") if body.lstrip().startswith(b"{") or not body else body.hex()
    shown = "<empty>" if not text else text if len(text) <= 30 else f"{text[:30]} ..."
    return bad_request(f"the object provided is unrecognized (must be of type {kind}): {why} ({shown})")


def _go_words(error: Exception) -> str:
    text = str(error)
    return "unexpected end of JSON input" if "truncated" in text else text


def _go_type(found: Any) -> str:
    return {list: "array", dict: "object", str: "string", bool: "bool"}.get(type(found), "number")


Shape = Literal["plain", "Table", "PartialObjectMetadata", "PartialObjectMetadataList", "APIGroupDiscoveryList"]


@dataclass(frozen=True, slots=True)
class Answer:
    """How to answer: in which shape, and as YAML or as JSON."""

    shape: Shape = "plain"
    as_yaml: bool = False


def negotiate(accept: str, shapes: frozenset[str]) -> Answer:
    """Pick the first of the accepted media types that can be had. Raises 406 where there is none."""
    if not accept:
        return Answer()
    for clause in accept.split(","):
        media_type, *rest = (part.strip() for part in clause.split(";"))
        parameters = dict(part.partition("=")[::2] for part in rest)
        if media_type not in {
            "application/json",
            "application/yaml",
            "application/*",
            "*/*",
            "text/plain",
            "text/html",
        }:
            continue
        as_yaml = media_type == "application/yaml"
        shape, group, version = parameters.get("as"), parameters.get("g", ""), parameters.get("v", "")
        if shape is None and media_type not in {"text/plain", "text/html"}:
            return Answer(as_yaml=as_yaml)
        known = (group, version) in {("meta.k8s.io", "v1"), ("apidiscovery.k8s.io", "v2")}
        if shape in shapes and known:
            return Answer(cast(Shape, shape), as_yaml)
    raise status.not_acceptable()
