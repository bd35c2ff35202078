"""Who is let in: the token, in the header or in the path, and where the cluster listens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
import yaml

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import CONFIG_MAPS, Api, config_map


@pytest.fixture
async def stranger() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


REFUSED = {
    "nothing": {},
    "another token": {"Authorization": "Bearer " + "0" * 64},
    "another scheme": {"Authorization": "Basic eDp5"},
}


@pytest.mark.parametrize("headers", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("path", ["/api/v1/namespaces", "/version", "/livez", "/sandbox/faults", "/nothing"])
async def test_refuses_who_does_not_carry_the_token(
    sandbox: Cluster, stranger: aiohttp.ClientSession, headers: dict[str, str], path: str
) -> None:
    async with stranger.get(sandbox.url + path, headers=headers) as response:
        assert response.status == 401
        assert await response.json() == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": "Unauthorized",
            "reason": "Unauthorized",
            "code": 401,
        }


async def test_takes_the_token_as_the_first_part_of_the_path(sandbox: Cluster, stranger: aiohttp.ClientSession) -> None:
    """client-go sends no credentials over plain HTTP: a kubectl that relied on the header would be a stranger."""
    address = yaml.safe_load(sandbox.kubeconfig())["clusters"][0]["cluster"]["server"]
    for path in ("/api/v1/namespaces/default", "/readyz", ""):
        async with stranger.get(address + path) as response:
            assert response.status == (404 if not path else 200)
    async with stranger.get(f"{sandbox.url}/{sandbox.token[:-1]}/readyz") as response:
        assert response.status == 401
    # Python's clients keep the path and send the header too.
    async with stranger.get(f"{address}/readyz", headers={"Authorization": f"Bearer {sandbox.token}"}) as response:
        assert response.status == 200


async def test_the_kubeconfig_names_its_context(sandbox: Cluster) -> None:
    config = yaml.safe_load(sandbox.kubeconfig())
    assert config["current-context"] == "sandbox"
    assert config["contexts"] == [{"name": "sandbox", "context": {"cluster": "sandbox", "user": "sandbox-admin"}}]
    assert config["users"][0]["user"]["token"] == sandbox.token


async def test_tokens_differ(sandbox: Cluster) -> None:
    assert Cluster().token != sandbox.token


async def test_closing_ends_watches_at_once_and_twice_is_allowed(api: Api, sandbox: Cluster) -> None:
    async with api.watch(CONFIG_MAPS) as watch:
        await api.create(CONFIG_MAPS, config_map("seen"))
        assert await watch.told(1) == [("ADDED", "seen")]
        await sandbox.close()
        assert await watch.rest() == []
    await sandbox.close()


async def test_takes_the_port_it_is_given(sandbox: Cluster) -> None:
    with pytest.raises(OSError, match="in use"):
        async with Cluster(port=sandbox.port):
            pass
    await sandbox.close()
    async with Cluster(port=sandbox.port) as again:
        assert again.port == sandbox.port


async def test_starts_with_the_namespaces_every_cluster_has(api: Api) -> None:
    assert await api.names("/api/v1/namespaces") == ["default", "kube-public", "kube-system", "team"]
    account = "/api/v1/namespaces/default/serviceaccounts/default"
    await api.until(account, lambda reply: reply.code == 200)
