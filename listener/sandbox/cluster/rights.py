"""Who may do what: everything for the administrator, for others what Roles and ClusterRoles are bound to them.

As RBAC of a real server, refusals in its words, but for two things: ClusterRoles are not aggregated, and whoever may
write Roles may write any.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from listener.sandbox.cluster import field_errors, status
from listener.sandbox.cluster.access import ADMIN, User, account_name
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.store import Change, Collection, Store

Object = dict[str, Any]
GROUP = "rbac.authorization.k8s.io"
ROLES, BINDINGS = (GROUP, "roles"), (GROUP, "rolebindings")
CLUSTER_ROLES, CLUSTER_BINDINGS = (GROUP, "clusterroles"), (GROUP, "clusterrolebindings")
_STORED = frozenset({ROLES, BINDINGS, CLUSTER_ROLES, CLUSTER_BINDINGS})

_NAMED = re.compile(r"(?:^|,)metadata\.name==?([^,]+)")
_VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, as RBAC sees it: a verb on a resource, or on a `path` where that names none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def whole_resource(self) -> str:
        """Return it as rules name it, such as `deployments/scale`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def asked(method: str, path: str, query: Mapping[str, str]) -> Asked:
    """Read a request, whether what it names is served or not: RBAC comes first."""
    parts = path.strip("/").split("/")
    skipped = {"api": 2, "apis": 3}.get(parts[0], len(parts))
    rest = parts[skipped:]
    if not rest:
        return Asked(method.lower(), path=path)
    group = parts[1] if parts[0] == "apis" else ""
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in {"status", "finalize"}:
            rest = rest[2:]
    resource, name, subresource = (*rest, "", "")[:3]
    verb = _VERBS.get(method, "")
    if not name and verb == "get":
        verb = "list" if query.get("watch", "").lower() in {"", "false", "0"} else "watch"
        selected = _NAMED.search(query.get("fieldSelector", ""))
        name = selected[1] if selected else ""  # rules for that name count then
    elif not name and verb == "delete":
        verb = "deletecollection"
    return Asked(verb, group, resource, subresource, namespace, name)


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of a Role. `paths` is for what is no resource."""

    verbs: frozenset[str]
    groups: frozenset[str] = frozenset()
    resources: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()

    def allows(self, it: Asked) -> bool:
        if not {it.verb, "*"} & self.verbs:
            return False
        if it.path:
            return any(_leads_to(path, it.path) for path in self.paths)
        wanted = {it.whole_resource, "*", f"*/{it.subresource}" if it.subresource else "*"}
        return bool(
            {it.group, "*"} & self.groups and wanted & self.resources and (not self.names or it.name in self.names)
        )

    def shown(self) -> Object:
        """Return it as it stands in a review of one's rules."""
        written = {
            "verbs": self.verbs,
            "apiGroups": self.groups,
            "resources": self.resources,
            "resourceNames": self.names,
            "nonResourceURLs": self.paths,
        }
        return {name: sorted(values) for name, values in written.items() if values}


def _leads_to(written: str, path: str) -> bool:
    return written in {"*", path} or (written.endswith("*") and path.startswith(written.rstrip("*")))


def read(rule: Object) -> Rule:
    return Rule(
        *(
            frozenset(rule.get(field) or ())
            for field in ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs")
        )
    )


# What every user has: system:discovery and system:basic-user.
_DOCUMENTS = "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/"
_EVERYBODY = (
    Rule(frozenset({"get"}), paths=frozenset(_DOCUMENTS.split())),
    Rule(
        frozenset({"create"}),
        frozenset({"authorization.k8s.io"}),
        frozenset({"selfsubjectaccessreviews", "selfsubjectrulesreviews"}),
    ),
    Rule(frozenset({"create"}), frozenset({"authentication.k8s.io"}), frozenset({"selfsubjectreviews"})),
)
_ANYTHING = (
    Rule(frozenset("*"), frozenset("*"), frozenset("*")),
    Rule(frozenset("*"), paths=frozenset("*")),
)


@dataclass(frozen=True, slots=True)
class _Grant:
    """Some rules, in one namespace or (None) everywhere, for subjects that are users or groups."""

    namespace: str | None
    users: frozenset[str]
    groups: frozenset[str]
    rules: tuple[Rule, ...]


class Rights:
    """What is granted now, by the bindings in the store.

    `refused` remembers what was not: the user's name, and group, resource (or path) and verb.
    """

    def __init__(self, store: Store) -> None:
        self.refused: set[tuple[str, str, str, str]] = set()
        self._store = store
        self._known: tuple[_Grant, ...] | None = None
        store.observe(self._observe)

    def check(self, user: User, it: Asked) -> None:
        """Raise 403 for what a user may not do."""
        if not self.allows(user, it):
            self.refused.add((user.name, it.group, it.path or it.whole_resource, it.verb))
            raise forbidden(user, it)

    def allows(self, user: User, it: Asked) -> bool:
        return any(rule.allows(it) for rule in self.rules(user, it.namespace))

    def rules(self, user: User, namespace: str) -> Iterator[Rule]:
        """Yield what a user may do in a namespace, or, if that is empty, beyond all of them."""
        if user == ADMIN:
            yield from _ANYTHING
            return
        yield from _EVERYBODY
        for grant in self._grants():
            if grant.namespace in {None, namespace} and (user.name in grant.users or grant.groups & set(user.groups)):
                yield from grant.rules

    def _observe(self, collection: Collection, _: Change) -> None:
        if collection.storage in _STORED:
            self._known = None

    def _grants(self) -> tuple[_Grant, ...]:
        if self._known is None:
            bindings = ((None, CLUSTER_BINDINGS), ("", BINDINGS))
            self._known = tuple(
                self._grant(entry.decode(), None if everywhere is None else entry.namespace)
                for everywhere, storage in bindings
                for entry in self._store.collection(storage).entries()
            )
        return self._known

    def _grant(self, binding: Object, namespace: str | None) -> _Grant:
        subjects = binding.get("subjects") or ()
        users = {each["name"] for each in subjects if each["kind"] == "User"} | {
            account_name(each.get("namespace", ""), each["name"])
            for each in subjects
            if each["kind"] == "ServiceAccount"
        }
        groups = {each["name"] for each in subjects if each["kind"] == "Group"}
        role = binding["roleRef"]
        storage, place = (ROLES, namespace or "") if role["kind"] == "Role" else (CLUSTER_ROLES, "")
        entry = self._store.collection(storage).get(place, role["name"])
        rules: Iterable[Object] = (entry.decode().get("rules") or ()) if entry else ()
        return _Grant(namespace, frozenset(users), frozenset(groups), tuple(read(rule) for rule in rules))


def forbidden(user: User, it: Asked) -> ApiError:
    if it.path:
        why = f'forbidden: User "{user.name}" cannot {it.verb} path "{it.path}"'
        return ApiError(403, why, details={})
    where = f'in the namespace "{it.namespace}"' if it.namespace else "at the cluster scope"
    why = f'User "{user.name}" cannot {it.verb} resource "{it.whole_resource}" in API group "{it.group}" {where}'
    named = f' "{it.name}"' if it.name else ""
    found = {"name": it.name} if it.name else {}
    found |= {"group": it.group} if it.group else {}
    qualified = f"{it.resource}.{it.group}" if it.group else it.resource
    return ApiError(403, f"{qualified}{named} is forbidden: {why}", details={**found, "kind": it.resource})


def review(kind: str, given: Object, now: str, user: User, rights: Rights) -> Object:
    """Answer one of the SelfSubject reviews. Raises 422 for an access review that asks about nothing."""
    metadata = given.get("metadata") or {}
    answer: Object = {"kind": kind, "apiVersion": given["apiVersion"], "metadata": metadata}
    if kind == "SelfSubjectReview":
        answer["metadata"] = {**metadata, "creationTimestamp": now}
        return {**answer, "status": {"userInfo": user.info()}}
    spec = given.get("spec") or {}
    if kind == "SelfSubjectRulesReview":
        rules = [rule.shown() for rule in rights.rules(user, spec.get("namespace") or "")]
        found = {
            "resourceRules": [rule for rule in rules if "resources" in rule],
            "nonResourceRules": [rule for rule in rules if "nonResourceURLs" in rule],
            "incomplete": False,
        }
        return {**answer, "spec": {}, "status": found}
    resource, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if (resource is None) == (path is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        fault = field_errors.invalid("spec.resourceAttributes", resource, why)
        raise status.invalid("", "authorization.k8s.io", "", [fault])
    return {**answer, "spec": spec, "status": {"allowed": rights.allows(user, _asked_about(resource, path or {}))}}


def _asked_about(resource: Object | None, path: Object) -> Asked:
    if resource is None:
        return Asked(path.get("verb", ""), path=path.get("path", ""))
    names = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Asked(*(resource.get(name) or "" for name in names))
