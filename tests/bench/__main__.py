"""`python -m tests.bench NAME [--kubeconfig FILE] [--workloads N]`: one JSON object a line.

Each bench measures a thing and its limit in the same run and prints the ratio: absolute times are noise on a shared
machine. `soak --minutes N` measures what must not grow.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from listener import logs
from tests.bench import fanout, first, hooks, imports, lookups, memory, neighbour, soak, startup
from tests.bench.world import world

_BENCHES: dict[str, tuple[Callable[..., Awaitable[dict[str, object]]], int]] = {
    "fanout": (fanout.run, 1000),
    "first": (first.run, 1),
    "memory": (memory.run, 10_000),
    "hooks": (hooks.run, 32),
    "lookups": (lookups.run, 8),
    "startup": (startup.run, 10_000),
    "imports": (imports.run, 10_000),
    "neighbour": (neighbour.run, 2000),
    "soak": (soak.run, 20),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("name", choices=_BENCHES)
    parser.add_argument("--kubeconfig", type=Path, help="a cluster to measure on; default: a sandbox")
    parser.add_argument("--workloads", type=int, help="how many (of what a bench says); each has its own default")
    parser.add_argument("--minutes", type=float, default=10, help="how long the soak is")
    options = parser.parse_args()
    if options.minutes < soak.FEWEST_MINUTES:
        parser.error(f"--minutes: at least {soak.FEWEST_MINUTES}, so that each third has every kind of bad moment")
    logs.configure("warning", "console")
    result = asyncio.run(_run(options.name, options.kubeconfig, options.workloads, options.minutes))
    sys.stdout.write(json.dumps(result) + "\n")
    if result.get("wrong"):
        sys.exit(1)


async def _run(name: str, kubeconfig: Path | None, workloads: int | None, minutes: float) -> dict[str, object]:
    bench, default = _BENCHES[name]
    more = {"minutes": minutes, "is_sandbox": kubeconfig is None} if bench is soak.run else {}
    with tempfile.TemporaryDirectory(prefix="listener-bench-") as folder:
        async with world(kubeconfig, Path(folder)) as made:
            result = await bench(made, workloads or default, **more)
    return {**result, "cluster": "given" if kubeconfig else "sandbox"}


if __name__ == "__main__":
    main()
