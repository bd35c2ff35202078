"""Which webhooks concern a request: the rules and selectors of MutatingWebhookConfigurations.

Pure: configurations and requests in, verdicts out. The order, the reinvocation and the calls are in `admission`; what
is wrong with a configuration is in `webhook_faults`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from listener.sandbox.cluster import cel
from listener.sandbox.cluster.access import User
from listener.sandbox.cluster.resources import ADMISSION, Resource
from listener.sandbox.cluster.selectors import LabelSelector, Requirement

Object = dict[str, Any]
NAMESPACES = ("", "namespaces")


@dataclass(frozen=True, slots=True)
class Request:
    """What admission is asked.

    `obj` is None for a deletion, `old` for a creation. `subresource` is empty for the object itself. `options` is the
    options object.
    """

    resource: Resource
    subresource: str
    operation: str
    namespace: str
    name: str
    obj: Object | None
    old: Object | None
    options: Object
    dry_run: bool
    user: User


@dataclass(frozen=True, slots=True)
class Rule:
    """One of a webhook's rules. `resources` are pairs of a plural and a subresource."""

    operations: frozenset[str]
    groups: frozenset[str]
    versions: frozenset[str]
    resources: tuple[tuple[str, str], ...]
    scope: str

    def matches(self, resource: Resource, subresource: str, operation: str) -> bool:
        return (
            _among(operation, self.operations)
            and _among(resource.group, self.groups)
            and _among(resource.version, self.versions)
            and self.scope in {"*", "Namespaced" if resource.namespaced else "Cluster"}
            and any(plural in {"*", resource.plural} and part in {"*", subresource} for plural, part in self.resources)
        )


@dataclass(frozen=True, slots=True)
class Condition:
    name: str
    expression: cel.Expression


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook. `key` tells it from all others, in whichever configuration they are."""

    key: str
    name: str
    client: Object
    rules: tuple[Rule, ...]
    equivalent: bool
    namespaces: LabelSelector
    objects: LabelSelector
    conditions: tuple[Condition, ...]
    fails: bool
    again: bool
    timeout_seconds: int
    versions: tuple[str, ...]

    def resource_for(
        self, resource: Resource, subresource: str, operation: str, served: Iterable[Resource]
    ) -> Resource | None:
        """Return the type as which the webhook wants to see the object: its own, or another version of it."""
        if any(rule.matches(resource, subresource, operation) for rule in self.rules):
            return resource
        if not self.equivalent:
            return None
        others = [each for each in served if each.storage == resource.storage and each is not resource]
        found = ((rule, other) for rule in self.rules for other in others)
        return next((other for rule, other in found if rule.matches(other, subresource, operation)), None)

    def selects(self, request: Request, namespace_labels: Mapping[str, str] | None) -> bool:
        """Tell whether the selectors take the request; `namespace_labels` None is for what has no namespace."""
        if namespace_labels is not None and not self.namespaces.matches(namespace_labels):
            return False
        return not self.objects or any(
            obj is not None and self.objects.matches(obj.get("metadata", {}).get("labels"))
            for obj in (request.obj, request.old)
        )


def is_exempt(resource: Resource) -> bool:
    """Tell whether no webhook is ever asked: webhooks must not stand between an administrator and themselves."""
    return resource.group == ADMISSION


def read(configurations: Iterable[Object]) -> Iterator[Hook]:
    """Yield the webhooks of valid configurations, which come in the order of their names."""
    for configuration in configurations:
        for webhook in configuration.get("webhooks") or ():
            yield _hook(configuration["metadata"]["name"], webhook)


def _hook(configuration: str, webhook: Object) -> Hook:
    return Hook(
        key=f"{configuration}/{webhook['name']}",
        name=webhook["name"],
        client=webhook["clientConfig"],
        rules=tuple(_rule(each) for each in webhook.get("rules") or ()),
        equivalent=webhook["matchPolicy"] == "Equivalent",
        namespaces=selector(webhook["namespaceSelector"]),
        objects=selector(webhook["objectSelector"]),
        conditions=tuple(
            Condition(each["name"], cel.compile_expression(each["expression"]))
            for each in webhook.get("matchConditions") or ()
        ),
        fails=webhook["failurePolicy"] == "Fail",
        again=webhook["reinvocationPolicy"] == "IfNeeded",
        timeout_seconds=webhook["timeoutSeconds"],
        versions=tuple(webhook["admissionReviewVersions"]),
    )


def _rule(rule: Object) -> Rule:
    return Rule(
        operations=frozenset(rule["operations"]),
        groups=frozenset(rule["apiGroups"]),
        versions=frozenset(rule["apiVersions"]),
        resources=tuple(each.partition("/")[::2] for each in rule["resources"]),
        scope=rule["scope"],
    )


def _among(word: str, words: frozenset[str]) -> bool:
    return "*" in words or word in words


_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}


def selector(written: Object) -> LabelSelector:
    """Read a `v1.LabelSelector`, which is valid."""
    labels: Mapping[str, str] = written.get("matchLabels") or {}
    expressions: Sequence[Object] = written.get("matchExpressions") or ()
    return LabelSelector(
        (
            *(Requirement(key, "in", frozenset({value})) for key, value in labels.items()),
            *(
                Requirement(each["key"], _OPERATORS[each["operator"]], frozenset(each.get("values") or ()))
                for each in expressions
            ),
        )
    )
