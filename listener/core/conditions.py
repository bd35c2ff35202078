"""What a tag or a stream says of its last import: success and failure, in OpenShift's words.

OpenShift writes failures only and repeats none. Here success is said too, and a failure that repeats takes the
generation that was tried, so that nobody waits for an import that was done.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from enum import StrEnum
from typing import Final

from listener.core import history
from listener.core.history import Condition

IMPORT_SUCCESS: Final = history.IMPORT_SUCCESS
HELD: Final = "Held"


class Problem(StrEnum):
    """Why a tag is not what its spec asks for: the reasons of conditions, a closed set."""

    NOT_FOUND = "NotFound"
    UNAUTHORIZED = "Unauthorized"
    FORBIDDEN = "Forbidden"
    INVALID = "Invalid"
    BAD_REQUEST = "BadRequest"
    NOT_V2_REGISTRY = "NotV2Registry"
    INTERNAL_ERROR = "InternalError"
    CIRCULAR = "CircularReference"


def failed(kind: str, problem: Problem, message: str, *, now: str, generation: int) -> Condition:
    """Say what went wrong. `now` is RFC 3339, `generation` the one that was tried."""
    return Condition(kind, "False", now, problem, message, generation)


def succeeded(*, now: str, generation: int) -> Condition:
    return Condition(IMPORT_SUCCESS, "True", now, "", "", generation)


def put(conditions: Iterable[Condition], condition: Condition) -> tuple[Condition, ...]:
    """Return the conditions with that one in the place of its type, sorted by type.

    One that says nothing new but its generation keeps the time since when it holds.
    """
    others = [known for known in conditions if known.type != condition.type]
    before = next((known for known in conditions if known.type == condition.type), None)
    if before and _says(before) == _says(condition):
        condition = replace(condition, last_transition_time=before.last_transition_time)
    return tuple(sorted([*others, condition], key=lambda known: known.type))


def drop(conditions: tuple[Condition, ...], kind: str) -> tuple[Condition, ...]:
    """Return the conditions without the one of that type."""
    return tuple(known for known in conditions if known.type != kind)


def _says(condition: Condition) -> tuple[str, str, str]:
    return condition.status, condition.reason, condition.message
