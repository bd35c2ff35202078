"""A webhook that tests register and answer for, and a client of whichever cluster they run on."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
import yaml
from aiohttp import web
from kubernetes_asyncio import client, config
from yarl import URL

from listener.sandbox.cluster import Cluster
from tests.sandbox.api import Object, Reply

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
SERVICE_HOST = "lookup.ops.svc"
_WHO_AM_I = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
Answer = Mapping[str, Any] | web.StreamResponse
Answering = Callable[[Object], Answer | Awaitable[Answer]]


class Remote:
    """A client of a cluster, in one namespace that is this test's own. `is_real` tells a real server.

    `user` is who writes here, where others do so too: the controllers of a real cluster.
    """

    def __init__(self, api: client.ApiClient, namespace: str, *, is_real: bool) -> None:
        self.namespace = namespace
        self.is_real = is_real
        self.user = ""
        self._api = api

    @property
    def config_maps(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    @property
    def deployments(self) -> str:
        return f"/apis/apps/v1/namespaces/{self.namespace}/deployments"

    async def __call__(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json", **headers: str
    ) -> Reply:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": content_type, "User-Agent": "tests/1", **headers}
        await self._api.update_params_for_auth(sent, [], ["BearerToken"])
        url = URL(self._api.configuration.host + path, encoded=True)
        async with self._api.rest_client.pool_manager.request(method, url, data=data, headers=sent) as reply:
            text = await reply.text()
            found = json.loads(text) if reply.content_type == "application/json" else text
            return Reply(reply.status, found, reply.headers.getall("Warning", []), reply.headers)

    async def create(self, path: str, obj: Object) -> Object:
        reply = await self("POST", path, obj)
        assert reply.code == 201, reply
        return dict(reply.body)

    async def patch(self, path: str, patch: Any, kind: str = "application/merge-patch+json") -> Reply:
        return await self("PATCH", path, patch, kind)

    async def caught_up(self, path: str) -> None:
        """Wait until the server's cache has the newest object: a write that starts from an older one is admitted twice.

        Without an object there is nothing to wait for.
        """

        async def revision(path: str) -> Any:
            return (await self("GET", path)).body["metadata"].get("resourceVersion")

        async with asyncio.timeout(10):
            newest, cached = await revision(path), await revision(f"{path}?resourceVersion=0")
            while cached != newest:
                await asyncio.sleep(0.01)
                cached = await revision(f"{path}?resourceVersion=0")


@asynccontextmanager
async def remote(kubeconfig: Path | None, **options: Any) -> AsyncIterator[Remote]:
    """Give a client of the cluster of `kubeconfig`, or of a fresh sandbox with these options."""
    if kubeconfig is not None:
        async with (
            await config.new_client_from_config(str(kubeconfig)) as api,
            _own_namespace(api, is_real=True) as own,
        ):
            yield own
        return
    async with Cluster(settle_seconds=0.02, **options) as cluster:
        own_config = yaml.safe_load(cluster.kubeconfig())
        async with (
            await config.new_client_from_config_dict(own_config) as api,
            _own_namespace(api, is_real=False) as own,
        ):
            yield own


@asynccontextmanager
async def _own_namespace(api: client.ApiClient, *, is_real: bool) -> AsyncIterator[Remote]:
    found = Remote(api, f"webhooks-{secrets.token_hex(3)}", is_real=is_real)
    if is_real:
        found.user = (await found.create(_WHO_AM_I, {}))["status"]["userInfo"]["username"]
    await found.create("/api/v1/namespaces", {"metadata": {"name": found.namespace}})
    try:
        yield found
    finally:
        await found("DELETE", f"/api/v1/namespaces/{found.namespace}")


class Webhooks:
    """An HTTPS server that keeps every review of what the test wrote, and answers it as `answers` says for the path.

    Everything else it allows.

    What is registered here concerns the test's namespace only, and is removed at the end.
    """

    def __init__(self, cluster: Remote, ca: trustme.CA, port: int) -> None:
        self.cluster = cluster
        self.port = port
        self.url = f"https://127.0.0.1:{port}"
        self.bundle = base64.b64encode(ca.cert_pem.bytes()).decode()
        self.answers: dict[str, Answering] = {}
        self.seen: list[tuple[str, Object]] = []
        self.registered: list[str] = []

    @property
    def paths(self) -> list[str]:
        """Return which webhooks were asked, in order."""
        return [path for path, _ in self.seen]

    @property
    def requests(self) -> list[Object]:
        return [review["request"] for _, review in self.seen]

    def webhook(self, name: str = "a", **changes: Any) -> Object:
        """Return a webhook for every write of a ConfigMap, asked at `/NAME`."""
        return {
            "name": f"{name}.example.com",
            "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": f"{self.url}/{name}", "caBundle": self.bundle},
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": self.cluster.namespace}},
            "rules": [rule("configmaps")],
            "timeoutSeconds": 5,
            **changes,
        }

    async def register(self, *webhooks: Object, name: str = "") -> str:
        """Create a configuration, wait until it is followed, and return its path.

        What was asked until then is forgotten.
        """
        name = name or f"tests-{secrets.token_hex(4)}"
        await self.cluster.create(CONFIGURATIONS, configuration(name, *webhooks))
        self.registered.append(name)
        await self.settled()
        return f"{CONFIGURATIONS}/{name}"

    async def settled(self) -> None:
        """Wait until the cluster follows what is registered. A real server learns of it by a watch, in order."""
        if self.cluster.is_real:
            name = f"a-marker-{secrets.token_hex(4)}"  # asked before those that it waits for, which may refuse
            marked = {"matchLabels": {"tests/marker": name}}
            await self.cluster.create(CONFIGURATIONS, configuration(name, self.webhook(name, objectSelector=marked)))
            self.registered.append(name)
            marker = {"metadata": {"name": "marker", "labels": {"tests/marker": name}}}
            async with asyncio.timeout(20):
                while f"/{name}" not in self.paths:
                    await self.cluster("POST", f"{self.cluster.config_maps}?dryRun=All", marker)
                    await asyncio.sleep(0.02)
        self.seen.clear()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        review = json.loads(await request.read())
        if self.cluster.user not in ("", review["request"]["userInfo"]["username"]):
            return web.json_response(answered(review, {}))
        self.seen.append((request.path, review))
        answer = self.answers.get(request.path, _allow)(review["request"])
        found = await answer if isinstance(answer, Awaitable) else answer
        return found if isinstance(found, web.StreamResponse) else web.json_response(answered(review, found))


def configuration(name: str, *webhooks: Object) -> Object:
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    return {**kind, "metadata": {"name": name}, "webhooks": list(webhooks)}


def rule(*resources: str, operations: tuple[str, ...] = ("CREATE", "UPDATE"), **more: Any) -> Object:
    return {
        "apiGroups": ["*"],
        "apiVersions": ["*"],
        "operations": list(operations),
        "resources": list(resources),
        **more,
    }


def _allow(_: Object) -> Answer:
    return {}


def answered(review: Object, response: Mapping[str, Any]) -> Object:
    """Return the review that answers another; what is None in `response` is left out."""
    found = {"uid": review["request"]["uid"], "allowed": True, **response}
    kept = {name: value for name, value in found.items() if value is not None}
    return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": kept}


def patch(*operations: Object) -> Object:
    return {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(operations).encode()).decode()}


def patching(*operations: Object) -> Answering:
    return lambda _: patch(*operations)


def put(path: str, value: Any) -> Object:
    return {"op": "add", "path": path, "value": value}


@asynccontextmanager
async def webhooks(cluster: Remote, ca: trustme.CA) -> AsyncIterator[Webhooks]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1", SERVICE_HOST).configure_cert(context)
    found: Webhooks | None = None

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        assert found is not None
        return await found.handle(request)

    runner = web.ServerRunner(web.Server(handle), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found = Webhooks(cluster, ca, runner.addresses[0][1])
    try:
        yield found
    finally:
        for name in found.registered:
            await cluster("DELETE", f"{CONFIGURATIONS}/{name}")
        await runner.cleanup()
