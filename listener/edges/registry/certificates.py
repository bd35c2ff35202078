"""Whose certificate is believed: the settings of each host, and its CA file, read again when it changes."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from yarl import URL

from listener.core.references import Reference
from listener.errors import SettingsError

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class HostSettings:
    """How to speak to one host.

    `insecure`: believe any certificate, and speak plain HTTP where there is no TLS. `ca_file`: PEM, believed for this
    host besides the system's CAs.
    """

    insecure: bool = False
    ca_file: Path | None = None


class CaFile:
    """One CA file, as a TLS context."""

    def __init__(self, file: Path) -> None:
        """Read it once, so that a wrong name stops the start. Raises SettingsError."""
        self._file = file
        self._stamp = self._stamp_now()
        try:
            self._context = _context(file)
        except OSError as error:  # SSLError is one, for what is no PEM
            raise SettingsError(f"caFile {file} cannot be used: {error.strerror or error}") from error

    def context(self) -> ssl.SSLContext:
        """The context of the file as it is now. While it cannot be used, that of its last good content."""
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return self._context
        self._stamp = stamp  # whatever comes of it, so that a broken file is told once and not at each request
        try:
            self._context = _context(self._file)
        except OSError as error:
            log.warning("registry.ca_file_unusable", file=str(self._file), reason=error.strerror or str(error))
        return self._context

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = self._file.stat()
        except OSError:
            return None
        return (found.st_ino, found.st_mtime_ns, found.st_size)


def _context(file: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=file)
    context.load_default_certs()
    return context


class Certificates:
    """The settings of all hosts, by their names as in pull specs."""

    def __init__(self, hosts: Mapping[str, HostSettings]) -> None:
        """Raises SettingsError when a CA file cannot be used."""
        self._hosts = {Reference(host, "any").with_defaults().registry: settings for host, settings in hosts.items()}
        self._files = {
            host: CaFile(settings.ca_file) for host, settings in self._hosts.items() if settings.ca_file is not None
        }

    def insecure(self, host: str) -> bool:
        settings = self._hosts.get(host)
        return settings is not None and settings.insecure

    def believed(self, host: str | None) -> ssl.SSLContext | bool:
        """Whom to believe at this host when its certificate is to be verified: its context, True for the system's."""
        file = self._files.get(host) if host else None
        return True if file is None else file.context()

    def configured(self, url: URL) -> str | None:
        """The name in the settings of the host that a URL leads to; None if it is not in there."""
        return next((name for name in spellings(url) if name in self._hosts), None)


def spellings(url: URL) -> tuple[str, ...]:
    """How pull specs may write the host of a URL: a port that is its scheme's own can be left out."""
    host = url.host_subcomponent or ""
    whole = f"{host}:{url.port}"
    return (host, whole) if url.is_default_port() else (whole,)
