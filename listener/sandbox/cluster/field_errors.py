"""The reasons why an object is refused, worded as kube-apiserver words them.

Knows no schema and no kind. Values print as Go prints them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldError:
    """One reason why an object is refused: an entry of `details.causes` of a 422.

    `path` is Kubernetes' field path (`spec.tags[0].from.kind`), `kind` the cause's reason (`FieldValueRequired`, …),
    `message` the cause's message, without the path.
    """

    path: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(path, "FieldValueRequired", f"Required value: {detail}" if detail else "Required value")


def invalid(path: str, value: object, detail: str) -> FieldError:
    return FieldError(path, "FieldValueInvalid", f"Invalid value: {go_json(value)}: {detail}")


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: object) -> FieldError:
    return FieldError(path, "FieldValueDuplicate", f"Duplicate value: {go_json(value)}")


def not_found(path: str, value: object) -> FieldError:
    return FieldError(path, "FieldValueNotFound", f"Not found: {go_json(value)}")


def not_supported(path: str, value: object, supported: Sequence[object]) -> FieldError:
    listed = ", ".join(item if item.startswith('"') else f'"{item}"' for item in map(go_json, supported))
    return FieldError(
        path, "FieldValueNotSupported", f"Unsupported value: {go_json(value)}: supported values: {listed}"
    )


def too_many(path: str, actual: int, limit: int) -> FieldError:
    return FieldError(path, "FieldValueTooMany", f"Too many: {actual}: must have at most {limit} items")


def wrong_type(path: str, found: str, expected: str) -> FieldError:
    message = f'Invalid value: "{found}": {path} in body must be of type {expected}: "{found}"'
    return FieldError(path, "FieldValueTypeInvalid", message)


class Struct(dict[str, object]):
    """A value that prints its fields in the order of a Go struct."""


def go_json(value: object) -> str:
    """Give a value as Go prints it in a field error: compact JSON, the keys of a map sorted."""
    return json.dumps(value, separators=(",", ":"), sort_keys=not isinstance(value, Struct), ensure_ascii=False)
