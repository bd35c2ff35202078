"""What a process has imported before it becomes one of our programs: see `programs`."""

import gc
from importlib import import_module

import click

from listener.cli import COMMANDS, cli

for module in ("listener.app", "tests.faults.mutant"):
    import_module(module)
for command in COMMANDS:
    cli.get_command(click.Context(cli), command)

gc.freeze()  # nobody collects what all share
