"""Options and arguments that commands share, and how they run a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from listener.core.edits import Policies
from listener.core.names import InvalidName, TagName, parse_tag
from listener.core.streams import is_namespace

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

# As this command line spells them, and (the third mode) as `oc` does; the API's words.
_IMPORT_MODES: Final = {
    "legacy": "Legacy",
    "preserve-original": "PreserveOriginal",
    "preserveoriginal": "PreserveOriginal",
}
_REFERENCE_POLICIES: Final = {"source": "Source", "local": "Local"}


@dataclass(frozen=True, slots=True)
class Common:
    """What every command for image streams is told: which cluster and namespace, and how to print.

    `namespace` is None for the kubeconfig's own.
    """

    kubeconfig: str | None
    context: str | None
    namespace: str | None
    output: str
    config: Path | None


def stream_tag(text: str, *, any_tag: bool = False) -> TagName:
    """Read an argument `[NAMESPACE/]STREAM:TAG`; with `any_tag` even a tag that no registry would take."""
    found = _name(text, any_tag=any_tag)
    if not found.tag:
        raise click.BadParameter(f"{text!r} names no tag; write [NAMESPACE/]STREAM:TAG")
    return found


def stream_tag_argument(command: F) -> F:
    """`[NAMESPACE/]STREAM:TAG`; the command gets a TagName as `name`."""
    return click.argument("name", callback=lambda _, __, text: stream_tag(text), metavar="[NAMESPACE/]STREAM:TAG")(
        command
    )


def stream_argument(command: F) -> F:
    """`[NAMESPACE/]STREAM[:TAG]`; the command gets a TagName as `name`."""
    return click.argument("name", callback=lambda _, __, text: _name(text), metavar="[NAMESPACE/]STREAM[:TAG]")(command)


def _name(text: str, *, any_tag: bool = False) -> TagName:
    try:
        return parse_tag(text, any_tag=any_tag)
    except InvalidName as error:
        raise click.BadParameter(str(error)) from error


def cluster_options(command: F) -> F:
    """`--kubeconfig` and `--context`."""
    command = click.option("--context", metavar="NAME", help="The kubeconfig's context to use.")(command)
    return click.option(
        "--kubeconfig",
        metavar="FILE",
        help="The cluster to use. Default: the Pod's own, else $KUBECONFIG, else ~/.kube/config.",
    )(command)


def stream_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command for image streams takes; it gets them as its first argument, a `Common`."""
    return _common_options(
        command,
        namespace_help="The streams' namespace. Default: the kubeconfig's own.",
        config_help="The settings, a YAML file; of them, only how to log.",
    )


def workload_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What every command for workloads takes; it gets them as its first argument, a `Common`."""
    return _common_options(
        command,
        namespace_help="The namespace to look in. Default: the kubeconfig's own.",
        config_help="The settings, a YAML file; of them, how to log, where to look and which more kinds follow tags.",
    )


def _common_options(command: Callable[..., Any], *, namespace_help: str, config_help: str) -> Callable[..., Any]:
    @wraps(command)
    def wrapper(
        *,
        kubeconfig: str | None,
        context: str | None,
        namespace: str | None,
        output: str,
        config: Path | None,
        **own: Any,
    ) -> Any:
        return command(Common(kubeconfig, context, namespace, output, config), **own)

    options = [
        click.option(
            "-n",
            "--namespace",
            callback=_namespace,
            metavar="NAME",
            help=namespace_help,
        ),
        click.option(
            "-o",
            "--output",
            type=click.Choice(["table", "json", "yaml"]),
            default="table",
            help="How to print the result. Default: table, for people.",
        ),
        cluster_options,
        click.option(
            "--config",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help=config_help,
        ),
    ]
    found: Callable[..., Any] = wrapper
    for option in reversed(options):
        found = option(found)
    return found


def _namespace(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    if text is not None and not is_namespace(text):
        raise click.BadParameter(f"{text!r} is no namespace: expected lower-case letters, digits and dashes")
    return text


def waiting_option(command: F) -> F:
    """`--timeout`."""
    return click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(min=0),
        default=30,
        metavar="SECONDS",
        help="How long to wait for the service to show the result; 0: do not wait. Default: 30.",
    )(command)


def policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """How a tag is imported and pulled; the command gets it as `policies`."""

    @wraps(command)
    def wrapper(
        *args: Any,
        scheduled: bool | None,
        insecure: bool | None,
        import_mode: str | None,
        reference_policy: str | None,
        **own: Any,
    ) -> Any:
        policies = Policies(
            scheduled,
            insecure,
            _IMPORT_MODES[import_mode] if import_mode else None,
            _REFERENCE_POLICIES[reference_policy] if reference_policy else None,
        )
        return command(*args, policies=policies, **own)

    options = [
        click.option(
            "--scheduled/--no-scheduled", default=None, help="Import the tag from its registry again and again, or not."
        ),
        click.option(
            "--insecure/--no-insecure",
            default=None,
            help="Whether an import may speak plain HTTP and skip the check of certificates.",
        ),
        click.option(
            "--import-mode",
            type=click.Choice(list(_IMPORT_MODES), case_sensitive=False),
            metavar="[legacy|preserve-original]",
            help="Of an image for several platforms take the one for the cluster, or the whole index.",
        ),
        click.option(
            "--reference-policy",
            type=click.Choice(list(_REFERENCE_POLICIES), case_sensitive=False),
            help="Whether workloads pull from where the image was imported from, or from the stream's own repository.",
        ),
    ]
    found: Callable[..., Any] = wrapper
    for option in reversed(options):
        found = option(found)
    return found


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run on uvloop where the extra `speed` is installed."""
    try:
        from uvloop import new_event_loop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(work)
