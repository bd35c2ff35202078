"""The command line.

Each command is a module of its own, imported when it is called: `--help` must not wait for Kubernetes.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from keyword import iskeyword
from typing import Any, Final

import click

from listener import __version__
from listener.errors import ListenerError

# The text is what `listener --help` shows.
COMMANDS: Final = {
    "serve": "Take registry webhooks, keep tag history, roll workloads.",
    "sandbox": "A cluster API, a registry and the service, all on loopback.",
    "demo": "Watch a push roll a Deployment, step by step.",
    "tag": "Promote an image: give a tag another source, or take it away.",
    "import": "Import a tag from its registry now, and show the result.",
    "history": "Show what a tag points at, has pointed at, and what waits.",
    "rollback": "Move a tag back to an earlier image, and hold it there.",
    "hold": "Freeze a tag against pushes and imports.",
    "release": "Let a held tag go to the newest image.",
    "triggers": "Show which tags a workload follows, and let it follow one.",
    "lookup": "Show which images name stream tags, and let them.",
    "impact": "Show which workloads would change if a tag moved.",
    "lint": "Find broken streams and triggers, in the cluster or in files.",
    "dialects": "Show which registries can call us, and the guide for one.",
    "hook": "Explain a saved delivery, or send it again.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # The module is named like the command, as far as Python lets it, and holds it as `command`.
        module = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name
        with _uncollected():
            command: click.Command = import_module(f"listener.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            ctx.fail(f"there is no command {args[0]!r}; there are {', '.join(COMMANDS)}")
        return super().resolve_command(ctx, args)


@contextmanager
def _uncollected() -> Iterator[None]:
    """Import without the garbage collector, which would look through the same modules over and over and find nothing;
    nor need it ever look at them later.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
def cli() -> None:
    """Image streams for every Kubernetes cluster: a push to a registry rolls every workload that names the tag."""


def main(args: list[str] | None = None) -> Any:
    """Run a command. Exit codes: 0 done, 1 refused or failed (one line on stderr), 2 wrong usage."""
    try:
        cli.main(args=args, standalone_mode=False)
    except click.exceptions.Exit as ended:
        sys.exit(ended.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.UsageError as error:
        error.show()
        sys.exit(2)
    except ListenerError as error:
        click.echo(f"listener: {error}", err=True)
        sys.exit(1)
