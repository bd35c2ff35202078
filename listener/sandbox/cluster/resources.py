"""What the API serves: a table of the built-in types, and the catalogue to which custom types are added.

Nothing here knows objects, storage or HTTP. A type says how it is named, which verbs and subresources it has, and by
which of the few rules that differ between types its objects are written.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from listener.sandbox.cluster.schema import Schema

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
SUBRESOURCE_VERBS = ("get", "patch", "update")
EVERY_TYPE = frozenset({"metadata.name", "metadata.namespace"})
ADMISSION = "admissionregistration.k8s.io"
_ELSEWHERE = {"TokenRequest": ("authentication.k8s.io", "v1")}  # kinds that are not of the group they are posted to


@dataclass(frozen=True, slots=True)
class Column:
    """A printer column of a custom type: a JSONPath whose first result is the cell."""

    name: str
    type: str
    path: str
    description: str = ""
    priority: int = 0
    format: str = ""


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where a type keeps what `autoscaling/v1` Scale shows: dotted paths from the root, without a leading dot."""

    replicas: str = "spec.replicas"
    status_replicas: str = "status.replicas"
    selector: str | None = "spec.selector"


@dataclass(frozen=True)
class Resource:
    """One served type in one version.

    `storage` is the group and plural under which its objects are kept: two types that share it show the same objects.
    `schema` and `openapi`, for custom types only, are the same thing: read, and as it was written.
    `generation` names what counts for `metadata.generation`: fields, `metadata.annotations` among them, or nothing.
    `actions` are subresources to which a request is posted, each with the kind of that. `unconditional` tells whether
    an update may leave out the resourceVersion.
    """

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = VERBS
    status: bool = False
    scale: ScalePaths | None = None
    generation: tuple[str, ...] = ()
    unconditional: bool = True
    fields: frozenset[str] = EVERY_TYPE
    list_kind: str = ""
    storage: tuple[str, str] = ("", "")
    actions: tuple[tuple[str, str], ...] = ()
    custom: bool = False
    columns: tuple[Column, ...] = ()
    schema: Schema | None = field(default=None, compare=False, repr=False)
    openapi: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @cached_property
    def head(self) -> bytes:
        """Return how each of its objects begins on the wire; what is stored is the rest."""
        return f'{{"kind":"{self.kind}","apiVersion":"{self.api_version}",'.encode()

    @cached_property
    def item_head(self) -> bytes:
        """Return how each begins within a list: built-in types leave kind and version to the list."""
        return self.head if self.custom else b"{"

    @property
    def subresources(self) -> frozenset[str]:
        return frozenset(name for name, has in (("status", self.status), ("scale", self.scale)) if has)

    def posted(self, subresource: str) -> Resource:
        """Return the type of what is posted to one of its actions."""
        kind = dict(self.actions)[subresource]
        group, version = _ELSEWHERE.get(kind, (self.group, self.version))
        return replace(self, kind=kind, group=group, version=version)

    @property
    def counts_generation(self) -> bool:
        return self.custom or bool(self.generation)


def _builtin(group: str, version: str, kind: str, plural: str, short: str = "", **more: Any) -> Resource:
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=plural,
        singular=kind.lower(),
        short_names=tuple(short.split()),
        list_kind=f"{kind}List",
        **{"storage": (group, plural), **more},
    )


_APPS, _BATCH, _RBAC = "apps", "batch", "rbac.authorization.k8s.io"
_ALL: dict[str, Any] = {"categories": ("all",)}
_SPEC: dict[str, Any] = {"generation": ("spec",)}
_STATUS: dict[str, Any] = {"status": True}
_CLUSTER: dict[str, Any] = {"namespaced": False}
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = EVERY_TYPE | {"reason", "type", "reportingComponent", "source"}

BUILTIN: tuple[Resource, ...] = (
    _builtin("", "v1", "ConfigMap", "configmaps", "cm"),
    _builtin("", "v1", "Endpoints", "endpoints", "ep"),
    _builtin(
        "", "v1", "Event", "events", "ev", fields=_EVENT_FIELDS | {f"involvedObject.{each}" for each in _INVOLVED}
    ),
    _builtin(
        "",
        "v1",
        "Namespace",
        "namespaces",
        "ns",
        verbs=tuple(verb for verb in VERBS if verb != "deletecollection"),
        fields=EVERY_TYPE | {"status.phase"},
        **_CLUSTER,
        **_STATUS,
    ),
    _builtin(
        "",
        "v1",
        "Pod",
        "pods",
        "po",
        fields=EVERY_TYPE
        | {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"}
        | {"spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"},
        **_ALL,
        **_SPEC,
        **_STATUS,
    ),
    _builtin(
        "",
        "v1",
        "ReplicationController",
        "replicationcontrollers",
        "rc",
        scale=ScalePaths(),
        fields=EVERY_TYPE | {"status.replicas"},
        **_ALL,
        **_SPEC,
        **_STATUS,
    ),
    _builtin("", "v1", "Secret", "secrets", fields=EVERY_TYPE | {"type"}),
    _builtin("", "v1", "ServiceAccount", "serviceaccounts", "sa", actions=(("token", "TokenRequest"),)),
    _builtin(
        "", "v1", "Service", "services", "svc", fields=EVERY_TYPE | {"spec.clusterIP", "spec.type"}, **_ALL, **_STATUS
    ),
    _builtin(_APPS, "v1", "ControllerRevision", "controllerrevisions"),
    _builtin(_APPS, "v1", "DaemonSet", "daemonsets", "ds", **_ALL, **_SPEC, **_STATUS),
    # A real server counts a change of a Deployment's annotations too: `deploymentStrategy.PrepareForUpdate`.
    _builtin(
        _APPS,
        "v1",
        "Deployment",
        "deployments",
        "deploy",
        scale=ScalePaths(),
        generation=("spec", "metadata.annotations"),
        **_ALL,
        **_STATUS,
    ),
    _builtin(
        _APPS,
        "v1",
        "ReplicaSet",
        "replicasets",
        "rs",
        scale=ScalePaths(),
        fields=EVERY_TYPE | {"status.replicas"},
        **_ALL,
        **_SPEC,
        **_STATUS,
    ),
    _builtin(_APPS, "v1", "StatefulSet", "statefulsets", "sts", scale=ScalePaths(), **_ALL, **_SPEC, **_STATUS),
    _builtin(_BATCH, "v1", "CronJob", "cronjobs", "cj", **_ALL, **_SPEC, **_STATUS),
    _builtin(_BATCH, "v1", "Job", "jobs", fields=EVERY_TYPE | {"status.successful"}, **_ALL, **_SPEC, **_STATUS),
    _builtin("coordination.k8s.io", "v1", "Lease", "leases", unconditional=False),
    _builtin(
        "events.k8s.io",
        "v1",
        "Event",
        "events",
        "ev",
        storage=("", "events"),
        fields=EVERY_TYPE | {"reason", "type", "reportingController"} | {f"regarding.{each}" for each in _INVOLVED},
    ),
    _builtin("networking.k8s.io", "v1", "Ingress", "ingresses", "ing", **_SPEC, **_STATUS),
    _builtin("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "netpol", **_SPEC),
    _builtin(
        "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", unconditional=False, **_SPEC, **_STATUS
    ),
    _builtin(_RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", **_CLUSTER),
    _builtin(_RBAC, "v1", "ClusterRole", "clusterroles", **_CLUSTER),
    _builtin(_RBAC, "v1", "RoleBinding", "rolebindings"),
    _builtin(_RBAC, "v1", "Role", "roles"),
    _builtin(
        ADMISSION,
        "v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
        categories=("api-extensions",),
        generation=("webhooks",),
        **_CLUSTER,
    ),
    _builtin(
        "apiextensions.k8s.io",
        "v1",
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "crd crds",
        categories=("api-extensions",),
        unconditional=False,
        **_CLUSTER,
        **_SPEC,
        **_STATUS,
    ),
    _builtin(
        "authorization.k8s.io",
        "v1",
        "SelfSubjectAccessReview",
        "selfsubjectaccessreviews",
        verbs=("create",),
        **_CLUSTER,
    ),
    _builtin(
        "authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", verbs=("create",), **_CLUSTER
    ),
    _builtin("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", verbs=("create",), **_CLUSTER),
)
OPENSHIFT: tuple[Resource, ...] = (
    _builtin(
        "apps.openshift.io",
        "v1",
        "DeploymentConfig",
        "deploymentconfigs",
        "dc",
        scale=ScalePaths(),
        unconditional=False,
        **_ALL,
        **_SPEC,
        **_STATUS,
    ),
    # Neither of these has a status subresource: what is known of a build is written like the rest.
    _builtin(
        "build.openshift.io",
        "v1",
        "BuildConfig",
        "buildconfigs",
        "bc",
        generation=("spec", "status.lastVersion"),
        actions=(("instantiate", "BuildRequest"),),
        unconditional=False,
        **_ALL,
    ),
    _builtin(
        "build.openshift.io",
        "v1",
        "Build",
        "builds",
        unconditional=False,
        **_ALL,
    ),
)
"""What an OpenShift cluster serves besides, so far as image streams set it off."""
IMPORTS = _builtin("image.openshift.io", "v1", "ImageStreamImport", "imagestreamimports", verbs=("create",))
"""What tells OpenShift from a cluster to which somebody has added ImageStreams."""


class Catalog:
    """The types that are served now, by group, version and plural. Custom types come and go with their definitions."""

    def __init__(self, builtin: Iterable[Resource] = BUILTIN) -> None:
        self._builtin = {_address(each): each for each in builtin}
        self._served = dict(self._builtin)
        self.revision = 0

    def __iter__(self) -> Iterator[Resource]:
        return iter(self._served.values())

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def builtin(self, group: str, plural: str) -> Resource:
        return self._builtin[group, "v1", plural]

    def stored(self, storage: tuple[str, str]) -> Resource | None:
        """Return the type, in its preferred version, whose objects are kept there."""
        return next((each for each in self._served.values() if each.storage == storage), None)

    def of(self, group: str, version: str) -> list[Resource]:
        return [each for each in self._served.values() if (each.group, each.version) == (group, version)]

    def groups(self) -> dict[str, list[str]]:
        """Return each group's versions, the preferred one first, in the order in which the groups came."""
        found: dict[str, list[str]] = {}
        for each in self._served.values():
            versions = found.setdefault(each.group, [])
            if each.version not in versions:
                versions.append(each.version)
        return found

    def is_builtin_group(self, group: str) -> bool:
        return any(each.group == group for each in self._builtin.values())

    def replace(self, storage: tuple[str, str], resources: Iterable[Resource]) -> None:
        """Serve `resources` as the versions of one custom type, instead of those served so far."""
        kept = {at: each for at, each in self._served.items() if not (each.custom and each.storage == storage)}
        self._served = {**kept, **{_address(each): each for each in resources}}
        self.revision += 1


def _address(resource: Resource) -> tuple[str, str, str]:
    return resource.group, resource.version, resource.plural
