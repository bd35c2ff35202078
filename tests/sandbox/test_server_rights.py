"""What a ServiceAccount may do: what Roles are bound to it, and nothing else.

`pytest --kubeconfig FILE` runs these on a real server, from which every expectation was taken.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from yarl import URL

from listener.sandbox.cluster import Cluster
from listener.sandbox.cluster.access import User, Users
from listener.sandbox.cluster.rights import Asked, Rights, asked
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.store import Store
from tests.sandbox.api import Api, Object, Reply, config_map
from tests.sandbox.webhook import Remote, remote

RBAC = "/apis/rbac.authorization.k8s.io/v1"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
WHO = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
ROBOT = "robot"


@dataclass(frozen=True, slots=True)
class Account:
    """A client of the server that is let in by a token alone."""

    session: aiohttp.ClientSession
    origin: URL
    token: str

    async def __call__(self, method: str, path: str, body: Any = None, kind: str = "application/json") -> Reply:
        headers = {"Authorization": f"Bearer {self.token}", **({} if body is None else {"Content-Type": kind})}
        data = None if body is None else BytesIO(json.dumps(body).encode())
        url = URL(f"{self.origin}{path}", encoded=True)
        async with self.session.request(method, url, data=data, headers=headers) as reply:
            text = await reply.text()
            found = json.loads(text) if reply.content_type == "application/json" else text
            return Reply(reply.status, found, [], reply.headers)

    async def may(self, verb: str, resource: str, namespace: str = "", **more: str) -> bool:
        attributes = {"verb": verb, "resource": resource, "namespace": namespace, **more}
        body = {"spec": {"resourceAttributes": attributes}, "kind": "SelfSubjectAccessReview"}
        reply = await self("POST", ACCESS_REVIEWS, body | {"apiVersion": "authorization.k8s.io/v1"})
        return bool(reply.body["status"]["allowed"])


@pytest.fixture
async def server(pytestconfig: pytest.Config) -> AsyncIterator[Remote]:
    async with remote(pytestconfig.getoption("kubeconfig")) as found:
        yield found


async def until(look: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while True:
            if await look():
                return
            await asyncio.sleep(0.02)


async def token(server: Remote, **spec: Any) -> Reply:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    return await server("POST", f"/api/v1/namespaces/{server.namespace}/serviceaccounts/{ROBOT}/token", body)


@pytest.fixture
async def account(server: Remote) -> AsyncIterator[Account]:
    await server.create(f"/api/v1/namespaces/{server.namespace}/serviceaccounts", {"metadata": {"name": ROBOT}})
    made = await token(server)
    assert made.code == 201, made
    configuration = server._api.configuration
    tls = ssl.create_default_context(cafile=configuration.ssl_ca_cert) if configuration.ssl_ca_cert else True
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:
        yield Account(session, URL(configuration.host).origin(), made.body["status"]["token"])


@pytest.fixture
async def granted(server: Remote, account: Account) -> AsyncIterator[Account]:
    """The account with some rights in its namespace, and some in all."""
    unique = f"tests-{secrets.token_hex(4)}"
    there = f"{RBAC}/namespaces/{server.namespace}"
    here = {"kind": "ServiceAccount", "name": ROBOT, "namespace": server.namespace}
    mates = {
        "kind": "Group",
        "name": f"system:serviceaccounts:{server.namespace}",
        "apiGroup": "rbac.authorization.k8s.io",
    }
    everywhere = [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["*"]},
        {"nonResourceURLs": ["/sandbox/*"], "verbs": ["get"]},
    ]
    mine = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "create"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["get"]},
        {"apiGroups": ["apps"], "resources": ["*/status"], "verbs": ["patch"]},
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": ["mine"],
            "verbs": ["get", "list", "watch", "create"],
        },
    ]
    ours = [{"apiGroups": ["*"], "resources": ["secrets"], "verbs": ["list"]}]
    await server.create(f"{there}/roles", {"metadata": {"name": "mine"}, "rules": mine})
    for name, rules in ((f"{unique}-all", everywhere), (f"{unique}-ours", ours)):
        await server.create(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})
    try:
        await server.create(f"{there}/rolebindings", binding("mine", "Role", "mine", here))
        await server.create(f"{there}/rolebindings", binding("ours", "ClusterRole", f"{unique}-ours", mates))
        last = binding(unique, "ClusterRole", f"{unique}-all", here)
        await server.create(f"{RBAC}/clusterrolebindings", last)

        async def is_known() -> bool:
            """A real server learns of bindings by watches."""
            return (
                await account.may("list", "services")
                and await account.may("get", "configmaps", server.namespace)
                and await account.may("list", "secrets", server.namespace)
            )

        await until(is_known)
        yield account
    finally:
        await server("DELETE", f"{RBAC}/clusterrolebindings/{unique}")
        for name in ("all", "ours"):
            await server("DELETE", f"{RBAC}/clusterroles/{unique}-{name}")


def binding(name: str, kind: str, role: str, subject: Mapping[str, str]) -> Object:
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role}
    return {"metadata": {"name": name}, "roleRef": reference, "subjects": [dict(subject)]}


HERE, ELSEWHERE = "/api/v1/namespaces/{ns}", "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{ns}/leases"
ALLOWED = {
    "listed": ("GET", f"{HERE}/configmaps"),
    "by name": ("GET", f"{HERE}/configmaps/none"),
    "a subresource": ("GET", "/apis/apps/v1/namespaces/{ns}/deployments/none/scale"),
    "that subresource of all": ("PATCH", "/apis/apps/v1/namespaces/{ns}/statefulsets/none/status"),
    "that name": ("GET", f"{LEASES}/mine"),
    "listed by that name": ("GET", f"{LEASES}?fieldSelector=metadata.name%3Dmine"),
    "by a group": ("GET", f"{HERE}/secrets"),
    "everywhere": ("GET", "/api/v1/services"),
    "any verb": ("DELETE", f"{ELSEWHERE}/services/none"),
    "discovery": ("GET", "/apis"),
    "discovery of one": ("GET", "/apis/apps/v1"),
    "health": ("GET", "/readyz"),
    "version": ("GET", "/version"),
    "a path": ("GET", "/sandbox/faults"),
}


@pytest.mark.parametrize("wanted", ALLOWED.values(), ids=ALLOWED)
async def test_lets_through_what_is_granted(server: Remote, granted: Account, wanted: tuple[str, str]) -> None:
    method, path = wanted
    kind = "application/merge-patch+json"
    reply = await granted(method, path.format(ns=server.namespace), {} if method == "PATCH" else None, kind)
    assert reply.code in {200, 404}, reply
    assert "forbidden" not in str(reply.body)


def cannot(what: str, do: str, where: str = 'in the namespace "{ns}"') -> str:
    return f'{what} is forbidden: User "{{user}}" cannot {do} {where}'


DEPLOYMENT = 'deployments.apps "none"'
LEASE = "leases.coordination.k8s.io"
REFUSED = {
    "another verb": (
        "DELETE",
        f"{HERE}/configmaps/none",
        cannot('configmaps "none"', 'delete resource "configmaps" in API group ""'),
    ),
    "all at once": (
        "DELETE",
        f"{HERE}/configmaps",
        cannot("configmaps", 'deletecollection resource "configmaps" in API group ""'),
    ),
    "followed": (
        "GET",
        f"{HERE}/configmaps?watch=true",
        cannot("configmaps", 'watch resource "configmaps" in API group ""'),
    ),
    "another namespace": (
        "GET",
        f"{ELSEWHERE}/configmaps",
        cannot("configmaps", 'list resource "configmaps" in API group ""', 'in the namespace "default"'),
    ),
    "all namespaces": (
        "GET",
        "/api/v1/configmaps",
        cannot("configmaps", 'list resource "configmaps" in API group ""', "at the cluster scope"),
    ),
    "the whole, not its subresource": (
        "GET",
        "/apis/apps/v1/namespaces/{ns}/deployments/none",
        cannot(DEPLOYMENT, 'get resource "deployments" in API group "apps"'),
    ),
    "another verb on a subresource": (
        "PATCH",
        "/apis/apps/v1/namespaces/{ns}/deployments/none/scale",
        cannot(DEPLOYMENT, 'patch resource "deployments/scale" in API group "apps"'),
    ),
    "another name": (
        "GET",
        f"{LEASES}/theirs",
        cannot(f'{LEASE} "theirs"', 'get resource "leases" in API group "coordination.k8s.io"'),
    ),
    "no name": (
        "GET",
        f"{LEASES}?watch=1",
        cannot(LEASE, 'watch resource "leases" in API group "coordination.k8s.io"'),
    ),
    "created, so that there is no name yet": (
        "POST",
        LEASES,
        cannot(LEASE, 'create resource "leases" in API group "coordination.k8s.io"'),
    ),
    "its own namespace": (
        "GET",
        HERE,
        cannot('namespaces "{ns}"', 'get resource "namespaces" in API group ""'),
    ),
    "what is not served": (
        "GET",
        "/apis/nothing.example/v1/namespaces/{ns}/things",
        cannot("things.nothing.example", 'list resource "things" in API group "nothing.example"'),
    ),
    "a path": ("GET", "/metrics", 'forbidden: User "{user}" cannot get path "/metrics"'),
    "another verb on a path": ("PUT", "/sandbox/faults", 'forbidden: User "{user}" cannot put path "/sandbox/faults"'),
}


@pytest.mark.parametrize("wanted", REFUSED.values(), ids=REFUSED)
async def test_refuses_what_is_not_granted(server: Remote, granted: Account, wanted: tuple[str, str, str]) -> None:
    method, path, why = wanted
    reply = await granted(method, path.format(ns=server.namespace), {} if method in {"POST", "PATCH", "PUT"} else None)
    user = f"system:serviceaccount:{server.namespace}:{ROBOT}"
    assert (reply.code, reply.body["reason"]) == (403, "Forbidden")
    assert reply.message == why.format(ns=server.namespace, user=user)


async def test_an_account_is_told_who_it_is_and_what_it_may(server: Remote, granted: Account) -> None:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    who = (await granted("POST", WHO, body)).body["status"]["userInfo"]
    assert who["username"] == f"system:serviceaccount:{server.namespace}:{ROBOT}"
    groups = ["system:serviceaccounts", f"system:serviceaccounts:{server.namespace}", "system:authenticated"]
    assert who["groups"] == groups
    assert await granted.may("get", "deployments", server.namespace, group="apps", subresource="scale")
    assert not await granted.may("get", "deployments", server.namespace, group="apps")
    kinds = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview"}
    asking = kinds | {"spec": {"namespace": server.namespace}}
    reply = await granted("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", asking)
    rules = reply.body["status"]["resourceRules"]
    (found,) = [rule for rule in rules if rule["resources"] == ["leases"]]
    assert (found["resourceNames"], sorted(found["verbs"])) == (["mine"], ["create", "get", "list", "watch"])


async def test_rights_go_with_their_binding(server: Remote, granted: Account) -> None:
    await server("DELETE", f"{RBAC}/namespaces/{server.namespace}/rolebindings/mine")

    async def is_refused() -> bool:
        return (await granted("GET", f"/api/v1/namespaces/{server.namespace}/configmaps")).code == 403

    await until(is_refused)


async def test_a_token_ends_with_its_account(server: Remote, granted: Account) -> None:
    path = f"/api/v1/namespaces/{server.namespace}/serviceaccounts"
    await server("DELETE", f"{path}/{ROBOT}")
    await server.create(path, {"metadata": {"name": ROBOT}})

    async def is_unknown() -> bool:
        """A real server believes in it for some seconds more."""
        return (await granted("GET", "/readyz")).code == 401

    await until(is_unknown)


@pytest.mark.usefixtures("account")
async def test_a_token_takes_an_account_and_ten_minutes(server: Remote) -> None:
    refused = await token(server, expirationSeconds=5)
    assert refused.code == 422
    assert (
        "spec.expirationSeconds: Invalid value: 5: may not specify a duration less than 10 minutes" in refused.message
    )
    made = await token(server, expirationSeconds=700)
    assert made.body["spec"]["expirationSeconds"] == 700
    path = f"/api/v1/namespaces/{server.namespace}/serviceaccounts/none/token"
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    missing = await server("POST", path, body)
    assert (missing.code, missing.message) == (404, 'serviceaccounts "none" not found')


# On the sandbox alone


async def test_a_token_opens_by_the_path_too(api: Api, sandbox: Cluster) -> None:
    """As kubectl needs it over plain HTTP. Who has one of an account cannot add the administrator's rights."""
    await api.create("/api/v1/namespaces/team/serviceaccounts", {"metadata": {"name": ROBOT}})
    await api.create("/api/v1/namespaces/team/configmaps", config_map("seen"))
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = await api("POST", f"/api/v1/namespaces/team/serviceaccounts/{ROBOT}/token", body)
    found = made.body["status"]["token"]
    async with aiohttp.ClientSession() as stranger:
        for path, code in (("/readyz", 200), ("/api/v1/namespaces/team/configmaps/seen", 403)):
            async with stranger.get(f"{sandbox.url}/{found}{path}") as reply:
                assert reply.status == code


def test_a_token_ends_with_its_time() -> None:
    store, moment = Store(), 100.0
    account = store.collection(("", "serviceaccounts"))
    users = Users(store, "the administrator's", lambda: moment)
    entry = store.put(account.storage, {"metadata": {"name": ROBOT, "namespace": "team", "uid": "1"}})
    issued = users.issue(entry, 600)
    assert users.of(issued) is not None
    moment = 700.0
    assert users.of(issued) is None


ASKED = {
    "of all": ("GET", "/api/v1/pods", {}, Asked("list", "", "pods")),
    "followed": ("GET", "/api/v1/pods", {"watch": "1"}, Asked("watch", "", "pods")),
    "not followed": ("GET", "/api/v1/pods", {"watch": "false"}, Asked("list", "", "pods")),
    "by label": ("GET", "/api/v1/pods", {"labelSelector": "metadata.name=a"}, Asked("list", "", "pods")),
    "by two fields": (
        "GET",
        "/apis/apps/v1/deployments",
        {"fieldSelector": "metadata.namespace=b,metadata.name=a"},
        Asked("list", "apps", "deployments", name="a"),
    ),
    "all but one": ("GET", "/api/v1/pods", {"fieldSelector": "metadata.name!=a"}, Asked("list", "", "pods")),
    "a namespace": ("GET", "/api/v1/namespaces/a", {}, Asked("get", "", "namespaces", "", "a", "a")),
    "its status": ("PUT", "/api/v1/namespaces/a/status", {}, Asked("update", "", "namespaces", "status", "a", "a")),
    "a subresource": ("POST", "/apis/g/v1/namespaces/a/bs/c/d", {}, Asked("create", "g", "bs", "d", "a", "c")),
    "head": ("HEAD", "/api/v1/namespaces/a/pods/b", {}, Asked("get", "", "pods", "", "a", "b")),
    "a path": ("POST", "/apis/apps/v1", {}, Asked("post", path="/apis/apps/v1")),
    "the root": ("GET", "/", {}, Asked("get", path="/")),
}


@pytest.mark.parametrize(("method", "path", "query", "expected"), ASKED.values(), ids=ASKED)
def test_reads_what_a_request_asks_for(method: str, path: str, query: dict[str, str], expected: Asked) -> None:
    assert asked(method, path, query) == expected


def test_remembers_what_it_has_refused() -> None:
    rights = Rights(Store())
    robot = User("system:serviceaccount:a:robot", ())
    for name in ("b", "c", ""):
        with pytest.raises(ApiError, match="forbidden"):
            rights.check(robot, Asked("get", "apps", "deployments", "scale", "a", name))
    rights.check(robot, Asked("get", path="/version"))
    assert rights.refused == {(robot.name, "apps", "deployments/scale", "get")}
