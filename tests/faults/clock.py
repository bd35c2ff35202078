"""A wall clock that can be set, for one process; the clocks that only go forwards stay as they are.

By Debian's libfaketime, which comes with the package `faketime`.
"""

from __future__ import annotations

from pathlib import Path

from tests import real_parts


class Clock:
    """`file` is where it is set, while the process runs."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, seconds: int) -> None:
        """Put it so far before the true time (or, below zero, behind it)."""
        self._file.write_text(f"{seconds:+d}\n")

    @property
    def env(self) -> dict[str, str]:
        """What a process has to be started with."""
        found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        if not found:
            real_parts.missing("libfaketime", "install the Debian package faketime (apt-get install faketime)")
        return {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }
