"""The cluster that end-to-end tests run on: the sandbox, or a real one.

A test that takes its namespaces and its accounts from here leaves nothing behind on a real cluster but the ImageStream
CRD, which is installed when it is missing and stays: other tests may be using it.
"""

from __future__ import annotations

import asyncio
import secrets
from asyncio import Task
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from kubernetes_asyncio import client, config
from yarl import URL

if TYPE_CHECKING:
    from listener.sandbox.cluster import Cluster

_SETTLE_SECONDS = 3  # by whole seconds, more than the two of `customresource_handler.go`


@dataclass(frozen=True, slots=True)
class Account:
    """A ServiceAccount, with a token of its own."""

    home: str
    name: str
    token: str

    @property
    def user(self) -> str:
        """What API servers call it."""
        return f"system:serviceaccount:{self.home}:{self.name}"


@dataclass(frozen=True, slots=True)
class ClusterUnderTest:
    """`kubeconfig` is a file that kubectl, helm and our own service take. `sandbox` is None on a real cluster.

    `account` is who the kubeconfig is of, None for the administrator. `made` are the accounts that there are already,
    by what they were made for.
    """

    kubeconfig: Path
    sandbox: Cluster | None
    _api: client.ApiClient
    is_openshift: bool = False
    account: Account | None = None
    made: dict[str, Task[Account]] = field(default_factory=dict)
    _namespaces: list[str] = field(default_factory=list)
    _granted: list[tuple[str, str]] = field(default_factory=list)

    async def namespace(self, hint: str = "test") -> str:
        """Make a namespace that only this test uses, `HINT-` and six random characters; return its name."""
        name = f"{hint}-{secrets.token_hex(3)}"
        await client.CoreV1Api(self._api).create_namespace({"metadata": {"name": name}})
        self._namespaces.append(name)
        return name

    async def grant(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Create accounts, Roles, ClusterRoles and what binds them, and wait until that has its effect."""
        await asyncio.gather(*(self._create(found) for found in objects))
        if self.sandbox is None:
            await self._take_effect(objects)

    async def issue(self, home: str, name: str) -> Account:
        """Make a token for a ServiceAccount that is there."""
        create = client.CoreV1Api(self._api).create_namespaced_service_account_token
        answer = await create(name, home, {"spec": {}})
        return Account(home, name, answer.status.token)

    def let_in(self, account: Account, folder: Path) -> ClusterUnderTest:
        """The cluster as the account reaches it, by the same way as we do, with its home as where things are."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        context = _named(config["contexts"], config["current-context"])["context"]
        server = _named(config["clusters"], context["cluster"])["cluster"]
        if self.sandbox:  # there is somebody's token in the path
            server["server"] = str(URL(server["server"]).with_path(f"/{account.token}"))
        if file := server.get("certificate-authority"):
            server["certificate-authority"] = str(self.kubeconfig.absolute().parent / file)
        found = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "service",
            "clusters": [{"name": "service", "cluster": server}],
            "users": [{"name": "service", "user": {"token": account.token}}],
            "contexts": [
                {"name": "service", "context": {"cluster": "service", "user": "service", "namespace": account.home}}
            ],
        }
        kubeconfig = folder / "service.kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(found))
        return replace(self, kubeconfig=kubeconfig, account=account)

    async def _create(self, found: Mapping[str, Any]) -> None:
        kind, metadata = found["kind"], found["metadata"]
        rights = client.RbacAuthorizationV1Api(self._api)
        match kind:
            case "ServiceAccount":
                await client.CoreV1Api(self._api).create_namespaced_service_account(metadata["namespace"], found)
            case "Role":
                await rights.create_namespaced_role(metadata["namespace"], found)
            case "RoleBinding":
                await rights.create_namespaced_role_binding(metadata["namespace"], found)
            case "ClusterRole":
                await rights.create_cluster_role(found)
            case "ClusterRoleBinding":
                await rights.create_cluster_role_binding(found)
            case _:
                raise AssertionError(f"a {kind} gives nobody a right")
        if kind.startswith("Cluster"):
            self._granted.append((kind, metadata["name"]))

    async def _take_effect(self, objects: Sequence[Mapping[str, Any]], timeout_seconds: float = 10.0) -> None:
        """A real server takes its rules from caches: ask for one right of each binding until it is there."""
        rules = {(each["kind"], each["metadata"]["name"]): each["rules"] for each in objects if "rules" in each}
        async with asyncio.timeout(timeout_seconds):
            for binding in objects:
                if "roleRef" in binding:
                    role = binding["roleRef"]
                    await self._is_granted(binding, rules[role["kind"], role["name"]][0])

    async def _is_granted(self, binding: Mapping[str, Any], rule: Mapping[str, Any]) -> None:
        (account,) = binding["subjects"]
        wanted = {
            "namespace": binding["metadata"].get("namespace", ""),
            "group": rule["apiGroups"][0],
            "resource": rule["resources"][0],
            "verb": rule["verbs"][0],
        }
        user = Account(account["namespace"], account["name"], "").user
        review = {"spec": {"user": user, "resourceAttributes": wanted}}
        reviews = client.AuthorizationV1Api(self._api)
        while True:
            answer = await reviews.create_subject_access_review(review)
            if answer.status.allowed:
                return
            await asyncio.sleep(0.02)

    async def _remove(self) -> None:
        """Ask for the removal of all that was made here. Emptying namespaces is the cluster's work, and goes on after
        us.
        """
        rights = client.RbacAuthorizationV1Api(self._api)
        for kind, name in self._granted:
            await (rights.delete_cluster_role if kind == "ClusterRole" else rights.delete_cluster_role_binding)(name)
        for name in self._namespaces:
            await client.CoreV1Api(self._api).delete_namespace(name)


def _named(entries: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    return next(dict(entry) for entry in entries if entry["name"] == name)


@asynccontextmanager
async def sandbox_cluster(
    folder: Path, *, openshift: bool = False, imports: bool = False, new_kind_seconds: float = 0
) -> AsyncIterator[ClusterUnderTest]:
    """Run a fresh sandbox whose kubeconfig is written to `folder`; `openshift` adds types that only OpenShift has,
    `imports` its ImageStreamImports. For `new_kind_seconds` creations of a new kind wait, as on a real server.
    """
    from listener.sandbox.cluster import Cluster  # noqa: PLC0415 - a run on a real cluster does without

    async with Cluster(openshift=openshift, imports=imports, new_kind_seconds=new_kind_seconds) as sandbox:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(sandbox.kubeconfig())
        async with running_cluster(kubeconfig, sandbox) as cluster:
            yield replace(cluster, is_openshift=imports)


@asynccontextmanager
async def running_cluster(kubeconfig: Path, sandbox: Cluster | None = None) -> AsyncIterator[ClusterUnderTest]:
    """Use the cluster that `kubeconfig` names: make it serve ImageStreams; remove at the end what this test made."""
    async with await config.new_client_from_config(str(kubeconfig)) as api:
        await _install_image_streams(api, settle_seconds=_SETTLE_SECONDS if sandbox is None else 0)
        cluster = ClusterUnderTest(kubeconfig, sandbox, api)
        try:
            yield cluster
        finally:
            await cluster._remove()


async def _install_image_streams(api: client.ApiClient, settle_seconds: float, timeout_seconds: float = 30.0) -> None:
    """Create the CRD unless somebody has, and wait until it has been served for some seconds: real servers hold
    creations of a kind that is new.
    """
    definition = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text())
    definitions = client.ApiextensionsV1Api(api)
    try:
        await definitions.create_custom_resource_definition(definition)
    except client.ApiException as error:
        if error.status != HTTPStatus.CONFLICT:
            raise
    async with asyncio.timeout(timeout_seconds):
        while True:
            current = await definitions.read_custom_resource_definition(definition["metadata"]["name"])
            conditions = {condition.type: condition for condition in current.status.conditions or ()}
            found = conditions.get("Established")
            if found and found.status == "True":
                age_seconds = (datetime.now(UTC) - found.last_transition_time).total_seconds()
                if age_seconds >= settle_seconds:
                    return
            await asyncio.sleep(0.05)
