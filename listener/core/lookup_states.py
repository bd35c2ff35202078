"""What each container's image means, if images may be names of stream tags, and what becomes of it: for people.

What a name leads to is said by `lookups`, which alone decides. Here is added who else has a word on a container, and
what comes too late. This room must not know how it is printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from listener.core import lookup_edits, lookups
from listener.core.lookups import WAITS_FOR, Lookup
from listener.core.streams import Stream, StreamKey
from listener.core.trigger_edits import Found
from listener.core.triggers import Section, Trigger
from listener.core.workloads import Workload


class State(StrEnum):
    """How an image stands.

    DIFFERS is a name that is still to be resolved, OFF one that nobody said to look up, UNFIT one whose tag points at
    what may be a name itself, LATE one that should have been resolved when the object was created. NONE is no name, or
    stands for what its tag points at already.
    """

    NONE = "none"
    OFF = "off"
    UNFIT = "unfit"
    DIFFERS = "differs"
    WAITS = "waits"
    TRIGGERED = "triggered"
    LATE = "late"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class LookupState:
    """One container. `lookup` is None where its image can be no name of a stream tag.

    `tagged` is what the tag points at, "" for nothing, whether or not the image is set to that. `why` goes on where
    "image NAME" begins a sentence; it may be "".
    """

    container: str
    image: str
    lookup: Lookup | None
    state: State
    tagged: str = ""
    why: str = ""


def with_lookups(workload: Workload, found: Found) -> Workload:
    """Return the workload with all its containers, and those of their images that may be names, even if too late."""
    containers, init_containers = found.containers("containers"), found.containers("initContainers")
    names = lookups.find(
        found.key.namespace,
        {"initContainers": init_containers, "containers": containers},
        forced=lookup_edits.is_forced(found),
        waiting=lookups.read_waiting(found.annotations.get(WAITS_FOR)),
    )
    return replace(workload, containers=containers, init_containers=init_containers, lookups=names)


def look(
    workload: Workload, streams: Mapping[StreamKey, Stream | None], *, hindrance: str = ""
) -> tuple[LookupState, ...]:
    """Tell how each container stands, init containers first; `hindrance` is why names are not looked up any more.

    `streams` holds None for one that does not exist; what is not in it is not known.
    """
    return tuple(_look(workload, streams, hindrance))


def _look(workload: Workload, streams: Mapping[StreamKey, Stream | None], hindrance: str) -> Iterator[LookupState]:
    claims = workload.claims()
    names = {(found.section, found.index): found for found in workload.lookups}
    sections: Mapping[Section, tuple[object, ...]] = {
        "initContainers": workload.init_containers,
        "containers": workload.containers,
    }
    for section, containers in sections.items():
        for index in range(len(containers)):
            place = (section, index)
            if found := names.get(place):
                yield _of(found, streams, claims.get(place), hindrance)
            else:
                container = workload.at(*place)
                yield LookupState(container.name, container.image, None, State.NONE)


def _of(
    found: Lookup, streams: Mapping[StreamKey, Stream | None], trigger: Trigger | None, hindrance: str
) -> LookupState:
    if found.stream not in streams:
        return _state(found, None, State.UNKNOWN)
    stream = streams[found.stream]
    answer = lookups.look_up(found, stream)
    if stream is None:
        return _state(found, None, State.MISSING if found.forced else State.NONE, answer.why)
    if trigger is not None:
        return _state(found, stream, State.TRIGGERED, f"is left to the trigger on {trigger.stream}:{trigger.tag}")
    if not (found.forced or stream.local_lookup):
        return _state(found, stream, State.OFF, answer.why)
    if not (answer.image or answer.waits):
        return _state(found, stream, State.UNFIT if answer.why else State.NONE, answer.why)
    if hindrance:
        return _state(found, stream, State.LATE, f"is not looked up any more: {hindrance}")
    return _state(found, stream, State.WAITS, answer.why) if answer.waits else _state(found, stream, State.DIFFERS)


def _state(found: Lookup, stream: Stream | None, state: State, why: str = "") -> LookupState:
    resolved = stream.resolve(found.tag) if stream else None
    return LookupState(found.container, found.image, found, state, resolved.pull_spec if resolved else "", why)
