"""What a process has imported before it becomes one of our programs: see `programs`."""

import gc
from importlib import import_module
from keyword import iskeyword

from listener.cli import COMMANDS

for module in ("listener.app", "tests.faults.mutant"):
    import_module(module)
for command in COMMANDS:
    import_module(f"listener.cli.{command}_" if iskeyword(command) else f"listener.cli.{command}")

gc.freeze()  # nobody collects what all share
