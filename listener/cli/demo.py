"""`listener demo`: the main job as a walk, every step of it seen to happen."""

from __future__ import annotations

import asyncio
import json
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec

from listener import app, logs, settings
from listener.cli.options import cluster_options, run
from listener.cli.playground import CRD_NAME, CRD_PATH, Playground, install_image_streams, playground
from listener.cli.release import release, until_released
from listener.cli.rollback import hold_at, until_there
from listener.cli.streams import Streams
from listener.cli.tag import pin, point
from listener.core.names import TagName, parse_source, parse_tag
from listener.core.outcomes import End
from listener.edges.cluster import STREAMS_PATH
from listener.errors import ClusterError, ClusterRefused, ListenerError
from listener.sandbox.images import Image, make_image, push

_PATIENCE_SECONDS = 30


class StepFailed(ListenerError):
    """A step of the walk was not seen to happen."""


@click.command("demo")
@cluster_options
def command(kubeconfig: str | None, context: str | None) -> None:
    """Push an image and watch a Deployment roll; promote it; roll it back, and let it go again.

    Without --kubeconfig on a cluster API of its own, in memory. With it on that cluster: in a namespace of its own,
    which is removed at the end, as is the ImageStream CRD if it was missing. Exits with 0 only if each step was seen to
    happen.
    """
    logs.configure("warning", "auto")
    run(_demo(kubeconfig, context))


async def _demo(kubeconfig: str | None, context: str | None) -> None:
    async with AsyncExitStack() as stack:
        if kubeconfig is None and context is None:
            # Imported here, for on a real cluster nobody needs it.
            from listener.sandbox.cluster import Cluster as SandboxCluster  # noqa: PLC0415

            sandbox = await stack.enter_async_context(SandboxCluster())
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="listener-"))
            kubeconfig = str(Path(folder) / "kubeconfig")
            await asyncio.to_thread(Path(kubeconfig).write_text, sandbox.kubeconfig())
            _say(f"A cluster API of our own at {sandbox.url}, in memory.")
            rolls_out = True
        else:
            _say("Your cluster, in a namespace of its own.")
            rolls_out = False
        await _walk(kubeconfig, context, rolls_out=rolls_out)


async def _walk(kubeconfig: str | None, context: str | None, *, rolls_out: bool) -> None:
    """Make the namespace and what the cluster lacks, walk, and clean up whatever happened."""
    namespace = f"listener-demo-{secrets.token_hex(3)}"
    async with await app.connect(settings.Settings(), kubeconfig=kubeconfig, context=context) as cluster:
        installed = await install_image_streams(cluster)
        try:
            made = await cluster.create(
                "/api/v1/namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
            )
            if made.end is not End.APPLIED:
                raise StepFailed(f"namespace {namespace} cannot be created: {made.message}")
            async with (
                playground(kubeconfig or "", context=context, namespace=namespace, integrated=False) as ground,
                aiohttp.ClientSession() as session,
            ):
                await _Walk(ground, session, namespace, rolls_out=rolls_out).run()
        finally:
            await cluster.delete(f"/api/v1/namespaces/{namespace}")
            if installed:
                await cluster.delete(f"{CRD_PATH}/{CRD_NAME}")


class _Walk:
    def __init__(self, ground: Playground, session: aiohttp.ClientSession, namespace: str, *, rolls_out: bool) -> None:
        self._ground = ground
        self._cluster = ground.cluster
        self._streams = Streams(ground.cluster, timeout_seconds=_PATIENCE_SECONDS)
        self._session = session
        self._namespace = namespace
        self._repository = f"{namespace}/web"
        self._rolls_out = rolls_out

    async def run(self) -> None:
        assert self._ground.service is not None  # noqa: S101 - the walk asked for one
        await self._create_objects()
        await self._until("the service is ready", self._ground.service.ready)
        _done("created ImageStream web, Deployment web on web:latest, Deployment web-prod on web:prod")

        first, second = make_image(f"{self._namespace} first"), make_image(f"{self._namespace} second")
        await self._rolled("web", first, since=await self._push(first, "latest"))
        await self._rolled("web-prod", first, since=await self._promote("web:latest", "web:prod"))
        await self._rolled("web", second, since=await self._push(second, "latest"))

        generation = (await self._deployment("web"))["metadata"]["generation"]
        await self._push(second, "latest")
        await self._push(second, "unused")  # deliveries come in order: once this one is stored, so is the one before
        await self._until("tag unused is stored", lambda: self._tag_is("unused", second))
        if (await self._deployment("web"))["metadata"]["generation"] != generation:
            raise StepFailed("Deployment web changed though the same image was pushed again")
        _done("the same push again changed nothing, a push to another tag touched nothing")

        await self._rolled("web-prod", second, since=await self._promote("web:latest", "web:prod"))
        await self._rolled("web-prod", first, since=await self._roll_back("web:prod"))
        await self._rolled("web-prod", second, since=await self._release("web:prod"))

        for tag in ("latest", "prod"):
            items = await self._items(tag)
            _say(f"  history of web:{tag}")
            for number, item in enumerate(items):
                _say(f"    {number}  {item['created']}  {item['image']}")
        _say("Every step was seen to happen.")

    async def _create_objects(self) -> None:
        metadata = {"name": "web", "namespace": self._namespace}
        repository = f"{self._ground.registry.host}/{self._repository}"
        stream = {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": metadata,
            "spec": {"dockerImageRepository": repository},
        }
        await self._until("ImageStreams are served", lambda: self._created(STREAMS_PATH, "imagestreams", stream))
        for name, tag in (("web", "latest"), ("web-prod", "prod")):
            deployment = _deployment(name, self._namespace, f"web:{tag}", replicas=2 if self._rolls_out else 0)
            if not await self._created("/apis/apps/v1", "deployments", deployment):
                raise StepFailed(f"Deployment {name} cannot be created")

    async def _created(self, group: str, plural: str, body: dict[str, Any]) -> bool:
        outcome = await self._cluster.create(f"{group}/namespaces/{self._namespace}/{plural}", body)
        if outcome.end is End.REFUSED:
            raise StepFailed(f"{plural} cannot be created in {self._namespace}: {outcome.message}")
        return outcome.end in (End.APPLIED, End.STALE)

    # What makes tags move: by a push, or as the command does it that is shown. Each tells since when.

    async def _push(self, image: Image, tag: str) -> float:
        await push(self._session, f"http://{self._ground.registry.host}", self._repository, tag, image)
        _say(f"  pushed {self._ground.registry.host}/{self._repository}:{tag}")
        return time.monotonic()

    async def _promote(self, source: str, destination: str) -> float:
        name, since = self._name(destination), time.monotonic()
        pinned = await pin(self._streams, parse_source(source).within(self._namespace))
        await self._streams.until_done(name, await point(self._streams, pinned, name))
        _say(f"  listener tag {source} {destination}")
        return since

    async def _roll_back(self, text: str) -> float:
        name, since = self._name(text), time.monotonic()
        await until_there(self._streams, name, await hold_at(self._streams, name))
        _say(f"  listener rollback {text}")
        return since

    async def _release(self, text: str) -> float:
        name, since = self._name(text), time.monotonic()
        await until_released(self._streams, name, await release(self._streams, name))
        _say(f"  listener release {text}")
        return since

    def _name(self, text: str) -> TagName:
        return parse_tag(text).within(self._namespace)

    async def _rolled(self, name: str, image: Image, *, since: float) -> None:
        """See the Deployment take the image and, where somebody runs it, every replica too."""
        wanted = f"{self._ground.registry.host}/{self._repository}@{image.digest}"

        async def patched() -> bool:
            return _image(await self._deployment(name)) == wanted

        await self._until(f"Deployment {name} runs {wanted}", patched)
        seconds = time.monotonic() - since
        if self._rolls_out:

            async def rolled_out() -> bool:
                return _is_rolled_out(await self._deployment(name))

            await self._until(f"Deployment {name} is rolled out", rolled_out)
        how = ", rolled out" if self._rolls_out else ""
        _done(f"Deployment {name} moved to {image.digest} after {seconds:.2f} s{how}")

    async def _deployment(self, name: str) -> dict[str, Any]:
        path = f"/apis/apps/v1/namespaces/{self._namespace}/deployments/{name}"
        found: dict[str, Any] = msgspec.json.decode(await self._cluster.get(path))
        return found

    async def _items(self, tag: str) -> list[dict[str, Any]]:
        path = f"{STREAMS_PATH}/namespaces/{self._namespace}/imagestreams/web"
        stream = msgspec.json.decode(await self._cluster.get(path))
        tags = stream.get("status", {}).get("tags", [])
        return next((found["items"] for found in tags if found["tag"] == tag), [])

    async def _tag_is(self, tag: str, image: Image) -> bool:
        items = await self._items(tag)
        return bool(items) and items[0]["image"] == image.digest

    async def _until(self, what: str, happened: Callable[[], Awaitable[bool | None]]) -> None:
        """Wait until it happened; what has nothing to say has happened when it returns."""
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while True:
                    try:
                        if await happened() is not False:
                            return
                    except ClusterRefused:
                        raise
                    except ClusterError:
                        pass
                    await asyncio.sleep(0.02)
        except TimeoutError as error:
            raise StepFailed(f"not seen within {_PATIENCE_SECONDS} s: {what}") from error


def _deployment(name: str, namespace: str, stream_tag: str, *, replicas: int) -> dict[str, Any]:
    trigger = {
        "from": {"kind": "ImageStreamTag", "name": stream_tag},
        "fieldPath": 'spec.template.spec.containers[?(@.name=="web")].image',
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {"image.openshift.io/triggers": json.dumps([trigger])},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": "not-pushed-yet"}]},
            },
        },
    }


def _image(deployment: dict[str, Any]) -> str:
    image: str = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


def _is_rolled_out(deployment: dict[str, Any]) -> bool:
    """As `kubectl rollout status` sees it."""
    status = deployment.get("status", {})
    wanted = deployment["spec"]["replicas"]
    return bool(
        status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == wanted
        and status.get("availableReplicas", 0) == wanted
    )


def _say(text: str) -> None:
    click.echo(text)


def _done(text: str) -> None:
    click.echo(f"{click.style('✓', fg='green')} {text}")
