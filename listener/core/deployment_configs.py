"""OpenShift's DeploymentConfig: its own triggers, and the JSON Patch that a moved tag leads to.

Other than the entries of an annotation its triggers belong together: as long as one of them never resolved, none acts,
so that the first rollout finds all its images. (As OpenShift's reactor does. What rolls out is its controller's
affair.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from listener.core import late_lookups
from listener.core.actions import ImageChange, Operation, Plan, View, Why, pointer, set_image, why
from listener.core.kinds import Kind
from listener.core.streams import DEFAULT_TAG, StreamKey
from listener.core.triggers import Named, Place, Trigger, Triggers, find, stream_tag
from listener.core.workloads import Workload


@dataclass(frozen=True, slots=True)
class ConfigTrigger(Trigger):
    """The entry at `position` of spec.triggers. It sets the containers of those names; `last` is what it set last."""

    position: int
    source_name: str
    containers: tuple[str, ...]
    last: str

    def places(self, containers: Sequence[Named], init_containers: Sequence[Named]) -> Iterator[Place]:
        for name in self.containers:
            if found := find(name, containers, init_containers):
                yield found

    def as_written(self) -> ConfigTrigger:
        return replace(self, last="")


def read(entries: Sequence[Mapping[str, Any]], *, namespace: str) -> Triggers:
    """Read `spec.triggers`. Entries of other types and kinds are passed over; one that is not automatic is paused."""
    valid = []
    problems = []
    for position, entry in enumerate(entries):
        parameters = entry.get("imageChangeParams")
        source = (parameters or {}).get("from") or {}
        kind, name = source.get("kind") or "ImageStreamTag", str(source.get("name") or "")
        if entry.get("type") != "ImageChange" or not parameters:
            continue
        if kind in ("ImageStream", "ImageRepository"):  # as written before there were ImageStreamTags
            kind, name = "ImageStreamTag", f"{name}:{DEFAULT_TAG}"
        if kind != "ImageStreamTag":
            continue
        where = f"spec.triggers[{position}].imageChangeParams"
        found = stream_tag(name)
        if found is None:
            problems.append(f'{where}.from.name: expected STREAM:TAG, such as "web:latest", found "{name}"')
            continue
        containers = tuple(dict.fromkeys(str(each) for each in parameters.get("containerNames") or ()))
        if not containers:
            problems.append(f"{where}.containerNames: expected the names of containers, found nothing")
            continue
        stream, tag = found
        valid.append(
            ConfigTrigger(
                StreamKey(source.get("namespace") or namespace, stream),
                tag,
                paused=not parameters.get("automatic"),
                field_path=where,
                position=position,
                source_name=str(source.get("name") or ""),
                containers=containers,
                last=str(parameters.get("lastTriggeredImage") or ""),
            )
        )
    kept, contradictions = _each_container_once(valid)
    return Triggers(kept, (*problems, *contradictions))


def _each_container_once(found: Sequence[ConfigTrigger]) -> tuple[tuple[ConfigTrigger, ...], list[str]]:
    """Leave each container to one automatic trigger: the last one, which has the last word in OpenShift too."""
    setters = {name: trigger for trigger in found if not trigger.paused for name in trigger.containers}
    kept = []
    problems = []
    for trigger in found:
        lost = [name for name in trigger.containers if not trigger.paused and setters[name] is not trigger]
        problems += [
            f"{trigger.field_path}.containerNames: {setters[name].field_path} sets container {name!r} too,"
            " and that one counts; remove one of them"
            for name in lost
        ]
        kept.append(replace(trigger, containers=tuple(n for n in trigger.containers if n not in lost)))
    return tuple(kept), problems


def plan(workload: Workload, kind: Kind, view: View, *, now: datetime, leave: Collection[tuple[str, str]] = ()) -> Plan:
    """Plan the patch that records what each automatic trigger resolves to, and sets its containers' images."""
    problems = list(workload.triggers.problems)
    operations: list[Operation] = []
    changes: list[ImageChange] = []
    last: Why | None = None
    left = []
    for trigger in workload.triggers.valid:
        assert isinstance(trigger, ConfigTrigger)  # noqa: S101 - as this form of kind is read
        if trigger.paused:
            continue
        resolved = view.resolve(trigger.stream, trigger.tag)
        if resolved is None:
            if trigger.last:
                continue
            return Plan(problems=tuple(problems), waits=True)
        set_here: list[Operation] = []
        left_here: list[str] = []
        for name in trigger.containers:
            place = workload.find(name)
            if place is None:
                problems.append(f"{trigger.field_path}.containerNames: the pod template has no container {name!r}")
                continue
            container = workload.at(*place)
            if container.image == resolved.pull_spec:
                continue
            if (name, resolved.pull_spec) in leave:
                left_here.append(name)
                continue
            path = pointer(*kind.pod_spec_path, place[0], str(place[1]))
            set_here += set_image(path, name, container.image, resolved.pull_spec)
            changes.append(
                ImageChange(name, container.image, resolved.pull_spec, trigger.stream, trigger.tag, resolved.digest)
            )
        left += left_here
        # A record alone would be wiped for ever by whoever wiped it together with the images that are left.
        is_to_record = trigger.last != resolved.pull_spec and bool(set_here or not left_here)
        if is_to_record:
            path = pointer("spec", "triggers", str(trigger.position), "imageChangeParams")
            operations += (
                {"op": "test", "path": f"{path}/from/name", "value": trigger.source_name},
                {"op": "add", "path": f"{path}/lastTriggeredImage", "value": resolved.pull_spec},
            )
            if not set_here:
                changes.append(
                    ImageChange("", trigger.last, resolved.pull_spec, trigger.stream, trigger.tag, resolved.digest)
                )
        if set_here or is_to_record:
            last = why(trigger.stream, trigger.tag, resolved, now, view)
        operations += set_here
    found = Plan(tuple(changes), tuple(operations), None, tuple(problems), left=tuple(left))
    return late_lookups.complete(found, workload, kind, view, last=last, now=now, leave=leave)
