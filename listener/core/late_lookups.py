"""Names of stream tags that an object still has: it was admitted before its tag was there, or while nobody looked up.

Each is set once: to nothing that is itself such a name. What follows the tag from then on are triggers; a container
that one of them sets is left to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from listener.core import lookups
from listener.core.actions import ImageChange, Operation, View, pointer, set_image, why
from listener.core.kinds import Kind
from listener.core.lookups import WAITS_FOR
from listener.core.workloads import Workload


@dataclass(frozen=True, slots=True)
class Late:
    """A part of a plan: what it changes, why (as `last-triggered` says it), and what is left to somebody else."""

    operations: tuple[Operation, ...] = ()
    changes: tuple[ImageChange, ...] = ()
    last: Mapping[str, object] | None = None
    left: tuple[str, ...] = ()


_NONE = Late()


def plan(
    workload: Workload,
    kind: Kind,
    view: View,
    *,
    now: datetime,
    leave: Collection[tuple[str, str]] = (),
    triggered: Collection[str] = (),
) -> Late:
    """Plan what sets the images whose tags point at something now. `triggered` are the containers that a trigger sets
    in the same patch: they wait for nothing any more.
    """
    if not workload.lookups:
        return _NONE
    operations: list[Operation] = []
    changes: list[ImageChange] = []
    left = []
    last = None
    claims = workload.claims()
    waiting = {found.container: found.name for found in workload.lookups if found.image != found.name}
    still = {container: name for container, name in waiting.items() if container not in triggered}
    for found in workload.lookups:
        resolved = lookups.look_up(found, view.stream(found.stream)).resolved
        if resolved is None or (found.section, found.index) in claims:
            continue
        if (found.container, resolved.pull_spec) in leave:
            left.append(found.container)
            continue
        path = pointer(*kind.pod_spec_path, found.section, str(found.index))
        operations += set_image(path, found.container, found.image, resolved.pull_spec)
        changes.append(
            ImageChange(
                found.container,
                found.image,
                resolved.pull_spec,
                found.stream,
                found.tag,
                resolved.digest,
                is_lookup=True,
            )
        )
        still.pop(found.container, None)
        last = why(found.stream, found.tag, resolved, now, view)
    if still != waiting:
        operations.append(_remember(still))
    return Late(tuple(operations), tuple(changes), last, tuple(left))


def _remember(waiting: Mapping[str, str]) -> Operation:
    path = pointer("metadata", "annotations", WAITS_FOR)
    text = lookups.write_waiting(waiting)
    return {"op": "replace", "path": path, "value": text} if text else {"op": "remove", "path": path}
