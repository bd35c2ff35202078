"""`listener sandbox`: everything one needs to try image streams, on loopback, in memory, gone when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import click

from listener import logs, settings
from listener.cli.options import run
from listener.cli.playground import HOOK, Playground, install_image_streams, playground
from listener.errors import SettingsError
from listener.sandbox.cluster import Cluster as SandboxCluster


@click.command("sandbox")
@click.option("--no-serve", is_flag=True, help="Leave the service out; start your own with `listener serve`.")
@click.option(
    "--cluster-port", type=int, default=0, metavar="PORT", help="Where the cluster API listens. Default: any."
)
@click.option("--registry-port", type=int, default=0, metavar="PORT", help="Where the registry listens. Default: any.")
@click.option(
    "--kubeconfig-out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Where to write the kubeconfig. Default: a temporary file, removed at the end.",
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings for the service.")
def command(
    no_serve: bool, cluster_port: int, registry_port: int, kubeconfig_out: Path | None, config: Path | None
) -> None:
    """Run a cluster API, an OCI registry and the service on loopback, until SIGINT or SIGTERM.

    The registry is integrated: a push to NAMESPACE/NAME:TAG moves the tag of ImageStream NAME in NAMESPACE. Everything
    is kept in memory, and gone at the end.
    """
    base = settings.load(config, os.environ) if config else None
    logging = base.logging if base else settings.Logging()
    logs.configure(logging.level, logging.format)
    run(_run(base, cluster_port, registry_port, kubeconfig_out, serve=not no_serve))


async def _run(
    base: settings.Settings | None, cluster_port: int, registry_port: int, kubeconfig_out: Path | None, *, serve: bool
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        try:
            sandbox = await stack.enter_async_context(SandboxCluster(port=cluster_port))
        except OSError as error:
            raise SettingsError(f"--cluster-port {cluster_port}: cannot listen there: {error.strerror}") from error
        if kubeconfig_out is None:
            kubeconfig = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="listener-"))) / "kubeconfig"
        else:
            kubeconfig = kubeconfig_out
        _write_private(kubeconfig, sandbox.kubeconfig())
        async with playground(kubeconfig, registry_port=registry_port, base=base, serve=serve) as ground:
            await install_image_streams(ground.cluster)
            if ground.service:
                await ground.service.ready()
            click.echo(_banner(sandbox.url, kubeconfig, ground))
            await stop.wait()


def _write_private(file: Path, text: str) -> None:
    """The kubeconfig holds the token that keeps the machine's other users out."""
    try:
        file.unlink(missing_ok=True)
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:  # noqa: PTH123
            out.write(text)
    except OSError as error:
        raise SettingsError(f"--kubeconfig-out {file}: cannot be written: {error.strerror}") from error


def _banner(cluster_url: str, kubeconfig: Path, ground: Playground) -> str:
    host = ground.registry.host
    lines = [
        f"cluster   {cluster_url}  (in memory: gone when this ends)",
        f"registry  {host}  (plain http; push to {host}/NAMESPACE/NAME:TAG)",
    ]
    if ground.service:
        port = ground.service.hooks_port
        lines.append(f"hooks     http://127.0.0.1:{port}/hooks/{HOOK}")
        lines.append(f"health    http://127.0.0.1:{ground.service.monitoring_port}/healthz and /metrics")
    lines += ["", "To use it, in another terminal:", f"  export KUBECONFIG={kubeconfig}", "", "Ctrl-C ends it."]
    return "\n".join(lines)
