"""Commands as a shell runs them."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec


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


async def run(*args: str | Path, stderr: int | None = asyncio.subprocess.PIPE) -> Done:
    """Run `listener ARGS` to its end, without settings or a cluster from the environment."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LISTENER_", "KUBE"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "listener"),
        *map(str, args),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=stderr,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), (err or b"").decode())
