"""Schemas of the built-in kinds, read from the generated models of kubernetes_asyncio.

The models tell names, types and what must be set. What they do not tell stands in the tables below, row by row as in
the OpenAPI document of kube-apiserver 1.36 and in its `defaults.go` files: how lists merge, which texts are
quantities, what is defaulted. Rows are `Struct.field`. Importing the models costs some 40 MiB, so it waits until a
kind is asked for.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

from listener.sandbox.cluster import constraints, openshift
from listener.sandbox.cluster.nodes import ABSENT, METADATA, OWNER_REFERENCE, Node

KINDS: Final = {
    "v1": "ConfigMap Endpoints Event LimitRange Namespace Node PersistentVolume PersistentVolumeClaim Pod PodTemplate "
    "ReplicationController ResourceQuota Secret Service ServiceAccount",
    "admissionregistration.k8s.io/v1": "MutatingWebhookConfiguration ValidatingWebhookConfiguration",
    "apiextensions.k8s.io/v1": "CustomResourceDefinition",
    "apps/v1": "ControllerRevision DaemonSet Deployment ReplicaSet StatefulSet",
    "authentication.k8s.io/v1": "SelfSubjectReview TokenReview",
    "authorization.k8s.io/v1": "LocalSubjectAccessReview SelfSubjectAccessReview SelfSubjectRulesReview "
    "SubjectAccessReview",
    "autoscaling/v1": "Scale",
    "autoscaling/v2": "HorizontalPodAutoscaler",
    "batch/v1": "CronJob Job",
    "coordination.k8s.io/v1": "Lease",
    "discovery.k8s.io/v1": "EndpointSlice",
    "events.k8s.io/v1": "Event",
    "networking.k8s.io/v1": "Ingress IngressClass NetworkPolicy",
    "policy/v1": "PodDisruptionBudget",
    "rbac.authorization.k8s.io/v1": "ClusterRole ClusterRoleBinding Role RoleBinding",
    "scheduling.k8s.io/v1": "PriorityClass",
    "storage.k8s.io/v1": "StorageClass",
}

# Lists whose items have a key, and so one owner each. Strategic merge joins them by the first name.
LIST_MAPS: Final = {
    "ComponentStatus.conditions": "type",
    "Container.env": "name",
    "Container.ports": "containerPort protocol",
    "Container.volumeDevices": "devicePath",
    "Container.volumeMounts": "mountPath",
    "ContainerStatus.allocatedResourcesStatus": "name",
    "ContainerStatus.volumeMounts": "mountPath",
    "CustomResourceDefinitionStatus.conditions": "type",
    "DaemonSetStatus.conditions": "type",
    "DeploymentStatus.conditions": "type",
    "EphemeralContainer.env": "name",
    "EphemeralContainer.ports": "containerPort protocol",
    "EphemeralContainer.volumeDevices": "devicePath",
    "EphemeralContainer.volumeMounts": "mountPath",
    "HorizontalPodAutoscalerStatus.conditions": "type",
    "JSONSchemaProps.x-kubernetes-validations": "rule",
    "MutatingWebhook.matchConditions": "name",
    "MutatingWebhookConfiguration.webhooks": "name",
    "NamespaceStatus.conditions": "type",
    "NodeStatus.addresses": "type",
    "NodeStatus.conditions": "type",
    "PersistentVolumeClaimStatus.conditions": "type",
    "PodDisruptionBudgetStatus.conditions": "type",
    "PodSpec.containers": "name",
    "PodSpec.ephemeralContainers": "name",
    "PodSpec.hostAliases": "ip",
    "PodSpec.imagePullSecrets": "name",
    "PodSpec.initContainers": "name",
    "PodSpec.resourceClaims": "name",
    "PodSpec.schedulingGates": "name",
    "PodSpec.topologySpreadConstraints": "topologyKey whenUnsatisfiable",
    "PodSpec.volumes": "name",
    "PodStatus.conditions": "type",
    "PodStatus.podIPs": "ip",
    "PodStatus.resourceClaimStatuses": "name",
    "ReplicaSetStatus.conditions": "type",
    "ReplicationControllerStatus.conditions": "type",
    "ResourceRequirements.claims": "name",
    "ResourceStatus.resources": "resourceID",
    "ServiceAccount.secrets": "name",
    "ServiceSpec.ports": "port protocol",
    "ServiceStatus.conditions": "type",
    "StatefulSetStatus.conditions": "type",
    "ValidatingWebhook.matchConditions": "name",
    "ValidatingWebhookConfiguration.webhooks": "name",
}
LIST_SETS: Final = frozenset(
    {
        "ContainerRestartRuleOnExitCodes.values",
        "Endpoint.addresses",
        "NodeAllocatableResourceClaimStatus.containers",
        "NodeSpec.podCIDRs",
        "PodFailurePolicyOnExitCodesRequirement.values",
        "UncountedTerminatedPods.failed",
        "UncountedTerminatedPods.succeeded",
    }
)
# Where strategic merge goes its own way. A joined list without a key is one of scalars.
JOINED_BESIDES: Final = {"JobStatus.conditions": "type", "NodeSpec.podCIDRs": "", "PodStatus.hostIPs": "ip"}
NOT_JOINED: Final = frozenset(
    {"CustomResourceDefinitionStatus.conditions", "ResourceRequirements.claims", "ResourceStatus.resources"}
)
RETAIN_KEYS: Final = frozenset(
    {"DeploymentSpec.strategy", "PodSpec.resourceClaims", "PodSpec.volumes", "PodStatus.resourceClaimStatuses"}
)
REPLACED: Final = frozenset({"PodDisruptionBudgetSpec.selector"})
# Objects with one owner, whoever sets whichever part.
ATOMIC_STRUCTS: Final = frozenset(
    """
    ConfigMapKeySelector EndpointAddress EndpointPort FileKeySelector LabelSelector
    LocalObjectReference MatchResources NamedRuleWithOperations NodeSelector NodeSelectorTerm ObjectFieldSelector
    ObjectReference OwnerReference ParamKind ParamRef ResourceFieldSelector RoleRef ScopeSelector SecretKeySelector
    SecretReference ServiceBackendPort Subject TopologySelectorTerm TypedLocalObjectReference Variable
    """.split()  # noqa: SIM905 - one a line would hide the rest
)
ATOMIC_MAPS: Final = frozenset({"PodSpec.nodeSelector", "ReplicationControllerSpec.selector", "ServiceSpec.selector"})
GRANULAR: Final = frozenset({"PersistentVolumeSpec.claimRef"})

QUANTITIES: Final = frozenset(
    """
    ContainerStatus.allocatedResources HPAScalingRules.tolerance NodeAllocatableResourceClaimStatus.resources
    EmptyDirVolumeSource.sizeLimit LimitRangeItem.default LimitRangeItem.defaultRequest LimitRangeItem.max
    LimitRangeItem.maxLimitRequestRatio LimitRangeItem.min MetricTarget.averageValue MetricTarget.value
    MetricValueStatus.averageValue MetricValueStatus.value NodeStatus.allocatable NodeStatus.capacity
    PersistentVolumeClaimStatus.allocatedResources PersistentVolumeClaimStatus.capacity PersistentVolumeSpec.capacity
    PodSpec.overhead PodStatus.allocatedResources ResourceFieldSelector.divisor ResourceQuotaSpec.hard
    ResourceQuotaStatus.hard ResourceQuotaStatus.used ResourceRequirements.limits ResourceRequirements.requests
    VolumeResourceRequirements.limits VolumeResourceRequirements.requests
    """.split()  # noqa: SIM905
)
BASE64: Final = frozenset({"ConfigMap.binaryData", "Secret.data", "WebhookClientConfig.caBundle"})
INT64: Final = frozenset(
    """
    activeDeadlineSeconds capacity deletionGracePeriodSeconds expirationSeconds fsGroup generation gid maxItems
    maxLength maxProperties minItems minLength minProperties observedGeneration revision runAsGroup runAsUser seconds
    sizeBytes startingDeadlineSeconds supplementalGroups terminationGracePeriodSeconds tolerationSeconds uid
    """.split()  # noqa: SIM905
)
MICRO_TIMES: Final = frozenset(
    {"Event.eventTime", "EventSeries.lastObservedTime", "LeaseSpec.acquireTime", "LeaseSpec.renewTime"}
)
INT_OR_STRING: Final = frozenset({"port", "targetPort", "maxSurge", "maxUnavailable", "minAvailable"})
# The models take an items schema for anything at all, as it may be a list; a structural schema allows one schema.
STRUCTS_BESIDES: Final = {"JSONSchemaProps.items": "V1JSONSchemaProps"}
# Nobody writes a status by hand, and a zero in it is a fact. CustomResourceDefinitions are for `definitions`.
FREE_OF_REQUIRED: Final = ("Status", "Condition")
# Go's zero value is taken here, or refused by a rule with words of its own.
NOT_REQUIRED: Final = frozenset(
    """
    GRPCAction.port HTTPGetAction.port MatchCondition.expression MatchCondition.name
    MutatingWebhook.admissionReviewVersions MutatingWebhook.name MutatingWebhook.sideEffects PolicyRule.verbs
    ServicePort.port ServiceReference.name ServiceReference.namespace TCPSocketAction.port
    """.split()  # noqa: SIM905
)

_PROBE: Final = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
_VOLUME_MODE: Final = 420
_CONTAINER: Final = {
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}
DEFAULTS: Final[dict[str, dict[str, Any]]] = {
    "ConfigMapVolumeSource": {"defaultMode": _VOLUME_MODE},
    "Container": _CONTAINER,
    "ContainerPort": {"protocol": "TCP"},
    "CronJobSpec": {
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    },
    "CustomResourceDefinitionSpec": {"conversion": {"strategy": "None"}},
    "DaemonSetSpec": {"updateStrategy": {"type": "RollingUpdate"}, "revisionHistoryLimit": 10},
    "DaemonSetUpdateStrategy": {"type": "RollingUpdate"},
    "DeploymentSpec": {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate"},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    },
    "DeploymentStrategy": {"type": "RollingUpdate"},
    "DownwardAPIVolumeSource": {"defaultMode": _VOLUME_MODE},
    "EphemeralContainer": _CONTAINER,
    "GRPCAction": {"service": ""},
    "HTTPGetAction": {"path": "/", "scheme": "HTTP"},
    "HostPathVolumeSource": {"type": ""},
    "NamespaceStatus": {"phase": "Active"},
    "MutatingWebhook": {
        "failurePolicy": "Fail",
        "matchPolicy": "Equivalent",
        "namespaceSelector": {},
        "objectSelector": {},
        "reinvocationPolicy": "Never",
        "timeoutSeconds": 10,
    },
    "ObjectFieldSelector": {"apiVersion": "v1"},
    "PersistentVolumeClaimSpec": {"volumeMode": "Filesystem"},
    "PersistentVolumeClaimStatus": {"phase": "Pending"},
    "PodSpec": {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    },
    "PodStatus": {"phase": "Pending"},
    "Probe": _PROBE,
    "ProjectedVolumeSource": {"defaultMode": _VOLUME_MODE},
    "ReplicaSetSpec": {"replicas": 1},
    "ReplicationControllerSpec": {"replicas": 1},
    "RoleRef": {"apiGroup": "rbac.authorization.k8s.io"},
    "RuleWithOperations": {"scope": "*"},
    "Secret": {"type": "Opaque"},
    "SecretVolumeSource": {"defaultMode": _VOLUME_MODE},
    "ServiceAccountTokenProjection": {"expirationSeconds": 3600},
    "ServicePort": {"protocol": "TCP"},
    "ServiceReference": {"port": 443},
    "ServiceSpec": {"type": "ClusterIP", "sessionAffinity": "None", "internalTrafficPolicy": "Cluster"},
    "StatefulSetPersistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
    "StatefulSetSpec": {
        "template": {},
        "replicas": 1,
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate"},
        "revisionHistoryLimit": 10,
        "persistentVolumeClaimRetentionPolicy": {},
    },
    "StatefulSetUpdateStrategy": {"type": "RollingUpdate"},
}
# Numbers, texts and switches that Go does not write when they are zero; other fields of the kind are pointers, and told
# apart from what is not set.
OMITTED_ZEROS: Final = frozenset(
    """
    Container.stdin Container.stdinOnce Container.tty Container.workingDir ContainerPort.hostPort ContainerPort.name
    DaemonSetSpec.minReadySeconds DeploymentSpec.minReadySeconds DeploymentSpec.paused EnvVar.value PodSpec.hostIPC
    PodSpec.hostNetwork PodSpec.hostPID PodSpec.nodeName PodSpec.serviceAccountName ReplicaSetSpec.minReadySeconds
    ReplicationControllerSpec.minReadySeconds
    ServicePort.name ServicePort.nodePort ServiceSpec.publishNotReadyAddresses StatefulSetSpec.minReadySeconds
    VolumeMount.readOnly VolumeMount.subPath
    """.split()  # noqa: SIM905
)
# What Go writes even where nothing was set: structs, and fields without omitempty. It is stored, and owned by nobody.
ZEROS: Final[dict[str, dict[str, Any]]] = {
    "Container": {"resources": {}},
    "CronJob": {"spec": {}, "status": {}},
    "CronJobSpec": {"jobTemplate": {}},
    "CustomResourceDefinition": {"spec": {}, "status": {}},
    "CustomResourceDefinitionSpec": {"names": {}},
    "DaemonSet": {"spec": {}, "status": {}},
    "DaemonSetSpec": {"template": {}, "updateStrategy": {}},
    "DaemonSetStatus": {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    "Deployment": {"spec": {}, "status": {}},
    "DeploymentSpec": {"strategy": {}, "template": {}},
    "EphemeralContainer": {"resources": {}},
    "HorizontalPodAutoscaler": {"spec": {}, "status": {}},
    "Ingress": {"spec": {}, "status": {}},
    "IngressStatus": {"loadBalancer": {}},
    "Job": {"spec": {}, "status": {}},
    "JobSpec": {"template": {}},
    "JobTemplateSpec": {"metadata": {}, "spec": {}},
    "Lease": {"spec": {}},
    "Namespace": {"spec": {}, "status": {}},
    "NetworkPolicy": {"spec": {}},
    "PersistentVolumeClaim": {"spec": {}, "status": {}},
    "PersistentVolumeClaimSpec": {"resources": {}},
    "Pod": {"spec": {}, "status": {}},
    "PodDisruptionBudget": {"spec": {}, "status": {}},
    "PodSpec": {"containers": None},
    "PodTemplateSpec": {"metadata": {}, "spec": {}},
    "ReplicaSet": {"spec": {}, "status": {}},
    "ReplicaSetSpec": {"template": {}},
    "ReplicaSetStatus": {"replicas": 0},
    "ReplicationController": {"spec": {}, "status": {}},
    "ReplicationControllerStatus": {"replicas": 0},
    "RoleBinding": {"roleRef": {}},
    "Service": {"spec": {}, "status": {}},
    "ServiceStatus": {"loadBalancer": {}},
    "StatefulSet": {"spec": {}, "status": {}},
    "StatefulSetSpec": {"serviceName": "", "template": {}, "updateStrategy": {}},
    "StatefulSetStatus": {"replicas": 0, "availableReplicas": 0},
}

_UNSET: Final = SimpleNamespace(local_vars_configuration=SimpleNamespace(client_side_validation=True))
_MODEL: Final = re.compile(r"(?:[A-Z][a-z]+)?(?P<version>V\d+(?:(?:alpha|beta)\d+)?)(?P<struct>[A-Z].*)")
_CONTAINER_TYPE: Final = re.compile(r"list\[(?P<item>.+)\]|dict\(str, (?P<value>.+)\)")
_SCALARS: Final = {
    "bool": ("boolean", "", "bool"),
    "float": ("number", "double", "float64"),
    "str": ("string", "", "string"),
    "datetime": ("string", "date-time", "v1.Time"),
}


_read: Final[dict[str, Node]] = {"V1ObjectMeta": METADATA, "V1OwnerReference": OWNER_REFERENCE}


@cache
def kind_node(api_version: str, kind: str) -> Node | None:
    """Return the schema of a built-in kind, or `None` if it is neither in `KINDS` nor one of OpenShift's."""
    if kind not in KINDS.get(api_version, "").split():
        return openshift.node(api_version, kind, _struct)
    group, _, version = api_version.rpartition("/")
    plain = f"{version.capitalize()}{kind}"
    qualified = f"{group.partition('.')[0].capitalize() or 'Core'}{plain}"
    return _struct(qualified if hasattr(_models(), qualified) else plain)


def _models() -> Any:
    return import_module("kubernetes_asyncio.client.models")


def _struct(model_name: str) -> Node:
    if model_name in _read:
        return _read[model_name]
    model = getattr(_models(), model_name)
    match = _MODEL.fullmatch(model_name)
    if match is None:
        raise ValueError(f"{model_name!r} is no name of a model such as V1Deployment")
    name = match["struct"]
    # Known before it is complete, as a model may hold itself.
    node = _read[model_name] = Node(
        "object", go_type=f"{match['version'].lower()}.{name}", atomic_map=name in ATOMIC_STRUCTS
    )
    required: list[str] = []
    for attribute, type_ in model.openapi_types.items():
        field = model.attribute_map[attribute]
        place = f"{name}.{field}"
        child = replace(_field(place, STRUCTS_BESIDES.get(place, type_)), description=_description(model, attribute))
        node.fields[field] = child
        child.drop_empty |= place in OMITTED_ZEROS
        if _must_be_set(model, attribute):
            child.drop_empty = False
            # Go has no structs and booleans that are not set.
            if type_ != "bool" and not type_[0].isupper() and place not in NOT_REQUIRED:
                required.append(field)
    if not name.endswith(FREE_OF_REQUIRED) and not name.startswith("CustomResource"):
        node.required = tuple(required)
    for field, zero in ZEROS.get(name, {}).items():
        node.fields[field] = replace(node.fields[field], zero=zero, default=ABSENT if zero is None else zero)
    for field, value in DEFAULTS.get(name, {}).items():
        node.fields[field] = replace(node.fields[field], default=value)
    return node


def _description(model: Any, attribute: str) -> str:
    """Take the text from the docstring of the getter, where it stands between the title and the type."""
    parts = (getattr(model, attribute).__doc__ or "").split("\n\n")
    return parts[1].replace("# noqa: E501", "").strip() if len(parts) > 2 else ""


def _must_be_set(model: Any, attribute: str) -> bool:
    try:
        getattr(model, attribute).fset(_UNSET, None)
    except ValueError:
        return True
    return False


def _field(place: str, type_: str) -> Node:
    """Give the schema of one field, how it merges included."""
    node = _typed(place, type_)
    if keys := LIST_MAPS.get(place):
        joined_by = None if place in NOT_JOINED else keys.split()[0]
        node = replace(node, list_type="map", list_keys=tuple(keys.split()), merge_key=joined_by)
    elif place in LIST_SETS:
        node = replace(node, list_type="set")
    elif place in ATOMIC_MAPS or place in GRANULAR:
        node = replace(node, atomic_map=place in ATOMIC_MAPS)
    if place in JOINED_BESIDES:
        node = replace(node, merge_key=JOINED_BESIDES[place])
    if check := constraints.FIELDS.get(place):
        node = replace(node, checks=(check,))
    if place in RETAIN_KEYS or place in REPLACED:
        node = replace(node, retain_keys=place in RETAIN_KEYS, replace=place in REPLACED)
    return node


def _typed(place: str, type_: str) -> Node:
    container = _CONTAINER_TYPE.fullmatch(type_)
    if container is None:
        return _plain(place, type_)
    below = _typed(place, container["item"] or container["value"])
    if container["item"]:
        return Node("array", items=below, drop_empty=True, go_type=f"[]{below.go_type}")
    return Node("object", values=below, drop_empty=True, go_type=f"map[string]{below.go_type}")


def _plain(place: str, type_: str) -> Node:
    name = place.partition(".")[2]
    if place in QUANTITIES:
        return Node("quantity", go_type="resource.Quantity")
    if place in BASE64:
        return Node("string", "byte", go_type="[]uint8")
    if place in MICRO_TIMES:
        return Node("string", "micro-time", go_type="v1.MicroTime")
    if type_ == "int":
        size = "int64" if name in INT64 else "int32"
        return Node("integer", size, go_type=size)
    if type_ == "object":
        return Node(int_or_string=True, go_type="intstr.IntOrString") if name in INT_OR_STRING else Node(go_type="any")
    if type_ in _SCALARS:
        json_type, format_, go_type = _SCALARS[type_]
        return Node(json_type, format_, go_type=go_type)
    return _struct(type_)
