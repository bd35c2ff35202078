"""How each trigger of a workload stands, for people: what its target has now, and what its tag points at.

Whether an image is to be changed is taken from the plan, which alone acts: so nobody is shown what will not happen.
This room must not know how it is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from listener.core import streams
from listener.core.actions import Plan, View
from listener.core.build_configs import BuildTrigger
from listener.core.deployment_configs import ConfigTrigger
from listener.core.streams import Stream, StreamKey
from listener.core.triggers import ContainerTrigger, Place, RunTrigger, Trigger, locate, taken
from listener.core.workloads import Record, Workload

Missing = Callable[[StreamKey, str], str]
"""Tells why a tag points at nothing."""


class State(StrEnum):
    """How a trigger stands."""

    CURRENT = "current"
    DIFFERS = "differs"
    WAITS = "waits"
    PAUSED = "paused"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class TriggerState:
    """One trigger and one target of it.

    `target` is the name of a container or of a run's parameter, "" where there is none or none can be told. `trigger`
    is None for an entry that cannot be read. `now` is what the target has, or was built from last, `tagged` what the
    tag points at; each may be "". `why` explains what waits or is broken.
    """

    target: str
    trigger: Trigger | None
    now: str
    tagged: str
    state: State
    why: str = ""


def look(workload: Workload, plan: Plan, view: View, missing: Missing) -> tuple[TriggerState, ...]:
    """Tell how each trigger stands, in their order; then what cannot be read. `plan` is the one for that very view."""
    return tuple(_Looking(workload, plan, view, missing).run())


def missing(key: StreamKey, tag: str, stream: Stream | None) -> str:
    """Tell why a tag points at nothing; `stream` is None where there is none."""
    if stream is None:
        return f"there is no ImageStream {key}"
    if stream.spec_tag(tag) or not stream.history(tag).is_empty:
        return f"{key}:{tag} points at nothing yet"
    return f"ImageStream {key} has no tag {tag} yet"


class _Looking:
    def __init__(self, workload: Workload, plan: Plan, view: View, missing: Missing) -> None:
        self._workload = workload
        self._view = view
        self._missing = missing
        self._waits = plan.waits
        self._changes = {(change.target, change.stream, change.tag) for change in plan.changes}
        self._claimed: dict[Place, ContainerTrigger] = {}

    def run(self) -> Iterator[TriggerState]:
        for trigger in self._workload.triggers.valid:
            match trigger:
                case ContainerTrigger():
                    yield self._of_container(trigger)
                case ConfigTrigger():
                    yield from self._of_config(trigger)
                case BuildTrigger():
                    yield self._state("", trigger, trigger.last, waits_for_others=False)
                case RunTrigger():
                    images = (self._workload.record or Record()).images
                    now = images.get(f"{trigger.stream}:{trigger.tag}", "")
                    yield self._state(trigger.parameter, trigger, now, waits_for_others=self._waits)
        for problem in self._workload.triggers.problems:
            yield TriggerState("", None, "", "", State.BROKEN, problem)

    def _of_container(self, trigger: ContainerTrigger) -> TriggerState:
        place = locate(trigger, self._workload.containers, self._workload.init_containers)
        if isinstance(place, str):
            return self._broken(str(trigger.container), trigger, place)
        container = self._workload.at(*place)
        if (first := self._claimed.setdefault(place, trigger)) is not trigger:
            return self._broken(container.name, trigger, taken(trigger, first, container.name))
        return self._state(container.name, trigger, container.image, waits_for_others=False)

    def _of_config(self, trigger: ConfigTrigger) -> Iterator[TriggerState]:
        for name in trigger.containers:
            place = self._workload.find(name)
            if place is None:
                why = f"{trigger.field_path}.containerNames: the pod template has no container {name!r}"
                yield self._broken(name, trigger, why)
            else:
                yield self._state(name, trigger, self._workload.at(*place).image, waits_for_others=self._waits)

    def _broken(self, target: str, trigger: Trigger, why: str) -> TriggerState:
        state = State.PAUSED if trigger.paused else State.BROKEN
        return TriggerState(target, trigger, "", self._tagged(trigger), state, why)

    def _state(self, target: str, trigger: Trigger, now: str, *, waits_for_others: bool) -> TriggerState:
        tagged = self._tagged(trigger)
        state, why = State.CURRENT, ""
        if trigger.paused:
            state = State.PAUSED
        elif hindrance := streams.hindrance(trigger.stream, self._view.namespaces):
            state, why = State.BROKEN, hindrance
        elif not tagged:
            state, why = State.WAITS, self._missing(trigger.stream, trigger.tag)
        elif (target, trigger.stream, trigger.tag) in self._changes:
            state = State.DIFFERS
        elif now != tagged and waits_for_others:
            state, why = State.WAITS, "another tag that it follows points at nothing yet"
        return TriggerState(target, trigger, now, tagged, state, why)

    def _tagged(self, trigger: Trigger) -> str:
        resolved = self._view.resolve(trigger.stream, trigger.tag)
        return resolved.pull_spec if resolved else ""
