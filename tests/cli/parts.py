"""Commands as a shell runs them."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from tests import programs


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What `-o json` printed."""
        assert self.code == 0, self.err
        return msgspec.json.decode(self.out)

    @property
    def text(self) -> str:
        """What a command printed that went well and had nothing to add."""
        assert (self.code, self.err) == (0, "")
        return self.out.rstrip("\n")

    @property
    def refusal(self) -> str:
        """The one line of a command that was refused, or failed."""
        assert (self.code, self.out) == (1, ""), self.err
        (line,) = self.err.rstrip("\n").split("\n")
        return line.removeprefix("listener: ")

    @property
    def misuse(self) -> str:
        """What a command said that was used wrongly."""
        assert (self.code, self.out) == (2, "")
        assert self.err.startswith("Usage: ")
        return self.err.rstrip("\n").split("Error: ")[-1]


async def run(*args: str | Path, terminal: Path | None = None) -> Done:
    """Run `listener ARGS` to its end, without settings or a cluster from the environment; stderr may be a terminal."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LISTENER_", "KUBE"))}
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), terminal or Path(folder, "err")
        process = await programs.start("listener", *args, env=environment, stdout=out, stderr=err)
        try:
            code = await asyncio.wait_for(process.wait(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return Done(code, out.read_text(), "" if terminal else err.read_text())
