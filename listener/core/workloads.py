"""Workloads as far as planning reads them.

Ten thousand of these stay in memory: nothing is kept here that no plan asks for.

Kinds, namespaces and names of containers repeat by thousands: whoever builds these values interns them
(`sys.intern`). This room must not know how workloads are listed, watched or patched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from listener.core.triggers import Triggers


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of workload, and where the pod spec stands in its objects."""

    name: str
    api_version: str
    plural: str
    pod_spec_path: tuple[str, ...]


_TEMPLATE: Final = ("spec", "template", "spec")

KINDS: Final = (
    Kind("Deployment", "apps/v1", "deployments", _TEMPLATE),
    Kind("StatefulSet", "apps/v1", "statefulsets", _TEMPLATE),
    Kind("DaemonSet", "apps/v1", "daemonsets", _TEMPLATE),
    Kind("CronJob", "batch/v1", "cronjobs", ("spec", "jobTemplate", *_TEMPLATE)),
)


class WorkloadKey(NamedTuple):
    """Which workload. `kind` is as Kubernetes writes it, such as `Deployment`."""

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
class Workload:
    """What planning needs of one workload."""

    key: WorkloadKey
    uid: str
    resource_version: str
    triggers: Triggers
    containers: tuple[Container, ...]
    init_containers: tuple[Container, ...]
