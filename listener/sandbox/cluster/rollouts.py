"""What the workload controllers write: revisions of a template, and the status of a workload that has arrived where its
spec points.

Pure functions on objects. Every replica is ready at once, and every Job done: the sandbox runs no containers. The Pods
are made in another room, `pod_control`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

Object = dict[str, Any]

REVISION = "deployment.kubernetes.io/revision"
_HISTORY = "deployment.kubernetes.io/revision-history"
HASH_LABEL = "pod-template-hash"
REVISION_HASH_LABEL = "controller-revision-hash"
_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
# A real deployment controller keeps these off its ReplicaSets: `annotationsToSkip`.
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    _HISTORY,
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.rollbackTo",
}
_SORTED = msgspec.json.Encoder(order="deterministic").encode


def template_hash(template: Object) -> str:
    """Return ten characters that stand for a pod template: the same for the same one, fit for names and labels."""
    number = int.from_bytes(hashlib.blake2s(_SORTED(template), digest_size=8).digest())
    letters = []
    for _ in range(10):
        number, digit = divmod(number, len(_ALPHABET))
        letters.append(_ALPHABET[digit])
    return "".join(letters)


def owned_by(owner: Object) -> Object:
    """Return the reference of the one controller of an object."""
    metadata = owner["metadata"]
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def revision_of(obj: Object) -> int:
    text = (obj["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdigit() else 0


def copied_annotations(deployment: Object) -> Object:
    """Return what a ReplicaSet takes over, the change-cause among it."""
    found = deployment["metadata"].get("annotations") or {}
    return {name: value for name, value in found.items() if name not in _NOT_COPIED}


def renumbered(annotations: Object, revision: int) -> Object:
    """Return a ReplicaSet's annotations when it is that revision. One that has come back remembers what it was."""
    before, number = annotations.get(REVISION), str(revision)
    if before in {None, number}:
        return {**annotations, REVISION: number}
    history = [each for each in annotations.get(_HISTORY, "").split(",") if each]
    return {**annotations, REVISION: number, _HISTORY: ",".join([*history, before])}


def replica_set(deployment: Object, name: str, digest: str, revision: int) -> Object:
    """Return the new ReplicaSet of a Deployment's current template, without the server's own metadata."""
    spec = deployment["spec"]
    template = spec["template"]
    metadata = template.get("metadata") or {}
    labels = {**(metadata.get("labels") or {}), HASH_LABEL: digest}
    selector = spec.get("selector") or {}
    match_labels = {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}
    return {
        "kind": "ReplicaSet",
        "apiVersion": "apps/v1",
        "metadata": {
            "name": name,
            "namespace": deployment["metadata"]["namespace"],
            "labels": labels,
            "annotations": {**copied_annotations(deployment), REVISION: str(revision)},
            "ownerReferences": [owned_by(deployment)],
        },
        "spec": {
            "replicas": 0,
            "selector": {**selector, "matchLabels": match_labels},
            "template": {**template, "metadata": {**metadata, "labels": labels}},
        },
    }


def scaled(replica_set: Object, replicas: int) -> Object:
    """Return a ReplicaSet that wants and has that many replicas."""
    annotations = {
        **(replica_set["metadata"].get("annotations") or {}),
        "deployment.kubernetes.io/desired-replicas": str(replicas),
        "deployment.kubernetes.io/max-replicas": str(replicas + -(-replicas // 4)),
    }
    metadata = {**replica_set["metadata"], "annotations": annotations}
    spec = replica_set["spec"]
    if spec.get("replicas") != replicas and "generation" in metadata:
        metadata["generation"] += 1
    found = {**replica_set, "metadata": metadata, "spec": {**spec, "replicas": replicas}}
    return {**found, "status": replica_set_status(found)}


def replica_set_status(replica_set: Object) -> Object:
    """Return the status of a ReplicaSet, or of a ReplicationController, that has what it wants."""
    replicas = replica_set["spec"].get("replicas", 1)
    status: Object = {"replicas": replicas, "observedGeneration": replica_set["metadata"].get("generation", 1)}
    if replicas:
        status |= dict.fromkeys(("fullyLabeledReplicas", "readyReplicas", "availableReplicas"), replicas)
    if replica_set["kind"] == "ReplicaSet":
        status["terminatingReplicas"] = 0
    return status


def deployment_status(deployment: Object, replica_set_name: str, now: str, *, is_current: bool) -> Object:
    """Return the status of a Deployment that has rolled out, or that is paused and only observed. Its Pods are those
    of its template only if that is the current one.
    """
    spec, before = deployment["spec"], deployment.get("status") or {}
    replicas = spec.get("replicas", 1)
    status: Object = {"observedGeneration": deployment["metadata"].get("generation", 1)}
    if spec.get("paused"):
        updated = ("updatedReplicas",) if is_current else ()
        counts = ("replicas", "readyReplicas", "availableReplicas", *updated)
        status |= {name: before[name] for name in counts if name in before}
        progress = ("Unknown", "DeploymentPaused", "Deployment is paused")
    else:
        if replicas:
            status |= dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), replicas)
        message = f'ReplicaSet "{replica_set_name}" has successfully progressed.'
        progress = ("True", "NewReplicaSetAvailable", message)
    status["terminatingReplicas"] = 0
    held = {each.get("type"): each for each in before.get("conditions") or ()}
    available = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    status["conditions"] = [
        _condition("Available", available, held.get("Available"), now),
        _condition("Progressing", progress, held.get("Progressing"), now),
    ]
    return status


def _condition(kind: str, state: tuple[str, str, str], before: Object | None, now: str) -> Object:
    status, reason, message = state
    kept = before if before is not None and before.get("status") == status else {}
    same = kept.get("reason") == reason and kept.get("message") == message
    return {
        "type": kind,
        "status": status,
        "lastUpdateTime": kept.get("lastUpdateTime", now) if same else now,
        "lastTransitionTime": kept.get("lastTransitionTime", now),
        "reason": reason,
        "message": message,
    }


def controller_revision(owner: Object, name: str, digest: str, number: int) -> Object:
    """Return the ControllerRevision that holds the current template of a StatefulSet or DaemonSet, for rollout history
    and undo.
    """
    template = owner["spec"]["template"]
    label = REVISION_HASH_LABEL if owner["kind"] == "DaemonSet" else "controller.kubernetes.io/hash"
    labels = {**((template.get("metadata") or {}).get("labels") or {}), label: digest}
    metadata = {
        "name": name,
        "namespace": owner["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [owned_by(owner)],
    }
    if annotations := owner["metadata"].get("annotations"):
        metadata["annotations"] = annotations
    return {
        "kind": "ControllerRevision",
        "apiVersion": "apps/v1",
        "metadata": metadata,
        "data": {"spec": {"template": {**template, "$patch": "replace"}}},
        "revision": number,
    }


def is_on_delete(owner: Object) -> bool:
    """Whether a StatefulSet or DaemonSet replaces a Pod only when somebody has deleted it."""
    return (owner["spec"].get("updateStrategy") or {}).get("type") == "OnDelete"


def stateful_set_status(stateful_set: Object, revision: str, outdated: Mapping[str, int]) -> Object:
    """Return the status of a StatefulSet with all its Pods; `outdated` are those of other revisions."""
    replicas = stateful_set["spec"].get("replicas", 1)
    updated = replicas - sum(outdated.values())
    before = (stateful_set.get("status") or {}).get("currentRevision")
    # On delete it stays what it was at first: a real controller ends no update of that strategy.
    current = before if before and is_on_delete(stateful_set) else revision
    status: Object = {
        "observedGeneration": stateful_set["metadata"].get("generation", 1),
        "replicas": replicas,
        "availableReplicas": replicas,
        "currentRevision": current,
        "updateRevision": revision,
        "collisionCount": 0,
    }
    if replicas:
        status["readyReplicas"] = replicas
    counts = {
        "currentReplicas": updated if current == revision else outdated.get(current, 0),
        "updatedReplicas": updated,
    }
    return status | {name: count for name, count in counts.items() if count}


def daemon_set_status(daemon_set: Object, *, is_updated: bool) -> Object:
    """Return the status of a DaemonSet that runs on the one node there would be."""
    updated = ("updatedNumberScheduled",) if is_updated else ()
    counts = ("currentNumberScheduled", "desiredNumberScheduled", "numberReady", "numberAvailable", *updated)
    observed = daemon_set["metadata"].get("generation", 1)
    return {**dict.fromkeys(counts, 1), "numberMisscheduled": 0, "observedGeneration": observed}


def completions(job: Object) -> int | None:
    """Return how many Pods a Job has yet to run to its end; None if that is over, or may not begin."""
    spec, conditions = job["spec"], (job.get("status") or {}).get("conditions") or ()
    if spec.get("suspend") or any(each.get("type") in ("Complete", "Failed") for each in conditions):
        return None
    parallelism = spec.get("parallelism", 1)
    wanted: int = spec.get("completions", parallelism)
    return wanted if parallelism or not wanted else None


def job_status(job: Object, completions: int, now: str) -> Object:
    """Return the status of a Job that has run to its end."""
    reason = {"reason": "CompletionsReached", "message": "Reached expected number of succeeded pods"}
    conditions = [
        {"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now, **reason}
        for kind in ("SuccessCriteriaMet", "Complete")
    ]
    status: Object = {"conditions": conditions, "startTime": now, "completionTime": now}
    if completions:
        status["succeeded"] = completions
    if job["spec"].get("completionMode") == "Indexed" and completions:
        status["completedIndexes"] = "0" if completions == 1 else f"0-{completions - 1}" if completions > 2 else "0,1"
    return {**status, "ready": 0, "terminating": 0, "uncountedTerminatedPods": {}}
