"""Who owns which field: `metadata.managedFields`, kept by every write, and server-side apply, which lives by it.

The rules are those of Kubernetes' field manager. Objects are frozen: what comes back is new at its root and in its
metadata.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from listener.errors import ListenerError
from listener.sandbox.cluster.fieldsets import (
    Changes,
    Set,
    compare,
    difference,
    intersection,
    merge,
    of_object,
    paths,
    remove,
    repeated,
    union,
    with_named_fields,
)
from listener.sandbox.cluster.nodes import METADATA, Node
from listener.sandbox.cluster.patches import PatchFailed
from listener.sandbox.cluster.schema import Schema, builtin

Object = dict[str, Any]

MAX_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"
BEFORE_FIRST_APPLY: Final = "before-first-apply"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
# Nobody owns what every object has, or what only the server writes.
_UNOWNED_METADATA: Final = (
    "name",
    "namespace",
    "creationTimestamp",
    "selfLink",
    "uid",
    "clusterName",
    "generation",
    "managedFields",
    "resourceVersion",
)
_UNOWNED: Final[Set] = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in _UNOWNED_METADATA}},
}
_UNKNOWN_KIND: Final = Node("object", fields={"metadata": METADATA})


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes, and how: two entries of managedFields with the same are one."""

    name: str
    operation: str
    api_version: str
    """Empty for an apply, which keeps its entry when the version changes."""
    subresource: str

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Manager:
        operation = entry.get("operation", "")
        version = "" if operation == "Apply" else entry.get("apiVersion", "")
        return cls(entry.get("manager", ""), operation, version, entry.get("subresource", ""))

    def __str__(self) -> str:
        said = f'"{self.name}"'
        if self.subresource:
            said += f' with subresource "{self.subresource}"'
        return f"{said} using {self.api_version}" if self.operation == "Update" else said


@dataclass(frozen=True, slots=True)
class Conflict:
    """A field that an apply would take from another manager, as a cause of the 409: `field` is `.spec.replicas`."""

    manager: Manager
    field: str

    @property
    def message(self) -> str:
        return f"conflict with {self.manager}"


class Conflicts(ListenerError):
    """An apply without force that would take fields from others: a 409 with this message."""

    def __init__(self, conflicts: Iterable[Conflict]) -> None:
        self.conflicts = tuple(sorted(conflicts, key=lambda each: str(each.manager)))
        super().__init__(_told(self.conflicts))


def _told(conflicts: tuple[Conflict, ...]) -> str:
    if len(conflicts) == 1:
        return f"Apply failed with 1 conflict: {conflicts[0].message}: {conflicts[0].field}"
    lines: list[str] = []
    for manager in dict.fromkeys(str(each.manager) for each in conflicts):
        lines.append(f"conflicts with {manager}:")
        lines += [f"- {each.field}" for each in conflicts if str(each.manager) == manager]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)


_Entries = dict[Manager, Object]


def _entries(listed: object) -> _Entries:
    """Index managedFields; what cannot be read counts for nothing, as there."""
    found = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    if not all(entry.get("operation") in ("Apply", "Update") and entry.get("apiVersion") for entry in found):
        return {}
    return {Manager.of(entry): entry for entry in found}


def _listed(entries: _Entries) -> list[Object]:
    return sorted(entries.values(), key=_order)


def _order(entry: Object) -> tuple[str, ...]:
    return tuple(entry.get(name, "") for name in ("operation", "time", "manager", "apiVersion", "subresource"))


def _fields(entry: Object) -> Set:
    fields = entry.get("fieldsV1")
    return fields if isinstance(fields, dict) else {}


def _with(entries: _Entries, manager: Manager, fields: Set) -> None:
    """Leave a manager these fields; one that has none is gone."""
    if not fields:
        del entries[manager]
    elif fields is not _fields(entries[manager]):
        entries[manager] = {**entries[manager], "fieldsV1": fields}


def _entry(manager: Manager, api_version: str, now: str | None, fields: Set) -> Object:
    entry: Object = {"manager": manager.name, "operation": manager.operation, "apiVersion": api_version}
    if now is not None:
        entry["time"] = now
    entry |= {"fieldsType": "FieldsV1", "fieldsV1": fields}
    return {**entry, "subresource": manager.subresource} if manager.subresource else entry


def _managed(obj: Object, entries: _Entries) -> Object:
    metadata = {name: value for name, value in obj.get("metadata", {}).items() if name != "managedFields"}
    if entries:
        metadata["managedFields"] = _listed(entries)
    return {**obj, "metadata": metadata}


def _compared(root: Node, before: Object, after: Object) -> Changes:
    found = compare(root, _owned_part(before), _owned_part(after))
    return Changes(*(difference(part, _UNOWNED) for part in (found.modified, found.added, found.removed)))


def _owned_part(obj: Object) -> Object:
    metadata = obj.get("metadata") or {}
    return {**obj, "metadata": {name: value for name, value in metadata.items() if name not in _UNOWNED_METADATA}}


# Update


def track(
    before: Object | None,
    after: Object,
    *,
    manager: str,
    operation: str = "Update",
    subresource: str = "",
    api_version: str,
    now: str,
    schema: Schema | None = None,
) -> Object:
    """Return `after`, the result of a create, update or patch, with managedFields as that write leaves them.

    What changed is the writer's from now on and nobody else's. An object whose managedFields somebody has dropped is
    not tracked before it is applied to again. `before` is the stored object, `None` on a create; `now` is RFC 3339.
    Without `schema` it is the built-in kind's; a kind without either has granular objects and atomic lists.
    """
    root = _root(schema, api_version, after)
    changes = _compared(root, before or {}, after)
    given = after.get("metadata", {}).get("managedFields")
    stored = before.get("metadata", {}).get("managedFields") if before else None
    if before is not None and not changes and given == stored:
        return after
    entries = _given_entries(given, stored, subresource)
    if before is not None and not entries:
        return _managed(after, {})
    _take(entries, changes.written(), changes.removed)
    writer = Manager(manager, operation, api_version, subresource)
    if written := changes.written():
        own = union(_fields(entries[writer]), written) if writer in entries else written
        entries[writer] = _entry(writer, api_version, now, own)
        _cap(entries)
    return _managed(after, entries)


def _root(schema: Schema | None, api_version: str, obj: Object) -> Node:
    schema = schema or builtin(api_version, obj.get("kind", ""))
    return schema.root if schema is not None else _UNKNOWN_KIND


def _given_entries(given: object, stored: object, subresource: str) -> _Entries:
    """Read the entries that a write starts from. A client may drop them all on purpose, but not by not knowing them."""
    if not subresource:
        if given in ([], [{}]):
            return {}
        if found := _entries(given):
            return found
    return _entries(stored)


def _take(entries: _Entries, written: Set, removed: Set) -> None:
    """Take from every manager what was written by another and what is not there any more."""
    for manager, entry in list(entries.items()):
        kept = difference(difference(_fields(entry), written), removed)
        _with(entries, manager, kept)


def _cap(entries: _Entries) -> None:
    """Put the oldest updaters into one entry per version once there are too many."""
    updaters = sorted((entry for entry in entries.values() if entry["operation"] == "Update"), key=_order)
    surplus = len(updaters) - MAX_UPDATERS
    first: dict[str, Manager] = {}
    for entry in updaters:
        if surplus <= 0:
            return
        manager, version = Manager.of(entry), entry["apiVersion"]
        if version not in first:
            first[version] = manager
            continue
        bucket = Manager(ANCIENT, "Update", version, "")
        merged = union(_fields(entries.get(bucket) or entries.pop(first[version])), _fields(entries.pop(manager)))
        entries[bucket] = _entry(bucket, version, entry.get("time"), merged)
        surplus -= 1


# Apply


def apply(
    live: Object | None,
    applied: Object,
    *,
    manager: str,
    force: bool,
    schema: Schema | None,
    now: str,
    subresource: str = "",
) -> Object:
    """Lay a configuration over the live object, and return it with managedFields; defaults are not filled in.

    What the manager applied before and leaves out now is removed, unless another owns it too. Raises `Conflicts` if it
    would change what another owns and not `force` it, and `PatchFailed` for a configuration that names an item twice or
    brings managedFields. The version is that of `applied`.
    """
    api_version = applied.get("apiVersion", "")
    root = _root(schema, api_version, applied)
    _check_configuration(root, applied)
    try:
        return _applied(root, live, applied, Manager(manager, "Apply", "", subresource), force=force, now=now)
    except Conflicts as conflicts:
        if manager != "kubectl" or live is None:
            raise
        # Client-side apply has written these fields for the same user: the change to server-side apply is no conflict.
        theirs = _last_applied_paths(root, live, api_version)
        if rest := [conflict for conflict in conflicts.conflicts if conflict.field not in theirs]:
            raise Conflicts(rest) from None
    return _applied(root, live, applied, Manager(manager, "Apply", "", subresource), force=True, now=now)


def _applied(root: Node, live: Object | None, applied: Object, own: Manager, *, force: bool, now: str) -> Object:
    base = {} if live is None else _without_managers(live)
    entries = _entries((live or {}).get("metadata", {}).get("managedFields"))
    if base and not entries:
        # Somebody must own what was there before anybody applied, or nothing could be a conflict.
        first = Manager(BEFORE_FIRST_APPLY, "Update", applied.get("apiVersion", ""), "")
        entries[first] = _entry(first, first.api_version, now, _compared(root, {}, base).written())
    last = entries.pop(own, None)
    configured = of_object(root, applied)
    fields = difference(configured, _UNOWNED)
    result = merge(root, base, _without_managers(applied))
    if last is not None:
        result = _pruned(root, result, _fields(last), [configured, *map(_fields, entries.values())])
    changes = _compared(root, base, result)
    _resolve(entries, changes, force=force)
    if fields:
        unchanged = live is not None and result == base
        time = (last or {}).get("time") if unchanged else now
        entries[own] = _entry(own, applied.get("apiVersion", ""), time, fields)
    if own.name == "kubectl" and LAST_APPLIED in _annotations(base):
        result = _with_last_applied(result, applied)
    return _managed(result, entries)


def _check_configuration(root: Node, applied: Object) -> None:
    metadata = applied.get("metadata", {})
    if metadata.get("managedFields") is not None:
        raise PatchFailed(400, "metadata.managedFields must be nil")
    if twice := next(repeated(root, applied), None):
        name = f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
        what = f"{name}; {applied.get('apiVersion', '')}, Kind={applied.get('kind', '')}"
        raise PatchFailed(500, f"failed to create typed patch object ({what}): {twice}")


def _without_managers(obj: Object) -> Object:
    metadata = {name: value for name, value in obj.get("metadata", {}).items() if name != "managedFields"}
    return {**obj, "metadata": metadata}


def _pruned(root: Node, obj: Object, last: Set, owned: list[Set]) -> Object:
    """Remove what the manager had applied and nobody applies or owns now."""
    held: Set = {}
    for fields in owned:
        held = union(held, with_named_fields(root, fields))
    dropped = difference(with_named_fields(root, last), held)
    return remove(root, obj, dropped)  # type: ignore[no-any-return]


def _resolve(entries: _Entries, changes: Changes, *, force: bool) -> None:
    written = changes.written()
    taken = {manager: intersection(_fields(entry), written) for manager, entry in entries.items()}
    if not force:
        conflicts = [Conflict(manager, path) for manager, fields in taken.items() for path in paths(fields)]
        if conflicts:
            raise Conflicts(conflicts)
    for manager, fields in taken.items():
        _with(entries, manager, difference(difference(_fields(entries[manager]), fields), changes.removed))


def _annotations(obj: Object) -> Mapping[str, str]:
    return obj.get("metadata", {}).get("annotations") or {}


def _last_applied_paths(root: Node, live: Object, api_version: str) -> frozenset[str]:
    """List what client-side apply wrote last and still stands as written."""
    try:
        last = json.loads(_annotations(live).get(LAST_APPLIED, ""))
    except ValueError:
        return frozenset()
    if not isinstance(last, dict) or last.get("apiVersion") != api_version:
        return frozenset()
    changes = compare(root, last, _without_managers(live))
    stands = of_object(root, last)
    for part in (changes.modified, changes.added, changes.removed):
        stands = difference(stands, part)
    return frozenset(paths(stands))


def _with_last_applied(obj: Object, applied: Object) -> Object:
    """Keep the annotation of client-side apply true, for who goes back to it."""
    annotations = {name: value for name, value in _annotations(applied).items() if name != LAST_APPLIED}
    metadata = {**applied.get("metadata", {}), "annotations": annotations}
    text = json.dumps({**applied, "metadata": metadata}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    annotated = {**_annotations(obj), LAST_APPLIED: f"{text}\n"}
    return {**obj, "metadata": {**obj["metadata"], "annotations": annotated}}
