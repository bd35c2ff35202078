"""How a workload stands to a tag that it follows: does it have the image, and if not, can it ever?

Cheaper than a plan, for whoever counts thousands. This room must not know what is done about it.
"""

from __future__ import annotations

from listener.core.build_configs import BuildTrigger
from listener.core.deployment_configs import ConfigTrigger
from listener.core.streams import StreamKey
from listener.core.triggers import ContainerTrigger, Place, RunTrigger, Trigger, locate, taken
from listener.core.workloads import Workload


def has_image(workload: Workload, pull_spec: str) -> bool:
    """Tell whether any container runs it."""
    return any(container.image == pull_spec for container in (*workload.containers, *workload.init_containers))


def stands_at(workload: Workload, stream: StreamKey, tag: str, pull_spec: str) -> bool:
    """Tell whether all that follows the tag and is not paused has that image, or was built from it."""
    return all(
        _has(workload, trigger, pull_spec)
        for trigger in workload.triggers.valid
        if trigger.tag == tag and trigger.stream == stream and not trigger.paused
    )


def hindrance(workload: Workload, stream: StreamKey, tag: str) -> str:
    """Say why a workload cannot follow the tag with all its triggers on it; "" if nothing hinders it."""
    claimed: dict[Place, ContainerTrigger] = {}
    for trigger in workload.triggers.valid:
        if not isinstance(trigger, ContainerTrigger):
            continue
        place = locate(trigger, workload.containers, workload.init_containers)
        ours = trigger.tag == tag and trigger.stream == stream and not trigger.paused
        if isinstance(place, str):
            if ours:
                return place
        elif (first := claimed.setdefault(place, trigger)) is not trigger and ours:
            return taken(trigger, first, workload.at(*place).name)
    return ""


def _has(workload: Workload, trigger: Trigger, pull_spec: str) -> bool:
    match trigger:
        case ContainerTrigger():
            place = locate(trigger, workload.containers, workload.init_containers)
            if isinstance(place, str):
                return False
            return workload.at(*place).image == pull_spec
        case ConfigTrigger():
            images = {
                container.name: container.image for container in (*workload.containers, *workload.init_containers)
            }
            return trigger.last == pull_spec and all(images.get(n, pull_spec) == pull_spec for n in trigger.containers)
        case BuildTrigger():
            return trigger.last == pull_spec
        case RunTrigger():
            return workload.record is not None and (
                workload.record.images.get(f"{trigger.stream}:{trigger.tag}") == pull_spec
            )
    return False
