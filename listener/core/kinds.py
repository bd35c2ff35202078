"""The kinds of objects that follow tags: where their containers stand, and what a moved tag does to them.

A row here is all it takes to follow one more kind. This room must not know how objects are listed, watched or changed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Form(Enum):
    """What a moved tag does to an object, and where the object says which tags it follows."""

    POD_SPEC = "the annotation names containers of its pod spec, whose images are set"
    DEPLOYMENT_CONFIG = "spec.triggers names containers of its pod spec, whose images are set together"
    BUILD_CONFIG = "spec.triggers names tags, a build is instantiated"
    RUN = "the annotation names tags, a run of it is created"


@dataclass(frozen=True, slots=True)
class Runs:
    """What a run of an object is: `reference` is where it names the object, `parameters` where values are passed in."""

    name: str
    api_version: str
    plural: str
    reference: tuple[str, ...]
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object, as the API calls it.

    `label` is what we call it, in keys and metrics: two groups may have a kind of the same name. `plural` is "" where
    only the cluster's discovery tells. `everywhere` tells that every cluster serves it. `selector` leaves out, by the
    labels that controllers set, objects which others made and will replace; `owned` tells whether those that a
    controller owns are followed all the same.
    """

    name: str
    api_version: str
    plural: str
    pod_spec_path: tuple[str, ...]
    form: Form = Form.POD_SPEC
    label: str = ""
    everywhere: bool = True
    selector: str = ""
    owned: bool = True
    runs: Runs | None = None

    def __post_init__(self) -> None:
        if not self.label:
            object.__setattr__(self, "label", self.name)

    def __hash__(self) -> int:
        """Labels differ, and caches ask for this with each object that is read."""
        return hash(self.label)


_TEMPLATE: Final = ("spec", "template", "spec")

DEPLOYMENT: Final = Kind("Deployment", "apps/v1", "deployments", _TEMPLATE)
STATEFUL_SET: Final = Kind("StatefulSet", "apps/v1", "statefulsets", _TEMPLATE)
DAEMON_SET: Final = Kind("DaemonSet", "apps/v1", "daemonsets", _TEMPLATE)
CRON_JOB: Final = Kind("CronJob", "batch/v1", "cronjobs", ("spec", "jobTemplate", *_TEMPLATE))

# A Deployment copies its annotations to its ReplicaSets, so each of them seems to have a trigger; and clusters hold ten
# times as many Pods and ReplicaSets as workloads. Their controllers mark what they make, so the server leaves it out.
_NOT_OF_DEPLOYMENTS: Final = "!pod-template-hash,!rollouts-pod-template-hash"
REPLICA_SET: Final = Kind("ReplicaSet", "apps/v1", "replicasets", _TEMPLATE, selector=_NOT_OF_DEPLOYMENTS, owned=False)
REPLICATION_CONTROLLER: Final = Kind("ReplicationController", "v1", "replicationcontrollers", _TEMPLATE, owned=False)
POD: Final = Kind(
    "Pod",
    "v1",
    "pods",
    ("spec",),
    selector=f"{_NOT_OF_DEPLOYMENTS},!controller-revision-hash,!batch.kubernetes.io/controller-uid",
    owned=False,
)
JOB: Final = Kind("Job", "batch/v1", "jobs", _TEMPLATE, owned=False)

DEPLOYMENT_CONFIG: Final = Kind(
    "DeploymentConfig",
    "apps.openshift.io/v1",
    "deploymentconfigs",
    _TEMPLATE,
    form=Form.DEPLOYMENT_CONFIG,
    everywhere=False,
)
BUILD_CONFIG: Final = Kind(
    "BuildConfig", "build.openshift.io/v1", "buildconfigs", (), form=Form.BUILD_CONFIG, everywhere=False
)
SHIPWRIGHT_BUILD: Final = Kind(
    "Build",
    "shipwright.io/v1beta1",
    "builds",
    (),
    form=Form.RUN,
    everywhere=False,
    runs=Runs("BuildRun", "shipwright.io/v1beta1", "buildruns", ("spec", "build", "name"), ("spec", "paramValues")),
)
TEKTON_PIPELINE: Final = Kind(
    "Pipeline",
    "tekton.dev/v1",
    "pipelines",
    (),
    form=Form.RUN,
    everywhere=False,
    runs=Runs("PipelineRun", "tekton.dev/v1", "pipelineruns", ("spec", "pipelineRef", "name"), ("spec", "params")),
)

KINDS: Final = (
    DEPLOYMENT,
    STATEFUL_SET,
    DAEMON_SET,
    CRON_JOB,
    JOB,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    POD,
    DEPLOYMENT_CONFIG,
    BUILD_CONFIG,
    SHIPWRIGHT_BUILD,
    TEKTON_PIPELINE,
)
"""Those that are followed without being asked for, where the cluster serves them."""


def custom(api_version: str, name: str, pod_spec_path: tuple[str, ...], plural: str = "") -> Kind:
    """Return a kind that only this cluster has, such as `argoproj.io/v1alpha1`, `Rollout`."""
    group = api_version.partition("/")[0] if "/" in api_version else "core"
    return Kind(name, api_version, plural, pod_spec_path, label=f"{name}.{group}", everywhere=False)
