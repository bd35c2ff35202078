"""A registry and the service beside a cluster, wired together on loopback: what `sandbox` and `demo` have in common."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import msgspec
import yaml

from listener import app, settings
from listener.app import Service
from listener.core.outcomes import End
from listener.edges.cluster import Cluster
from listener.errors import ClusterUnavailable, SettingsError
from listener.sandbox.registry import Registry
from listener.settings import Settings

CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
CRD_NAME = "imagestreams.image.openshift.io"
HOOK = "sandbox"

_LOOPBACK = settings.Listen(hooks="127.0.0.1:0", monitoring="127.0.0.1:0")


@dataclass(frozen=True, slots=True)
class Playground:
    """`service` is None where only the cluster and the registry were asked for."""

    cluster: Cluster
    registry: Registry
    service: Service | None


@asynccontextmanager
async def playground(
    kubeconfig: Path | str,
    *,
    context: str | None = None,
    registry_port: int = 0,
    base: Settings | None = None,
    namespace: str | None = None,
    integrated: bool = True,
    serve: bool = True,
) -> AsyncIterator[Playground]:
    """Start the embedded registry and the service for a cluster that serves ImageStreams; stop them at the end.

    `base` are settings to start from, `namespace` the only one to look at. Raises SettingsError.
    """
    async with AsyncExitStack() as stack:
        registry = Registry(registry_port)
        try:
            await stack.enter_async_context(registry)
        except OSError as error:
            raise SettingsError(f"--registry-port {registry_port}: cannot listen there: {error.strerror}") from error
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="listener-")))
        secret = secrets.token_hex(16)
        (folder / "secret").write_text(secret)
        found = _settings(base, registry.host, folder / "secret", namespace, integrated=integrated)
        cluster = await app.connect(found, kubeconfig=str(kubeconfig), context=context)
        await stack.enter_async_context(cluster)
        service = None
        if serve:
            service = await stack.enter_async_context(Service(found, cluster))
            url = f"http://127.0.0.1:{service.hooks_port}/hooks/{HOOK}"
            registry.notify(url, {"Authorization": f"Bearer {secret}"})
        yield Playground(cluster, registry, service)


async def install_image_streams(cluster: Cluster) -> bool:
    """Make the cluster serve ImageStreams. Returns whether that was missing. Raises ClusterUnavailable."""
    definition = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text(encoding="utf-8"))
    outcome = await cluster.create(CRD_PATH, definition)
    if outcome.end not in (End.APPLIED, End.STALE):
        raise ClusterUnavailable(f"the ImageStream CRD cannot be installed: {outcome.message}")
    return outcome.end is End.APPLIED


def _settings(
    base: Settings | None, registry_host: str, secret: Path, namespace: str | None, *, integrated: bool
) -> Settings:
    embedded = settings.Registry(
        name=HOOK,
        host=registry_host,
        dialect="distribution",
        auth=settings.Auth(bearer=settings.SecretSource(secret_file=str(secret))),
        integrated=integrated,
        insecure=True,
    )
    # It is alone: whoever else serves the cluster has other namespaces, or other registries.
    found = base or Settings(listen=_LOOPBACK, leader_election=settings.LeaderElection(enabled=False))
    if namespace:
        found = msgspec.structs.replace(found, namespaces=(namespace,))
    return msgspec.structs.replace(found, registries=(*found.registries, embedded))
