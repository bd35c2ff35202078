"""`meta.k8s.io/v1` Tables: what `kubectl get` prints, columns and cells for each kind, and for custom types their
printer columns.

Pure: the objects and the time are handed in. The columns are those of kube-apiserver 1.36.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from listener.sandbox.cluster import jsonpath
from listener.sandbox.cluster.resources import Column, Resource

Object = dict[str, Any]
Cells = Callable[[Object, datetime], list[Any]]
_NONE = "<none>"
_UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Layout:
    """A kind's columns and how its cells are read from an object."""

    columns: tuple[Column, ...]
    cells: Cells

    def definitions(self) -> list[Object]:
        return [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in self.columns
        ]


def layout(resource: Resource) -> Layout:
    if resource.custom:
        return _custom(resource.columns) if resource.columns else _PLAIN_CUSTOM
    return _LAYOUTS.get(resource.storage, _PLAIN)


def table(columns: list[Object] | None, rows: list[Object], metadata: Object) -> Object:
    """Return a Table; `columns` is None in a watch behind the first event."""
    found: Object = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    found["columnDefinitions"] = columns
    found["rows"] = rows
    return found


def partial(obj: Object) -> Object:
    """Return the object's `PartialObjectMetadata`."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj["metadata"]}


def human(elapsed: timedelta) -> str:
    """Return a duration as `kubectl` shows ages, shorter the older: 59s, 9m30s, 47h, 7d3h, 2y1d."""
    seconds = int(elapsed.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 0:
        return "0s"
    for limit, unit, rest in _AGES:
        if seconds < limit:
            whole, left = divmod(seconds, _SECONDS[unit])
            finer = left // _SECONDS[rest] if rest else 0
            return f"{whole}{unit}{finer}{rest}" if finer else f"{whole}{unit}"
    return f"{seconds // _SECONDS['y']}y"


_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_AGES = (
    (120, "s", ""),
    (600, "m", "s"),
    (3 * 3600, "m", ""),
    (8 * 3600, "h", "m"),
    (48 * 3600, "h", ""),
    (8 * 86400, "d", "h"),
    (2 * 365 * 86400, "d", ""),
    (8 * 365 * 86400, "y", "d"),
)


def _since(moment: Any, now: datetime) -> str:
    if not isinstance(moment, str) or not moment:
        return _UNKNOWN
    try:
        return human(now - datetime.fromisoformat(moment))
    except ValueError:
        return _UNKNOWN


def _age(obj: Object, now: datetime) -> str:
    return _since(obj["metadata"].get("creationTimestamp"), now)


def _name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def _spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def _status(obj: Object) -> Object:
    return obj.get("status") or {}


def _labels(labels: Object | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or _NONE


def _selector(selector: Object | None) -> str:
    """Show a LabelSelector as `metav1.FormatLabelSelector` does."""
    terms = [f"{key}={value}" for key, value in sorted(((selector or {}).get("matchLabels") or {}).items())]
    for each in (selector or {}).get("matchExpressions") or ():
        key, values = each.get("key", ""), ",".join(sorted(each.get("values") or ()))
        match each.get("operator"):
            case "In":
                terms.append(f"{key} in ({values})")
            case "NotIn":
                terms.append(f"{key} notin ({values})")
            case "Exists":
                terms.append(key)
            case "DoesNotExist":
                terms.append(f"!{key}")
    return ",".join(terms) or _NONE


def _containers(pod_spec: Object) -> list[Any]:
    """Return the cells Containers and Images."""
    containers = pod_spec.get("containers") or []
    return [",".join(each.get(name, "") for each in containers) for name in ("name", "image")]


def _template(obj: Object) -> list[Any]:
    return _containers((_spec(obj).get("template") or {}).get("spec") or {})


def _deployment(obj: Object, now: datetime) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    ready = f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}"
    counts = [status.get("updatedReplicas", 0), status.get("availableReplicas", 0)]
    return [_name(obj), ready, *counts, _age(obj, now), *_template(obj), _selector(spec.get("selector"))]


def _stateful_set(obj: Object, now: datetime) -> list[Any]:
    ready = f"{_status(obj).get('readyReplicas', 0)}/{_spec(obj).get('replicas', 0)}"
    return [_name(obj), ready, _age(obj, now), *_template(obj)]


def _daemon_set(obj: Object, now: datetime) -> list[Any]:
    names = (
        "desiredNumberScheduled",
        "currentNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
    )
    counts = [_status(obj).get(name, 0) for name in names]
    nodes = _labels(((_spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector"))
    return [_name(obj), *counts, nodes, _age(obj, now), *_template(obj), _selector(_spec(obj).get("selector"))]


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    status, spec = _status(obj), _spec(obj)
    counts = [spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0)]
    return [_name(obj), *counts, _age(obj, now), *_template(obj), _selector(spec.get("selector"))]


def _replication_controller(obj: Object, now: datetime) -> list[Any]:
    return [*_replica_set(obj, now)[:-1], _labels(_spec(obj).get("selector"))]


def _cron_job(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    last = status.get("lastScheduleTime")
    job = (spec.get("jobTemplate") or {}).get("spec") or {}
    return [
        _name(obj),
        spec.get("schedule", ""),
        spec.get("timeZone") or _NONE,
        "True" if spec.get("suspend") else "False",
        len(status.get("active") or ()),
        _since(last, now) if last else _NONE,
        _age(obj, now),
        *_containers((job.get("template") or {}).get("spec") or {}),
        _selector(job.get("selector")),
    ]


def _job(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    held = {each["type"] for each in status.get("conditions") or () if each.get("status") == "True"}
    shown = "Running"
    for condition, word in (("Complete", "Complete"), ("Failed", "Failed"), ("Suspended", "Suspended")):
        if condition in held:
            shown = word
            break
    else:
        shown = "Suspended" if spec.get("suspend") else shown
    completions = f"{status.get('succeeded', 0)}/{spec.get('completions') or spec.get('parallelism') or 1}"
    started, ended = status.get("startTime"), status.get("completionTime")
    until = datetime.fromisoformat(ended) if ended else now
    duration = _since(started, until) if started else ""
    return [_name(obj), shown, completions, duration, _age(obj, now), *_template(obj), _selector(spec.get("selector"))]


def _pod(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    sidecars = {each["name"] for each in spec.get("initContainers") or () if each.get("restartPolicy") == "Always"}
    statuses = [each for each in status.get("initContainerStatuses") or () if each["name"] in sidecars]
    statuses += status.get("containerStatuses") or ()
    ready = f"{sum(1 for each in statuses if each.get('ready'))}/{len(spec.get('containers') or ()) + len(sidecars)}"
    ended: list[Object] = [
        (each.get("state") or {}).get("terminated") or {} for each in status.get("containerStatuses") or ()
    ]
    phase = status.get("reason") or status.get("phase", "")
    if obj["metadata"].get("deletionTimestamp"):
        phase = "Terminating"
    elif ended and all(ended):
        phase = ended[0].get("reason") or phase
    restarts = str(sum(each.get("restartCount", 0) for each in statuses))
    node, nominated = spec.get("nodeName") or _NONE, status.get("nominatedNodeName") or _NONE
    return [_name(obj), ready, phase, restarts, _age(obj, now), status.get("podIP") or _NONE, node, nominated, _NONE]


def _service(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    external = ",".join(spec.get("externalIPs") or ()) or spec.get("externalName") or _NONE
    ports = []
    for port in spec.get("ports") or ():
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    kind, address = spec.get("type", "ClusterIP"), spec.get("clusterIP") or _NONE
    shown = ",".join(ports) or _NONE
    return [_name(obj), kind, address, external, shown, _age(obj, now), _labels(spec.get("selector"))]


def _endpoints(obj: Object, now: datetime) -> list[Any]:
    found = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    ]
    more = f" + {len(found) - 3} more..." if len(found) > 3 else ""
    return [_name(obj), (",".join(found[:3]) + more) or _NONE, _age(obj, now)]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("data") or ()) + len(obj.get("binaryData") or ()), _age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("type", ""), len(obj.get("data") or ()), _age(obj, now)]


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _status(obj).get("phase", ""), _age(obj, now)]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _spec(obj).get("holderIdentity") or "", _age(obj, now)]


def _event(obj: Object, now: datetime) -> list[Any]:
    involved, source = obj.get("involvedObject") or {}, obj.get("source") or {}
    series = obj.get("series") or {}
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    last = series.get("lastObservedTime") or obj.get("lastTimestamp") or first
    target = f"{str(involved.get('kind', '')).lower()}/{involved.get('name')}"
    component, instance = obj.get("reportingComponent"), obj.get("reportingInstance")
    reporter = ", ".join(filter(None, (source.get("component") or component, source.get("host") or instance)))
    return [
        _since(last, now),
        obj.get("type", ""),
        obj.get("reason", ""),
        target if involved.get("name") else target[:-5],
        involved.get("fieldPath", ""),
        reporter,
        str(obj.get("message", "")).strip(),
        _since(first, now),
        series.get("count") or obj.get("count") or 1,
        _name(obj),
    ]


def _created_at(obj: Object, _: datetime) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _binding(obj: Object, now: datetime) -> list[Any]:
    role, subjects = obj.get("roleRef") or {}, obj.get("subjects") or []
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for each in subjects:
        prefix = f"{each.get('namespace', '')}/" if each.get("kind") == "ServiceAccount" else ""
        named.setdefault(str(each.get("kind")), []).append(prefix + str(each.get("name")))
    listed = [", ".join(named[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [_name(obj), f"{role.get('kind')}/{role.get('name')}", _age(obj, now), *listed]


def _budget(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    bounds = [str(spec.get(name, "N/A")) for name in ("minAvailable", "maxUnavailable")]
    return [_name(obj), *bounds, _status(obj).get("disruptionsAllowed", 0), _age(obj, now)]


def _network_policy(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _selector(_spec(obj).get("podSelector")), _age(obj, now)]


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    hosts = ",".join(each["host"] for each in spec.get("rules") or () if each.get("host")) or "*"
    points = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    address = ",".join(str(each.get("ip") or each.get("hostname")) for each in points)
    ports = "80, 443" if spec.get("tls") else "80"
    return [_name(obj), spec.get("ingressClassName") or _NONE, hosts, address, ports, _age(obj, now)]


def _revision(obj: Object, now: datetime) -> list[Any]:
    owner = next((each for each in obj["metadata"].get("ownerReferences") or () if each.get("controller")), None)
    controller = f"{owner['kind'].lower()}.{owner['apiVersion'].rpartition('/')[0]}/{owner['name']}" if owner else _NONE
    return [_name(obj), controller, str(obj.get("revision", "")), _age(obj, now)]


def _deployment_config(obj: Object, _: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    desired = f"{spec.get('replicas', 0)}{' (during test)' if spec.get('test') else ''}"
    containers = {each["name"] for each in ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()}
    triggers = {_deployment_trigger(each, containers) for each in spec.get("triggers") or ()}
    counts = [status.get("latestVersion", 0), desired, status.get("updatedReplicas", 0)]
    return [_name(obj), *counts, ",".join(sorted(triggers - {""}))]


def _deployment_trigger(trigger: Object, containers: set[str]) -> str:
    parameters = trigger.get("imageChangeParams") or {}
    if trigger.get("type") == "ConfigChange":
        return "config"
    if trigger.get("type") != "ImageChange":
        return str(trigger.get("type", ""))
    if not parameters.get("automatic"):
        return ""
    names, source = parameters.get("containerNames") or [], parameters.get("from") or {}
    prefix = f"{','.join(sorted(names))}:" if len(containers) != 1 and not containers >= set(names) else ""
    kind = "image" if source.get("kind") == "ImageStreamTag" else source.get("kind", "")
    return f"{kind}({prefix}{source.get('name', '')})"


def _build_config(obj: Object, _: datetime) -> list[Any]:
    custom = ((_spec(obj).get("strategy") or {}).get("customStrategy") or {}).get("from") or {}
    kind, source = _built(obj)
    return [_name(obj), kind, custom.get("name") or source, _status(obj).get("lastVersion", 0)]


def _build(obj: Object, now: datetime) -> list[Any]:
    status = _status(obj)
    reason, started = status.get("reason"), status.get("startTimestamp")
    phase = f"{status.get('phase', '')} ({reason})" if reason else status.get("phase", "")
    duration = human(timedelta(microseconds=status["duration"] // 1000)) if status.get("duration") else ""
    return [_name(obj), *_built(obj), phase, f"{_since(started, now)} ago" if started else "", duration]


def _built(obj: Object) -> list[str]:
    """Return by which strategy, and from what, a build is made."""
    strategy, source = _spec(obj).get("strategy") or {}, _spec(obj).get("source") or {}
    kind = next((name for field, name in _STRATEGIES.items() if field in strategy), "")
    names = {"dockerfile": "Dockerfile", "binary": "Binary", "git": "Git"}
    found = [name for field, name in names.items() if source.get(field) is not None]
    reference = (source.get("git") or {}).get("ref")
    return [kind, ",".join(found) + (f"@{reference}" if reference else "")]


_STRATEGIES = {
    "dockerStrategy": "Docker",
    "customStrategy": "Custom",
    "sourceStrategy": "Source",
    "jenkinsPipelineStrategy": "JenkinsPipeline",
}


def _webhooks(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("webhooks") or ()), _age(obj, now)]


def _plain(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _age(obj, now)]


def _custom(declared: tuple[Column, ...]) -> Layout:
    def cells(obj: Object, now: datetime) -> list[Any]:
        return [_name(obj), *(_cell(column, jsonpath.first(obj, column.path), now) for column in declared)]

    return Layout((_NAME, *declared), cells)


def _cell(column: Column, value: Any, now: datetime) -> Any:
    if value is None:
        return None
    match column.type:
        case "date":
            return _since(value, now)
        case "integer":
            return int(value) if isinstance(value, int | float) else None
        case "number":
            return value if isinstance(value, int | float) else None
        case "boolean":
            return value if isinstance(value, bool) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def _columns(text: str) -> tuple[Column, ...]:
    """Read `Ready | Age | *Images | Desired:integer`: a star stands for a column that only `-o wide` shows."""
    return tuple(_described(part.strip()) for part in text.split("|"))


def _described(part: str) -> Column:
    name, _, kind = part.lstrip("*").partition(":")
    return Column(
        name, kind or "string", "", priority=int(part.startswith("*")), format="name" if name == "Name" else ""
    )


_NAME = Column(
    "Name", "string", ".metadata.name", "The object's name, unique within its namespace and type.", 0, "name"
)
_PLAIN = Layout(_columns("Name | Age"), _plain)
_PLAIN_CUSTOM = _custom((Column("Age", "date", ".metadata.creationTimestamp", "When the object was created."),))
_IMAGES = "*Containers | *Images"
_COUNTED = f"Name | Desired:integer | Current:integer | Ready:integer | Age | {_IMAGES} | *Selector"
_EVENT = "Last Seen | Type | Reason | Object | *Subobject | *Source | Message | *First Seen | *Count | *Name"
_BOUND = "Name | Role | Age | *Users | *Groups | *ServiceAccounts"
_RBAC = "rbac.authorization.k8s.io"
_LAYOUTS: dict[tuple[str, str], Layout] = {
    ("", "configmaps"): Layout(_columns("Name | Data | Age"), _config_map),
    ("", "endpoints"): Layout(_columns("Name | Endpoints | Age"), _endpoints),
    ("", "events"): Layout(_columns(_EVENT), _event),
    ("", "namespaces"): Layout(_columns("Name | Status | Age"), _namespace),
    ("", "pods"): Layout(
        _columns("Name | Ready | Status | Restarts | Age | *IP | *Node | *Nominated Node | *Readiness Gates"), _pod
    ),
    ("", "replicationcontrollers"): Layout(_columns(_COUNTED), _replication_controller),
    ("", "secrets"): Layout(_columns("Name | Type | Data | Age"), _secret),
    ("", "services"): Layout(_columns("Name | Type | Cluster-IP | External-IP | Port(s) | Age | *Selector"), _service),
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): Layout(
        _columns("Name | Webhooks:integer | Age"), _webhooks
    ),
    ("apps", "controllerrevisions"): Layout(_columns("Name | Controller | Revision | Age"), _revision),
    ("apps", "daemonsets"): Layout(
        _columns(
            "Name | Desired:integer | Current:integer | Ready:integer | Up-to-date:integer | Available:integer | "
            f"Node Selector | Age | {_IMAGES} | *Selector"
        ),
        _daemon_set,
    ),
    ("apps", "deployments"): Layout(
        _columns(f"Name | Ready | Up-to-date | Available | Age | {_IMAGES} | *Selector"), _deployment
    ),
    ("apps", "replicasets"): Layout(_columns(_COUNTED), _replica_set),
    ("apps", "statefulsets"): Layout(_columns(f"Name | Ready | Age | {_IMAGES}"), _stateful_set),
    ("batch", "cronjobs"): Layout(
        _columns(
            "Name | Schedule | Timezone | Suspend:boolean | Active:integer | Last Schedule | Age | "
            f"{_IMAGES} | *Selector"
        ),
        _cron_job,
    ),
    ("batch", "jobs"): Layout(_columns(f"Name | Status | Completions | Duration | Age | {_IMAGES} | *Selector"), _job),
    ("apps.openshift.io", "deploymentconfigs"): Layout(
        _columns("Name | Revision | Desired | Current | Triggered By"), _deployment_config
    ),
    ("build.openshift.io", "buildconfigs"): Layout(_columns("Name | Type | From | Latest"), _build_config),
    ("build.openshift.io", "builds"): Layout(_columns("Name | Type | From | Status | Started | Duration"), _build),
    ("coordination.k8s.io", "leases"): Layout(_columns("Name | Holder | Age"), _lease),
    ("networking.k8s.io", "ingresses"): Layout(_columns("Name | Class | Hosts | Address | Ports | Age"), _ingress),
    ("networking.k8s.io", "networkpolicies"): Layout(_columns("Name | Pod-Selector | Age"), _network_policy),
    ("policy", "poddisruptionbudgets"): Layout(
        _columns("Name | Min Available | Max Unavailable | Allowed Disruptions:integer | Age"), _budget
    ),
    (_RBAC, "clusterrolebindings"): Layout(_columns(_BOUND), _binding),
    (_RBAC, "clusterroles"): Layout(_columns("Name | Created At:date"), _created_at),
    (_RBAC, "rolebindings"): Layout(_columns(_BOUND), _binding),
    (_RBAC, "roles"): Layout(_columns("Name | Created At:date"), _created_at),
    ("apiextensions.k8s.io", "customresourcedefinitions"): Layout(_columns("Name | Created At:date"), _created_at),
}


def rows(resource: Resource, objects: Iterable[Object], now: datetime, include: str) -> list[Object]:
    """Return the rows for stored objects. `include` is the request's includeObject: `Metadata`, `Object` or `None`."""
    cells = layout(resource).cells
    found = []
    for obj in objects:
        shown: Object | None = partial(obj) if include == "Metadata" else obj if include == "Object" else None
        found.append({"cells": cells(obj, now), "object": shown})
    return found
