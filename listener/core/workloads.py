"""Workloads as far as planning reads them.

Ten thousand of these stay in memory: nothing is kept here that no plan asks for.

Kinds, namespaces and names of containers repeat by thousands: whoever builds these values interns them
(`sys.intern`). This room must not know how workloads are listed, watched or patched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from listener.core.lookups import Lookup
from listener.core.triggers import Place, Section, Trigger, Triggers, find


class WorkloadKey(NamedTuple):
    """Which workload. `kind` is its kind's label, such as `Deployment` or `Rollout.argoproj.io`."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Container:
    """A container of the pod template. `image` is "" where none is set yet."""

    name: str
    image: str


@dataclass(frozen=True, slots=True)
class Record:
    """What the last run of an object was made of, as the object itself remembers it.

    `number` counts its runs; `images` is by stream tag (`shop/base:latest`) the pull spec that was current then.
    """

    number: int = 0
    images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Workload:
    """What planning needs of one workload.

    `is_rolled_out` tells whether its Pods run what its pod spec says; None where nothing rolls it out by itself.
    `has_annotations` is asked for before one is added. `record` is kept for kinds that are run. `lookups` are the
    containers whose images may be names of stream tags, where such names are looked up at all.
    """

    key: WorkloadKey
    uid: str
    resource_version: str
    triggers: Triggers
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...]
    is_rolled_out: bool | None = None
    has_annotations: bool = True
    record: Record | None = None
    lookups: tuple[Lookup, ...] = ()

    def at(self, section: Section, index: int) -> Container:
        """Return the container at a place, as `triggers.locate` tells it."""
        return (self.containers if section == "containers" else self.init_containers)[index]

    @property
    def planned(self) -> tuple[object, ...]:
        """What planning reads of it: while this stays the same, so does the plan."""
        return self.triggers, self.containers, self.init_containers, self.record, self.lookups

    def planned_with(self, images: Mapping[str, str]) -> tuple[object, ...]:
        """The same, once the containers of those names have those images."""
        containers, init_containers = (
            tuple([Container(found.name, images[found.name]) if found.name in images else found for found in section])
            for section in (self.containers, self.init_containers)
        )
        lookups = tuple([found for found in self.lookups if found.container not in images])
        return self.triggers, containers, init_containers, self.record, lookups

    def find(self, name: str) -> Place | None:
        """Return the place of the container of that name."""
        return find(name, self.containers, self.init_containers)

    def claims(self) -> Mapping[Place, Trigger]:
        """Return which containers' images are set by triggers, and by which; a paused one sets none."""
        found: dict[Place, Trigger] = {}
        for trigger in self.triggers.valid:
            for place in trigger.places(self.containers, self.init_containers):
                if not trigger.paused:
                    found.setdefault(place, trigger)
        return found
