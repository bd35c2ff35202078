"""What an object may look like: the schema of a kind, and what is wrong with an object of it.

The door to this: `nodes` walks, `structural` and `kinds` read schemas, `rules` and `defaults` hold what no schema says.
All of it is pure. Results share their unchanged parts with what went in: treat every object as frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from listener.sandbox.cluster import defaults, nodes, structural
from listener.sandbox.cluster.decoding import undecodable
from listener.sandbox.cluster.definitions import validate_crd
from listener.sandbox.cluster.field_errors import FieldError
from listener.sandbox.cluster.kinds import kind_node
from listener.sandbox.cluster.nodes import ABSENT, METADATA, Node
from listener.sandbox.cluster.rules import broken_rules
from listener.sandbox.cluster.structural import UnsupportedSchema

__all__ = [
    "FieldError",
    "Schema",
    "UnsupportedSchema",
    "builtin",
    "default_builtin",
    "validate_builtin",
    "validate_crd",
]

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of one kind in one version. That of a built-in kind follows Go where it differs from a CRD's.

    `old`, where a method takes it, is the stored object: what is the same Python object there is not looked at again.
    """

    root: Node
    builtin: bool = False

    @classmethod
    def from_openapi(cls, openapi: Mapping[str, Any]) -> Schema:
        """Read the OpenAPI v3 schema of a CRD version.

        Raises `UnsupportedSchema` for what is not structural and for what cannot be held to here, CEL among it.
        """
        return cls(structural.read(openapi))

    def unknown_fields(self, obj: Object, *, old: object = ABSENT) -> list[str]:
        """List the paths that the schema does not know, in the order in which a strict API server names them."""
        found = list(nodes.unknown(self.root, obj, old, ""))
        return found if self.builtin else sorted(found)

    def prune(self, obj: Object, *, old: object = ABSENT) -> Object:
        """Return the object without its unknown fields."""
        return nodes.prune(self.root, obj, old)  # type: ignore[no-any-return]

    def default(self, obj: Object, *, old: object = ABSENT) -> Object:
        """Return the object as it is stored: defaults filled in, and no nulls but where null has a meaning.

        For a built-in kind also: quantities in their one spelling, and no empty lists and maps. Its defaults that
        depend on other fields are left to `default_builtin`.
        """
        return nodes.default(self.root, obj, old)  # type: ignore[no-any-return]

    def validate(self, obj: Object, *, old: object = ABSENT) -> list[FieldError]:
        """List what is wrong with the values of what `default` returned: a 422 if there is anything."""
        errors: list[FieldError] = []
        nodes.validate(self.root, obj, old, "", errors)
        return errors

    def decode_error(self, obj: Object, *, old: object = ABSENT) -> str | None:
        """Say why Go's decoder would not read the object, or `None`: a 400 with these words.

        It looks at all of a built-in kind, and at the metadata of a custom one, where `validate` finds the rest.
        """
        if self.builtin:
            return next(undecodable(self.root, obj, old, self.root.go_type, ""), None)
        metadata = obj.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            return f"json: cannot unmarshal {nodes.json_type(metadata)} into Go value of type {METADATA.go_type}"
        return next(undecodable(METADATA, metadata, nodes.before(old, "metadata"), METADATA.go_type, ""), None)


@cache
def builtin(api_version: str, kind: str) -> Schema | None:
    """Return the schema of a built-in kind, or `None` for any other."""
    node = kind_node(api_version, kind)
    return None if node is None else Schema(node, builtin=True)


def default_builtin(obj: Object, *, old: object = ABSENT) -> Object:
    """Return an object of a built-in kind as a real API server stores it; one of another kind comes back as it is."""
    schema = builtin(obj.get("apiVersion", ""), obj.get("kind", ""))
    return obj if schema is None else defaults.complete(schema.default(obj, old=old), old)


def validate_builtin(obj: Object, old: Object | None = None) -> list[FieldError]:
    """List all that is wrong with an object of a built-in kind but its metadata: a 422 if there is anything.

    `obj` is what `default_builtin` returned, and decodes; `old` is the stored object on an update. `Schema.validate`
    is part of this. A kind that is none of the built-in ones has no rules here.
    """
    schema = builtin(obj.get("apiVersion", ""), obj.get("kind", ""))
    if schema is None:
        return []
    return [*broken_rules(obj, old), *schema.validate(obj, old=ABSENT if old is None else old)]
