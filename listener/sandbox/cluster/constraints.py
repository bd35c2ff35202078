"""Rules for one field of a built-in kind, whatever stands around it: allowed words, ranges, names.

A table from `Struct.field` to a check, in the words of Kubernetes' `pkg/apis/*/validation`. What concerns several
fields, or the stored object, is in `rules`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from listener.sandbox.cluster.field_errors import FieldError, forbidden, invalid, not_supported, required
from listener.sandbox.cluster.nodes import Check
from listener.sandbox.cluster.selectors import key_problems, value_problems

LABEL_RULE: Final = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with "
    "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
CONFIG_KEY_RULE: Final = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or "
    "'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
PERCENT_RULE: Final = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
    "validation is '[0-9]+%')"
)
NOT_NEGATIVE: Final = "must be greater than or equal to 0"
_LABEL: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_CONFIG_KEY: Final = re.compile(r"[-._a-zA-Z0-9]+")
_LARGEST_INT32: Final = 2147483647
PERCENT: Final = re.compile(r"[0-9]+%")
HANDLERS: Final = ("exec", "grpc", "httpGet", "sleep", "tcpSocket")


def one_of(*words: str) -> Check:
    def check(value: Any, path: str) -> Iterator[FieldError]:
        if value not in words:
            yield not_supported(path, value, words)

    return check


def not_negative(value: Any, path: str) -> Iterator[FieldError]:
    if value < 0:
        yield invalid(path, value, NOT_NEGATIVE)


def _positive(value: Any, path: str) -> Iterator[FieldError]:
    if value <= 0:
        yield invalid(path, value, "must be greater than 0")


def _int32_above_zero(value: Any, path: str) -> Iterator[FieldError]:
    if not 1 <= value <= _LARGEST_INT32:
        yield invalid(path, value, f"must be between 1 and {_LARGEST_INT32}, inclusive")


def _port(value: Any, path: str) -> Iterator[FieldError]:
    # Zero is a port that was not set, which is for `required` to tell.
    if value and not 1 <= value <= 65535:
        yield invalid(path, value, "must be between 1 and 65535, inclusive")


def port_or_name(value: Any, path: str) -> Iterator[FieldError]:
    if isinstance(value, int):
        if not 1 <= value <= 65535:
            yield invalid(path, value, "must be between 1 and 65535, inclusive")
        return
    yield from _port_name(value, path)


def _port_name(value: str, path: str) -> Iterator[FieldError]:
    if len(value) > 15:
        yield invalid(path, value, "must be no more than 15 characters")
    if not re.fullmatch(r"[-a-z0-9]*", value):
        yield invalid(path, value, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search(r"[a-z]", value):
        yield invalid(path, value, "must contain at least one letter (a-z)")
    if "--" in value:
        yield invalid(path, value, "must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        yield invalid(path, value, "must not begin or end with a hyphen")


def _label(value: str, path: str) -> Iterator[FieldError]:
    # An empty name is missing, which is for `required` to tell.
    if len(value) > 63:
        yield invalid(path, value, "must be no more than 63 characters")
    elif value and not _LABEL.fullmatch(value):
        yield invalid(path, value, LABEL_RULE)


def _config_keys(value: dict[str, Any], path: str) -> Iterator[FieldError]:
    for key in value:
        if not _CONFIG_KEY.fullmatch(key):
            yield invalid(f"{path}[{key}]", key, CONFIG_KEY_RULE)


def label_selector(selector: dict[str, Any], path: str) -> Iterator[FieldError]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from (invalid(f"{path}.matchLabels", key, why) for why in key_problems(key))
        yield from (invalid(f"{path}.matchLabels", value, why) for why in value_problems(value))
    for place, expression in enumerate(selector.get("matchExpressions") or ()):
        yield from _label_expression(expression, f"{path}.matchExpressions[{place}]")


def _label_expression(expression: dict[str, Any], path: str) -> Iterator[FieldError]:
    operator, values = expression.get("operator", ""), expression.get("values") or ()
    if operator in ("In", "NotIn"):
        if not values:
            yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            yield forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    else:
        yield invalid(f"{path}.operator", operator, "not a valid selector operator")
    key = expression.get("key", "")
    yield from (invalid(f"{path}.key", key, why) for why in key_problems(key))
    for place, value in enumerate(values):
        yield from (invalid(f"{path}.values[{place}]", value, why) for why in value_problems(value))


def _handler(value: dict[str, Any], path: str) -> Iterator[FieldError]:
    if not any(name in value for name in HANDLERS):
        yield required(path, "must specify a handler type")


_PULL_POLICY: Final = one_of("Always", "IfNotPresent", "Never")
_MESSAGE_POLICY: Final = one_of("File", "FallbackToLogsOnError")
_CONTAINER: Final[dict[str, Check]] = {
    "imagePullPolicy": _PULL_POLICY,
    "livenessProbe": _handler,
    "name": _label,
    "readinessProbe": _handler,
    "startupProbe": _handler,
    "terminationMessagePolicy": _MESSAGE_POLICY,
}
FIELDS: Final[dict[str, Check]] = {
    **{f"Container.{name}": check for name, check in _CONTAINER.items()},
    **{f"EphemeralContainer.{name}": check for name, check in _CONTAINER.items()},
    "ConfigMap.binaryData": _config_keys,
    "ConfigMap.data": _config_keys,
    "ContainerPort.containerPort": _port,
    "ContainerPort.hostPort": _port,
    "ContainerPort.name": _port_name,
    "ContainerPort.protocol": one_of("SCTP", "TCP", "UDP"),
    "CronJobSpec.concurrencyPolicy": one_of("Allow", "Forbid", "Replace"),
    "CronJobSpec.failedJobsHistoryLimit": not_negative,
    "CronJobSpec.startingDeadlineSeconds": not_negative,
    "CronJobSpec.successfulJobsHistoryLimit": not_negative,
    "DaemonSetSpec.minReadySeconds": not_negative,
    "DaemonSetSpec.revisionHistoryLimit": not_negative,
    "DeploymentSpec.minReadySeconds": not_negative,
    "DeploymentSpec.progressDeadlineSeconds": not_negative,
    "DeploymentSpec.replicas": not_negative,
    "DeploymentSpec.revisionHistoryLimit": not_negative,
    "HTTPGetAction.port": port_or_name,
    "HTTPGetAction.scheme": one_of("HTTP", "HTTPS"),
    "JobSpec.activeDeadlineSeconds": not_negative,
    "JobSpec.backoffLimit": not_negative,
    "JobSpec.completionMode": one_of("NonIndexed", "Indexed"),
    "JobSpec.completions": not_negative,
    "JobSpec.parallelism": not_negative,
    "JobSpec.ttlSecondsAfterFinished": not_negative,
    "LeaseSpec.leaseDurationSeconds": _positive,
    "LeaseSpec.leaseTransitions": not_negative,
    "Lifecycle.postStart": _handler,
    "Lifecycle.preStop": _handler,
    "PodSpec.activeDeadlineSeconds": _int32_above_zero,
    "PodSpec.dnsPolicy": one_of("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
    "PodSpec.restartPolicy": one_of("Always", "OnFailure", "Never"),
    "ReplicaSetSpec.minReadySeconds": not_negative,
    "ReplicaSetSpec.replicas": not_negative,
    "ReplicationControllerSpec.minReadySeconds": not_negative,
    "ReplicationControllerSpec.replicas": not_negative,
    "Secret.data": _config_keys,
    "ServicePort.protocol": one_of("SCTP", "TCP", "UDP"),
    "ServiceSpec.sessionAffinity": one_of("ClientIP", "None"),
    "ServiceSpec.type": one_of("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
    "StatefulSetSpec.minReadySeconds": not_negative,
    "StatefulSetSpec.replicas": not_negative,
    "StatefulSetSpec.revisionHistoryLimit": not_negative,
    "TCPSocketAction.port": port_or_name,
    "Volume.name": _label,
}
