"""`python -m tests.fuzz [--seconds N] [--dialect NAME] [--again FILE]`: exit code 1 if it found something."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.fuzz import runs


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for how long; default: %(default)s")
    parser.add_argument("--dialect", choices=runs.names(), metavar="NAME", help="only this one; default: all")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only what an earlier run found")
    options = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    done = runs.run(folder, seconds=options.seconds, dialect=options.dialect, again=options.again)
    _say(f"executions    {done.executions}, {done.per_second} a second")
    _say(f"edges         {done.edges[0]} by the samples, {done.edges[1]} at the end")
    _say(f"corpus        {done.corpus[0]} inputs at the beginning, {done.corpus[1]} at the end")
    _say(f"peak memory   {done.peak_mebibytes} MiB")
    if done.finding:
        _say(f"\n{done.finding}\n\nIts input is in {folder}")
    return 1 if done.finding else 0


if __name__ == "__main__":
    sys.exit(main())
