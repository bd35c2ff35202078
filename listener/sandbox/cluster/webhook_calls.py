"""The calls to webhooks: HTTPS to where a configuration says, the answer as bytes.

Failures are worded as Go's HTTP client and client-go word them, so far as they can be told from here.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from typing import Any, Literal

import aiohttp
import msgspec
from yarl import URL

from listener.sandbox.cluster.field_errors import go_json
from listener.sandbox.cluster.reviews import CallFailed
from listener.sandbox.cluster.webhooks import Hook

ANSWER_LIMIT = 7 * 1024 * 1024
_HEADERS = {
    "Accept": "application/json, */*",
    "Accept-Encoding": "gzip",
    "Content-Type": "application/json",
    "User-Agent": "kube-apiserver-admission",
}
_REMEMBERED = 64
"""So many TLS contexts are kept: each costs milliseconds to make, and a renewed CA leaves one behind."""
_BY_STATUS = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}
_IN_ITS_OWN_WORDS = frozenset({403, 406, 415})


class _Status(msgspec.Struct):
    """A `Status` that tells of a failure, as strictly as it is read there: a code must be a number."""

    kind: Literal["Status"]
    status: Literal["Failure"]
    message: str = ""
    code: int = 0


class WebhookClient:
    """`services` maps `NAMESPACE/NAME` to `HOST:PORT`: there is no service network here, so a webhook behind a Service
    is reached where that says, under the name that it has in a cluster.
    """

    def __init__(self, services: Mapping[str, str]) -> None:
        self._services = services
        self._session: aiohttp.ClientSession | None = None
        self._contexts: dict[str, ssl.SSLContext] = {}

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(self, hook: Hook, body: bytes) -> bytes:
        """Post a review and return the answer. Raises `CallFailed`."""
        url, address, host = self._place(hook)
        context = self._context(hook.client.get("caBundle") or "")
        headers = {**_HEADERS, "Host": host} if host else _HEADERS
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        # The server may have ended a connection just before it is used again: that is worth a second try.
        for attempt in (1, 2):
            try:
                async with self._session.post(
                    address,
                    data=body,
                    headers=headers,
                    ssl=context,
                    server_hostname=host.partition(":")[0] or None,
                    timeout=aiohttp.ClientTimeout(total=hook.timeout_seconds),
                    allow_redirects=False,
                ) as response:
                    return await _answer(response)
            except aiohttp.ServerDisconnectedError:
                if attempt == 2:
                    raise _failed(url, "EOF") from None
            except TimeoutError:
                raise _failed(url, "context deadline exceeded") from None
            except aiohttp.ClientError as error:
                raise _failed(url, _words(error, address, host)) from None
        raise AssertionError("unreachable")

    def _place(self, hook: Hook) -> tuple[str, URL, str]:
        """Return the address as it is told, the one to call, and the name to call it by if that is another."""
        timeout = f"?timeout={hook.timeout_seconds}s"
        service = hook.client.get("service")
        if service is None:
            url = f"{hook.client['url']}{timeout}"
            return url, URL(url), ""
        namespace, name, port, path = service["namespace"], service["name"], service["port"], service.get("path", "/")
        host = f"{name}.{namespace}.svc"
        url = f"https://{host}:{port}{path}{timeout}"
        found = self._services.get(f"{namespace}/{name}")
        if found is None:
            raise _failed(url, f'service "{name}" not found')
        return url, URL(f"https://{found}{path}{timeout}"), f"{host}:{port}"

    def _context(self, bundle: str) -> ssl.SSLContext:
        """Return what trusts the bundle, base64 of PEM, or what the system trusts where there is none."""
        known = self._contexts.get(bundle)
        if known is not None:
            return known
        try:
            pem = base64.b64decode(bundle).decode()
            context = ssl.create_default_context(cadata=pem or None)
        except (ValueError, ssl.SSLError):
            why = "unable to load root certificates: unable to parse bytes as PEM block"
            raise CallFailed(f"could not get REST client: {why}") from None
        if len(self._contexts) >= _REMEMBERED:
            del self._contexts[next(iter(self._contexts))]
        self._contexts[bundle] = context
        return context


async def _answer(response: aiohttp.ClientResponse) -> bytes:
    body = await response.content.read(ANSWER_LIMIT)
    while not response.content.at_eof() and len(body) < ANSWER_LIMIT:
        body += await response.content.read(ANSWER_LIMIT - len(body))
    status = response.status
    if not 200 <= status <= 206:
        told = _told(body)
        is_text = response.headers.get("Content-Type", "text/plain").startswith("text/")
        text = body.decode(errors="replace").strip() if is_text else "unknown"
        raise CallFailed(f"failed to call webhook: {_refused(status, text) if told is None else told}")
    if not body:
        kind = response.headers.get("Content-Type", "")
        raise CallFailed(
            f"failed to call webhook: 0-length response with status code: {status} and content type: {kind}"
        )
    return body


def _told(body: bytes) -> str | None:
    """Return the message of a `Status`, where the answer is one."""
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _refused(status: int, text: str) -> str:
    if status in _IN_ITS_OWN_WORDS and (status != 406 or text not in {"", "unknown"}):
        return text
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if status >= 500:
        return f"an error on the server ({go_json(text)}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"


def _failed(url: str, why: str) -> CallFailed:
    return CallFailed(f'failed to call webhook: Post "{url}": {why}')


def _words(error: aiohttp.ClientError, address: URL, host: str) -> str:
    where = f"{address.host}:{address.port}"
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = _distrust(error.certificate_error, host.partition(":")[0] or address.host)
            return f"tls: failed to verify certificate: x509: {why}"
        case aiohttp.ClientConnectorSSLError() if "WRONG_VERSION_NUMBER" in str(error):
            return "http: server gave HTTP response to HTTPS client"
        case aiohttp.ClientConnectorSSLError():
            return "remote error: tls: handshake failure"
        case aiohttp.ClientConnectorDNSError():
            return f"dial tcp: lookup {address.host}: no such host"
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return f"dial tcp {where}: connect: connection refused"
        case aiohttp.ClientConnectorError():
            return f"dial tcp {where}: connect: {str(error.os_error.strerror or error.os_error).lower()}"
    return str(error) or "EOF"


def _distrust(error: Any, host: str | None) -> str:
    """Say why a certificate is not trusted. Of OpenSSL's codes, those that people meet."""
    code = getattr(error, "verify_code", 0)
    if code == 10:
        return "certificate has expired or is not yet valid"
    if code in {62, 64}:
        return f"certificate is not valid for {host}"
    return "certificate signed by unknown authority"
