"""The chart installed by helm, and the service as it would run in its Pods: with those settings, as that account."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import dataclasses
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from listener.sandbox.cluster import rights
from listener.sandbox.cluster.rights import Asked
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest
from tests.test_chart import CHART, NAME

STREAMS = "imagestreams.image.openshift.io"
SECRETS = "/etc/listener/secrets"
_HOP_BY_HOP = {"connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}


@dataclass(frozen=True, slots=True)
class Release:
    """Release "release" of the chart in a namespace of its own."""

    cluster: ClusterUnderTest
    home: str
    folder: Path
    helm: Path
    kubectl_program: Path

    async def kubectl(self, *command: str, stdin: str = "") -> str:
        options = ("--kubeconfig", self.cluster.kubeconfig, "--namespace", self.home)
        return await real_parts.run(self.kubectl_program, *options, *command, stdin=stdin)

    async def objects(self, kind: str) -> list[dict[str, Any]]:
        """Return the release's objects of a kind, wherever they are."""
        selector = "--selector=app.kubernetes.io/instance=release"
        found = json.loads(await self.kubectl("get", kind, "--all-namespaces", selector, "--output=json"))["items"]
        return [each for each in found if self.home == _installed_in(each)]

    async def install(self, values: Mapping[str, Any]) -> str:
        """Install it, or upgrade it, and wait until its Pods run, where somebody runs Pods."""
        file = self.folder / "values.yaml"
        file.write_text(yaml.safe_dump(dict(values)))
        wait = ("--wait", "--timeout=60s") if self.cluster.sandbox else ()
        # The definition may be there: other tests have installed it, or other releases.
        options = ("--install", "--take-ownership", "--values", file, *wait)
        return await self._helm("upgrade", "release", CHART, *options)

    async def uninstall(self, *options: str) -> str:
        return await self._helm("uninstall", "release", *options)

    async def _helm(self, *command: str | Path) -> str:
        options = ("--kubeconfig", self.cluster.kubeconfig, "--namespace", self.home)
        return await real_parts.run(self.helm, *options, *command, timeout_seconds=90)

    async def settings(self) -> dict[str, Any]:
        """Return the settings as they are installed, but for the ports and for where files are."""
        config_map = json.loads(await self.kubectl("get", "configmap", NAME, "--output=json"))
        text = config_map["data"]["config.yaml"].replace(SECRETS, str(self.folder))
        found: dict[str, Any] = yaml.safe_load(text)
        found["listen"] = dict.fromkeys(found["listen"].keys() - {"proxies"}, "127.0.0.1:0")
        return found

    async def account(self) -> ClusterUnderTest:
        """Return the cluster as the service of the chart is let in."""
        return self.cluster.let_in(await self.cluster.issue(self.home, NAME), self.folder)


def _installed_in(found: Mapping[str, Any]) -> str | None:
    annotations: Mapping[str, str] = found["metadata"].get("annotations", {})
    return annotations.get("meta.helm.sh/release-namespace")


@asynccontextmanager
async def released(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, folder: Path, values: Mapping[str, Any]
) -> AsyncIterator[Release]:
    """Install the chart; remove it at the end, unless the test has."""
    home = await cluster.namespace("home")
    found = Release(cluster, home, folder, helm, kubectl)
    if cluster.sandbox:  # so that helm makes it
        await found.kubectl("delete", "customresourcedefinition", STREAMS)
    await found.install(values)
    try:
        yield found
    finally:
        await found.uninstall("--ignore-not-found")


class Witness:
    """Stands between the service and the API server: it remembers what is asked, and how it was answered.

    `upset` holds a status for a verb and a resource, which is answered once: to a patch instead of passing it on, as if
    somebody had changed the object just before; to a creation afterwards, as if the answer to an earlier one had been
    lost.
    """

    def __init__(self, account: ClusterUnderTest) -> None:
        self.asked: list[tuple[Asked, int]] = []
        self.upset: dict[tuple[str, str], int] = {}
        self._news = asyncio.Event()
        self._account = account
        self._config = yaml.safe_load(account.kubeconfig.read_text())
        self._server = URL(self._config["clusters"][0]["cluster"]["server"]).origin()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[ClusterUnderTest]:
        """The cluster, as the service shall reach it."""
        connector = aiohttp.TCPConnector(limit=0, ssl=self._tls())
        session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        runner = web.ServerRunner(web.Server(self._pass_on, handler_cancellation=True), shutdown_timeout=0.5)
        await runner.setup()
        async with session:
            self._session = session
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                cluster = {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}
                config = {**self._config, "clusters": [{**self._config["clusters"][0], "cluster": cluster}]}
                kubeconfig = self._account.kubeconfig.with_name("witness.kubeconfig")
                kubeconfig.write_text(yaml.safe_dump(config))
                yield dataclasses.replace(self._account, kubeconfig=kubeconfig)
            finally:
                await runner.cleanup()

    def _tls(self) -> ssl.SSLContext | bool:
        authority = self._config["clusters"][0]["cluster"].get("certificate-authority-data")
        return ssl.create_default_context(cadata=base64.b64decode(authority).decode()) if authority else True

    async def _pass_on(self, request: web.BaseRequest) -> web.StreamResponse:
        it = rights.asked(request.method, request.path, request.query)
        body = await request.read()
        instead = self.upset.pop((it.verb, it.whole_resource), None)
        if instead and it.verb == "patch":
            return _failure(instead)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_BY_HOP}
        url = self._server.join(request.rel_url)
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            self.asked.append((it, answer.status))
            self._news.set()
            if instead:
                return _failure(instead)
            response = web.StreamResponse(status=answer.status)
            response.headers.extend({k: v for k, v in answer.headers.items() if k.lower() not in _HOP_BY_HOP})
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response

    async def sees_used(self, granted: set[Right], seconds: float = 15) -> None:
        """Wait until each of these rights was made use of, or until it takes too long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.unused(granted):
                    self._news.clear()
                    await self._news.wait()

    def unused(self, granted: Iterable[Right]) -> set[Right]:
        return {right for right in granted if not any(right.allows(it) for it, _ in self.asked)}

    def beyond(self, granted: Iterable[Right]) -> set[tuple[str, str, str]]:
        """Return what was asked for without a right to it: group, resource and verb."""
        rights = tuple(granted)
        found = {it for it, _ in self.asked if not it.path and not any(right.allows(it) for right in rights)}
        return {(it.group, it.whole_resource, it.verb) for it in found}

    def answered(self, status: int) -> set[tuple[str, str, str]]:
        return {(it.group, it.whole_resource, it.verb) for it, code in self.asked if code == status}


def _failure(code: int) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "so the test says", "code": code}
    return web.json_response(status, status=code)


@dataclass(frozen=True, slots=True)
class Right:
    """A verb on a resource, in one namespace or (None) in all, on the object of one name or (None) on any."""

    namespace: str | None
    group: str
    resource: str
    verb: str
    name: str | None = None

    def allows(self, it: Asked) -> bool:
        return (
            (self.group, self.resource, self.verb) == (it.group, it.whole_resource, it.verb)
            and self.namespace in {None, it.namespace}
            and self.name in {None, it.name}
        )


async def rights_of(release: Release) -> set[Right]:
    """Return what the chart's roles give the service."""
    roles = {
        (kind, role["metadata"]["name"]): role["rules"]
        for kind in ("Role", "ClusterRole")
        for role in await release.objects(kind)
    }
    bindings = [each for kind in ("RoleBinding", "ClusterRoleBinding") for each in await release.objects(kind)]
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": release.home}
    assert all(each["subjects"] == [account] for each in bindings)
    return {
        Right(binding["metadata"].get("namespace"), group, resource, verb, name)
        for binding in bindings
        for rule in roles[binding["roleRef"]["kind"], binding["roleRef"]["name"]]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        for name in rule.get("resourceNames", [None])
    }
