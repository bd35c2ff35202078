"""One HTTP request at a time: paced, bounded in time and size, and only to addresses that may be connected to.

There are two pools of connections. The one for hosts that the operator named connects anywhere. The other connects to
public addresses only, and looks at each address at the moment of connecting: names are resolved for every new
connection, nothing is remembered between the look and the use. The pools are apart because a kept connection is used
again without another look.

This module must not know registries: no challenge, no token, no manifest. Every error of the HTTP library ends here.
"""

from __future__ import annotations

import asyncio
import math
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiolimiter import AsyncLimiter
from cachetools import LRUCache
from multidict import CIMultiDictProxy
from yarl import URL

from listener.core.hosts import HostPolicy
from listener.edges.registry import failures
from listener.edges.registry.failures import End, Failed, Failure

USER_AGENT: Final = "imagestream-listener"
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_CONNECT_SECONDS: Final = 10
_TOTAL_SECONDS: Final = 30
_TIMEOUT: Final = aiohttp.ClientTimeout(total=_TOTAL_SECONDS, sock_connect=_CONNECT_SECONDS)
_ERROR_BYTES: Final = 64 * 1024
_LIMITERS: Final = 4096
# A quarter of a pool for one host: a slow one must not stop all the others.
_SHARE_OF_A_HOST: Final = 4
# Their own threads, for the resolver of a hostile name can be slow, and all else in the process resolves in the loop's.
_RESOLVING_THREADS: Final = 8
_LONGEST_WAIT_SECONDS: Final = 3600.0

# Knows nobody, so only public addresses pass.
_STRANGERS: Final = HostPolicy((), ())


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. The body of a HEAD is empty; so is that of an error when it is very long."""

    url: URL
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def says_later(self) -> bool:
        """Tell whether the same request may be answered at another time. 501 is for ever: no such method."""
        return self.status == 429 or (self.status >= 500 and self.status != 501)

    def failure(self) -> Failure:
        """What it comes to when it is none of the answers that mean something to the caller."""
        cause = f"it answered {self.status}"
        if self.says_later:
            waits = retry_after_seconds(self.headers.get("Retry-After", ""), time.time())
            return Failure(End.UNAVAILABLE, cause, waits)
        return Failure(End.UNUSABLE, cause)


class Transport:
    """Sends requests. Between `open` and `close`."""

    def __init__(self, *, rate: float, burst: int, max_connections: int) -> None:
        """Pace the requests to each host: `burst` at once, `rate` a second in the long run."""
        self._burst = burst
        self._period = burst / rate
        self._limiters: LRUCache[str, AsyncLimiter] = LRUCache(_LIMITERS)
        self._max_connections = max_connections

    def open(self) -> None:
        self._resolvers = (_Resolver(), _Resolver(_STRANGERS))
        self._anywhere, self._public = (self._session(resolver) for resolver in self._resolvers)

    async def close(self) -> None:
        await self._anywhere.close()
        await self._public.close()
        for resolver in self._resolvers:
            await resolver.close()

    async def send(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | bool,
        anywhere: bool,
        limit: int,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; redirects are not followed. `limit` is the size of the body to take, in bytes.

        `tls` is whom to believe: a context, True for the system's CAs, False for anybody. Raises Failed.
        """
        await self._limiter(server_name(url)).acquire()
        if not anywhere and (fault := _literal_fault(url)):
            raise failures.failed(End.FORBIDDEN, fault)
        session = self._anywhere if anywhere else self._public
        try:
            async with session.request(
                method, url, headers=headers, ssl=tls, data=form, allow_redirects=False
            ) as response:
                body = b"" if method == "HEAD" else await _body(response, limit)
                return Answer(url, response.status, response.headers, body)
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            failure, cause = _translated(error)
        # Out here, so that the library's error does not hang on ours as its context.
        raise Failed(failure) from cause

    def _session(self, resolver: AbstractResolver) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=resolver,
            use_dns_cache=False,
            limit=self._max_connections,
            limit_per_host=max(1, self._max_connections // _SHARE_OF_A_HOST),
        )
        return aiohttp.ClientSession(
            connector=connector,
            timeout=_TIMEOUT,
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            # Digests are of what is sent, and what is small when packed may be large.
            auto_decompress=False,
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        )

    def _limiter(self, server: str) -> AsyncLimiter:
        limiter = self._limiters.get(server)
        if limiter is None:
            limiter = self._limiters[server] = AsyncLimiter(self._burst, self._period)
        return limiter


class _AddressRefused(OSError):
    """None of a host's addresses may be connected to."""


class _Resolver(AbstractResolver):
    """Resolves names, and hands on only the addresses that the policy lets through; all of them without one."""

    def __init__(self, policy: HostPolicy | None = None) -> None:
        self._policy = policy
        self._threads = ThreadPoolExecutor(_RESOLVING_THREADS, thread_name_prefix="registry-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
            )
        except UnicodeError:  # a label of more than 63 letters, to the codec of host names
            raise OSError(socket.EAI_NONAME, "it is no host name") from None
        results: list[ResolveResult] = []
        fault: str | None = None
        for its_family, _, protocol, _, address in found:
            refused = self._policy and self._policy.address(host, str(address[0]))
            if refused:
                fault = refused
                continue
            results.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=its_family,
                    proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if fault and not results:
            raise _AddressRefused(fault)
        return results

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def retry_after_seconds(value: str, now: float) -> float | None:
    """Read `Retry-After`: seconds, or the date when it is over. None if there is none, and an hour at most."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:10]), _LONGEST_WAIT_SECONDS)
    try:
        seconds = parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return min(max(math.ceil(seconds), 0.0), _LONGEST_WAIT_SECONDS)


def server_name(url: URL) -> str:
    """The host and port of a URL, to be told to people: cut, for another server may have written it."""
    return (url.host_port_subcomponent or "")[:200]


def _literal_fault(url: URL) -> str | None:
    """Judge an address that stands in the URL: such hosts the HTTP library takes as they are, and resolves nothing."""
    host = url.raw_host or ""
    if ":" in host or host.replace(".", "").isdigit():
        return _STRANGERS.address(host, host)
    return None


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    """Read the body. One that is too long is a failure where it is wanted, and empty where it explains an error."""
    wanted = response.status == 200
    limit = limit if wanted else min(limit, _ERROR_BYTES)
    body = bytearray()
    too_long = (response.content_length or 0) > limit
    if not too_long:
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > limit:
                too_long = True
                break
    if not too_long:
        return bytes(body)
    response.close()
    if wanted:
        raise failures.failed(End.UNUSABLE, f"it sent more than {limit} bytes")
    return b""


def _translated(error: aiohttp.ClientError | OSError) -> tuple[Failure, OSError | None]:
    """Tell what happened in words of our own, and which error of the operating system was behind it."""
    match error:
        case aiohttp.ClientConnectorDNSError(os_error=_AddressRefused() as refused):
            return Failure(End.FORBIDDEN, str(refused)), None
        case aiohttp.ClientConnectorDNSError(os_error=fault):
            return Failure(End.UNAVAILABLE, f"its name cannot be resolved: {_told(fault)}"), fault
        case aiohttp.ClientConnectorCertificateError(certificate_error=fault):
            why = getattr(fault, "verify_message", "") or "its name is not in it"
            return Failure(End.UNAVAILABLE, f"its certificate is not trusted ({why}); set caFile, or insecure"), None
        case aiohttp.ClientConnectorError(os_error=fault):
            return Failure(End.UNREACHABLE, f"no connection: {_told(fault)}"), fault
        case aiohttp.ConnectionTimeoutError():
            return Failure(End.UNREACHABLE, f"no connection within {_CONNECT_SECONDS} s"), None
        case TimeoutError():
            return Failure(End.UNAVAILABLE, f"no whole answer within {_TOTAL_SECONDS} s"), None
        case aiohttp.InvalidURL():
            return Failure(End.INVALID, "its host is neither a name nor an address"), None
        case aiohttp.ClientResponseError():
            return Failure(End.UNUSABLE, "it does not speak HTTP as it should"), None
        case _:
            return Failure(End.UNAVAILABLE, f"the connection broke off ({type(error).__name__})"), None


def _told(fault: OSError) -> str:
    return fault.strerror or str(fault) or type(fault).__name__
