"""Objects in the protobuf encoding of Kubernetes, as far as `kubectl create` and `kubectl auth` send them.

Those commands encode what they make with protobuf and do not fall back to JSON; everything else is JSON or YAML. So
only requests are decoded, and only the fields that a command line can set. A field beyond them is refused by number
unless there is nothing in it. Field numbers and types are those of the `generated.proto` files of Kubernetes 1.36.
Pure.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# `name=number:type`: text if no type is given, `*` for a list, `!` for a pointer, whose zero means zero, not "absent".
_MESSAGES = {
    "ObjectMeta": "name=1 generateName=2 namespace=3 uid=5 resourceVersion=6 generation=7:int creationTimestamp=8:Time "
    "labels=11:map annotations=12:map ownerReferences=13:*OwnerReference finalizers=14:*text",
    "OwnerReference": "kind=1 name=3 uid=4 apiVersion=5 controller=6:bool! blockOwnerDeletion=7:bool!",
    "LabelSelector": "matchLabels=1:map matchExpressions=2:*LabelSelectorRequirement",
    "LabelSelectorRequirement": "key=1 operator=2 values=3:*text",
    "LocalObjectReference": "name=1",
    "ObjectReference": "kind=1 namespace=2 name=3 uid=4 apiVersion=5 resourceVersion=6 fieldPath=7",
    "DeleteOptions": "gracePeriodSeconds=1:int! preconditions=2:Preconditions orphanDependents=3:bool! "
    "propagationPolicy=4 dryRun=5:*text",
    "Preconditions": "uid=1 resourceVersion=2",
    "Namespace": "metadata=1:ObjectMeta",
    "ConfigMap": "metadata=1:ObjectMeta data=2:map binaryData=3:bytemap immutable=4:bool!",
    "Secret": "metadata=1:ObjectMeta data=2:bytemap type=3 stringData=4:map immutable=5:bool!",
    "ServiceAccount": "metadata=1:ObjectMeta secrets=2:*ObjectReference imagePullSecrets=3:*LocalObjectReference "
    "automountServiceAccountToken=4:bool!",
    "Service": "metadata=1:ObjectMeta spec=2:ServiceSpec",
    "ServiceSpec": "ports=1:*ServicePort selector=2:map clusterIP=3 type=4 externalIPs=5:*text sessionAffinity=7 "
    "externalName=10 externalTrafficPolicy=11 clusterIPs=18:*text",
    "ServicePort": "name=1 protocol=2 port=3:int targetPort=4:IntOrString nodePort=5:int appProtocol=6!",
    "Deployment": "metadata=1:ObjectMeta spec=2:DeploymentSpec",
    "DeploymentSpec": "replicas=1:int! selector=2:LabelSelector template=3:PodTemplateSpec "
    "strategy=4:DeploymentStrategy minReadySeconds=5:int revisionHistoryLimit=6:int! "
    "paused=7:bool progressDeadlineSeconds=9:int!",
    "DeploymentStrategy": "type=1 rollingUpdate=2:RollingUpdateDeployment",
    "RollingUpdateDeployment": "maxUnavailable=1:IntOrString maxSurge=2:IntOrString",
    "PodTemplateSpec": "metadata=1:ObjectMeta spec=2:PodSpec",
    "PodSpec": "containers=2:*Container restartPolicy=3 terminationGracePeriodSeconds=4:int! "
    "activeDeadlineSeconds=5:int! dnsPolicy=6 nodeSelector=7:map serviceAccountName=8 "
    "serviceAccount=9 nodeName=10 hostNetwork=11:bool "
    "imagePullSecrets=15:*LocalObjectReference schedulerName=19 initContainers=20:*Container priorityClassName=24",
    "Container": "name=1 image=2 command=3:*text args=4:*text workingDir=5 ports=6:*ContainerPort env=7:*EnvVar "
    "resources=8:ResourceRequirements terminationMessagePath=13 imagePullPolicy=14 stdin=16:bool stdinOnce=17:bool "
    "tty=18:bool terminationMessagePolicy=20",
    "ContainerPort": "name=1 hostPort=2:int containerPort=3:int protocol=4 hostIP=5",
    "EnvVar": "name=1 value=2",
    "ResourceRequirements": "limits=1:quantitymap requests=2:quantitymap",
    "Job": "metadata=1:ObjectMeta spec=2:JobSpec",
    "JobSpec": "parallelism=1:int! completions=2:int! activeDeadlineSeconds=3:int! template=6:PodTemplateSpec "
    "backoffLimit=7:int! ttlSecondsAfterFinished=8:int! completionMode=9! suspend=10:bool! podReplacementPolicy=14!",
    "CronJob": "metadata=1:ObjectMeta spec=2:CronJobSpec",
    "CronJobSpec": "schedule=1 startingDeadlineSeconds=2:int! concurrencyPolicy=3 suspend=4:bool! "
    "jobTemplate=5:JobTemplateSpec successfulJobsHistoryLimit=6:int! failedJobsHistoryLimit=7:int! timeZone=8!",
    "JobTemplateSpec": "metadata=1:ObjectMeta spec=2:JobSpec",
    "Role": "metadata=1:ObjectMeta rules=2:*PolicyRule",
    "ClusterRole": "metadata=1:ObjectMeta rules=2:*PolicyRule aggregationRule=3:AggregationRule",
    "PolicyRule": "verbs=1:*text apiGroups=2:*text resources=3:*text resourceNames=4:*text nonResourceURLs=5:*text",
    "AggregationRule": "clusterRoleSelectors=1:*LabelSelector",
    "RoleBinding": "metadata=1:ObjectMeta subjects=2:*Subject roleRef=3:RoleRef",
    "ClusterRoleBinding": "metadata=1:ObjectMeta subjects=2:*Subject roleRef=3:RoleRef",
    "Subject": "kind=1 apiGroup=2 name=3 namespace=4",
    "RoleRef": "apiGroup=1 kind=2 name=3",
    "PodDisruptionBudget": "metadata=1:ObjectMeta spec=2:PodDisruptionBudgetSpec",
    "PodDisruptionBudgetSpec": "minAvailable=1:IntOrString selector=2:LabelSelector maxUnavailable=3:IntOrString",
    "Ingress": "metadata=1:ObjectMeta spec=2:IngressSpec",
    "IngressSpec": "defaultBackend=1:IngressBackend tls=2:*IngressTLS rules=3:*IngressRule ingressClassName=4!",
    "IngressTLS": "hosts=1:*text secretName=2",
    "IngressRule": "host=1 .=2:IngressRuleValue",
    "IngressRuleValue": "http=1:HTTPIngressRuleValue",
    "HTTPIngressRuleValue": "paths=1:*HTTPIngressPath",
    "HTTPIngressPath": "path=1 backend=2:IngressBackend pathType=3!",
    "IngressBackend": "service=4:IngressServiceBackend",
    "IngressServiceBackend": "name=1 port=2:ServiceBackendPort",
    "ServiceBackendPort": "name=1 number=2:int",
    "SelfSubjectAccessReview": "metadata=1:ObjectMeta spec=2:SelfSubjectAccessReviewSpec",
    "SelfSubjectAccessReviewSpec": "resourceAttributes=1:ResourceAttributes "
    "nonResourceAttributes=2:NonResourceAttributes",
    "ResourceAttributes": "namespace=1 verb=2 group=3 version=4 resource=5 subresource=6 name=7",
    "NonResourceAttributes": "path=1 verb=2",
    "SelfSubjectRulesReview": "metadata=1:ObjectMeta spec=2:SelfSubjectRulesReviewSpec",
    "SelfSubjectRulesReviewSpec": "namespace=1",
    "SelfSubjectReview": "metadata=1:ObjectMeta",
    "TokenRequest": "metadata=1:ObjectMeta spec=2:TokenRequestSpec",
    "TokenRequestSpec": "audiences=1:*text boundObjectRef=3:BoundObjectReference expirationSeconds=4:int!",
    "BoundObjectReference": "kind=1 apiVersion=2 name=3 uid=4",
    "Unknown": "typeMeta=1:TypeMeta raw=2:bytes contentEncoding=3 contentType=4",
    "TypeMeta": "apiVersion=1 kind=2",
}


class UndecodableError(ValueError):
    """Bytes that are no object in this encoding, or one with fields that are not known here."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: str
    repeated: bool
    pointer: bool


def decode(body: bytes) -> dict[str, Any]:
    """Return the object. Raises `UndecodableError`."""
    if not body.startswith(_MAGIC):
        raise UndecodableError("the body does not begin as protobuf of Kubernetes does")
    envelope = _message("Unknown", memoryview(body)[len(_MAGIC) :])
    named = envelope.get("typeMeta") or {}
    kind = named.get("kind", "")
    if kind not in _MESSAGES:
        raise UndecodableError(f"{kind or 'this kind'} is understood as JSON or YAML only")
    return {
        "kind": kind,
        "apiVersion": named.get("apiVersion", ""),
        **_message(kind, envelope.get("raw", memoryview(b""))),
    }


@cache
def _fields(message: str) -> dict[int, _Field]:
    found = {}
    for written in _MESSAGES[message].split():
        name, _, rest = written.rstrip("!").partition("=")
        number, _, type_ = rest.partition(":")
        found[int(number)] = _Field(name, type_.lstrip("*") or "text", type_.startswith("*"), written.endswith("!"))
    return found


def _message(message: str, data: memoryview) -> dict[str, Any]:
    fields = _fields(message)
    found: dict[str, Any] = {}
    for number, value in _wire(data):
        field = fields.get(number)
        if field is None:
            if not _hollow(value):
                raise UndecodableError(f"field {number} of {message} is understood as JSON or YAML only")
            continue
        decoded = _value(field.type, value)
        if field.type.endswith("map"):
            found.setdefault(field.name, {}).update(decoded)
        elif field.repeated:
            found.setdefault(field.name, []).append(decoded)
        elif field.name == ".":
            found |= decoded
        elif field.pointer or decoded or field.type == "IntOrString":
            found[field.name] = decoded
    return found


def _hollow(value: int | memoryview) -> bool:
    """Tell whether there is nothing but zeros in it: Go writes out structs that are empty, a status for one."""
    if isinstance(value, int):
        return value == 0
    try:
        return all(_hollow(inner) for _, inner in _wire(value))
    except UndecodableError:
        return False


def _value(type_: str, value: int | memoryview) -> Any:
    if isinstance(value, int):
        return bool(value) if type_ == "bool" else value - (1 << 64) if value >> 63 else value
    match type_:
        case "text":
            return str(value, "utf-8")
        case "bytes":
            return value
        case "map":
            key, content = _pair(value)
            return {key: str(content, "utf-8")}
        case "bytemap":
            key, content = _pair(value)
            return {key: base64.b64encode(content).decode()}
        case "quantitymap":
            key, content = _pair(value)
            return {key: str(dict(_wire(content)).get(1, memoryview(b"")), "utf-8")}  # type: ignore[arg-type]
        case "IntOrString":
            parts = dict(_wire(value))
            return str(parts.get(3, memoryview(b"")), "utf-8") if parts.get(1) else parts.get(2, 0)  # type: ignore[arg-type]
        case "Time":
            seconds = dict(_wire(value)).get(1, 0)
            return (
                datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                if isinstance(seconds, int) and seconds
                else ""
            )
    return _message(type_, value)


def _pair(data: memoryview) -> tuple[str, memoryview]:
    parts = dict(_wire(data))
    key, content = parts.get(1, memoryview(b"")), parts.get(2, memoryview(b""))
    if isinstance(key, int) or isinstance(content, int):
        raise UndecodableError("a map entry is malformed")
    return str(key, "utf-8"), content


def _wire(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield field numbers and values: numbers, or bytes for everything with a length."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        kind = tag & 7
        if kind == 0:
            value, position = _varint(data, position)
            yield tag >> 3, value
        elif kind == 2:
            length, position = _varint(data, position)
            if position + length > len(data):
                raise UndecodableError("the body ends within a field")
            yield tag >> 3, data[position : position + length]
            position += length
        else:
            raise UndecodableError(f"wire type {kind} is not used by Kubernetes")


def _varint(data: memoryview, position: int) -> tuple[int, int]:
    found = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise UndecodableError("the body ends within a number")
        byte = data[position]
        position += 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found, position
        shift += 7
