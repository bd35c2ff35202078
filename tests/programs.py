"""Our own program in a process of its own, without the wait for its imports.

To import it takes the better part of a second of processor time, and these tests start it hundreds of times. So a
process that has imported everything is forked for each start (the "forkserver" of the standard library; pytest's
workers have one each). From there on nothing is shared, and what runs is what `python -m MODULE` would run.
What a shell sees of a start is tried in `test_cli.py`, and wherever a test starts `sys.executable` itself.
"""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Protocol

# By the loader, and by what we import: what was imported before knows only of those that the tests were started with.
_READ_BY_IMPORTS = {name: os.environ.get(name) for name in ("LD_PRELOAD", "SSL_CERT_FILE", "SSL_CERT_DIR")}

_forked = get_context("forkserver")
_forked.set_forkserver_preload(["tests.preloaded"])


class Process(Protocol):
    """As far as tests use one; asyncio's own is such a process, too."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    def send_signal(self, signal: int) -> None: ...

    def kill(self) -> None: ...

    async def wait(self) -> int: ...


class Program:
    """`python -m MODULE ARGS`, started by `start`."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; below zero it is the signal that ended it."""
        return self._process.exitcode

    def send_signal(self, signal: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(self._process.sentinel, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(self._process.sentinel)
        self._process.join()
        assert self.returncode is not None
        return self.returncode


async def start(module: str, *args: str | Path, env: Mapping[str, str], stdout: Path, stderr: Path) -> Process:
    """Start `python -m MODULE ARGS` with this environment, without stdin, writing to these files."""
    words = [module, *map(str, args)]
    with stdout.open("wb") as out, stderr.open("wb") as err:
        if any(env.get(name) != value for name, value in _READ_BY_IMPORTS.items()):
            command = (sys.executable, "-m", *words)
            nothing = asyncio.subprocess.DEVNULL
            return await asyncio.create_subprocess_exec(*command, env=env, stdin=nothing, stdout=out, stderr=err)
    process = _forked.Process(target=_become, args=(words, dict(env), str(stdout), str(stderr)), name=module)
    await asyncio.to_thread(process.start)  # the first waits for the imports
    return Program(process)


def _become(words: list[str], env: Mapping[str, str], stdout: str, stderr: str) -> None:
    os.environ.clear()
    os.environ.update(env)
    for path, number in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)
