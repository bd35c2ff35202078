"""What Go's JSON decoder would not read: wrong types, which a real API server answers with 400 before it looks further.

Nothing else in here; that a value has the right type and is wrong all the same is for `nodes` and `rules`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from typing import Any, Final

from listener.sandbox.cluster.field_errors import go_json
from listener.sandbox.cluster.nodes import RANGES, TIME, Node, before, earlier, is_a, json_type, under
from listener.sandbox.cluster.quantity import canonical_quantity

_MICRO_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_QUANTITY_RULE: Final = r"quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"


def undecodable(node: Node, value: Any, old: object, struct: str, path: str) -> Iterator[str]:
    """Say what Go's decoder would trip over, in the order of the object.

    `struct` is the Go struct that holds the field; `path` leads there without indexes, as Go's messages do.
    """
    if value is old or value is None:
        return
    if problem := _undecodable_leaf(node, value):
        where = f"Go struct field {struct.rpartition('.')[2]}.{path}"
        yield problem.format(where=where)
    elif isinstance(value, dict):
        holder = node.go_type if node.fields else struct
        for name, item in value.items():
            child = node.child(name)
            if child is not None:
                below = under(path, name) if node.fields else path
                yield from undecodable(child, item, before(old, name), holder, below)
    elif isinstance(value, list) and node.items is not None:
        for item, was in zip(value, earlier(old, value), strict=True):
            yield from undecodable(node.items, item, was, struct, path)


def _undecodable_leaf(node: Node, value: Any) -> str | None:
    found = json_type(value)
    if node.type == "quantity":
        return None if canonical_quantity(value) else _braced(_QUANTITY_RULE)
    if node.int_or_string:
        if isinstance(value, float):
            return f"json: cannot unmarshal number {value} into {{where}} of type int32"
        return (
            None
            if is_a(value, "integer") or is_a(value, "string")
            else f"json: cannot unmarshal {found} into {{where}} of type int32"
        )
    if not node.type:
        return None
    if node.type == "integer" and found == "number":
        limit = RANGES[node.format]
        fits = isinstance(value, int) and -limit <= value < limit
        return None if fits else f"json: cannot unmarshal number {value} into {{where}} of type {node.go_type}"
    if not is_a(value, node.type):
        return f"json: cannot unmarshal {found} into {{where}} of type {node.go_type}"
    return _malformed_text(node.format, value) if node.format in ("date-time", "micro-time", "byte") else None


def _malformed_text(format_: str, value: str) -> str | None:
    if format_ == "byte":
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error:
            at = next((at for at, char in enumerate(value) if not re.match(r"[A-Za-z0-9+/]", char)), len(value))
            return f"illegal base64 data at input byte {at}"
        return None
    if format_ == "micro-time":
        if _MICRO_TIME.fullmatch(value):
            return None
        shape, tail = "2006-01-02T15:04:05.000000Z07:00", ".000000"
        rest = value[19:] if TIME.fullmatch(value) else value
    elif TIME.fullmatch(value):
        return None
    else:
        shape, tail, rest = "2006-01-02T15:04:05Z07:00", "2006", value
    return _braced(f'parsing time {go_json(value)} as "{shape}": cannot parse {go_json(rest)} as "{tail}"')


def _braced(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
