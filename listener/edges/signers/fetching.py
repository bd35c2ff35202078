"""One GET to a signer: over TLS, without redirects, bounded in time and size.

Every error of the HTTP library ends here, and is not chained: its errors carry URLs, and some of those are secrets.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from multidict import CIMultiDictProxy
from yarl import URL

from listener.errors import SignerUnavailable

# A sender waits for both the keys' address and the keys, and the most impatient one waits ten seconds.
_TOTAL_SECONDS: Final = 4
_CONNECT_SECONDS: Final = 3
_MOST_BYTES: Final = 256 * 1024  # Google's keys are 1 KiB, Microsoft's 20 KiB, a certificate of SNS 3 KiB
_CONNECTIONS: Final = 16


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. The body is empty unless the status is 200."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


class Fetching:
    """What all signers are asked through. An async context manager; connections are made when they are needed."""

    def __init__(self, *, tls: ssl.SSLContext | None = None, resolver: AbstractResolver | None = None) -> None:
        """`tls` is whom to believe, None the system's CAs; `resolver` says where names are, None the system's."""
        self._tls = tls
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: URL) -> Answer:
        """Ask once. Raises SignerUnavailable if there is no answer that may be read."""
        if url.scheme != "https":
            raise SignerUnavailable(f"{server_name(url)}: only https is asked")
        try:
            async with self._opened().get(url, allow_redirects=False) as response:
                body = await _body(response) if response.status == 200 else b""
                return Answer(response.status, response.headers, body)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            told = _told(error)
        # Out here, so that the library's error does not hang on ours as its context.
        raise SignerUnavailable(f"{server_name(url)}: {told}")

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(resolver=self._resolver, limit=_CONNECTIONS, ssl=self._tls or True)
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS),
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                # What is small when packed may be large.
                auto_decompress=False,
                headers={"User-Agent": "imagestream-listener", "Accept-Encoding": "identity"},
            )
        return self._session


class _TooLong(OSError):
    """More than we take."""


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            response.close()
            raise _TooLong
    return bytes(body)


def _told(error: aiohttp.ClientError | OSError) -> str:
    match error:
        case _TooLong():
            return f"it sent more than {_MOST_BYTES} bytes"
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not trusted"
        case aiohttp.ClientConnectorError(os_error=fault):
            return f"no connection: {fault.strerror or type(fault).__name__}"
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {_CONNECT_SECONDS} s"
        case TimeoutError():
            return f"no whole answer within {_TOTAL_SECONDS} s"
        case _:
            return f"the connection broke off ({type(error).__name__})"


def server_name(url: URL) -> str:
    """The host and port of a URL, to be told to people: cut, for another server may have written it."""
    return (url.host_port_subcomponent or "")[:200]
