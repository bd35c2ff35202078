"""Names of stream tags that an object still has: it was admitted before its tag was there, or while nobody looked up.

Each is set once: to nothing that is itself such a name. What follows the tag from then on are triggers; a container
that one of them sets is left to it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from listener.core import lookups
from listener.core.actions import ImageChange, Operation, Plan, View, Why, because, explain, pointer, set_image, why
from listener.core.kinds import Kind
from listener.core.lookups import WAITS_FOR
from listener.core.workloads import Workload


def complete(
    plan: Plan,
    workload: Workload,
    kind: Kind,
    view: View,
    *,
    last: Why | None,
    now: datetime,
    leave: Collection[tuple[str, str]] = (),
) -> Plan:
    """Return a plan of triggers together with what sets the images whose tags point at something now, and with what
    says why. `last` is what triggered the last change, as far as triggers go.
    """
    if workload.lookups:
        plan, last = _with_lookups(plan, workload, kind, view, last, now, leave)
    if last is None:
        return plan
    explained = explain(workload, because(plan.changes, last, view))
    return plan._replace(operations=(*plan.operations, *explained), why=last)


def _with_lookups(
    plan: Plan,
    workload: Workload,
    kind: Kind,
    view: View,
    last: Why | None,
    now: datetime,
    leave: Collection[tuple[str, str]],
) -> tuple[Plan, Why | None]:
    operations: list[Operation] = []
    changes: list[ImageChange] = []
    left = []
    claims = workload.claims()
    waiting = {found.container: found.name for found in workload.lookups if found.image != found.name}
    triggered = {change.target for change in plan.changes}  # what a trigger sets waits for nothing any more
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
    completed = plan._replace(
        operations=(*plan.operations, *operations),
        changes=(*plan.changes, *changes),
        left=(*plan.left, *left),
    )
    return completed, last


def _remember(waiting: Mapping[str, str]) -> Operation:
    path = pointer("metadata", "annotations", WAITS_FOR)
    text = lookups.write_waiting(waiting)
    return {"op": "replace", "path": path, "value": text} if text else {"op": "remove", "path": path}
