"""From a workload with a pod spec and what its tags point at now to the JSON Patch that makes it so.

The patch is as small as it can be: per container a test that it is still the one we mean, and its image; then two
annotations that say why. A failed test means that somebody changed the list meanwhile: look again.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from listener.core import late_lookups
from listener.core.actions import ImageChange, Operation, Plan, View, Why, pointer, set_image, why
from listener.core.kinds import Kind
from listener.core.triggers import ContainerTrigger, Place, locate, taken
from listener.core.workloads import Workload


def plan(workload: Workload, kind: Kind, view: View, *, now: datetime, leave: Collection[tuple[str, str]] = ()) -> Plan:
    """Plan the patch that brings every container to what its tag says, but for those in `leave`,
    each with an image that somebody else does not want there.

    Each trigger stands for itself: a paused one is passed over, one whose tag points at nothing yet waits, one without
    its container is a problem. Where two reach the same container the first has it, even while it is paused or waits.
    """
    problems = list(workload.triggers.problems)
    operations: list[Operation] = []
    changes: list[ImageChange] = []
    claimed: dict[Place, ContainerTrigger] = {}
    last: Why | None = None
    waits = False
    left = []
    for trigger in workload.triggers.valid:
        assert isinstance(trigger, ContainerTrigger)  # noqa: S101 - as this form of kind is read
        place = locate(trigger, workload.containers, workload.init_containers)
        if isinstance(place, str):
            if not trigger.paused:
                problems.append(place)
            continue
        container = workload.at(*place)
        if (first := claimed.setdefault(place, trigger)) is not trigger:
            problems.append(taken(trigger, first, container.name))
            continue
        if trigger.paused:
            continue
        resolved = view.resolve(trigger.stream, trigger.tag)
        if resolved is None:
            waits = True
        elif resolved.pull_spec == container.image:
            continue
        elif (container.name, resolved.pull_spec) in leave:
            left.append(container.name)
        else:
            path = pointer(*kind.pod_spec_path, place[0], str(place[1]))
            operations += set_image(path, container.name, container.image, resolved.pull_spec)
            changes.append(
                ImageChange(
                    container.name, container.image, resolved.pull_spec, trigger.stream, trigger.tag, resolved.digest
                )
            )
            last = why(trigger.stream, trigger.tag, resolved, now, view)
    found = Plan(tuple(changes), tuple(operations), None, tuple(problems), waits, tuple(left))
    return late_lookups.complete(found, workload, kind, view, last=last, now=now, leave=leave)
