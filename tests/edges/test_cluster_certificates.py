"""The certificate's Secret, and the CA bundle in a webhook configuration: on a cluster, and on servers that say no.

The last test is the whole way: an API server calls a door of ours with the certificate that a Keeper made.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes_asyncio import client, config

from listener.core.outcomes import End
from listener.core.renewal import Secret, Webhooks
from listener.edges import certificates
from listener.edges.certificates import ServingContext
from listener.edges.cluster import Cluster
from listener.errors import ClusterRefused, ClusterUnavailable
from listener.flow.certificates import Keeper
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.api_server import api_server, refuses, says

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
BUNDLE = certificates.issue_authority(datetime.now(UTC)).bundle
DATA = {"ca.crt": b"a\n", "ca.key": b"\x00\xff", "tls.crt": b"", "tls.key": b"k" * 5000}


@pytest.fixture
async def ours(cluster: ClusterUnderTest) -> AsyncIterator[Cluster]:
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as ours:
        yield ours


@pytest.fixture
async def secret(cluster: ClusterUnderTest, ours: Cluster) -> Secret:
    """An empty one, as the chart makes it."""
    namespace = await cluster.namespace("secret")
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tls"}, "type": "Opaque"}
    assert (await ours.create(f"/api/v1/namespaces/{namespace}/secrets", body)).end is End.APPLIED
    found = await ours.get_secret(namespace, "tls")
    assert found is not None
    return found


# The Secret


async def test_an_empty_secret_is_filled_and_read_back(ours: Cluster, secret: Secret) -> None:
    assert (secret.name, secret.data) == ("tls", {})
    outcome = await ours.store_secret(secret, DATA)
    assert outcome.end is End.APPLIED
    assert outcome.stored == await ours.get_secret(secret.namespace, "tls")
    assert outcome.stored is not None
    assert outcome.stored.data == DATA


async def test_other_keys_of_a_secret_stay(ours: Cluster, secret: Secret) -> None:
    first = await ours.store_secret(secret, {"other": b"kept", "ca.crt": b"old"})
    assert first.stored is not None
    second = await ours.store_secret(first.stored, DATA)
    assert second.stored is not None
    assert second.stored.data == DATA | {"other": b"kept"}


@pytest.mark.parametrize("was", [{}, {"ca.crt": b"old"}], ids=["empty", "full"])
async def test_of_two_who_write_one_wins(ours: Cluster, secret: Secret, was: dict[str, bytes]) -> None:
    if was:
        secret = (await ours.store_secret(secret, was)).stored or secret
    outcomes = await asyncio.gather(*(ours.store_secret(secret, DATA | {"by": b"%d" % who}) for who in range(5)))
    assert sorted(str(outcome.end) for outcome in outcomes) == ["applied"] + ["stale"] * 4


async def test_a_secret_that_is_not_there(ours: Cluster, secret: Secret) -> None:
    assert await ours.get_secret(secret.namespace, "other") is None
    assert await ours.get_secret("not-there", "tls") is None
    missing = Secret(secret.namespace, "other", "1", {})
    assert (await ours.store_secret(missing, DATA)).end is End.GONE


async def test_no_error_tells_what_a_secret_holds(tmp_path: Path) -> None:
    whole = {"metadata": {"name": "tls", "namespace": "ns"}, "data": {"tls.key": "c2VjcmV0"}}
    broken = [whole | {"data": {"tls.key": "not base64: secret"}}, whole | {"data": "secret"}, b"secret"]
    for body in broken:
        async with api_server(tmp_path, says(200, body)) as server:
            with pytest.raises(ClusterUnavailable) as caught:
                await server.cluster.get_secret("ns", "tls")
            outcome = await server.cluster.store_secret(Secret("ns", "tls", "1", {}), DATA)
        chain: list[BaseException | None] = [caught.value, caught.value.__cause__, caught.value.__context__]
        chain += [each.__context__ for each in chain if each]
        assert all("not base64" not in repr(each) and "b'secret" not in repr(each) for each in chain)
        assert outcome.end is End.UNREACHABLE
        assert "base64" not in outcome.message
    async with api_server(tmp_path, says(200, whole)) as server:
        found = await server.cluster.get_secret("ns", "tls")
        assert found is not None
        assert found.data == {"tls.key": b"secret"}
        assert "b'secret'" not in repr(found)
        assert "b'secret'" not in repr(await server.cluster.store_secret(found, DATA))


async def test_a_missing_right(tmp_path: Path) -> None:
    message = 'secrets "tls" is forbidden'
    async with api_server(tmp_path, refuses(403, message, reason="Forbidden", details={"name": "tls"})) as server:
        with pytest.raises(ClusterRefused, match="forbidden"):
            await server.cluster.get_secret("ns", "tls")
        with pytest.raises(ClusterRefused, match="forbidden"):
            await server.cluster.get_webhooks("ours")
        for outcome in (
            await server.cluster.store_secret(Secret("ns", "tls", "1", {}), DATA),
            await server.cluster.store_bundle(Webhooks("ours", (("a", b""),)), BUNDLE),
        ):
            assert (outcome.end, outcome.message, outcome.may_pass) == (End.REFUSED, message, True)


# The webhook configuration


Configure = Callable[..., Awaitable[str]]


@pytest.fixture
async def configure(cluster: ClusterUnderTest, ours: Cluster) -> AsyncIterator[Configure]:
    """Make a webhook configuration for a namespace of its own; return the name of both."""
    made = []

    async def configure(*names: str, url: str = "https://127.0.0.1:9/lookup") -> str:
        namespace = await cluster.namespace("webhooks")
        webhooks = [
            {
                "name": name,
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
                "clientConfig": {"url": url},
                "failurePolicy": "Fail",
                "timeoutSeconds": 5,
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [
                    {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
                ],
            }
            for name in names
        ]
        body = {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": namespace},
            "webhooks": webhooks,
        }
        outcome = await ours.create(CONFIGURATIONS, body)
        assert outcome.end is End.APPLIED, outcome.message
        made.append(namespace)
        return namespace

    yield configure
    for name in made:
        await ours.delete(f"{CONFIGURATIONS}/{name}")


async def test_every_webhook_of_a_configuration_gets_the_bundle(ours: Cluster, configure: Configure) -> None:
    name = await configure("a.example.com", "b.example.com")
    found = await ours.get_webhooks(name)
    assert found == Webhooks(name, (("a.example.com", b""), ("b.example.com", b"")))
    outcome = await ours.store_bundle(found, BUNDLE)
    assert outcome.end is End.APPLIED, outcome.message
    there = await ours.get_webhooks(name)
    assert there == outcome.stored == Webhooks(name, (("a.example.com", BUNDLE), ("b.example.com", BUNDLE)))
    other = certificates.issue_authority(datetime.now(UTC)).bundle
    assert (await ours.store_bundle(there, other + BUNDLE)).end is End.APPLIED
    found = await ours.get_webhooks(name)
    assert found is not None
    assert {bundle for _, bundle in found.bundles} == {other + BUNDLE}


async def test_a_bundle_is_not_given_to_another_webhook(ours: Cluster, configure: Configure) -> None:
    name = await configure("a.example.com", "b.example.com")
    read = Webhooks(name, (("b.example.com", b""), ("a.example.com", b"")))
    assert (await ours.store_bundle(read, BUNDLE)).end is End.STALE
    read = Webhooks(name, (("a.example.com", b""), ("b.example.com", b""), ("c.example.com", b"")))
    assert (await ours.store_bundle(read, BUNDLE)).end is End.STALE
    found = await ours.get_webhooks(name)
    assert found is not None
    assert {bundle for _, bundle in found.bundles} == {b""}


async def test_a_configuration_that_is_not_there(ours: Cluster) -> None:
    assert await ours.get_webhooks("not-there") is None
    assert (await ours.store_bundle(Webhooks("not-there", (("a", b""),)), BUNDLE)).end is End.GONE


# The whole way


@asynccontextmanager
async def door(serving: ServingContext) -> AsyncIterator[tuple[int, list[str]]]:
    """Labels whatever is asked about; yields its port, and what was asked about."""
    asked = []

    async def handle(request: web.BaseRequest) -> web.Response:
        review = await request.json()
        asked.append(review["request"]["name"])
        patch = json.dumps([{"op": "add", "path": "/data", "value": {"seen": "yes"}}]).encode()
        answer = {
            "uid": review["request"]["uid"],
            "allowed": True,
            "patchType": "JSONPatch",
            "patch": base64.b64encode(patch).decode(),
        }
        return web.json_response({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer})

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=serving.context).start()
    try:
        yield runner.addresses[0][1], asked
    finally:
        await runner.cleanup()


@asynccontextmanager
async def kept(ours: Cluster, secret: Secret, webhook: str, serving: ServingContext) -> AsyncIterator[None]:
    """A replica that has just started."""
    keeper = Keeper(
        ours,
        certificates,
        secret=(secret.namespace, secret.name),
        hosts=["listener.ns.svc", "127.0.0.1"],
        webhook=webhook,
        use=serving.use,
        now=lambda: datetime.now(UTC),
    )
    task = asyncio.create_task(keeper.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_api_server_calls_a_door_with_a_certificate_of_ours(
    cluster: ClusterUnderTest, ours: Cluster, secret: Secret, configure: Configure
) -> None:
    serving = ServingContext()
    async with door(serving) as (port, asked), await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        namespace = await configure("a.example.com", url=f"https://127.0.0.1:{port}/lookup")

        async def create(name: str) -> Any:
            """Create it as soon as the API server has seen the configuration and believes its bundle."""
            maps = client.CoreV1Api(api)
            async with asyncio.timeout(20):
                while True:
                    with contextlib.suppress(client.ApiException):
                        made = await maps.create_namespaced_config_map(namespace, {"metadata": {"name": name}})
                        if made.data:
                            return made
                        await maps.delete_namespaced_config_map(name, namespace)
                    await asyncio.sleep(0.1)

        async with kept(ours, secret, namespace, serving), kept(ours, secret, namespace, ServingContext()):
            assert (await create("first")).data == {"seen": "yes"}
        first = await ours.get_webhooks(namespace)
        # Another CA. An API server that believes another bundle makes new connections.
        await write(secret, api, {})
        async with kept(ours, secret, namespace, serving):
            second = await changed(ours, namespace, first)
        assert (await create("second")).data == {"seen": "yes"}
        # Two CAs in the bundle, and a certificate by the second.
        held = await ours.get_secret(secret.namespace, secret.name)
        assert held is not None
        await write(secret, api, {**held.data, "ca.key": b"lost"})
        async with kept(ours, secret, namespace, serving):
            third = await changed(ours, namespace, second)
        assert third.bundles[0][1].count(b"BEGIN") == 2
        assert (await create("third")).data == {"seen": "yes"}
        assert set(asked) == {"first", "second", "third"}


async def write(secret: Secret, api: client.ApiClient, data: dict[str, bytes]) -> None:
    """Replace what a Secret holds, as anybody may."""
    encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
    body = {"metadata": {"name": secret.name}, "type": "Opaque", "data": encoded}
    await client.CoreV1Api(api).replace_namespaced_secret(secret.name, secret.namespace, body)


async def changed(ours: Cluster, name: str, before: Webhooks | None) -> Webhooks:
    """Wait until a webhook configuration has another bundle."""
    async with asyncio.timeout(20):
        while True:
            found = await ours.get_webhooks(name)
            if found and found != before:
                return found
            await asyncio.sleep(0.05)
