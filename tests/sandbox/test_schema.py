"""What an object may look like: the words of a real kube-apiserver (1.36.2), which the rows were taken from."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from importlib.resources import files
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from listener.sandbox.cluster.defaults import pull_policy
from listener.sandbox.cluster.quantity import canonical_quantity
from listener.sandbox.cluster.rules import schedule_problem
from listener.sandbox.cluster.schema import (
    Schema,
    UnsupportedSchema,
    builtin,
    default_builtin,
    validate_builtin,
    validate_crd,
)
from listener.sandbox.cluster.selectors import QUALIFIED, VALUE_RULE

POD = "spec/template/spec"
CONTAINER = f"{POD}/containers/0"
TEXT = {"type": "string"}
NUMBER = {"type": "integer"}
SOURCE = {
    "type": "object",
    "required": ["kind", "name"],
    "properties": {"kind": {"type": "string", "enum": ["DockerImage", "ImageStreamTag"]}, "name": TEXT},
}
A_AND_B = {"type": "object", "properties": {"a": TEXT, "b": TEXT}}
THING = {
    "type": "object",
    "required": ["spec"],
    "properties": {
        "spec": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
                "mode": {"type": "string", "enum": ["A", "B"], "default": "A"},
                "n": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 10},
                "xn": {
                    "type": "integer",
                    "minimum": 1,
                    "exclusiveMinimum": True,
                    "maximum": 10,
                    "exclusiveMaximum": True,
                    "multipleOf": 2,
                },
                "b": {"type": "boolean"},
                "t": {"type": "string", "format": "date-time"},
                "nul": {"type": "string", "nullable": True},
                "nuldef": {"type": "string", "nullable": True, "default": "x"},
                "tags": {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 3,
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": TEXT, "from": SOURCE, "gen": {"type": "integer", "default": 1}},
                    },
                },
                "set": {"type": "array", "x-kubernetes-list-type": "set", "items": TEXT},
                "ios": {"x-kubernetes-int-or-string": True},
                "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                "map": {"type": "object", "additionalProperties": NUMBER, "maxProperties": 2},
                "emb": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "x-kubernetes-preserve-unknown-fields": True,
                },
                "one": {**A_AND_B, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
                "anyof": {**A_AND_B, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
                "allof": {**A_AND_B, "allOf": [{"required": ["a"]}, {"properties": {"a": {"minLength": 3}}}]},
                "no": {**A_AND_B, "not": {"required": ["a"]}},
                "obj": {"type": "object", "default": {}, "properties": {"x": {"type": "integer", "default": 5}}},
                "ne": {"type": "integer", "enum": [1, 2]},
            },
        },
        "status": {"type": "object", "properties": {"o": NUMBER}},
    },
}
SCHEMA = Schema.from_openapi(THING)


def thing(spec: Any) -> dict[str, Any]:
    made = {"apiVersion": "half.example.com/v1", "kind": "Thing", "metadata": {"name": "a"}}
    return made if spec is None else {**made, "spec": spec}


def deployment() -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"}, "spec": spec}


def changed(obj: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the object with another value at the path; `...` takes it away."""
    result = deepcopy(obj)
    *way, last = path.split("/")
    at: Any = result
    for step in way:
        at = at[int(step)] if isinstance(at, list) else at.setdefault(step, {})
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return result


def told(obj: dict[str, Any], old: dict[str, Any] | None = None) -> str:
    """Give the errors as the server's message does, each once."""
    listed = list(dict.fromkeys(map(str, validate_builtin(default_builtin(obj), old))))
    return listed[0] if len(listed) == 1 else f"[{', '.join(listed)}]"


# Custom resources


@pytest.mark.parametrize(
    ("spec", "errors"),
    [
        pytest.param(None, ["spec: Required value"], id="no spec"),
        pytest.param({}, ["spec.name: Required value"], id="no name"),
        pytest.param({"name": None}, ["spec.name: Required value"], id="null is no name"),
        pytest.param(
            {"name": "a"},
            ['spec.name: Invalid value: "a": spec.name in body should be at least 2 chars long'],
            id="name too short",
        ),
        pytest.param({"name": "abcdefg"}, ["spec.name: Too long: may not be more than 5 bytes"], id="name too long"),
        pytest.param(
            {"name": "A1"},
            ["spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'"],
            id="name against the pattern",
        ),
        pytest.param(
            {"name": "abc\n"},
            ["spec.name: Invalid value: \"abc\\n\": spec.name in body should match '^[a-z]+$'"],
            id="name and a newline",
        ),
        pytest.param(
            {"name": 1},
            ['spec.name: Invalid value: "integer": spec.name in body must be of type string: "integer"'],
            id="number as a name",
        ),
        pytest.param(
            {"name": "abc", "mode": "C"},
            ['spec.mode: Unsupported value: "C": supported values: "A", "B"'],
            id="word not in the enum",
        ),
        pytest.param(
            {"name": "abc", "ne": 3},
            ['spec.ne: Unsupported value: 3: supported values: "1", "2"'],
            id="number not in the enum",
        ),
        pytest.param(
            {"name": "abc", "n": 0},
            ["spec.n: Invalid value: 0: spec.n in body should be greater than or equal to 1"],
            id="below the minimum",
        ),
        pytest.param(
            {"name": "abc", "n": 11},
            ["spec.n: Invalid value: 11: spec.n in body should be less than or equal to 10"],
            id="above the maximum",
        ),
        pytest.param(
            {"name": "abc", "n": "3"},
            ['spec.n: Invalid value: "string": spec.n in body must be of type integer: "string"'],
            id="text as a number",
        ),
        pytest.param(
            {"name": "abc", "n": 1099511627776},
            [
                '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.n',
                "spec.n: Invalid value: 1099511627776: spec.n in body should be less than or equal to 10",
            ],
            id="beyond 32 bits",
        ),
        pytest.param(
            {"name": "abc", "n": 3.5},
            [
                'spec.n: Invalid value: "float64": spec.n in body must be of type int32: "float64"',
                '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.n',
            ],
            id="fraction",
        ),
        pytest.param(
            {"name": "abc", "xn": 1},
            [
                "spec.xn: Invalid value: 1: spec.xn in body should be a multiple of 2",
                "spec.xn: Invalid value: 1: spec.xn in body should be greater than 1",
            ],
            id="at an exclusive minimum, and odd",
        ),
        pytest.param(
            {"name": "abc", "xn": 10},
            ["spec.xn: Invalid value: 10: spec.xn in body should be less than 10"],
            id="at an exclusive maximum",
        ),
        pytest.param(
            {"name": "abc", "xn": 3},
            ["spec.xn: Invalid value: 3: spec.xn in body should be a multiple of 2"],
            id="not a multiple",
        ),
        pytest.param(
            {"name": "abc", "b": "true"},
            ['spec.b: Invalid value: "string": spec.b in body must be of type boolean: "string"'],
            id="text as a switch",
        ),
        pytest.param(
            {"name": "abc", "t": "x"},
            ['spec.t: Invalid value: "x": spec.t in body must be of type date-time: "x"'],
            id="no time",
        ),
        pytest.param(
            {"name": "abc", "tags": []},
            ["spec.tags: Invalid value: 0: spec.tags in body should have at least 1 items"],
            id="too few items",
        ),
        pytest.param(
            {"name": "abc", "tags": [{"name": "0"}, {"name": "1"}, {"name": "2"}, {"name": "3"}]},
            ["spec.tags: Too many: 4: must have at most 3 items"],
            id="too many items",
        ),
        pytest.param({"name": "abc", "tags": [{}]}, ["spec.tags[0].name: Required value"], id="item without its key"),
        pytest.param(
            {"name": "abc", "tags": [{"name": "a"}, {"name": "a"}]},
            ['spec.tags[1]: Duplicate value: {"name":"a"}'],
            id="two items of one key",
        ),
        pytest.param(
            {"name": "abc", "tags": ["x"]},
            [
                'spec.tags[0]: Invalid value: "string": spec.tags[0] in body must be of type object: "string"',
                'spec.tags[0]: Invalid value: "x": must be an object for an array of list-type map',
            ],
            id="item that is no object",
        ),
        pytest.param(
            {"name": "abc", "tags": [None]},
            ['spec.tags[0]: Invalid value: "null": spec.tags[0] in body must be of type object: "null"'],
            id="item that is null",
        ),
        pytest.param(
            {"name": "abc", "tags": "x"},
            ['spec.tags: Invalid value: "string": spec.tags in body must be of type array: "string"'],
            id="no list",
        ),
        pytest.param(
            {"name": "abc", "tags": [{"name": "a", "from": {"kind": "Foo", "name": "x"}}]},
            [('spec.tags[0].from.kind: Unsupported value: "Foo": supported values: "DockerImage", "ImageStreamTag"')],
            id="deep in an item",
        ),
        pytest.param(
            {"name": "abc", "tags": [{"name": "a", "from": {"kind": "DockerImage"}}]},
            ["spec.tags[0].from.name: Required value"],
            id="deep and missing",
        ),
        pytest.param({"name": "abc", "set": ["a", "a"]}, ['spec.set[1]: Duplicate value: "a"'], id="twice in a set"),
        pytest.param(
            {"name": "abc", "ios": True},
            ['spec.ios: Invalid value: "boolean": spec.ios in body must be of type integer,string: "boolean"'],
            id="neither number nor text",
        ),
        pytest.param(
            {"name": "abc", "map": {"a": 1, "b": 2, "c": 3}},
            ["spec.map: Too many: 3: must have at most 2 items"],
            id="too many entries",
        ),
        pytest.param(
            {"name": "abc", "map": {"a": "x"}},
            ['spec.map.a: Invalid value: "string": spec.map.a in body must be of type integer: "string"'],
            id="entry of the wrong type",
        ),
        pytest.param(
            {"name": "abc", "emb": {}},
            ["spec.emb.apiVersion: Required value", "spec.emb.kind: Required value"],
            id="embedded object without a kind",
        ),
        pytest.param(
            {"name": "abc", "one": {}},
            [
                (
                    '<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found none '
                    "valid"
                ),
                "spec.one.a: Required value",
            ],
            id="none of one",
        ),
        pytest.param(
            {"name": "abc", "one": {"a": "x", "b": "y"}},
            [
                (
                    '<nil>: Invalid value: "": "spec.one" must validate one and only one schema (oneOf). Found 2 '
                    "valid alternatives"
                )
            ],
            id="two of one",
        ),
        pytest.param(
            {"name": "abc", "anyof": {}},
            [
                '<nil>: Invalid value: "": "spec.anyof" must validate at least one schema (anyOf)',
                "spec.anyof.a: Required value",
            ],
            id="none of any",
        ),
        pytest.param(
            {"name": "abc", "allof": {}},
            [
                "spec.allof.a: Required value",
                '<nil>: Invalid value: "": "spec.allof" must validate all the schemas (allOf)',
            ],
            id="all of, one missing",
        ),
        pytest.param(
            {"name": "abc", "allof": {"a": "x"}},
            [
                'spec.allof.a: Invalid value: "x": spec.allof.a in body should be at least 3 chars long',
                '<nil>: Invalid value: "": "spec.allof" must validate all the schemas (allOf)',
            ],
            id="all of, one too short",
        ),
        pytest.param(
            {"name": "abc", "no": {"a": "x"}},
            ['<nil>: Invalid value: "": "spec.no" must not validate the schema (not)'],
            id="what must not be",
        ),
        pytest.param(
            [], ['spec: Invalid value: "array": spec in body must be of type object: "array"'], id="array as an object"
        ),
    ],
)
def test_refuses_a_custom_value_in_the_words_of_the_server(spec: Any, errors: list[str]) -> None:
    assert [str(error) for error in SCHEMA.validate(SCHEMA.default(thing(spec)))] == errors


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        pytest.param({}, "FieldValueRequired", id="missing"),
        pytest.param({"name": "A1"}, "FieldValueInvalid", id="against the pattern"),
        pytest.param({"name": 1}, "FieldValueTypeInvalid", id="of the wrong type"),
        pytest.param({"name": "abcdefg"}, "FieldValueTooLong", id="too long"),
        pytest.param({"name": "abc", "mode": "C"}, "FieldValueNotSupported", id="not in the enum"),
        pytest.param({"name": "abc", "set": ["a", "a"]}, "FieldValueDuplicate", id="twice"),
        pytest.param({"name": "abc", "map": {"a": 1, "b": 2, "c": 3}}, "FieldValueTooMany", id="too many"),
    ],
)
def test_a_refusal_tells_its_kind(spec: Any, kind: str) -> None:
    assert [error.kind for error in SCHEMA.validate(SCHEMA.default(thing(spec)))] == [kind]


FILLED = {"mode": "A", "nuldef": "x", "obj": {"x": 5}}


@pytest.mark.parametrize(
    ("spec", "stored"),
    [
        pytest.param({"name": "abc"}, {"name": "abc", **FILLED}, id="defaults, and those within them"),
        pytest.param({"mode": None}, FILLED, id="null takes the default"),
        pytest.param({"n": None, "tags": None}, FILLED, id="null without a default goes"),
        pytest.param({"nul": None}, {"nul": None, **FILLED}, id="null stays where it may be"),
        pytest.param({"nuldef": None}, {**FILLED, "nuldef": None}, id="null stays before a default"),
        pytest.param(
            {"tags": [{"name": "a"}]}, {"tags": [{"name": "a", "gen": 1}], **FILLED}, id="in the items of a list"
        ),
        pytest.param({"n": 3.0}, {"n": 3, **FILLED}, id="a whole number written as a fraction"),
        pytest.param({"any": {"a": None}}, {"any": {"a": None}, **FILLED}, id="what nobody describes stays"),
        pytest.param({"unk": 1}, {"unk": 1, **FILLED}, id="unknown fields are for others to drop"),
    ],
)
def test_fills_in_defaults(spec: Any, stored: Any) -> None:
    given = thing(spec)
    before = deepcopy(given)
    assert SCHEMA.default(given) == thing(stored)
    assert given == before


def test_names_and_prunes_unknown_fields_in_sorted_order() -> None:
    source = {"kind": "DockerImage", "name": "x", "q": 1}
    given = thing({"unk": 1, "any": {"z": 1}, "tags": [{"name": "a", "zz": 1, "from": source}]}) | {"foo": 1}
    before = deepcopy(given)
    assert SCHEMA.unknown_fields(given) == ["foo", "spec.tags[0].from.q", "spec.tags[0].zz", "spec.unk"]
    assert SCHEMA.prune(given) == thing(
        {"any": {"z": 1}, "tags": [{"name": "a", "from": {"kind": "DockerImage", "name": "x"}}]}
    )
    assert given == before


@pytest.mark.parametrize(
    ("metadata", "error"),
    [
        ({"labels": {"a": 1}}, "json: cannot unmarshal number into Go struct field ObjectMeta.labels of type string"),
        (
            {"labels": "x"},
            "json: cannot unmarshal string into Go struct field ObjectMeta.labels of type map[string]string",
        ),
        ("x", "json: cannot unmarshal string into Go value of type v1.ObjectMeta"),
        ({"labels": {"a": "1"}, "annotations": None}, None),
    ],
    ids=["label", "labels", "metadata", "well"],
)
def test_decodes_the_metadata_of_custom_resources(metadata: Any, error: str | None) -> None:
    assert SCHEMA.decode_error(thing({"name": "abc"}) | {"metadata": metadata}) == error


def test_an_update_does_not_look_again_at_what_it_leaves_alone() -> None:
    stored = thing({"name": "NOT WELL", "n": 3})
    for change, errors in ((5, []), (50, ["spec.n"])):
        updated = {**stored, "spec": {**stored["spec"], "n": change}}
        assert [error.path for error in SCHEMA.validate(updated, old=stored)] == errors


def test_shares_what_it_does_not_change() -> None:
    stored = SCHEMA.default(thing({"name": "abc", "tags": [{"name": "a"}]}))
    assert SCHEMA.default(stored) is stored
    assert SCHEMA.prune(stored) is stored


def test_holds_names_to_the_metadata_schema_of_the_definition() -> None:
    named = {
        "type": "object",
        "properties": {"metadata": {"type": "object", "properties": {"name": {**TEXT, "maxLength": 3}}}},
    }
    errors = Schema.from_openapi(named).validate({"metadata": {"name": "abcd"}})
    assert [error.path for error in errors] == ["metadata.name"]


# Definitions


def definition() -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "foos.half.example.com"},
        "spec": {
            "group": "half.example.com",
            "scope": "Namespaced",
            "names": {"plural": "foos", "kind": "Foo"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": {"type": "object"}}}},
                }
            ],
        },
    }


OPENAPI = "spec/versions/0/schema/openAPIV3Schema"
SPEC = f"{OPENAPI}/properties/spec"
PLACE = "spec.validation.openAPIV3Schema"
KEYED = {"type": "array", "items": {"type": "object", "properties": {"a": TEXT}}, "x-kubernetes-list-type": "map"}


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        pytest.param(
            "metadata/name",
            "x.y",
            'metadata.name: Invalid value: "x.y": must be spec.names.plural+"."+spec.group',
            id="another name",
        ),
        pytest.param("spec/scope", ..., "spec.scope: Required value", id="no scope"),
        pytest.param(
            "spec/scope",
            "X",
            'spec.scope: Unsupported value: "X": supported values: "Cluster", "Namespaced"',
            id="unknown scope",
        ),
        pytest.param(
            "spec/versions/0/storage",
            False,
            "spec.versions: Invalid value: []: must have exactly one version marked as storage version",
            id="no storage version",
        ),
        pytest.param(
            "spec/versions/0/schema", ..., "spec.versions[0].schema.openAPIV3Schema: Required value", id="no schema"
        ),
        pytest.param(
            OPENAPI, {}, f"{PLACE}.type: Required value: must not be empty at the root", id="no type at the root"
        ),
        pytest.param(
            f"{OPENAPI}/type",
            "string",
            f'{PLACE}.type: Invalid value: "string": must be object at the root',
            id="no object at the root",
        ),
        pytest.param(
            SPEC,
            {},
            f"{PLACE}.properties[spec].type: Required value: must not be empty for specified object fields",
            id="no type",
        ),
        pytest.param(
            SPEC, {"type": "array"}, f"{PLACE}.properties[spec].items: Required value: must be specified", id="no items"
        ),
        pytest.param(
            SPEC,
            {"type": "foo"},
            (
                f'{PLACE}.properties[spec].type: Unsupported value: "foo": supported values: "array", "boolean", '
                '"integer", "number", "object", "string"'
            ),
            id="unknown type",
        ),
        pytest.param(
            SPEC,
            {"type": "array", "items": TEXT, "uniqueItems": True},
            (
                f"{PLACE}.properties[spec].uniqueItems: Forbidden: uniqueItems cannot be set to true since the "
                "runtime complexity becomes quadratic"
            ),
            id="unique items",
        ),
        pytest.param(
            SPEC,
            {**TEXT, "default": 5},
            f'{PLACE}.properties[spec].default: Invalid value: "integer":  in body must be of type string: "integer"',
            id="default of the wrong type",
        ),
        pytest.param(
            SPEC,
            {**TEXT, "default": "a", "enum": ["b"]},
            f'{PLACE}.properties[spec].default: Unsupported value: "a": supported values: "b"',
            id="default not in the enum",
        ),
        pytest.param(
            SPEC,
            KEYED,
            (
                f"{PLACE}.properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if "
                "x-kubernetes-list-type is map"
            ),
            id="map without keys",
        ),
        pytest.param(
            SPEC,
            {**KEYED, "x-kubernetes-list-map-keys": ["b"]},
            (
                f'{PLACE}.properties[spec].x-kubernetes-list-map-keys: Invalid value: ["b"]: entries must all be '
                "names of item properties"
            ),
            id="key of no item",
        ),
        pytest.param(
            SPEC,
            {**KEYED, "x-kubernetes-list-map-keys": ["a"]},
            (
                f"{PLACE}.properties[spec].items.properties[a].default: Required value: this property is in "
                "x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ),
            id="key that may be missing",
        ),
        pytest.param(
            SPEC,
            {"type": "object", "properties": {"a": TEXT}, "additionalProperties": TEXT},
            (
                f"{PLACE}.properties[spec].additionalProperties: Forbidden: additionalProperties and properties are "
                "mutual exclusive"
            ),
            id="fields and entries",
        ),
        pytest.param(
            SPEC,
            {"type": "object", "anyOf": [{"type": "object"}]},
            f"{PLACE}.properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
            id="type below anyOf",
        ),
        pytest.param(
            SPEC,
            {"type": "object", "$ref": "x"},
            f"{PLACE}.properties[spec].$ref: Forbidden: $ref is not supported",
            id="reference",
        ),
        pytest.param(
            "spec/versions/0/selectableFields",
            [{"jsonPath": ".spec.x"}],
            (
                'spec.selectableFields[0].jsonPath: Invalid value: ".spec.x": is an invalid path: does not refer to '
                "a valid field"
            ),
            id="selector of no field",
        ),
        pytest.param(
            "spec/versions/0/additionalPrinterColumns",
            [{"name": "x", "type": "foo", "jsonPath": ".y"}],
            (
                'spec.additionalPrinterColumns[0].type: Invalid value: "foo": must be one of '
                "boolean,date,integer,number,string"
            ),
            id="column of no type",
        ),
    ],
)
def test_refuses_a_definition(path: str, value: Any, error: str) -> None:
    assert [str(each) for each in validate_crd(changed(definition(), path, value))] == [error]


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        pytest.param(
            {"type": "object", "x-kubernetes-validations": [{"rule": "self.x"}]},
            "CEL rules are not evaluated here",
            id="CEL",
        ),
        pytest.param(
            {**TEXT, "format": "ipv4"}, "values are not held to 'ipv4' here", id="a format that is not held to"
        ),
        pytest.param({**TEXT, "pattern": "(?=a)b"}, "Go's cannot look around", id="a pattern that Go cannot read"),
        pytest.param({**TEXT, "pattern": "("}, "error parsing regexp", id="a pattern that nobody can read"),
        pytest.param({**TEXT, "minimumLength": 3}, "is no keyword of a structural schema", id="a keyword that is none"),
    ],
)
def test_refuses_a_rule_that_it_would_not_hold_to(schema: dict[str, Any], reason: str) -> None:
    openapi = {"type": "object", "properties": {"spec": schema}}
    with pytest.raises(UnsupportedSchema, match="properties\\[spec\\]") as refused:
        Schema.from_openapi(openapi)
    assert reason in str(refused.value)


def test_takes_our_own_definition() -> None:
    ours = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text())
    schema = builtin(ours["apiVersion"], ours["kind"])
    assert schema is not None
    assert schema.unknown_fields(ours) == []
    assert schema.decode_error(ours) is None
    assert validate_builtin(default_builtin(ours)) + validate_crd(ours) == []


# Built-in kinds


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        pytest.param(
            "spec/replicas",
            "3",
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
            id="replicas is no text",
        ),
        pytest.param(
            "spec/replicas",
            3.5,
            "json: cannot unmarshal number 3.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            id="replicas is no fraction",
        ),
        pytest.param(
            "spec/replicas",
            1099511627776,
            (
                "json: cannot unmarshal number 1099511627776 into Go struct field DeploymentSpec.spec.replicas "
                "of type int32"
            ),
            id="replicas beyond 32 bits",
        ),
        pytest.param("spec/replica", 3, 'strict decoding error: unknown field "spec.replica"', id="unknown field"),
        pytest.param(
            f"{CONTAINER}/imagePolicy",
            "Always",
            'strict decoding error: unknown field "spec.template.spec.containers[0].imagePolicy"',
            id="unknown field in a container",
        ),
        pytest.param("metadata/foo", 1, 'strict decoding error: unknown field "metadata.foo"', id="unknown metadata"),
        pytest.param(
            f"{POD}/containers",
            "x",
            (
                "json: cannot unmarshal string into Go struct field PodSpec.spec.template.spec.containers of "
                "type []v1.Container"
            ),
            id="a list that is no list",
        ),
        pytest.param(
            f"{CONTAINER}/env",
            {"a": "b"},
            (
                "json: cannot unmarshal object into Go struct field Container.spec.template.spec.containers.env "
                "of type []v1.EnvVar"
            ),
            id="an object where a list is",
        ),
        pytest.param(
            f"{CONTAINER}/env",
            [{"name": "A", "value": 3}],
            (
                "json: cannot unmarshal number into Go struct field "
                "EnvVar.spec.template.spec.containers.env.value of type string"
            ),
            id="a number as the value of a variable",
        ),
        pytest.param(
            f"{CONTAINER}/resources",
            {"limits": {"cpu": "abc"}},
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            id="a quantity that is none",
        ),
        pytest.param(
            "metadata/labels",
            {"a": 1},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            id="a label that is no text",
        ),
        pytest.param(
            "metadata/creationTimestamp",
            "nope",
            'parsing time "nope" as "2006-01-02T15:04:05Z07:00": cannot parse "nope" as "2006"',
            id="a time that is none",
        ),
        pytest.param(
            "spec",
            "x",
            "json: cannot unmarshal string into Go struct field Deployment.spec of type v1.DeploymentSpec",
            id="a struct that is none",
        ),
        pytest.param(
            f"{CONTAINER}/securityContext",
            {"runAsUser": "root"},
            (
                "json: cannot unmarshal string into Go struct field "
                "SecurityContext.spec.template.spec.containers.securityContext.runAsUser of type int64"
            ),
            id="a user by name",
        ),
    ],
)
def test_does_not_decode_a_built_in_kind(path: str, value: Any, error: str) -> None:
    obj = changed(deployment(), path, value)
    schema = builtin("apps/v1", "Deployment")
    assert schema is not None
    unknown = ", ".join(f'unknown field "{name}"' for name in schema.unknown_fields(obj))
    assert (schema.decode_error(obj) or f"strict decoding error: {unknown}") == error


@pytest.mark.parametrize(
    ("path", "value", "error"),
    [
        pytest.param(
            "spec/selector",
            ...,
            (
                '[spec.selector: Required value, spec.template.metadata.labels: Invalid value: {"a":"b"}: '
                "`selector` does not match template `labels`]"
            ),
            id="no selector",
        ),
        pytest.param(
            "spec/template",
            ...,
            (
                "[spec.template.metadata.labels: Invalid value: null: `selector` does not match template "
                "`labels`, spec.template.spec.containers: Required value]"
            ),
            id="no template",
        ),
        pytest.param(
            "spec",
            ...,
            (
                "[spec.selector: Required value, spec.template.metadata.labels: Invalid value: null: `selector` "
                "does not match template `labels`, spec.template.spec.containers: Required value]"
            ),
            id="no spec",
        ),
        pytest.param(
            "spec/selector/matchLabels",
            {"x": "y"},
            ('spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`'),
            id="selector of other labels",
        ),
        pytest.param(
            "spec/selector/matchLabels",
            {},
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment",
            id="empty selector",
        ),
        pytest.param(
            "spec/selector/matchExpressions",
            [{"key": "a", "operator": "Foo"}],
            (
                '[spec.selector.matchExpressions[0].operator: Invalid value: "Foo": not a valid selector '
                "operator, spec.selector: Invalid value: "
                '{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"Foo"}]}: invalid label '
                "selector]"
            ),
            id="selector with an unknown operator",
        ),
        pytest.param(
            "spec/selector",
            {"matchLabels": {"a": "b c"}, "matchExpressions": [{"key": "d e", "operator": "In", "values": ["f g"]}]},
            (
                f'[spec.selector.matchLabels: Invalid value: "b c": {VALUE_RULE}, '
                f'spec.selector.matchExpressions[0].key: Invalid value: "d e": {QUALIFIED}, '
                f'spec.selector.matchExpressions[0].values[0]: Invalid value: "f g": {VALUE_RULE}, '
                'spec.selector: Invalid value: {"matchLabels":{"a":"b c"},"matchExpressions":'
                '[{"key":"d e","operator":"In","values":["f g"]}]}: invalid label selector]'
            ),
            id="selector of what no label can be",
        ),
        pytest.param(
            "spec/replicas",
            -1,
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            id="negative replicas",
        ),
        pytest.param(f"{POD}/containers", [], "spec.template.spec.containers: Required value", id="no containers"),
        pytest.param(
            f"{POD}/containers",
            [{"image": "x"}],
            "spec.template.spec.containers[0].name: Required value",
            id="container without a name",
        ),
        pytest.param(
            f"{POD}/containers",
            [{"name": "x"}],
            "spec.template.spec.containers[0].image: Required value",
            id="container without an image",
        ),
        pytest.param(
            f"{POD}/containers",
            [{"name": "x", "image": "a"}, {"name": "x", "image": "a"}],
            'spec.template.spec.containers[1].name: Duplicate value: "x"',
            id="two containers of one name",
        ),
        pytest.param(
            f"{POD}/initContainers",
            [{"name": "web", "image": "x"}],
            'spec.template.spec.initContainers[0].name: Duplicate value: "web"',
            id="init container of the same name",
        ),
        pytest.param(
            f"{CONTAINER}/name",
            "Web_x",
            (
                'spec.template.spec.containers[0].name: Invalid value: "Web_x": a lowercase RFC 1123 label must '
                "consist of lower case alphanumeric characters or '-', and must start and end with an "
                "alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
                "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
            ),
            id="name that is no label",
        ),
        pytest.param(
            f"{CONTAINER}/env",
            [{"value": "x"}],
            "spec.template.spec.containers[0].env[0].name: Required value",
            id="variable without a name",
        ),
        pytest.param(
            f"{CONTAINER}/imagePullPolicy",
            "Foo",
            (
                'spec.template.spec.containers[0].imagePullPolicy: Unsupported value: "Foo": supported values: '
                '"Always", "IfNotPresent", "Never"'
            ),
            id="unknown pull policy",
        ),
        pytest.param(
            f"{CONTAINER}/ports",
            [{}],
            "spec.template.spec.containers[0].ports[0].containerPort: Required value",
            id="port without a number",
        ),
        pytest.param(
            f"{CONTAINER}/ports",
            [{"containerPort": 70000}],
            (
                "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between "
                "1 and 65535, inclusive"
            ),
            id="port out of range",
        ),
        pytest.param(
            f"{CONTAINER}/volumeMounts",
            [{"name": "v", "mountPath": "/x"}],
            'spec.template.spec.containers[0].volumeMounts[0].name: Not found: "v"',
            id="mount of no volume",
        ),
        pytest.param(
            f"{POD}/volumes",
            [{"name": "v"}, {"name": "v"}],
            'spec.template.spec.volumes[1].name: Duplicate value: "v"',
            id="two volumes of one name",
        ),
        pytest.param(
            f"{CONTAINER}/livenessProbe",
            {},
            "spec.template.spec.containers[0].livenessProbe: Required value: must specify a handler type",
            id="probe that does nothing",
        ),
        pytest.param(
            f"{CONTAINER}/resources",
            {"limits": {"cpu": 1}, "requests": {"cpu": 2}},
            (
                'spec.template.spec.containers[0].resources.requests: Invalid value: "2": must be less than or '
                "equal to cpu limit of 1"
            ),
            id="request over the limit",
        ),
        pytest.param(
            f"{POD}/restartPolicy",
            "Never",
            'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
            id="pods that end",
        ),
        pytest.param(
            "spec/strategy",
            {"type": "Foo"},
            (
                'spec.strategy: Unsupported value: {"Type":"Foo","RollingUpdate":null}: supported values: '
                '"Recreate", "RollingUpdate"'
            ),
            id="unknown strategy",
        ),
        pytest.param(
            "spec/strategy",
            {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}},
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
            id="settings of the other strategy",
        ),
        pytest.param(
            "spec/strategy",
            {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
            "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0",
            id="rolling update that cannot roll",
        ),
        pytest.param(
            "spec/strategy",
            {"rollingUpdate": {"maxSurge": "10"}},
            (
                'spec.strategy.rollingUpdate.maxSurge: Invalid value: "10": a valid percent string must be a '
                "numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
                "'[0-9]+%')"
            ),
            id="percentage without a sign",
        ),
        pytest.param(
            f"{CONTAINER}/env",
            [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "x"}}}],
            "spec.template.spec.containers[0].env[0].valueFrom.secretKeyRef.key: Required value",
            id="secret key without its key",
        ),
    ],
)
def test_refuses_a_deployment_in_the_words_of_the_server(path: str, value: Any, error: str) -> None:
    assert told(changed(deployment(), path, value)) == error


def of_kind(api_version: str, kind: str, **parts: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "namespace": "here"}, **parts}


ENDS = {"spec": {"containers": [{"name": "web", "image": "x"}], "restartPolicy": "Never"}}


def job(template: Any = ENDS, **spec: Any) -> dict[str, Any]:
    """Return a Job that brings the labels which the server makes up for others."""
    labelled = {**template, "metadata": {"labels": {"a": "b"}}}
    selector = {"manualSelector": True, "selector": {"matchLabels": {"a": "b"}}}
    return of_kind("batch/v1", "Job", spec={"template": labelled, **selector, **spec})


@pytest.mark.parametrize(
    ("obj", "error"),
    [
        pytest.param(
            job(deployment()["spec"]["template"]),
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
            id="job that never ends",
        ),
        pytest.param(
            job(selector={"matchExpressions": [{"key": "a", "operator": "NotIn"}]}),
            (
                "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' "
                "or 'NotIn'"
            ),
            id="job with a selector without values",
        ),
        pytest.param(
            of_kind("batch/v1", "CronJob", spec={"schedule": "* * * *", "jobTemplate": {"spec": {"template": ENDS}}}),
            'spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]',
            id="schedule of four fields",
        ),
        pytest.param(
            of_kind("apps/v1", "StatefulSet"),
            (
                "[spec.selector: Required value, spec.template.metadata.labels: Invalid value: null: `selector` does "
                "not match template `labels`, spec.template.spec.containers: Required value]"
            ),
            id="empty stateful set",
        ),
        pytest.param(
            of_kind("apps/v1", "DaemonSet"),
            (
                "[spec.template.metadata.labels: Invalid value: null: `selector` does not match template `labels`, "
                "spec.template.spec.containers: Required value]"
            ),
            id="empty daemon set",
        ),
        pytest.param(
            of_kind("v1", "Pod", spec={"containers": [{"name": "a", "image": " a "}]}),
            'spec.containers[0].image: Invalid value: " a ": must not have leading or trailing whitespace',
            id="image with blanks",
        ),
        pytest.param(
            of_kind("v1", "Service", spec={"type": "X", "ports": [{"port": 80}]}),
            (
                'spec.type: Unsupported value: "X": supported values: "ClusterIP", "ExternalName", "LoadBalancer", '
                '"NodePort"'
            ),
            id="service of no type",
        ),
        pytest.param(of_kind("v1", "Service", spec={}), "spec.ports: Required value", id="service without ports"),
        pytest.param(
            of_kind("v1", "Secret", type="kubernetes.io/dockerconfigjson", data={}),
            "data[.dockerconfigjson]: Required value",
            id="pull secret without its key",
        ),
        pytest.param(
            of_kind("v1", "ConfigMap", data={"a": "b"}, binaryData={"a": "YQ=="}),
            'data[a]: Invalid value: "a": duplicate of key present in binaryData',
            id="key of both kinds",
        ),
        pytest.param(
            of_kind("v1", "Event", involvedObject={"namespace": "there"}),
            'involvedObject.namespace: Invalid value: "there": does not match event.namespace',
            id="event from elsewhere",
        ),
        pytest.param(
            of_kind("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 0}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
            id="lease for no time",
        ),
        pytest.param(
            of_kind("rbac.authorization.k8s.io/v1", "Role", rules=[{"apiGroups": [""]}]),
            (
                "[rules[0].verbs: Required value: verbs must contain at least one value, rules[0].resources: "
                "Required value: resource rules must supply at least one resource]"
            ),
            id="role that allows nothing",
        ),
    ],
)
def test_refuses_other_kinds(obj: dict[str, Any], error: str) -> None:
    assert told(obj) == error


IMMUTABLE = "field is immutable"
RUNNING_POD = of_kind("v1", "Pod", spec={"containers": [{"name": "a", "image": "x"}]})


@pytest.mark.parametrize(
    ("obj", "path", "value", "error"),
    [
        pytest.param(
            deployment(),
            "spec/selector",
            {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]},
            IMMUTABLE,
            id="selector of a Deployment",
        ),
        pytest.param(
            deployment(), f"{POD}/containers", [{"name": "x", "image": "y"}], "", id="containers of a Deployment"
        ),
        pytest.param(
            job(),
            f"{POD}/containers",
            [{"name": "web", "image": "y"}],
            IMMUTABLE,
            id="pods of a Job",
        ),
        pytest.param(RUNNING_POD, "spec/containers", [{"name": "a", "image": "y"}], "", id="image of a Pod"),
        pytest.param(
            RUNNING_POD,
            "spec/containers",
            [{"name": "a", "image": "x", "command": ["y"]}],
            "spec: Forbidden: pod updates may not change fields other than",
            id="command of a Pod",
        ),
        pytest.param(
            RUNNING_POD,
            "spec/containers",
            [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}],
            "spec.containers: Forbidden: pod updates may not add or remove containers",
            id="containers of a Pod",
        ),
        pytest.param(
            of_kind("v1", "Secret", immutable=True, data={"a": "YQ=="}),
            "data",
            {"b": "YQ=="},
            "data: Forbidden: field is immutable when `immutable` is set",
            id="data of a frozen Secret",
        ),
        pytest.param(
            of_kind("v1", "Secret"),
            "type",
            "other",
            'type: Invalid value: "other": field is immutable',
            id="type of a Secret",
        ),
        pytest.param(
            {**deployment(), "kind": "StatefulSet"},
            "spec/podManagementPolicy",
            "Parallel",
            (
                "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
                "'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
                "'minReadySeconds' are forbidden"
            ),
            id="policy of a StatefulSet",
        ),
    ],
)
def test_holds_an_update_to_what_is_stored(obj: dict[str, Any], path: str, value: Any, error: str) -> None:
    stored = default_builtin(obj)
    errors = [str(each) for each in validate_builtin(default_builtin(changed(stored, path, value)), stored)]
    assert (error in errors[0] and len(errors) == 1) if error else errors == []


STORED_CONTAINER = {
    "resources": {},
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
    "imagePullPolicy": "Always",
}
STORED_POD = {
    "restartPolicy": "Always",
    "terminationGracePeriodSeconds": 30,
    "dnsPolicy": "ClusterFirst",
    "securityContext": {},
    "schedulerName": "default-scheduler",
}
STORED_TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "web", "image": "nginx", **STORED_CONTAINER}], **STORED_POD},
}


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (
            "Deployment",
            {
                "replicas": 1,
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}},
                "revisionHistoryLimit": 10,
                "progressDeadlineSeconds": 600,
            },
        ),
        (
            "StatefulSet",
            {
                "replicas": 1,
                "serviceName": "",
                "podManagementPolicy": "OrderedReady",
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "revisionHistoryLimit": 10,
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
            },
        ),
        (
            "DaemonSet",
            {
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
                "revisionHistoryLimit": 10,
            },
        ),
        ("ReplicaSet", {"replicas": 1}),
    ],
)
def test_stores_a_workload_with_its_defaults(kind: str, spec: dict[str, Any]) -> None:
    given = {**deployment(), "kind": kind}
    before = deepcopy(given)
    stored = default_builtin(given)
    assert stored["spec"] == {**before["spec"], "template": STORED_TEMPLATE, **spec}
    assert given == before
    assert default_builtin(stored) == stored


@pytest.mark.parametrize(
    ("obj", "path", "stored"),
    [
        pytest.param(of_kind("batch/v1", "Job", spec={"template": ENDS}), "backoffLimit", 6, id="Job"),
        pytest.param(
            of_kind("batch/v1", "CronJob", spec={"jobTemplate": {"spec": {"template": ENDS}}}),
            "concurrencyPolicy",
            "Allow",
            id="CronJob",
        ),
        pytest.param(
            of_kind("v1", "Service", spec={"ports": [{"port": 80}]}),
            "ports",
            [{"port": 80, "protocol": "TCP", "targetPort": 80}],
            id="Service",
        ),
        pytest.param(
            of_kind("v1", "Pod", spec={"volumes": [{"name": "a"}, {"name": "b", "secret": {}}]}),
            "volumes",
            [{"name": "a", "emptyDir": {}}, {"name": "b", "secret": {"defaultMode": 420}}],
            id="volumes",
        ),
        pytest.param(
            of_kind(
                "apps/v1", "Deployment", spec={"strategy": {"type": "Recreate"}, "paused": False, "minReadySeconds": 0}
            ),
            "strategy",
            {"type": "Recreate"},
            id="the other strategy",
        ),
    ],
)
def test_stores_other_kinds_with_their_defaults(obj: dict[str, Any], path: str, stored: Any) -> None:
    assert default_builtin(obj)["spec"][path] == stored


def test_stores_nothing_that_go_would_not_write() -> None:
    given = of_kind("apps/v1", "Deployment", spec={"paused": False, "minReadySeconds": 0, "replicas": 0})
    given["metadata"] |= {"labels": {}, "annotations": None, "finalizers": []}
    stored = default_builtin(given)
    assert stored["metadata"] == {"name": "a", "namespace": "here"}
    assert stored["spec"].keys() & {"paused", "minReadySeconds", "replicas"} == {"replicas"}


names = st.sampled_from(
    """
    spec template metadata containers name image env ports containerPort replicas selector matchLabels matchExpressions
    labels finalizers volumes strategy rollingUpdate maxSurge resources limits cpu livenessProbe jobTemplate data
    """.split()  # noqa: SIM905 - one a line would hide the rest
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**10) | st.floats(-1, 1) | st.sampled_from(["", "web", "10%", "1Gi"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=12,
)


@given(
    st.sampled_from([("apps/v1", "Deployment"), ("apps/v1", "StatefulSet"), ("batch/v1", "CronJob"), ("v1", "Pod")]),
    st.dictionaries(names, values, max_size=3),
    st.sampled_from(["spec", POD, f"{POD}/containers"]),
)
@example(("v1", "Pod"), {"containers": [None], "volumes": [None]}, "spec")
def test_whatever_decodes_is_judged(kind: tuple[str, str], part: dict[str, Any], path: str) -> None:
    obj = changed(of_kind(*kind), path, [part] if path.endswith("s") else part)
    schema = builtin(*kind)
    assert schema is not None
    if schema.decode_error(obj) is None:
        stored = default_builtin(schema.prune(obj))
        validate_builtin(stored)
        assert default_builtin(stored) == stored


def test_knows_no_other_kinds() -> None:
    assert builtin("apps/v1", "Gadget") is None
    assert builtin("v1", "Deployment") is None
    gadget = of_kind("apps/v1", "Gadget", spec={"x": None})
    assert default_builtin(gadget) is gadget
    assert validate_builtin(gadget) == []


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("reg:5000/a/b", "Always"),
        ("reg:5000/a/b:1", "IfNotPresent"),
        (f"reg:5000/a/b@sha256:{'0' * 64}", "IfNotPresent"),
        (f"nginx:latest@sha256:{'0' * 64}", "IfNotPresent"),
    ],
)
def test_pulls_what_may_have_moved(image: str, policy: str) -> None:
    assert pull_policy(image) == policy


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        (1, "1"),
        (0.5, "500m"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("100000", "100k"),
        ("1e3", "1e3"),
        ("0", "0"),
        ("0.0000000001", "1n"),
        ("-0.1", "-100m"),
        ("abc", None),
        ("1 Gi", None),
        (True, None),
        (None, None),
    ],
)
def test_spells_quantities_as_the_server_does(given: Any, stored: str | None) -> None:
    assert canonical_quantity(given) == stored


@pytest.mark.parametrize(
    ("schedule", "problem"),
    [
        ("*/5 * * * *", None),
        ("0 0 1,15 jan-mar MON", None),
        ("@hourly", None),
        ("@every 5m", None),
        ("@foo", "unrecognized descriptor: @foo"),
        ("TZ=UTC * * * * *", "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        ("61 * * * *", "end of range (61) above maximum (59): 61"),
        ("1-100 * * * *", "end of range (100) above maximum (59): 1-100"),
        ("a * * * *", 'failed to parse int from a: strconv.Atoi: parsing "a": invalid syntax'),
        ("x", "expected exactly 5 fields, found 1: [x]"),
    ],
)
def test_reads_schedules(schedule: str, problem: str | None) -> None:
    assert schedule_problem(schedule) == problem


def test_the_models_are_not_imported_before_a_kind_is_asked_for() -> None:
    program = "import sys; import listener.sandbox.cluster.schema; print('kubernetes_asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
