"""Secrets, from files or the environment, and the gate they open. A file is read again when it changes, and may hold
several secrets, one a line, that are all valid: so a rotation needs no restart and refuses nobody.
"""

from __future__ import annotations

import os
from pathlib import Path

import structlog

from listener.core import authentication
from listener.core.events import Delivery
from listener.errors import SettingsError, Unauthenticated

log = structlog.get_logger()


class Secret:
    """One secret. Its value appears in no `repr`, no log and no message."""

    def __init__(self, *, file: Path | None = None, env: str | None = None) -> None:
        """Read it once, so that a wrong name stops the start. Raises SettingsError."""
        self._file = file
        self._stamp: tuple[int, int, int] | None = None
        self._values: tuple[bytes, ...] = ()
        if file is not None:
            try:
                self._read(file)
            except OSError as error:
                raise SettingsError(f"secretFile {file} cannot be read: {error.strerror}") from error
            source = f"secretFile {file}"
        else:
            self._values = _lines(os.fsencode(os.environ.get(env or "", "")))
            source = f"secretEnv {env}"
        if not self._values:
            raise SettingsError(f"{source} is empty or not set; it must hold the secret")

    def __repr__(self) -> str:
        return f"Secret({self._file or 'environment'})"

    def values(self) -> tuple[bytes, ...]:
        """The secrets that are valid now. While their file cannot be read, or is empty, the last good ones."""
        if self._file is not None:
            try:
                self._read(self._file)
            except OSError as error:
                log.warning("secret.unreadable", file=str(self._file), reason=error.strerror)
        return self._values

    def _read(self, file: Path) -> None:
        found = file.stat()
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return
        self._values = _lines(file.read_bytes()) or self._values
        self._stamp = stamp


def _lines(text: bytes) -> tuple[bytes, ...]:
    """Editors and `echo` end a file with a newline that nobody means as part of a secret."""
    return tuple(line for line in text.splitlines() if line)


class SecretGate:
    """Lets in who carries a registry's secret. `secret` is None with the scheme Open only."""

    def __init__(self, registry: str, scheme: authentication.Scheme, secret: Secret | None) -> None:
        self._registry = registry
        self._scheme = scheme
        self._secret = secret
        self.needs_body = authentication.needs_body(scheme)

    async def admit(self, delivery: Delivery) -> None:
        """Raises `Unauthenticated`."""
        secrets = self._secret.values() if self._secret else ()
        if not authentication.admits(self._scheme, secrets, delivery):
            why = authentication.complaint(self._scheme, delivery)
            raise Unauthenticated(f"the delivery does not carry the secret of registry {self._registry!r}: {why}")
