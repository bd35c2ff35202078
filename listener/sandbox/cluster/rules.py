"""What a real API server refuses of built-in kinds although each field alone is well: rules across fields and in time.

A table of rules per kind, worded as Kubernetes' `pkg/apis/*/validation` words them; the rules that people meet, not
all of them. Rules see an object with its defaults, whose fields are of the right types. What is wrong with one field
alone is in `constraints`; the metadata is the same for every kind, and not looked at here.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, Final

from listener.sandbox.cluster import openshift, webhook_faults
from listener.sandbox.cluster.constraints import PERCENT, PERCENT_RULE, label_selector, not_negative, port_or_name
from listener.sandbox.cluster.defaults import CONTAINERS, POD_SPECS
from listener.sandbox.cluster.field_errors import (
    FieldError,
    Struct,
    duplicate,
    forbidden,
    invalid,
    not_found,
    not_supported,
    required,
)
from listener.sandbox.cluster.quantity import amount

Object = dict[str, Any]
Rule = Callable[[Object, Object | None], Iterator[FieldError]]
"""Looks at an object and, on an update, at the stored one."""

IMMUTABLE: Final = "field is immutable"


def broken_rules(obj: Object, old: Object | None) -> Iterator[FieldError]:
    kind = (obj.get("apiVersion", ""), obj.get("kind", ""))
    for rule in _RULES.get(kind, ()):
        yield from rule(obj, old)
    path = POD_SPECS.get(kind)
    if path is not None:
        supplied = openshift.supplied(obj)
        yield from _pod(_at(obj, path), None if old is None else _at(old, path), ".".join(path), supplied)


def _at(obj: Object, path: tuple[str, ...]) -> Object:
    for name in path:
        obj = obj.get(name) or {}
    return obj


# Workloads


def _selects(selector: Object, labels: Mapping[str, str]) -> bool:
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    return all(_matches(each, labels) for each in selector.get("matchExpressions") or ())


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    operator = expression.get("operator")
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) == (operator == "Exists")


def _selector(noun: str, *, required_at_all: bool = True) -> Rule:
    def rule(obj: Object, _old: Object | None) -> Iterator[FieldError]:
        spec = obj.get("spec", {})
        selector = spec.get("selector")
        labels = _at(spec, ("template", "metadata")).get("labels")
        wrong = list(label_selector(selector or {}, "spec.selector"))
        yield from wrong
        if selector and wrong:
            named = Struct((name, selector[name]) for name in ("matchLabels", "matchExpressions") if name in selector)
            yield invalid("spec.selector", named, "invalid label selector")
            return
        if selector is None and required_at_all:
            yield required("spec.selector")
        elif selector == {}:
            yield invalid("spec.selector", {}, f"empty selector is invalid for {noun}")
            return
        if selector is None or not _selects(selector, labels or {}):
            yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")

    return rule


def _fixed(*path: str) -> Rule:
    """Refuse a change of one field. A field that goes shows as null."""

    def rule(obj: Object, old: Object | None) -> Iterator[FieldError]:
        if old is None:
            return
        now, before = _at(obj, path[:-1]).get(path[-1]), _at(old, path[:-1]).get(path[-1])
        if now != before:
            yield invalid(".".join(path), now, IMMUTABLE)

    return rule


def _amount(value: Any, path: str) -> Iterator[FieldError]:
    """Check a number or a percentage."""
    if isinstance(value, int):
        yield from not_negative(value, path)
    elif not PERCENT.fullmatch(str(value)):
        yield invalid(path, value, PERCENT_RULE)


def _is_zero(value: Any) -> bool:
    return value == 0 or (isinstance(value, str) and bool(re.fullmatch(r"0+%", value)))


def _deployment(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    spec = obj.get("spec", {})
    yield from _deployment_strategy(spec.get("strategy", {}), "spec.strategy")
    deadline, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds", 0)
    if deadline is not None and deadline <= ready:
        yield invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds")


def _deployment_strategy(strategy: Object, path: str) -> Iterator[FieldError]:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            yield forbidden(f"{path}.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    elif kind == "RollingUpdate":
        unavailable, surge = (rolling or {}).get("maxUnavailable", 0), (rolling or {}).get("maxSurge", 0)
        wrong = list(_amount(unavailable, f"{path}.rollingUpdate.maxUnavailable"))
        wrong += _amount(surge, f"{path}.rollingUpdate.maxSurge")
        yield from wrong
        if not wrong and _is_zero(unavailable) and _is_zero(surge):
            yield invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, "may not be 0 when `maxSurge` is 0")
        elif not wrong and isinstance(unavailable, str) and int(unavailable[:-1]) > 100:
            yield invalid(f"{path}.rollingUpdate.maxUnavailable", unavailable, "must not be greater than 100%")
    else:
        yield not_supported(path, _go_strategy(strategy), ("Recreate", "RollingUpdate"))


def _go_strategy(strategy: Object) -> Struct:
    """Give the struct as the server prints it, with Go's field names."""
    return Struct(Type=strategy.get("type", ""), RollingUpdate=strategy.get("rollingUpdate"))


def _daemon_set(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    strategy, path = _at(obj, ("spec", "updateStrategy")), "spec.updateStrategy"
    if strategy.get("type") == "RollingUpdate":
        rolling = strategy.get("rollingUpdate") or {}
        unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
        wrong = list(_amount(unavailable, f"{path}.rollingUpdate.maxUnavailable"))
        wrong += _amount(surge, f"{path}.rollingUpdate.maxSurge")
        yield from wrong
        if not wrong and _is_zero(unavailable) and _is_zero(surge):
            yield required(f"{path}.rollingUpdate.maxUnavailable", "cannot be 0 when maxSurge is 0")
        elif not wrong and not _is_zero(unavailable) and not _is_zero(surge):
            why = "may not be set when maxUnavailable is non-zero"
            yield invalid(f"{path}.rollingUpdate.maxSurge", surge, why)
    elif strategy.get("type") != "OnDelete":
        yield not_supported(path, _go_strategy(strategy), ("RollingUpdate", "OnDelete"))


_STATEFUL_SET_MAY_CHANGE: Final = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def _stateful_set(obj: Object, old: Object | None) -> Iterator[FieldError]:
    spec = obj.get("spec", {})
    if spec.get("podManagementPolicy") not in ("OrderedReady", "Parallel"):
        yield invalid(
            "spec.podManagementPolicy", spec.get("podManagementPolicy"), "must be 'OrderedReady' or 'Parallel'"
        )
    strategy = spec.get("updateStrategy", {})
    if strategy.get("type") not in ("RollingUpdate", "OnDelete"):
        yield invalid("spec.updateStrategy", _go_strategy(strategy), "must be 'RollingUpdate' or 'OnDelete'")
    if old is not None and _without(spec, _STATEFUL_SET_MAY_CHANGE) != _without(old["spec"], _STATEFUL_SET_MAY_CHANGE):
        *first, last = (f"'{name}'" for name in _STATEFUL_SET_MAY_CHANGE)
        fields = f"{', '.join(first)} and {last}"
        yield forbidden("spec", f"updates to statefulset spec for fields other than {fields} are forbidden")


def _without(obj: Object, names: tuple[str, ...]) -> Object:
    return {name: value for name, value in obj.items() if name not in names}


def _replication_controller(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    spec = obj.get("spec", {})
    selector, template = spec.get("selector") or {}, spec.get("template")
    if not selector:
        yield required("spec.selector")
    if template is None:
        yield required("spec.template")
        return
    labels = _at(template, ("metadata",)).get("labels")
    if selector and not _selects({"matchLabels": selector}, labels or {}):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _restart_always(obj, None)


def _restart_always(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    policy = _at(obj, ("spec", "template", "spec")).get("restartPolicy")
    if policy != "Always":
        yield not_supported("spec.template.spec.restartPolicy", policy, ("Always",))


def _ends(path: str) -> Rule:
    """The pods of a job must be able to end."""

    def rule(obj: Object, _old: Object | None) -> Iterator[FieldError]:
        policy = _at(obj, tuple(path.split("."))).get("restartPolicy")
        if policy == "Always":
            yield required(f"{path}.restartPolicy", 'valid values: "OnFailure", "Never"')
        elif policy not in ("OnFailure", "Never"):
            yield not_supported(f"{path}.restartPolicy", policy, ("OnFailure", "Never"))

    return rule


def _job(obj: Object, old: Object | None) -> Iterator[FieldError]:
    spec = obj.get("spec", {})
    selector, uid = spec.get("selector"), obj.get("metadata", {}).get("uid", "")
    own = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    if selector is None:
        yield required("spec.selector")
    elif not spec.get("manualSelector") and selector != own:
        yield invalid("spec.selector", selector, "`selector` not auto-generated")
    wrong = list(label_selector(selector or {}, "spec.selector"))
    yield from wrong
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        yield required("spec.completions", "when completion mode is Indexed")
    labels = _at(spec, ("template", "metadata")).get("labels")
    if selector is None or not (wrong or _selects(selector, labels or {})):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    if old is not None:
        yield from _completions(spec, old["spec"])
        yield from _FIXED_SELECTOR(obj, old)
        yield from _job_template(obj, old)
        for rule in _FIXED_OF_JOBS:
            yield from rule(obj, old)


def _completions(spec: Object, old: Object) -> Iterator[FieldError]:
    """Refuse another number of completions; an Indexed job may grow and shrink as a whole."""
    completions = spec.get("completions")
    if completions == old.get("completions"):
        return
    if spec.get("completionMode") != "Indexed":
        yield invalid("spec.completions", completions, IMMUTABLE)
    elif completions is not None and completions != spec.get("parallelism"):
        yield invalid("spec.completions", completions, "can only be modified in tandem with spec.parallelism")


def _job_template(obj: Object, old: Object) -> Iterator[FieldError]:
    """Refuse another template. While a job waits, suspended, what says where it runs may still change: no image."""
    template, before = _at(obj, ("spec", "template")), _at(old, ("spec", "template"))
    if not _waits(old):
        if template != before:
            yield invalid("spec.template", template, IMMUTABLE)
    elif _placeless(template.get("spec", {})) != _placeless(before.get("spec", {})):
        yield invalid("spec.template.spec", template.get("spec"), IMMUTABLE)


def _waits(job: Object) -> bool:
    """Whether a job is suspended, and either has not begun yet or its pods are gone."""
    status = job.get("status") or {}
    stopped = any(
        each.get("type") == "Suspended" and each.get("status") == "True" for each in status.get("conditions") or ()
    )
    return bool(job["spec"].get("suspend")) and (stopped or "startTime" not in status)


def _placeless(spec: Object) -> Object:
    """Give what of a waiting job's pods cannot be changed any more."""
    kept = _without(spec, ("nodeSelector", "tolerations", "schedulingGates"))
    kept["affinity"] = _without(spec.get("affinity") or {}, ("nodeAffinity",))
    for field in CONTAINERS[:2]:
        kept[field] = [_without(container, ("resources",)) for container in spec.get(field, [])]
    return kept


def _cron_job(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    schedule = _at(obj, ("spec",)).get("schedule") or ""
    if schedule and (problem := schedule_problem(schedule)):
        yield invalid("spec.schedule", schedule, problem)


_BOUNDS: Final = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
_MONTH_NAMES: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = {name: at + 1 for at, name in enumerate(_MONTH_NAMES)}
_DAYS: Final = {name: at for at, name in enumerate(_DAY_NAMES)}
_NAMES: Final[tuple[Mapping[str, int], ...]] = ({}, {}, {}, _MONTHS, _DAYS)
_DESCRIPTORS: Final = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def schedule_problem(schedule: str) -> str | None:
    """Say why a cron schedule cannot be read, in the words of the parser that Kubernetes uses, or `None`."""
    if "TZ" in schedule:
        return "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
    if schedule.startswith("@"):
        known = schedule in _DESCRIPTORS or re.fullmatch(r"@every ([0-9.]+(h|m|s|ms|us|ns))+", schedule)
        return None if known else f"unrecognized descriptor: {schedule}"
    fields = schedule.split()
    if len(fields) != 5:
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    problems = (
        _range_problem(part, bounds, names)
        for field, bounds, names in zip(fields, _BOUNDS, _NAMES, strict=True)
        for part in field.split(",")
    )
    return next(filter(None, problems), None)


def _range_problem(part: str, bounds: tuple[int, int], names: Mapping[str, int]) -> str | None:
    span, slash, step = part.partition("/")
    ends = [] if span in ("*", "?") else span.split("-")
    if len(ends) > 2:
        return f"too many hyphens: {part}"
    for text in [*ends, *([step] if slash else [])]:
        if text.lower() not in names and not text.isdigit():
            return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    if slash and int(step) == 0:
        return f"step of range should be a positive number: {part}"
    numbers = [names.get(text.lower(), -1) if text.lower() in names else int(text) for text in ends]
    if numbers and numbers[0] < bounds[0]:
        return f"beginning of range ({numbers[0]}) below minimum ({bounds[0]}): {part}"
    if numbers and numbers[-1] > bounds[1]:
        return f"end of range ({numbers[-1]}) above maximum ({bounds[1]}): {part}"
    if len(numbers) == 2 and numbers[0] > numbers[1]:
        return f"beginning of range ({numbers[0]}) beyond end of range ({numbers[1]}): {part}"
    return None


# Pods


def _pod(spec: Object, old: Object | None, path: str, supplied: Collection[str] = ()) -> Iterator[FieldError]:
    """Check a pod spec. The images of `supplied` containers are still to come."""
    if spec is old:
        return
    volumes = {volume.get("name"): None for volume in spec.get("volumes", [])}
    yield from _twice(spec.get("volumes", []), f"{path}.volumes", {})
    names: dict[str, None] = {}
    for field in reversed(CONTAINERS):
        containers = spec.get(field, [])
        yield from _twice(containers, f"{path}.{field}", names)
        for place, container in enumerate(containers):
            where = f"{path}.{field}[{place}]"
            image = container.get("image", "")
            if not image and field == "containers" and container.get("name") in supplied:
                continue
            if not image:
                yield required(f"{where}.image")
            elif path == "spec" and image.strip() != image:
                yield invalid(f"{where}.image", image, "must not have leading or trailing whitespace")
            yield from _resources(container.get("resources", {}), f"{where}.resources")
            for at, mount in enumerate(container.get("volumeMounts", [])):
                name = mount.get("name")
                if name and name not in volumes:
                    yield not_found(f"{where}.volumeMounts[{at}].name", name)


def _resources(resources: Object, path: str) -> Iterator[FieldError]:
    limits = resources.get("limits", {})
    for name, request in resources.get("requests", {}).items():
        limit = limits.get(name)
        if limit is not None and amount(request) > amount(limit):
            why = f"must be less than or equal to {name} limit of {limit}"
            yield invalid(f"{path}.requests", request, why)


def _twice(items: list[Object], path: str, seen: dict[str, None]) -> Iterator[FieldError]:
    for place, item in enumerate(items):
        name = item.get("name")
        if name and name in seen:
            yield duplicate(f"{path}[{place}].name", name)
        elif name:
            seen[name] = None


_POD_MAY_CHANGE: Final = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _running_pod(obj: Object, old: Object | None) -> Iterator[FieldError]:
    if old is None:
        return
    spec, before = obj.get("spec", {}), old.get("spec", {})
    for field in CONTAINERS[:2]:
        if len(spec.get(field, [])) != len(before.get(field, [])):
            yield forbidden(f"spec.{field}", "pod updates may not add or remove containers")
            return
    late = list(_deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")))
    yield from late
    if late:
        return
    for toleration in before.get("tolerations") or ():
        if not any(_tolerates_the_same(toleration, each) for each in spec.get("tolerations") or ()):
            yield forbidden("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
            break
    gates = {gate.get("name") for gate in before.get("schedulingGates") or ()}
    for place, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate.get("name") not in gates:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            yield forbidden(f"spec.schedulingGates[{place}].name", why)
    if _settled(spec, before) != _settled(before, before):
        yield forbidden("spec", _POD_MAY_CHANGE)


def _deadline(seconds: int | None, before: int | None) -> Iterator[FieldError]:
    """Let a pod's deadline come nearer, and never go again."""
    if before is None or seconds == before:
        return
    if seconds is None:
        why = "must not update from a positive integer to nil value"
        yield invalid("spec.activeDeadlineSeconds", None, why)
    elif seconds > before:
        yield invalid("spec.activeDeadlineSeconds", seconds, "must be less than or equal to previous value")


def _tolerates_the_same(one: Object, other: Object) -> bool:
    return _without(one, ("tolerationSeconds",)) == _without(other, ("tolerationSeconds",))


def _settled(spec: Object, before: Object) -> Object:
    """Give what of a pod cannot be changed any more."""
    kept = _without(spec, ("activeDeadlineSeconds", "tolerations", "schedulingGates"))
    grace = "terminationGracePeriodSeconds"
    if before.get(grace, 0) < 0 and spec.get(grace) == 1:
        kept[grace] = before[grace]
    for field in CONTAINERS[:2]:
        kept[field] = [_without(container, ("image",)) for container in spec.get(field, [])]
    return kept


# The rest


def _service(obj: Object, old: Object | None) -> Iterator[FieldError]:
    spec = obj.get("spec", {})
    ports = spec.get("ports", [])
    if spec.get("type") == "ExternalName":
        if not spec.get("externalName"):
            yield required("spec.externalName")
    elif not ports and spec.get("clusterIP") != "None":
        yield required("spec.ports")
    for place, port in enumerate(ports):
        where = f"spec.ports[{place}]"
        if len(ports) > 1 and not port.get("name"):
            yield required(f"{where}.name")
        yield from port_or_name(port.get("port", 0), f"{where}.port")
        yield from port_or_name(port.get("targetPort", 0), f"{where}.targetPort")
    yield from _twice(ports, "spec.ports", {})
    before = _at(old or {}, ("spec",)).get("clusterIP")
    if (
        before
        and spec.get("clusterIP") not in (None, before)
        and "ExternalName"
        not in (
            spec.get("type"),
            _at(old or {}, ("spec",)).get("type"),
        )
    ):
        yield invalid("spec.clusterIPs[0]", [spec["clusterIP"]], "may not change once set")


def _frozen(*fields: str) -> Rule:
    """Hold a ConfigMap or Secret to its `immutable`."""

    def rule(obj: Object, old: Object | None) -> Iterator[FieldError]:
        if not (old and old.get("immutable")):
            return
        held = [name for name in fields if obj.get(name) != old.get(name)]
        if not obj.get("immutable"):
            held.insert(0, "immutable")
        yield from (forbidden(name, "field is immutable when `immutable` is set") for name in held)

    return rule


_SECRET_KEYS: Final = {
    "kubernetes.io/basic-auth": ("username", "password"),
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}


def _secret(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    data, kind = obj.get("data", {}), obj.get("type", "")
    missing = [key for key in _SECRET_KEYS.get(kind, ()) if key not in data]
    if kind == "kubernetes.io/basic-auth" and len(missing) == 1:
        return
    yield from (required(f"data[{key}]") for key in missing)
    for key in (".dockercfg", ".dockerconfigjson"):
        if key in data and key in _SECRET_KEYS.get(kind, ()):
            try:
                json.loads(base64.b64decode(data[key]))
            except ValueError as error:
                yield invalid(f"data[{key}]", "<secret contents redacted>", str(error))


def _config_map(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    for key in obj.get("data", {}):
        if key in obj.get("binaryData", {}):
            yield invalid(f"data[{key}]", key, "duplicate of key present in binaryData")


def _event(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    namespace = _at(obj, ("involvedObject",)).get("namespace", "")
    # Events about what has no namespace go to the default one.
    if namespace != obj.get("metadata", {}).get("namespace") and not (
        not namespace and obj.get("metadata", {}).get("namespace") == "default"
    ):
        yield invalid("involvedObject.namespace", namespace, "does not match event.namespace")


def _role(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    for place, rule in enumerate(obj.get("rules") or ()):
        if not rule.get("verbs"):
            yield required(f"rules[{place}].verbs", "verbs must contain at least one value")
        if not rule.get("nonResourceURLs") and not rule.get("apiGroups"):
            yield required(f"rules[{place}].apiGroups", "resource rules must supply at least one api group")
        if not rule.get("nonResourceURLs") and not rule.get("resources"):
            yield required(f"rules[{place}].resources", "resource rules must supply at least one resource")


_FIXED_SELECTOR: Final = _fixed("spec", "selector")
_FIXED_OF_JOBS: Final = tuple(
    _fixed("spec", name)
    for name in ("podFailurePolicy", "completionMode", "backoffLimitPerIndex", "managedBy", "successPolicy")
)
_RULES: Final[dict[tuple[str, str], tuple[Rule, ...]]] = {
    ("apps/v1", "DaemonSet"): (
        _selector("daemonset", required_at_all=False),
        _restart_always,
        _daemon_set,
        _FIXED_SELECTOR,
    ),
    ("apps/v1", "Deployment"): (_selector("deployment"), _restart_always, _deployment, _FIXED_SELECTOR),
    ("apps/v1", "ReplicaSet"): (_selector("deployment"), _restart_always, _FIXED_SELECTOR),
    ("apps/v1", "StatefulSet"): (_selector("statefulset"), _restart_always, _stateful_set),
    ("batch/v1", "CronJob"): (_cron_job, _ends("spec.jobTemplate.spec.template.spec")),
    ("batch/v1", "Job"): (_job, _ends("spec.template.spec")),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): (_role,),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): (_fixed("roleRef"),),
    ("rbac.authorization.k8s.io/v1", "Role"): (_role,),
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): (_fixed("roleRef"),),
    ("v1", "ConfigMap"): (_config_map, _frozen("data", "binaryData")),
    ("v1", "Event"): (_event,),
    ("v1", "Pod"): (_running_pod,),
    ("v1", "ReplicationController"): (_replication_controller,),
    ("v1", "Secret"): (_secret, _fixed("type"), _frozen("data")),
    ("v1", "Service"): (_service,),
    **openshift.RULES,
    **webhook_faults.RULES,
}
