"""From a workload and what its tags point at now to the JSON Patch that makes it so, or to nothing to do.

The patch (RFC 6902) is as small as it can be: per container a test that it is still the one we mean, and its image;
then two annotations that say why. A failed test means that somebody changed the list meanwhile: look again. This room
must not know how a patch is sent or what time it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Section, Trigger, locate
from listener.core.workloads import Kind, Workload

LAST_TRIGGERED: Final = "imagestreams.dev/last-triggered"
CHANGE_CAUSE: Final = "kubernetes.io/change-cause"


@dataclass(frozen=True, slots=True)
class ImageChange:
    """One container gets another image, because of that tag. `digest` is "" for a reference tag."""

    container: str
    before: str
    after: str
    stream: StreamKey
    tag: str
    digest: str


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """What to send (nothing if `operations` is empty), what that changes, and what keeps other triggers from acting."""

    operations: tuple[Mapping[str, object], ...]
    changes: tuple[ImageChange, ...]
    problems: tuple[str, ...]


def plan(
    workload: Workload,
    kind: Kind,
    resolve: Callable[[StreamKey, str], Resolved | None],
    *,
    now: datetime,
    delivery: Callable[[StreamKey, str], str | None],
    change_cause: bool = True,
) -> PatchPlan:
    """Plan the patch that brings every container to what its tag says.

    Each trigger stands for itself: a paused one is passed over, one whose tag points at nothing yet waits without a
    word, one without its container is a problem. Where two reach the same container the first has it, even while it
    is paused or waits. `now` must know its zone; `delivery` returns the id of the delivery that moved a tag, where
    that is known.
    """
    problems = list(workload.triggers.problems)
    operations: list[Mapping[str, object]] = []
    changes: list[ImageChange] = []
    claimed: dict[tuple[Section, int], Trigger] = {}
    last_triggered: Mapping[str, object] = {}
    for trigger in workload.triggers.valid:
        place = locate(trigger, workload.containers, workload.init_containers)
        if isinstance(place, str):
            if not trigger.paused:
                problems.append(place)
            continue
        section, index = place
        container = (workload.containers if section == "containers" else workload.init_containers)[index]
        if (first := claimed.setdefault(place, trigger)) is not trigger:
            problems.append(
                f"fieldPath {trigger.field_path}: {first.field_path} sets container {container.name!r} already,"
                " and that one counts; remove one of them"
            )
            continue
        resolved = None if trigger.paused else resolve(trigger.stream, trigger.tag)
        if resolved is None or resolved.pull_spec == container.image:
            continue
        operations += _set_image(
            _pointer(*kind.pod_spec_path, section, str(index)), container.name, container.image, resolved
        )
        changes.append(
            ImageChange(
                container.name, container.image, resolved.pull_spec, trigger.stream, trigger.tag, resolved.digest
            )
        )
        last_triggered = _why(trigger, resolved, now, delivery(trigger.stream, trigger.tag))
    if changes:
        operations.append(_annotate(LAST_TRIGGERED, json.dumps(last_triggered, separators=(",", ":"))))
        if change_cause:
            operations.append(_annotate(CHANGE_CAUSE, _cause(changes)))
    return PatchPlan(tuple(operations), tuple(changes), tuple(problems))


def _set_image(pointer: str, name: str, before: str, resolved: Resolved) -> tuple[Mapping[str, object], ...]:
    return (
        {"op": "test", "path": f"{pointer}/name", "value": name},
        # RFC 6902 refuses to replace what is not there.
        {"op": "replace" if before else "add", "path": f"{pointer}/image", "value": resolved.pull_spec},
    )


def _annotate(name: str, value: str) -> Mapping[str, object]:
    """Set an annotation. The map exists: the trigger stands in it."""
    return {"op": "add", "path": _pointer("metadata", "annotations", name), "value": value}


def _pointer(*parts: str) -> str:
    """Write a JSON Pointer (RFC 6901)."""
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def _why(trigger: Trigger, resolved: Resolved, now: datetime, delivery: str | None) -> Mapping[str, object]:
    why: dict[str, object] = {
        "stream": str(trigger.stream),
        "tag": trigger.tag,
        "generation": resolved.generation,
        "digest": resolved.digest,
        "time": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return why | {"delivery": delivery} if delivery else why


def _cause(changes: list[ImageChange]) -> str:
    """Name each move once, however many containers follow it."""
    return ", ".join(dict.fromkeys(f"{change.stream}:{change.tag} -> {change.after}" for change in changes))
