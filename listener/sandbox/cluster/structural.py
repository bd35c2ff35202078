"""Read the structural schema of a CRD version, OpenAPI v3, into nodes.

What the sandbox could not hold objects to is refused here, with its place: a rule that is silently not applied would
let through what a real API server refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from listener.errors import ListenerError
from listener.sandbox.cluster.field_errors import (
    FieldError,
    forbidden,
    go_json,
    invalid,
    not_supported,
    required,
    too_many,
)
from listener.sandbox.cluster.nodes import ABSENT, Check, Node, default, is_a, type_meta, validate


class UnsupportedSchema(ListenerError):
    """A schema that is not structural, or that asks for what the sandbox does not do, such as a CEL rule.

    `error` says which, where in the schema, and is part of the answer to whoever creates the CRD.
    """

    def __init__(self, error: FieldError) -> None:
        super().__init__(str(error))
        self.error = error


_NOTED: Final = frozenset({"title", "description", "example", "externalDocs", "$schema", "id"})
_NO_CEL: Final = "CEL rules are not evaluated here; write them with enum, pattern, anyOf, oneOf or not"
_REFUSED: Final = {
    "$ref": "$ref is not supported",
    "additionalItems": "additionalItems is not supported",
    "definitions": "definitions is not supported",
    "dependencies": "dependencies is not supported",
    "deprecated": "deprecated is not supported",
    "patternProperties": "patternProperties is not supported",
    "readOnly": "readOnly is not supported",
    "uniqueItems": "uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
    "x-kubernetes-validations": _NO_CEL,
}
_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_HELD_FORMATS: Final = frozenset({"int32", "int64", "float", "double", "date-time"})
# kube-apiserver holds values to these too, and we do not: refusing the CRD is better than taking a bad value.
_UNHELD_FORMATS: Final = frozenset(
    """
    bsonobjectid uri email hostname ipv4 ipv6 cidr mac uuid uuid3 uuid4 uuid5 isbn isbn10 isbn13 creditcard
    ssn hexcolor rgbcolor byte password date duration datetime k8s-short-name k8s-long-name
    """.split()  # noqa: SIM905 - one a line would hide the rest
)
_NOT_RE2: Final = re.compile(r"\(\?(?:[=!]|<[=!])|\\[1-9]")
_KEYWORDS: Final = frozenset(
    """
    type format properties additionalProperties items required nullable default enum pattern minLength
    maxLength minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minItems maxItems minProperties
    maxProperties allOf anyOf oneOf not x-kubernetes-preserve-unknown-fields x-kubernetes-int-or-string
    x-kubernetes-embedded-resource x-kubernetes-list-type x-kubernetes-list-map-keys x-kubernetes-map-type
    """.split()  # noqa: SIM905 - one a line would hide the rest
)


def read(openapi: Mapping[str, Any]) -> Node:
    """Return the root of a custom resource's schema. Raises `UnsupportedSchema`."""
    type_ = openapi.get("type")
    if not type_:
        raise UnsupportedSchema(required("openAPIV3Schema.type", "must not be empty at the root"))
    if type_ != "object":
        raise UnsupportedSchema(invalid("openAPIV3Schema.type", type_, "must be object at the root"))
    root = _read(openapi, "openAPIV3Schema", root=True)
    for name in ("apiVersion", "kind"):
        type_ = openapi.get("properties", {}).get(name, {}).get("type", "string")
        if type_ != "string":
            raise UnsupportedSchema(invalid(f"openAPIV3Schema.properties[{name}].type", type_, "must be string"))
    if not root.fields.get("metadata", Node()).fields.keys() <= {"name", "generateName"}:
        why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        raise UnsupportedSchema(forbidden("openAPIV3Schema.properties[metadata]", why))
    return replace(root, fields={**root.fields, **type_meta(root)})


def _read(given: Mapping[str, Any], path: str, *, root: bool = False, logical: bool = False) -> Node:
    """Read one schema; a `logical` one stands below allOf, anyOf, oneOf or not and only has checks."""
    _refuse_keywords(given, path, logical=logical)
    embedded = bool(given.get("x-kubernetes-embedded-resource"))
    additional = given.get("additionalProperties")
    node = Node(
        type=_type(given, path, logical=logical),
        format=_format(given, path),
        fields={
            name: _read(sub, f"{path}.properties[{name}]", logical=logical)
            for name, sub in given.get("properties", {}).items()
            if not ((root or embedded) and name in ("apiVersion", "kind"))
        },
        values=_read(additional, f"{path}.additionalProperties") if isinstance(additional, Mapping) else None,
        items=_read(given["items"], f"{path}.items", logical=logical) if "items" in given else None,
        required=tuple(given.get("required", ())),
        nullable=bool(given.get("nullable")),
        default=given.get("default", ABSENT),
        preserve=bool(given.get("x-kubernetes-preserve-unknown-fields")) or additional is True,
        int_or_string=bool(given.get("x-kubernetes-int-or-string")),
        embedded=embedded,
        checks=tuple(_checks(given, path)),
        list_type=given.get("x-kubernetes-list-type", "atomic"),
        list_keys=tuple(given.get("x-kubernetes-list-map-keys", ())),
        atomic_map=given.get("x-kubernetes-map-type") == "atomic",
    )
    if embedded:
        node.fields.update(type_meta(node))
    _refuse_contradictions(node, given, path)
    return node


_NOT_BELOW_LOGIC: Final = ("type", "additionalProperties", "default", "nullable", "title", "description")


def _refuse_keywords(given: Mapping[str, Any], path: str, *, logical: bool) -> None:
    for keyword, value in given.items():
        where = f"{path}.{keyword}"
        if keyword in _REFUSED:
            if value:
                raise UnsupportedSchema(forbidden(where, _REFUSED[keyword]))
        elif keyword not in _KEYWORDS and keyword not in _NOTED:
            raise UnsupportedSchema(forbidden(where, "is no keyword of a structural schema"))
        elif logical and keyword in _NOT_BELOW_LOGIC:
            raise UnsupportedSchema(forbidden(where, "must be empty to be structural"))
    if given.get("x-kubernetes-preserve-unknown-fields") is False:
        where = f"{path}.x-kubernetes-preserve-unknown-fields"
        raise UnsupportedSchema(invalid(where, False, "must be true or undefined"))
    if given.get("properties") and given.get("additionalProperties"):
        why = "additionalProperties and properties are mutual exclusive"
        raise UnsupportedSchema(forbidden(f"{path}.additionalProperties", why))


def _type(given: Mapping[str, Any], path: str, *, logical: bool) -> str:
    type_ = str(given.get("type", ""))
    if given.get("x-kubernetes-int-or-string") or logical:
        return ""
    if not type_ and not given.get("x-kubernetes-preserve-unknown-fields"):
        raise UnsupportedSchema(required(f"{path}.type", "must not be empty for specified object fields"))
    if type_ and type_ not in _TYPES:
        raise UnsupportedSchema(not_supported(f"{path}.type", type_, _TYPES))
    return type_


def _format(given: Mapping[str, Any], path: str) -> str:
    name = str(given.get("format", ""))
    if name in _UNHELD_FORMATS:
        raise UnsupportedSchema(forbidden(f"{path}.format", f"values are not held to {name!r} here; use a pattern"))
    return name if name in _HELD_FORMATS else ""


def _refuse_contradictions(node: Node, given: Mapping[str, Any], path: str) -> None:
    if node.type == "array" and node.items is None:
        raise UnsupportedSchema(required(f"{path}.items", "must be specified"))
    if "x-kubernetes-list-type" in given and node.type != "array":
        why = "must be array if x-kubernetes-list-type is specified"
        raise UnsupportedSchema(invalid(f"{path}.type", node.type, why))
    if node.list_type == "map":
        _refuse_keys(node, path)
    if node.list_type == "set" and node.items is not None and node.items.type == "object" and not node.items.atomic_map:
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        raise UnsupportedSchema(invalid(f"{path}.items.x-kubernetes-map-type", None, why))
    if node.default is not ABSENT:
        errors: list[FieldError] = []
        validate(node, default(node, node.default, ABSENT), ABSENT, "", errors)
        if errors:
            below = errors[0].path and f".{errors[0].path}"
            raise UnsupportedSchema(replace(errors[0], path=f"{path}.default{below}"))


def _refuse_keys(node: Node, path: str) -> None:
    items = node.items or Node()
    where = f"{path}.x-kubernetes-list-map-keys"
    if not node.list_keys:
        raise UnsupportedSchema(required(where, "must not be empty if x-kubernetes-list-type is map"))
    if not set(node.list_keys) <= items.fields.keys():
        raise UnsupportedSchema(invalid(where, list(node.list_keys), "entries must all be names of item properties"))
    for key in node.list_keys:
        if key not in items.required and items.fields[key].default is ABSENT:
            why = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
            raise UnsupportedSchema(required(f"{path}.items.properties[{key}].default", why))


def _checks(given: Mapping[str, Any], path: str) -> Iterator[Check]:
    if "enum" in given:
        yield _one_of(given["enum"])
    if "pattern" in given:
        yield _matches(given["pattern"], f"{path}.pattern")
    if any(name in given for name in ("minLength", "maxLength")):
        yield _length(given.get("minLength", 0), given.get("maxLength"))
    if any(name in given for name in ("minimum", "maximum", "multipleOf")):
        yield _range(given)
    if any(name in given for name in ("minItems", "maxItems")):
        yield _count(list, given.get("minItems", 0), given.get("maxItems"))
    if any(name in given for name in ("minProperties", "maxProperties")):
        yield _count(dict, given.get("minProperties", 0), given.get("maxProperties"))
    for keyword, combine in (("allOf", _all_of), ("anyOf", _any_of), ("oneOf", _exactly_one_of)):
        if keyword in given:
            yield combine(
                [_read(sub, f"{path}.{keyword}[{place}]", logical=True) for place, sub in enumerate(given[keyword])]
            )
    if "not" in given:
        yield _none_of(_read(given["not"], f"{path}.not", logical=True))


def _one_of(allowed: Sequence[Any]) -> Check:
    printed = {go_json(item) for item in allowed}

    def check(value: Any, path: str) -> Iterator[FieldError]:
        if go_json(value) not in printed:
            yield not_supported(path, value, allowed)

    return check


def _matches(pattern: str, place: str) -> Check:
    if _NOT_RE2.search(pattern):
        why = "must be a valid regular expression, but isn't: Go's cannot look around or refer back"
        raise UnsupportedSchema(invalid(place, pattern, why))
    try:
        # In Go `$` is the end of the text; in Python it also stands before a last newline.
        expression = re.compile(re.sub(r"(?<!\\)\$(?=$|[|)])", r"\\Z", pattern))
    except re.error as error:
        why = f"must be a valid regular expression, but isn't: error parsing regexp: {error}"
        raise UnsupportedSchema(invalid(place, pattern, why)) from error

    def check(value: Any, path: str) -> Iterator[FieldError]:
        if isinstance(value, str) and not expression.search(value):
            yield invalid(path, value, f"{path} in body should match '{pattern}'")

    return check


def _length(least: int, most: int | None) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        if not isinstance(value, str):
            return
        if most is not None and len(value) > most:
            yield FieldError(path, "FieldValueTooLong", f"Too long: may not be more than {most} bytes")
        if len(value) < least:
            yield invalid(path, value, f"{path} in body should be at least {least} chars long")

    return check


def _range(given: Mapping[str, Any]) -> Check:
    least, most, step = given.get("minimum"), given.get("maximum"), given.get("multipleOf")
    above, below = bool(given.get("exclusiveMinimum")), bool(given.get("exclusiveMaximum"))

    def check(value: Any, path: str) -> Iterator[FieldError]:
        if not is_a(value, "number"):
            return
        if step is not None and value % step:
            yield invalid(path, value, f"{path} in body should be a multiple of {step}")
        if most is not None and (value > most or (below and value == most)):
            yield invalid(path, value, f"{path} in body should be less than {'' if below else 'or equal to '}{most}")
        if least is not None and (value < least or (above and value == least)):
            yield invalid(
                path, value, f"{path} in body should be greater than {'' if above else 'or equal to '}{least}"
            )

    return check


def _count(type_: type[list[Any]] | type[dict[str, Any]], least: int, most: int | None) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        if not isinstance(value, type_):
            return
        if most is not None and len(value) > most:
            yield too_many(path, len(value), most)
        if len(value) < least:
            what = "items" if type_ is list else "properties"
            yield invalid(path, len(value), f"{path} in body should have at least {least} {what}")

    return check


def _failures(node: Node, value: Any, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    validate(node, value, ABSENT, path, errors)
    return errors


def _combined(path: str, rule: str) -> FieldError:
    """Name no path, as the real server does."""
    return FieldError("<nil>", "FieldValueInvalid", f'Invalid value: "": "{path}" must {rule}')


def _all_of(nodes: list[Node]) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        failed = [error for node in nodes for error in _failures(node, value, path)]
        yield from failed
        if failed:
            yield _combined(path, "validate all the schemas (allOf)")

    return check


def _any_of(nodes: list[Node]) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        failures = [_failures(node, value, path) for node in nodes]
        if all(failures):
            yield _combined(path, "validate at least one schema (anyOf)")
            yield from min(failures, key=len)

    return check


def _exactly_one_of(nodes: list[Node]) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        failures = [_failures(node, value, path) for node in nodes]
        valid = sum(not failed for failed in failures)
        if valid == 1:
            return
        found = f"{valid} valid alternatives" if valid else "none valid"
        yield _combined(path, f"validate one and only one schema (oneOf). Found {found}")
        if not valid:
            yield from min(failures, key=len)

    return check


def _none_of(node: Node) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        if not _failures(node, value, path):
            yield _combined(path, "not validate the schema (not)")

    return check
