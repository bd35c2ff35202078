"""Schemas as a graph of nodes, and the walks over an object that ask it: unknown fields, pruning, defaults, values.

One graph serves custom resources (read by `structural` from a CRD) and built-in kinds (read by `kinds` from the
generated models). Every walk takes `old`, the stored object: a part that is the very same Python object there has been
through before and is passed over, so a patch of one field costs one field. What a walk returns shares its unchanged
parts with what went in: objects are frozen, and whoever changes one copies the way down to it.

Knows no kind by name, no HTTP, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final

from listener.sandbox.cluster.field_errors import FieldError, duplicate, go_json, invalid, required, wrong_type
from listener.sandbox.cluster.quantity import canonical_quantity

ABSENT: Final = object()
"""Stands where there is no value; `None` is JSON's null."""

Check = Callable[[Any, str], Iterator[FieldError]]


@dataclass(slots=True, eq=False)
class Node:
    """The schema of one place in an object.

    `type` is JSON's (`object`, `array`, `string`, `integer`, `number`, `boolean`), or `quantity`, or empty for
    "anything". Models refer to themselves (a JSONSchemaProps holds JSONSchemaProps), so nodes form a graph and are
    filled in after they are made; once read they do not change.
    """

    type: str = ""
    format: str = ""
    fields: dict[str, Node] = field(default_factory=dict)
    values: Node | None = None
    """Schema of the values of a map: `additionalProperties`."""
    items: Node | None = None
    required: tuple[str, ...] = ()
    nullable: bool = False
    default: Any = ABSENT
    zero: Any = ABSENT
    """What Go writes where nothing was set. For the owners of fields it is as good as nothing."""
    preserve: bool = False
    int_or_string: bool = False
    embedded: bool = False
    checks: tuple[Check, ...] = ()
    list_type: str = "atomic"
    """`atomic`, `set` or `map`."""
    list_keys: tuple[str, ...] = ()
    atomic_map: bool = False
    """One owner for the whole object, in server-side apply."""
    merge_key: str | None = None
    """A strategic merge joins the list's items by this field, scalars by the empty name; `None` replaces the list."""
    retain_keys: bool = False
    """A strategic merge names the keys to keep in `$retainKeys`."""
    replace: bool = False
    """A strategic merge replaces the object."""
    drop_empty: bool = False
    """What is empty, or zero, is stored as if it were not there, as Go's `omitempty` has it."""
    description: str = ""
    go_type: str = ""
    """The Go type, for built-in kinds: the decoder's messages name it."""
    defaults: tuple[tuple[str, Node], ...] | None = None

    def child(self, name: str) -> Node | None:
        """Return the schema of a field or map value, or `None` where the schema says nothing of it."""
        return self.fields.get(name, self.values)

    @property
    def open(self) -> bool:
        """Whether anything may stand here, unknown fields included."""
        return self.preserve or (not self.type and not self.int_or_string)

    def defaulted(self) -> tuple[tuple[str, Node], ...]:
        if self.defaults is None:
            self.defaults = tuple((name, child) for name, child in self.fields.items() if child.default is not ABSENT)
        return self.defaults


def _text(go_type: str = "string", **more: Any) -> Node:
    return Node("string", go_type=go_type, **more)


def _struct(go_type: str, **fields: Node) -> Node:
    return Node("object", go_type=go_type, fields=fields)


def _map_of(value: Node) -> Node:
    return Node("object", values=value, drop_empty=True, go_type=f"map[string]{value.go_type}")


def _list_of(item: Node, **more: Any) -> Node:
    return Node("array", items=item, drop_empty=True, go_type=f"[]{item.go_type}", **more)


def _number() -> Node:
    return Node("integer", "int64", go_type="int64")


def _time() -> Node:
    return _text("v1.Time", format="date-time")


OWNER_REFERENCE: Final = replace(
    _struct(
        "v1.OwnerReference",
        apiVersion=_text(),
        kind=_text(),
        name=_text(),
        uid=_text("types.UID"),
        controller=Node("boolean", go_type="bool"),
        blockOwnerDeletion=Node("boolean", go_type="bool"),
    ),
    atomic_map=True,
)
METADATA: Final = _struct(
    "v1.ObjectMeta",
    name=_text(),
    generateName=_text(),
    namespace=_text(),
    selfLink=_text(),
    uid=_text("types.UID"),
    resourceVersion=_text(),
    generation=_number(),
    creationTimestamp=_time(),
    deletionTimestamp=_time(),
    deletionGracePeriodSeconds=_number(),
    labels=_map_of(_text()),
    annotations=_map_of(_text()),
    ownerReferences=_list_of(OWNER_REFERENCE, list_type="map", list_keys=("uid",), merge_key="uid"),
    finalizers=_list_of(_text(), list_type="set", merge_key=""),
    # An empty list is a wish: to forget the owners.
    managedFields=replace(
        _list_of(
            _struct(
                "v1.ManagedFieldsEntry",
                manager=_text(),
                operation=_text(),
                apiVersion=_text(),
                time=_time(),
                fieldsType=_text(),
                fieldsV1=Node("object", preserve=True, go_type="v1.FieldsV1"),
                subresource=_text(),
            )
        ),
        drop_empty=False,
    ),
)


def type_meta(root: Node) -> dict[str, Node]:
    """Give the fields that every object has; a CRD may restrict only the name."""
    metadata = METADATA
    if given := root.fields.get("metadata"):
        narrowed = {name: replace(METADATA.fields[name], checks=node.checks) for name, node in given.fields.items()}
        metadata = replace(METADATA, fields={**METADATA.fields, **narrowed})
    return {"apiVersion": _text(), "kind": _text(), "metadata": metadata}


def under(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def before(old: object, key: str) -> object:
    return old.get(key, ABSENT) if isinstance(old, dict) else ABSENT


def earlier(old: object, items: Sequence[Any]) -> list[Any]:
    """Pair each item of a list with its earlier self: the same object wherever it stood, else what stood there."""
    if not isinstance(old, list):
        return [ABSENT] * len(items)
    known = set(map(id, old))
    return [
        item if id(item) in known else old[place] if place < len(old) else ABSENT for place, item in enumerate(items)
    ]


def unknown(node: Node, value: object, old: object, path: str) -> Iterator[str]:
    if value is old:
        return
    if isinstance(value, dict) and node.type in ("object", ""):
        for name, item in value.items():
            below = under(path, name)
            child = node.child(name)
            if child is not None:
                yield from unknown(child, item, before(old, name), below)
            elif not node.open:
                yield below
    elif isinstance(value, list) and node.items is not None:
        for place, (item, was) in enumerate(zip(value, earlier(old, value), strict=True)):
            yield from unknown(node.items, item, was, f"{path}[{place}]")


def prune(node: Node, value: Any, old: object) -> Any:
    if value is old:
        return value
    if isinstance(value, dict) and node.type in ("object", ""):
        changes: dict[str, Any] = {}
        for name, item in value.items():
            child = node.child(name)
            unasked = item if node.open else ABSENT
            kept = unasked if child is None else prune(child, item, before(old, name))
            if kept is not item:
                changes[name] = kept
        return _changed(value, changes)
    if isinstance(value, list) and node.items is not None:
        below = node.items
        return _changed_list(
            value, [prune(below, item, was) for item, was in zip(value, earlier(old, value), strict=True)]
        )
    return value


def _changed(value: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    if not changes:
        return value
    return {name: item for name, item in {**value, **changes}.items() if item is not ABSENT}


def _changed_list(value: list[Any], items: list[Any]) -> list[Any]:
    return value if all(a is b for a, b in zip(value, items, strict=True)) else items


def default(node: Node, value: Any, old: object) -> Any:
    if value is old:
        return value
    if isinstance(value, dict):
        return _default_object(node, value, old)
    if isinstance(value, list):
        if node.items is None:
            return value
        below = node.items
        # Go decodes a null item of a list of structs as an empty struct.
        given = [{} if item is None and below.go_type and below.fields else item for item in value]
        return _changed_list(
            value, [default(below, item, was) for item, was in zip(given, earlier(old, value), strict=True)]
        )
    if node.type == "integer" and isinstance(value, float) and value.is_integer():
        return int(value)
    if node.type == "quantity":
        return canonical_quantity(value) or value
    return value


def _default_object(node: Node, value: dict[str, Any], old: object) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, item in value.items():
        child = node.child(name)
        if child is None:
            continue
        if item is None and not child.nullable and not child.open:
            changes[name] = ABSENT
            continue
        now = default(child, item, before(old, name))
        if child.drop_empty and not now:
            now = ABSENT
        if now is not item:
            changes[name] = now
    for name, child in node.defaulted():
        if name not in value or changes.get(name) is ABSENT:
            changes[name] = default(child, deepcopy(child.default), ABSENT)
    return _changed(value, changes)


def validate(node: Node, value: Any, old: object, path: str, errors: list[FieldError]) -> None:
    if value is old or (value is None and (node.nullable or node.open)):
        return
    if mismatch := _mismatch(node, value, path):
        errors.extend(mismatch)
        return
    if _beyond(node, value):
        errors.append(_not_of(node.format, path))
    for check in node.checks:
        errors.extend(check(value, path))
    if isinstance(value, dict):
        errors.extend(required(under(path, name)) for name in node.required if _missing(node, value, name))
        if node.embedded:
            errors.extend(required(f"{path}.{name}") for name in ("apiVersion", "kind") if not value.get(name))
        for name, item in value.items():
            child = node.child(name)
            if child is not None:
                validate(child, item, before(old, name), under(path, name), errors)
    elif isinstance(value, list) and node.items is not None:
        for place, (item, was) in enumerate(zip(value, earlier(old, value), strict=True)):
            validate(node.items, item, was, f"{path}[{place}]", errors)
        errors.extend(_repeated(node, value, path))


def _missing(node: Node, value: dict[str, Any], name: str) -> bool:
    """Go cannot tell a field that is empty from one that is not there, so for built-in kinds both are missing."""
    return not value.get(name) if node.go_type else name not in value


def _repeated(node: Node, value: list[Any], path: str) -> Iterator[FieldError]:
    """Name items of a set or a list-map that stand there twice. Built-in kinds have their own rules, see `rules`."""
    if node.list_type == "atomic" or node.go_type:
        return
    seen: set[str] = set()
    for place, item in enumerate(value):
        if node.list_type == "set":
            key = item
        elif isinstance(item, dict):
            key = {name: item[name] for name in node.list_keys if name in item}
        elif item is None:
            continue
        else:
            yield invalid(f"{path}[{place}]", item, "must be an object for an array of list-type map")
            continue
        printed = go_json(key)
        if printed in seen:
            yield duplicate(f"{path}[{place}]", key)
        seen.add(printed)


PYTHON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "number": (int, float),
    "integer": (int,),
    "quantity": (str, int, float),
}
TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d([.,]\d+)?([Zz]|[+-]\d\d:\d\d)")
RANGES: Final = {"int32": 2**31, "int64": 2**63}


def json_type(value: object) -> str:
    """Name a value's type as Go's JSON decoder does."""
    if isinstance(value, bool):
        return "bool"
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number"}
    return names.get(type(value), "null")


def _openapi_type(value: object) -> str:
    """Name a value's type as OpenAPI does."""
    if isinstance(value, bool):
        return "boolean"
    return "integer" if isinstance(value, int) else json_type(value)


def is_a(value: object, type_: str) -> bool:
    if isinstance(value, bool):
        return type_ == "boolean"
    return isinstance(value, PYTHON_TYPES[type_])


def _mismatch(node: Node, value: object, path: str) -> list[FieldError]:
    """Tell whether the value is of the type, and of the format, that the schema asks for."""
    if node.int_or_string:
        fits = is_a(value, "integer") or is_a(value, "string")
        return [] if fits else [wrong_type(path, _openapi_type(value), "integer,string")]
    if not node.type:
        return []
    if node.type == "integer" and is_a(value, "number"):
        return _not_integer(node.format, value, path)
    if not is_a(value, node.type):
        return [wrong_type(path, _openapi_type(value), node.type)]
    if node.format == "date-time" and not TIME.fullmatch(str(value)):
        return [_of_format(path, value, "date-time")]
    return []


def _of_format(path: str, value: object, name: str) -> FieldError:
    message = f"Invalid value: {go_json(value)}: {path} in body must be of type {name}: {go_json(value)}"
    return FieldError(path, "FieldValueTypeInvalid", message)


def _not_integer(format_: str, value: Any, path: str) -> list[FieldError]:
    """Word as kube-openapi does: with a format, a number that is none gets two errors, the second without a path."""
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return []
    if not format_:
        return [wrong_type(path, "number", "integer")]
    return [wrong_type(path, "float64", format_), _not_of(format_, path)]


def _beyond(node: Node, value: Any) -> bool:
    """Tell whether an integer is too large for its format; the rest of its schema is looked at all the same."""
    limit = RANGES.get(node.format)
    return limit is not None and node.type == "integer" and not -limit <= value < limit


def _not_of(format_: str, path: str) -> FieldError:
    message = f'Invalid value: "": Checked value must be of type integer with format {format_} in {path}'
    return FieldError("<nil>", "FieldValueInvalid", message)
