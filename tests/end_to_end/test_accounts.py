"""The account that the service has in all of these tests: that a right is missing does not go unnoticed."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from listener.core.kinds import DEPLOYMENT
from tests.cluster_under_test import ClusterUnderTest, running_cluster
from tests.end_to_end import test_kinds as kinds
from tests.end_to_end.accounts import as_installed, refused
from tests.end_to_end.parts import Api, eventually, registry, serve
from tests.end_to_end.test_kinds import HOST, A

RIGHTS = "/apis/rbac.authorization.k8s.io/v1"


def settings_for(*namespaces: str) -> dict[str, Any]:
    registries = [registry(HOST, integrated=True, verify=False)]
    return {"registries": registries, "namespaces": list(namespaces), "leaderElection": {"enabled": False}}


async def rules_of(api: Api, role: str) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(await api.client.get(f"{RIGHTS}/clusterroles/{role}"))
    return found


async def take_away(api: Api, role: str, resource: str) -> None:
    found = await rules_of(api, role)
    rules = [rule for rule in found["rules"] if resource not in rule["resources"]]
    assert len(rules) == len(found["rules"]) - 1
    await api.client.delete(f"{RIGHTS}/clusterroles/{role}")
    body = {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": {"name": role}, "rules": rules}
    outcome = await api.client.create(f"{RIGHTS}/clusterroles", body)
    assert outcome.end == "applied", outcome.message


async def test_what_is_asked_for_without_a_right_to_it_fails_the_test(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    """Though all the test looks at is there: the Deployment follows, and an Event is worth no retry."""
    namespace = await cluster.namespace("account")
    await kinds.create(api, DEPLOYMENT, namespace, kinds.workload(DEPLOYMENT, "web"))
    settings = settings_for(namespace)
    installed = await as_installed(cluster, tmp_path, settings, {})
    assert installed.account is not None
    await take_away(api, f"{installed.account.home}-{installed.account.name}", "events")

    async def follow() -> None:
        async with serve(installed, tmp_path / "serve", **settings) as listener:
            await listener.ready()
            await kinds.Pushes(listener, namespace)(A)
            wanted = kinds.image(namespace, A)
            await eventually(partial(kinds.all_run, api, [(DEPLOYMENT, "web")], namespace, wanted), what="it follows")

            async def unsent() -> bool:
                return len(listener.logged("event.unsent")) > 0

            await eventually(unsent, what="an Event is refused")

    with pytest.raises(AssertionError, match=r"asked for without a right to it: \[\('', 'events', 'create'\)\]"):
        await follow()
    log = tmp_path / "serve" / "serve.log"
    real = replace(installed, sandbox=None)  # a server that cannot be asked what it has refused
    assert refused(real, log, {}) == {("", "events", "create")}
    if cluster.sandbox:
        log.write_text("")
        assert refused(installed, log, {}) == {("", "events", "create")}
        assert ("tekton.dev", "pipelines", "list") in refused(installed, log, {"tekton": True})


async def test_replicas_are_one_account_and_who_may_do_something_else_is_another(
    cluster: ClusterUnderTest, api: Api, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("account")
    settings = settings_for(namespace)
    found = [
        await as_installed(cluster, tmp_path, each, rbac)
        for each, rbac in ((settings, {}), (dict(settings), {}), (settings, {"pullSecrets": True}))
    ]
    first, replica, other = (each.account for each in found)
    assert first is not None
    assert other is not None
    assert replica == first
    assert other.home != first.home
    may_read = [
        "secrets" in json.dumps((await rules_of(api, f"{each.home}-{each.name}"))["rules"]) for each in (first, other)
    ]
    assert may_read == [False, True]


async def test_no_right_outlives_its_test(cluster: ClusterUnderTest, api: Api, tmp_path: Path) -> None:
    async with running_cluster(cluster.kubeconfig, cluster.sandbox) as another_test:
        account = (await as_installed(another_test, tmp_path, settings_for(), {})).account
        assert account is not None
        for kind in ("clusterroles", "clusterrolebindings"):
            assert account.home in (await api.client.get(f"{RIGHTS}/{kind}")).decode()
    for kind in ("clusterroles", "clusterrolebindings"):
        assert account.home not in (await api.client.get(f"{RIGHTS}/{kind}")).decode()
