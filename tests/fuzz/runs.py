"""A run of the fuzzer, and what came of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from listener.dialects import DIALECTS
from tests.fuzz import inputs
from tests.fuzz.planted import PLANTED, SAMPLE

ROOT: Final = Path(__file__).parent.parent.parent

_INITED: Final = re.compile(r"^#\d+\s+INITED cov: (\d+) .*corp: (\d+)/", re.MULTILINE)
_REACHED: Final = re.compile(r"^#\d+\s+\w+\s+cov: (\d+) .*corp: (\d+)/", re.MULTILINE)
_PATIENCE_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Run:
    """`edges` and `corpus`: with the samples alone, and at the end. `finding` is "" if there was none; `output` all
    that was said."""

    executions: int
    per_second: int
    edges: tuple[int, int]
    corpus: tuple[int, int]
    peak_mebibytes: int
    finding: str
    output: str


def run(
    folder: Path, *, seconds: int, dialect: str | None = None, again: Path | None = None, seed: int | None = None
) -> Run:
    """Fuzz one dialect or all, until there is a finding; or do with one file what was done with it before.

    With a `seed` it goes the same ways each time, as far as it comes. Everything is written into the folder, which is
    empty: the corpus, and what a finding is to be seen with again.
    """
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, case in enumerate([*inputs.seeds(), SAMPLE]):
        if dialect == case.dialect or (dialect is None and case is not SAMPLE):
            (corpus / f"sample-{number}").write_bytes(case.written())
    words = [f"--folder={folder}", f"-max_total_time={seconds}"]
    words += [f"--dialect={dialect}"] if dialect else []
    words += [f"--again={again}"] if again else []
    words += [f"-seed={seed}"] if seed else []
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.engine", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + _PATIENCE_SECONDS,
        check=False,
    )
    return _read(done.stdout.decode(errors="replace"), done.returncode)


def names() -> list[str]:
    return [*DIALECTS, PLANTED.name]


def _read(output: str, status: int) -> Run:
    begun = _INITED.findall(output)
    reached = _REACHED.findall(output)
    (edges, corpus), (last_edges, last_corpus) = (begun or [(0, 0)])[0], (reached or [(0, 0)])[-1]
    return Run(
        _figure(output, "number_of_executed_units"),
        _figure(output, "average_exec_per_sec"),
        (int(edges), int(last_edges)),
        (int(corpus), int(last_corpus)),
        _figure(output, "peak_rss_mb"),
        _finding(output) if status else "",
        output,
    )


def _figure(output: str, name: str) -> int:
    found = re.search(rf"^stat::{name}:\s+(\d+)", output, re.MULTILINE)
    return int(found[1]) if found else 0


def _finding(output: str) -> str:
    """From the delivery or the exception to the end of its traceback; the whole end if there is neither."""
    lines = output.splitlines()
    telling = [n for n, line in enumerate(lines) if " read Case(" in line or "Uncaught Python exception" in line]
    first = telling[0] if telling else max(0, len(lines) - 30)
    last = next((n for n in range(first, len(lines)) if lines[n].startswith("stat::")), len(lines))
    return "\n".join(lines[first:last])
