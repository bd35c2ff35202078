"""What the controllers make of a pod template, and what a kubelet writes of a Pod whose containers run, or have ended.

Pure functions on objects. There is one node, which takes every Pod and has no images: its containers run as soon as
they are asked for, and nothing is known of an image but what its name says.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from listener.sandbox.cluster.quantity import amount
from listener.sandbox.cluster.rollouts import REVISION_HASH_LABEL, owned_by

Object = dict[str, Any]

NODE = "sandbox"
_NODE_ADDRESS = "10.0.0.1"
_TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
_NO_EXECUTE, _NO_SCHEDULE = ("not-ready", "unreachable"), ("disk-pressure", "memory-pressure", "pid-pressure")
# What a DaemonSet's Pods put up with: `daemon/util.AddOrUpdateDaemonPodTolerations`.
_OF_DAEMONS = [
    {"key": f"node.kubernetes.io/{name}", "operator": "Exists", "effect": effect}
    for effect, names in (("NoExecute", _NO_EXECUTE), ("NoSchedule", (*_NO_SCHEDULE, "unschedulable")))
    for name in names
]


def of(owner: Object) -> Object:
    """Return a Pod of an owner's template as its controller asks for it, to be named by the server."""
    template, metadata = owner["spec"]["template"], owner["metadata"]
    given = template.get("metadata") or {}
    made: Object = {"generateName": f"{metadata['name']}-", "namespace": metadata["namespace"]}
    made |= {name: given[name] for name in ("labels", "annotations", "finalizers") if given.get(name)}
    made["ownerReferences"] = [owned_by(owner)]
    return {"kind": "Pod", "apiVersion": "v1", "metadata": made, "spec": dict(template["spec"])}


def of_stateful_set(owner: Object, ordinal: int, revision: str) -> Object:
    """Return the Pod that has a number, and a name of its own."""
    pod, spec, name = of(owner), owner["spec"], f"{owner['metadata']['name']}-{ordinal}"
    pod["metadata"]["name"] = name
    labels = {REVISION_HASH_LABEL: revision, "statefulset.kubernetes.io/pod-name": name}
    _label(pod, {"apps.kubernetes.io/pod-index": str(ordinal), **labels})
    pod["spec"] |= {"hostname": name}
    if spec.get("serviceName"):
        pod["spec"]["subdomain"] = spec["serviceName"]
    claims = [each["metadata"]["name"] for each in spec.get("volumeClaimTemplates") or ()]
    if claims:
        volumes = [each for each in pod["spec"].get("volumes") or () if each.get("name") not in claims]
        claimed = [{"name": each, "persistentVolumeClaim": {"claimName": f"{each}-{name}"}} for each in claims]
        pod["spec"]["volumes"] = claimed + volumes
    return pod


def of_daemon_set(owner: Object, revision: str) -> Object:
    """Return the Pod that is bound for the one node."""
    pod = of(owner)
    generation = (owner["metadata"].get("annotations") or {}).get(_TEMPLATE_GENERATION)
    _label(pod, {REVISION_HASH_LABEL: revision, **({"pod-template-generation": generation} if generation else {})})
    spec = pod["spec"]
    terms = {"nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [NODE]}]}]}
    affinity = spec.get("affinity") or {}
    of_nodes = {**(affinity.get("nodeAffinity") or {}), "requiredDuringSchedulingIgnoredDuringExecution": terms}
    network = {"key": "node.kubernetes.io/network-unavailable", "operator": "Exists", "effect": "NoSchedule"}
    daemons = [*_OF_DAEMONS, *([network] if spec.get("hostNetwork") else ())]
    spec["affinity"] = {**affinity, "nodeAffinity": of_nodes}
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *daemons]
    return pod


def of_job(owner: Object, index: int) -> Object:
    """Return one of a Job's Pods. Where the Job is indexed, the Pod has its number in its name and its labels."""
    pod = of(owner)
    if owner["spec"].get("completionMode") == "Indexed":
        metadata, number = pod["metadata"], {_COMPLETION_INDEX: str(index)}
        metadata["generateName"] = f"{owner['metadata']['name']}-{index}-"
        metadata["annotations"] = {**(metadata.get("annotations") or {}), **number}
        _label(pod, number)
        pod["spec"]["hostname"] = f"{owner['metadata']['name']}-{index}"
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": f"metadata.labels['{_COMPLETION_INDEX}']"}}
        variable = {"name": "JOB_COMPLETION_INDEX", "valueFrom": source}
        for field in ("initContainers", "containers"):
            if containers := pod["spec"].get(field):
                pod["spec"][field] = [{**each, "env": [*(each.get("env") or ()), variable]} for each in containers]
    return pod


def _label(pod: Object, labels: Mapping[str, str]) -> None:
    pod["metadata"]["labels"] = {**(pod["metadata"].get("labels") or {}), **labels}


def running(pod: Object, address: str, now: str) -> Object:
    """Return a Pod that has just been given to the node, where all its containers run."""
    spec = pod["spec"]
    status = _placed(pod, address, now)
    for field, name in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        if spec.get(field):
            status[name] = [
                _running(each, now) if field == "containers" or is_sidecar(each) else _ended(each, now, ready=True)
                for each in spec[field]
            ]
    status["conditions"] = [_condition(pod, kind, now) for kind in _CONDITIONS]
    return {**pod, "spec": {**spec, "nodeName": spec.get("nodeName") or NODE}, "status": status}


def succeeded(pod: Object, now: str) -> Object:
    """Return a Pod that ran until now, and whose containers have done what they were to do."""
    spec = pod["spec"]
    status = {**pod["status"], "phase": "Succeeded"}
    for field, name in (("initContainers", "initContainerStatuses"), ("containers", "containerStatuses")):
        if spec.get(field):
            status[name] = [_ended(each, now, ready=field != "containers") for each in spec[field]]
    over = {"Ready": "False", "ContainersReady": "False", "PodReadyToStartContainers": "False"}
    status["conditions"] = [
        {**_condition(pod, kind, now, over.get(kind, "True")), **_ENDED.get(kind, {})} for kind in _CONDITIONS
    ]
    return {**pod, "status": status}


def restarted(pod: Object, now: str) -> Object:
    """Return a running Pod, in which each container whose image has changed is run anew."""
    images = {each["name"]: each for each in pod["spec"]["containers"]}
    statuses = [
        _restarted(each, images[each["name"]], now)
        if each["name"] in images and images[each["name"]].get("image") != each.get("image")
        else each
        for each in pod["status"].get("containerStatuses") or ()
    ]
    observed = pod["metadata"].get("generation", 1)
    return {**pod, "status": {**pod["status"], "containerStatuses": statuses, "observedGeneration": observed}}


def _restarted(before: Object, container: Object, now: str) -> Object:
    started = ((before.get("state") or {}).get("running") or {}).get("startedAt", now)
    last = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": now}}
    return {**_running(container, now), "lastState": last, "restartCount": before.get("restartCount", 0) + 1}


def is_sidecar(container: Object) -> bool:
    """Tell whether an init container goes on running beside the others."""
    return container.get("restartPolicy") == "Always"


def address(number: int) -> str:
    """Return the address of a Pod in 10.128.0.0/9; `number` counts them, from 1 on."""
    number = (number - 1) % (2**23 - 2) + 1 + 2**23
    return f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"


def qos_class(spec: Object) -> str:
    """Return how a pod spec's containers are served when the node runs short."""
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    asked = [[_amounts(each.get("resources") or {}, name) for name in ("requests", "limits")] for each in containers]
    if not any(requests or limits for requests, limits in asked):
        return "BestEffort"
    guaranteed = all(limits.keys() == {"cpu", "memory"} and requests == limits for requests, limits in asked)
    return "Guaranteed" if guaranteed else "Burstable"


def _amounts(resources: Object, kind: str) -> dict[str, Fraction]:
    given = resources.get(kind)
    if not given:
        return {}
    found = {name: amount(str(value)) for name, value in given.items() if name in {"cpu", "memory"}}
    return {name: value for name, value in found.items() if value}


_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
_ENDED = {kind: {"reason": "PodCompleted"} for kind in ("Initialized", "Ready", "ContainersReady")}


def _condition(pod: Object, kind: str, now: str, status: str = "True") -> Object:
    observed = pod["metadata"].get("generation", 1)
    return {
        "type": kind,
        "observedGeneration": observed,
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": now,
    }


def _placed(pod: Object, address: str, now: str) -> Object:
    ip = _NODE_ADDRESS if pod["spec"].get("hostNetwork") else address
    return {
        "observedGeneration": pod["metadata"].get("generation", 1),
        "phase": "Running",
        "hostIP": _NODE_ADDRESS,
        "hostIPs": [{"ip": _NODE_ADDRESS}],
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": now,
        "qosClass": qos_class(pod["spec"]),
    }


def _running(container: Object, now: str) -> Object:
    return {
        **_container(container),
        "state": {"running": {"startedAt": now}},
        "ready": True,
        "started": True,
    }


def _ended(container: Object, now: str, *, ready: bool) -> Object:
    ended = {"exitCode": 0, "reason": "Completed", "startedAt": now, "finishedAt": now}
    return {**_container(container), "state": {"terminated": ended}, "ready": ready, "started": False}


def _container(container: Object) -> Object:
    image = container.get("image", "")
    name, at, digest = image.partition("@")
    repository = name if ":" not in name.rpartition("/")[2] else name.rpartition(":")[0]
    # A digest is all that is known of an image without looking: of a tag it is not said.
    image_id = f"{repository}@{digest}" if at else ""
    return {"name": container["name"], "lastState": {}, "restartCount": 0, "image": image, "imageID": image_id}
