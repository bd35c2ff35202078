"""Defaults of built-in kinds that depend on something: the rest are rows of `kinds.DEFAULTS`.

The rules are those of `SetDefaults_…` in Kubernetes' `pkg/apis/*/v1/defaults.go`. Objects are frozen: each function
returns what it was given if nothing is to be changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from listener.sandbox.cluster import openshift

Object = dict[str, Any]

POD_SPECS: Final[dict[tuple[str, str], tuple[str, ...]]] = {
    ("v1", "Pod"): ("spec",),
    ("v1", "ReplicationController"): ("spec", "template", "spec"),
    ("apps/v1", "DaemonSet"): ("spec", "template", "spec"),
    ("apps/v1", "Deployment"): ("spec", "template", "spec"),
    ("apps/v1", "ReplicaSet"): ("spec", "template", "spec"),
    ("apps/v1", "StatefulSet"): ("spec", "template", "spec"),
    ("batch/v1", "CronJob"): ("spec", "jobTemplate", "spec", "template", "spec"),
    ("batch/v1", "Job"): ("spec", "template", "spec"),
    openshift.DEPLOYMENT_CONFIG: ("spec", "template", "spec"),
}
"""Where a kind keeps its pod spec."""

CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_RUNTIME_JOB: Final = {
    "parallelism": 1,
    "completions": 1,
    "backoffLimit": 6,
    "manualSelector": False,
    "completionMode": "NonIndexed",
    "suspend": False,
    "podReplacementPolicy": "TerminatingOrFailed",
}


def complete(obj: Object, old: object) -> Object:
    """Fill in the defaults that depend on other fields. `obj` has gone through `Schema.default`."""
    kind = (obj.get("apiVersion", ""), obj.get("kind", ""))
    path = POD_SPECS.get(kind)
    if path is not None:
        obj = at(obj, path, _pod_spec, old)
    rule = _BY_KIND.get(kind)
    if rule is not None:
        obj = at(obj, ("spec",), rule, old)
    if kind in _LABELLED:
        obj = _labelled(obj)
    return openshift.complete(obj)


def at(obj: Object, path: tuple[str, ...], change: Callable[[Object], Object], old: object) -> Object:
    """Change the object at `path`, copying the way down to it; what is the same in `old` is left alone."""
    if obj is old or not isinstance(obj, dict):
        return obj
    if not path:
        return change(obj)
    name, *rest = path
    if name not in obj:
        return obj
    now = at(obj[name], tuple(rest), change, old.get(name) if isinstance(old, dict) else None)
    return obj if now is obj[name] else {**obj, name: now}


def _filled(obj: Object, defaults: Object) -> Object:
    return obj if obj.keys() >= defaults.keys() else {**defaults, **obj}


def pull_policy(image: str) -> str:
    """Return `Always` for the tag latest, named or not, else `IfNotPresent`. A digest needs no second look, and an
    image that is still to come has no tag.
    """
    name = image.rpartition("/")[2]
    if "@" in name:
        return "IfNotPresent"
    _, _, tag = name.partition(":")
    return "Always" if image and tag in ("", "latest") else "IfNotPresent"


def _pod_spec(spec: Object) -> Object:
    changes: Object = {}
    for name in CONTAINERS:
        containers = spec.get(name, [])
        completed = [_filled(each, {"imagePullPolicy": pull_policy(each.get("image", ""))}) for each in containers]
        if any(now is not was for now, was in zip(completed, containers, strict=True)):
            changes[name] = completed
    volumes = spec.get("volumes", [])
    if any(len(volume) == 1 for volume in volumes):
        changes["volumes"] = [{**volume, "emptyDir": {}} if len(volume) == 1 else volume for volume in volumes]
    # The deprecated name is kept in step for old clients.
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account and not spec.keys() >= {"serviceAccountName", "serviceAccount"}:
        changes |= {"serviceAccountName": account, "serviceAccount": account}
    return {**spec, **changes} if changes else spec


def _rolling(field: str, **defaults: Any) -> Callable[[Object], Object]:
    def change(spec: Object) -> Object:
        strategy = spec[field]
        if strategy.get("type") != "RollingUpdate":
            return spec
        rolling = strategy.get("rollingUpdate", {})
        if rolling.keys() >= defaults.keys():
            return spec
        return {**spec, field: {**strategy, "rollingUpdate": {**defaults, **rolling}}}

    return change


def _job(spec: Object) -> Object:
    """A Job that has only a parallelism is a work queue: it has no number of completions."""
    queue = "parallelism" in spec and "completions" not in spec
    return _filled(spec, {name: value for name, value in _RUNTIME_JOB.items() if not (queue and name == "completions")})


def _labelled(obj: Object) -> Object:
    """Give what has no labels those of its pods: the very same dictionary, by which `strategies` knows it again."""
    labels = ((obj["spec"].get("template") or {}).get("metadata") or {}).get("labels")
    if not labels or obj["metadata"].get("labels"):
        return obj
    return {**obj, "metadata": {**obj["metadata"], "labels": labels}}


def _replication_controller(spec: Object) -> Object:
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    return {**spec, "selector": labels} if labels and not spec.get("selector") else spec


def _service(spec: Object) -> Object:
    ports = [_filled(port, {"targetPort": port.get("port", 0)}) for port in spec.get("ports", [])]
    return spec if ports == spec.get("ports", []) else {**spec, "ports": ports}


def _pod(spec: Object) -> Object:
    """A container that has limits and no requests asks for its limits."""
    changes: Object = {"enableServiceLinks": spec.get("enableServiceLinks", True)}
    for name in CONTAINERS[:2]:
        containers = spec.get(name, [])
        if any(_unrequested(each) for each in containers):
            changes[name] = [_requested(each) if _unrequested(each) else each for each in containers]
    return spec if len(changes) == 1 and "enableServiceLinks" in spec else {**spec, **changes}


def _unrequested(container: Object) -> Object:
    resources = container.get("resources", {})
    return {
        name: limit for name, limit in resources.get("limits", {}).items() if name not in resources.get("requests", {})
    }


def _requested(container: Object) -> Object:
    requests = {**container["resources"].get("requests", {}), **_unrequested(container)}
    return {**container, "resources": {**container["resources"], "requests": requests}}


def _stateful_set(spec: Object) -> Object:
    spec = _rolling("updateStrategy", partition=0)(spec)
    type_meta = {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
    claims = [_filled(claim, type_meta) for claim in spec.get("volumeClaimTemplates", [])]
    return spec if claims == spec.get("volumeClaimTemplates", []) else {**spec, "volumeClaimTemplates": claims}


_LABELLED: Final = frozenset({("batch/v1", "Job"), ("v1", "ReplicationController")})
_BY_KIND: Final[dict[tuple[str, str], Callable[[Object], Object]]] = {
    ("apps/v1", "Deployment"): _rolling("strategy", maxUnavailable="25%", maxSurge="25%"),
    ("apps/v1", "DaemonSet"): _rolling("updateStrategy", maxUnavailable=1, maxSurge=0),
    ("apps/v1", "StatefulSet"): _stateful_set,
    ("batch/v1", "Job"): _job,
    ("v1", "Pod"): _pod,
    ("v1", "ReplicationController"): _replication_controller,
    ("v1", "Service"): _service,
}
