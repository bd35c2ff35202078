"""Options that commands share, and how they run a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


def cluster_options(command: F) -> F:
    """`--kubeconfig` and `--context`."""
    command = click.option("--context", metavar="NAME", help="The kubeconfig's context to use.")(command)
    return click.option(
        "--kubeconfig",
        metavar="FILE",
        help="The cluster to use. Default: the Pod's own, else $KUBECONFIG, else ~/.kube/config.",
    )(command)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where the extra `speed` is installed."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)
