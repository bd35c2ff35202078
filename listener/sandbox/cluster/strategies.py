"""What a write does to an object besides storing it: the server's own fields, and the few rules that one type has
alone.

Functions on plain dictionaries. Those that prepare an object change it and its `metadata` in place, which are the
caller's own; deeper parts may be shared with what is stored and are replaced, never changed. Nothing here knows the
store, the clock or HTTP.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
import secrets
import uuid
from collections.abc import Callable
from typing import Any

from listener.sandbox.cluster import openshift
from listener.sandbox.cluster.field_errors import FieldError, forbidden, invalid, required
from listener.sandbox.cluster.pods import qos_class
from listener.sandbox.cluster.resources import Resource
from listener.sandbox.cluster.selectors import key_problems, value_problems

Object = dict[str, Any]

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no name becomes a word: apimachinery's rand.String
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_PATH_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%]+")
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SERVICE_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_SERVER_OWNED = (
    "uid",
    "creationTimestamp",
    "generation",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)
_STANDARD_FINALIZERS = {"orphan", "foregroundDeletion", "kubernetes"}
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_PRIORITY = {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}
_SERVICE_NETWORK = ipaddress.ip_network("10.96.0.0/16")


def new_uid() -> str:
    return str(uuid.uuid4())


def generated_name(prefix: str) -> str:
    """Return a name for `generateName`: the prefix, cut to fit a label, and five random characters."""
    return prefix[:58] + "".join(secrets.choice(_SUFFIX) for _ in range(5))


def prepare_create(resource: Resource, obj: Object, now: str) -> None:
    """Give a new object the server's metadata, and drop the status that a client cannot set on creation.

    What is there now counts as the writer's in managedFields; what `complete_create` adds is the server's own.
    """
    metadata = obj["metadata"]
    for name in ("managedFields", "resourceVersion", *_SERVER_OWNED):
        metadata.pop(name, None)
    metadata["uid"] = new_uid()
    metadata["creationTimestamp"] = now
    if resource.counts_generation:
        metadata["generation"] = 1
    if resource.status:
        obj.pop("status", None)
    if (resource.group, resource.kind) == ("", "Namespace"):
        metadata["labels"] = {**(metadata.get("labels") or {}), "kubernetes.io/metadata.name": metadata["name"]}
    elif (resource.group, resource.kind) == ("", "Secret"):
        fold_string_data(obj)
        obj.setdefault("type", "Opaque")
    elif (resource.group, resource.kind) == ("apps", "DaemonSet"):
        revision = {_TEMPLATE_GENERATION: "1"}
        metadata["annotations"] = {**revision, **(metadata.get("annotations") or {})}
    elif not resource.custom:
        openshift.prepare_create(obj)


def convert(resource: Resource, obj: Object) -> None:
    """Fold what a type may be written with and is never read with, as a real server does when it decodes it."""
    if (resource.group, resource.kind) == ("", "Secret"):
        fold_string_data(obj)


def scale(written: Object) -> Object:
    """Return a Scale as a real server has it once it is decoded: a replica count of zero is none."""
    spec = {name: value for name, value in (written.get("spec") or {}).items() if value}
    return {**written, "kind": "Scale", "apiVersion": "autoscaling/v1", "spec": spec}


def admit(resource: Resource, obj: Object) -> None:
    """Add what the server's own admission gives a new object, before webhooks see it."""
    if (resource.group, resource.kind) == ("", "Pod"):
        _admit_new_pod(obj)
        if obj.get("status") == {"phase": "Pending"}:
            obj["status"] = {}  # the phase is the store's, not the client's


def complete_create(resource: Resource, obj: Object) -> None:
    """Add what the server makes up for a new object of its type: a status, an address, labels that select it."""
    special = None if resource.custom else _ON_CREATE.get((resource.group, resource.kind))
    if special is not None:
        special(obj)


def prepare_update(resource: Resource, before: Object, after: Object, subresource: str | None) -> None:
    """Take from `before` what this write may not change, and count the generation."""
    old, new = before["metadata"], after["metadata"]
    for name in _SERVER_OWNED:
        new.pop(name, None)
        if name in old:
            new[name] = old[name]
    if subresource == "status":
        _only_status(resource, before, after)
        return
    if resource.status:
        after.pop("status", None)
        if "status" in before:
            after["status"] = before["status"]
    if (resource.group, resource.kind) == ("", "Secret"):
        fold_string_data(after)
    elif (resource.group, resource.kind) == ("", "Pod"):
        _admit_pod(before, after)
    elif (resource.group, resource.kind) == ("apps", "DaemonSet"):
        _count_template(before, after)
    elif not resource.custom:
        openshift.prepare_update(before, after)
    if resource.counts_generation and _counted(resource, before) != _counted(resource, after):
        new["generation"] = old.get("generation", 0) + 1


def _only_status(resource: Resource, before: Object, after: Object) -> None:
    """A status write leaves the rest. A built-in type lets annotations through, and controllers use that."""
    new = after["metadata"]
    kept = dict(before["metadata"])
    for name in ("managedFields",) if resource.custom else ("managedFields", "annotations"):
        kept.pop(name, None)
        if name in new:
            kept[name] = new[name]
    status = after.get("status")
    after.clear()
    after.update({name: value for name, value in before.items() if name != "status"})
    after["metadata"] = kept
    if status is not None:
        after["status"] = status


def _counted(resource: Resource, obj: Object) -> Any:
    if not resource.custom:
        return [_at(obj, path) for path in resource.generation]
    uncounted = {"metadata", "kind", "apiVersion"} | ({"status"} if resource.status else set())
    return {name: value for name, value in obj.items() if name not in uncounted}


def _at(obj: Object, path: str) -> Any:
    for step in path.split("."):
        obj = obj.get(step) or {}
    return obj


def fold_string_data(secret: Object) -> None:
    """Move a Secret's `stringData` into `data`, where it wins."""
    plain = secret.pop("stringData", None)
    if isinstance(plain, dict) and plain:
        encoded = {name: base64.b64encode(str(value).encode()).decode() for name, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _namespace(namespace: Object) -> None:
    namespace["spec"] = {"finalizers": ["kubernetes"]}
    namespace["status"] = {"phase": "Active"}


def _service(service: Object) -> None:
    spec = service["spec"] = dict(service.get("spec") or {})
    if spec.get("type", "ClusterIP") != "ExternalName":
        address = spec.get("clusterIP") or str(
            _SERVICE_NETWORK[1 + secrets.randbelow(_SERVICE_NETWORK.num_addresses - 2)]
        )
        spec["clusterIP"] = address
        spec["clusterIPs"] = [address]
        if address != "None":
            spec.setdefault("ipFamilies", ["IPv4"])
            spec.setdefault("ipFamilyPolicy", "SingleStack")
    service["status"] = {"loadBalancer": {}}


def _job(job: Object) -> None:
    spec = job["spec"] = dict(job.get("spec") or {})
    job["status"] = {}
    if spec.get("manualSelector"):
        return
    uid, name = job["metadata"]["uid"], job["metadata"]["name"]
    controller = {"batch.kubernetes.io/controller-uid": uid}
    selector = spec.get("selector") or {}
    spec["selector"] = {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **controller}}
    spec["manualSelector"] = False
    template = dict(spec.get("template") or {})
    metadata, before = template.get("metadata") or {}, (template.get("metadata") or {}).get("labels")
    names = {"batch.kubernetes.io/job-name": name, "controller-uid": uid, "job-name": name}
    labels = {**(before or {}), **controller, **names}
    template["metadata"] = {**metadata, "labels": labels}
    spec["template"] = template
    # One map in Go too: a job that took over its template's labels has whatever is added to them.
    if job["metadata"].get("labels") is before:
        job["metadata"]["labels"] = labels


def _pod(pod: Object) -> None:
    _admit_new_pod(pod)
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(pod["spec"])}


def _admit_new_pod(pod: Object) -> None:
    """The plugins ServiceAccount, Priority and DefaultTolerationSeconds."""
    spec = pod.get("spec") or {}
    account = spec.get("serviceAccountName") or "default"
    admitted = {"serviceAccountName": account, "serviceAccount": account, **_PRIORITY}
    pod["spec"] = {**admitted, **spec, "tolerations": _tolerations(spec)}


def _count_template(before: Object, after: Object) -> None:
    """Count the templates of a DaemonSet in its annotation, whatever a client makes of that."""
    text = (before["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION, "")
    changed = before["spec"].get("template") != after["spec"].get("template")
    number = (int(text) if text.isdigit() else 0) + changed
    annotations = after["metadata"].get("annotations") or {}
    after["metadata"]["annotations"] = {**annotations, _TEMPLATE_GENERATION: str(number)}


def _admit_pod(before: Object, after: Object) -> None:
    """Keep what admission gave the pod, whoever leaves it out: the plugins Priority and DefaultTolerationSeconds."""
    kept = {name: value for name, value in before["spec"].items() if name in _PRIORITY}
    spec = {**kept, **after["spec"]}
    after["spec"] = {**spec, "tolerations": _tolerations(spec)}


def _tolerations(spec: Object) -> list[Object]:
    """Let a pod stay for five minutes on a node that is in trouble, unless it says otherwise."""
    found = list(spec.get("tolerations") or ())
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            each.get("key") in (None, "", key) and each.get("effect") in (None, "", "NoExecute") for each in found
        ):
            found.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300})
    return found


def _with_status(status: Object) -> Callable[[Object], None]:
    def prepare(obj: Object) -> None:
        obj["status"] = dict(status)

    return prepare


_SCHEDULED = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
_ON_CREATE: dict[tuple[str, str], Callable[[Object], None]] = {
    ("", "Namespace"): _namespace,
    ("", "Pod"): _pod,
    ("", "ReplicationController"): _with_status({"replicas": 0}),
    ("", "Service"): _service,
    ("apps", "DaemonSet"): _with_status(dict.fromkeys(_SCHEDULED, 0)),
    ("apps", "Deployment"): _with_status({}),
    ("apps", "ReplicaSet"): _with_status({"replicas": 0}),
    ("apps", "StatefulSet"): _with_status({"replicas": 0, "availableReplicas": 0}),
    ("batch", "CronJob"): _with_status({}),
    ("batch", "Job"): _job,
    (openshift.APPS, "DeploymentConfig"): _with_status(
        dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas", "unavailableReplicas"), 0)
    ),
    ("networking.k8s.io", "Ingress"): _with_status({"loadBalancer": {}}),
    ("policy", "PodDisruptionBudget"): _with_status(
        {"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0}
    ),
}


def metadata_faults(resource: Resource, metadata: Object, *, before: Object | None = None) -> list[FieldError]:
    """Check what every type's metadata must satisfy. `before` is the stored metadata, where there is one."""
    found = []
    if before is None:
        name = metadata.get("name", "")
        if not name:
            return [required("metadata.name", "name or generateName is required")]
        found += _name_faults(resource, name)
    found += _map_faults(metadata)
    found += _finalizer_faults(metadata, before)
    for owner in metadata.get("ownerReferences") or ():
        found += _owner_faults(owner)
    return found


def _name_faults(resource: Resource, name: str) -> list[FieldError]:
    pattern, rule, longest = _SUBDOMAIN, _SUBDOMAIN_RULE, 253
    if resource.group == "rbac.authorization.k8s.io":
        pattern, rule = _PATH_SEGMENT, "may not contain '/' or '%'"
    elif resource.kind == "Service" and not resource.group:
        pattern, rule, longest = _SERVICE, _SERVICE_RULE, 63
    elif resource.kind == "Namespace" and not resource.group:
        pattern, rule, longest = _LABEL, "must not contain dots" if "." in name else _LABEL_RULE, 63
    if pattern.fullmatch(name) is None:
        return [invalid("metadata.name", name, rule)]
    if len(name) > longest:
        return [invalid("metadata.name", name, f"must be no more than {longest} characters")]
    return []


def _map_faults(metadata: Object) -> list[FieldError]:
    found: list[FieldError] = []
    for field in ("labels", "annotations"):
        values = metadata.get(field) or {}
        for key, value in values.items():
            problems = key_problems(key.lower() if field == "annotations" else key)
            found += (invalid(f"metadata.{field}", key, problem) for problem in problems)
            if field == "labels":
                found += (invalid("metadata.labels", value, problem) for problem in value_problems(value))
    size = sum(len(key) + len(value) for key, value in (metadata.get("annotations") or {}).items())
    if size > 256 * 1024:
        found.append(
            FieldError("metadata.annotations", "FieldValueTooLong", "Too long: may not be more than 262144 bytes")
        )
    return found


def _finalizer_faults(metadata: Object, before: Object | None) -> list[FieldError]:
    found = []
    finalizers = metadata.get("finalizers") or []
    for position, name in enumerate(finalizers):
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            why = "name is neither a standard finalizer name nor is it fully qualified"
            found.append(invalid(f"metadata.finalizers[{position}]", name, why))
    if before is not None and before.get("deletionTimestamp"):
        new = [name for name in finalizers if name not in (before.get("finalizers") or [])]
        if new:
            listed = ", ".join(json.dumps(name) for name in new)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers"
            found.append(forbidden("metadata.finalizers", f"{why} []string{{{listed}}}"))
    return found


def _owner_faults(owner: Object) -> list[FieldError]:
    names = {"apiVersion": "version must not be empty", "kind": "must not be empty", "name": "must not be empty"}
    names["uid"] = "must not be empty"
    return [
        invalid(f"metadata.ownerReferences.{name}", owner.get(name, ""), why)
        for name, why in names.items()
        if not owner.get(name)
    ]
