"""`listener serve`: the service."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import click
import msgspec

from listener import app, logs, settings
from listener.cli.options import cluster_options, run

# That make the garbage collector run. Lists and fan-outs make objects by the thousand, and next to none are garbage
# that only it can find: with Python's own 700 it takes a twentieth of their time.
_YOUNG_OBJECTS = 20_000


@click.command("serve")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="The settings, a YAML file.")
@click.option("-n", "--namespace", metavar="NAME", help="Look at this namespace only, whatever the settings say.")
@cluster_options
def command(config: Path | None, namespace: str | None, kubeconfig: str | None, context: str | None) -> None:
    """Take registry webhooks, keep tag history, roll workloads.

    Ends on SIGTERM: it takes no more hooks, patches what waits, and exits with 0.
    """
    found = settings.load(config, os.environ)
    if namespace:
        found = msgspec.structs.replace(found, namespaces=(namespace,))
    logs.configure(found.logging.level, found.logging.format)
    gc.set_threshold(_YOUNG_OBJECTS)
    run(app.serve(found, kubeconfig=kubeconfig, context=context))
