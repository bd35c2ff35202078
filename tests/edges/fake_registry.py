"""A registry and a token server of the tests' own: real servers on loopback that can be told to behave badly.

They are small on purpose. Whether our client gets along with a real registry is seen with a real one.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"

Handler = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


def digest_of(body: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def manifest(seed: str) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": {"seed": seed}, "layers": []}).encode()


def index(*children: Mapping[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "manifests": children}).encode()


def login(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in."""

    method: str
    target: str
    authorization: str
    headers: Mapping[str, str]


@dataclass
class Server:
    """Any server: where it is, what it was asked, and a handler that may answer before it."""

    host: str = ""
    scheme: str = "http"
    seen: list[Seen] = field(default_factory=list)
    instead: Handler | None = None

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}"

    def asked(self) -> list[str]:
        """The requests in short: `HEAD /v2/app/manifests/1`."""
        return [f"{request.method} {request.target}" for request in self.seen]

    async def handle(self, request: web.Request) -> web.StreamResponse:
        authorization = request.headers.get("Authorization", "")
        self.seen.append(Seen(request.method, request.raw_path, authorization, dict(request.headers)))
        if self.instead is not None and (answer := await self.instead(request)) is not None:
            return answer
        return await self.answer(request)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=404, text=f"there is no {request.path}")


@dataclass
class TokenServer(Server):
    """Distribution's token protocol. It gives a token to everybody it knows; the registry looks them up in `grants`."""

    logins: dict[str, str] = field(default_factory=dict)
    identity_tokens: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    grants: dict[str, tuple[str, str]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        user = ""
        asked: Mapping[str, Any] = request.query
        if request.method == "POST":
            asked = await request.post()
            assert asked["grant_type"] == "refresh_token"
            assert asked["client_id"] == "imagestream-listener"
            user = self.identity_tokens.get(str(asked["refresh_token"]), "")
            if not user:
                return web.json_response({"error": "invalid_grant"}, status=400)
        elif authorization := request.headers.get("Authorization"):
            names = [name for name, password in self.logins.items() if login(name, password) == authorization]
            if not names:
                return web.json_response({"details": "incorrect username or password"}, status=401)
            (user,) = names
        assert asked.get("service") == "the-registry"
        token = f"token-{next(self._numbers)}"
        self.grants[token] = (user, str(asked["scope"]))
        key = "access_token" if request.method == "POST" else "token"
        return web.json_response({key: token, **self.extra})


@dataclass
class Registry(Server):
    """Manifests and tags. `tokens` or `logins` is what it asks for; neither is nothing.

    `readers` says who sees a repository, "" being anybody; a repository that is not in there is everybody's.
    """

    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    tags: dict[str, list[str]] = field(default_factory=dict)
    page: int = 1000
    readers: dict[str, set[str]] = field(default_factory=dict)
    tokens: TokenServer | None = None
    logins: dict[str, str] = field(default_factory=dict)
    hides: bool = False
    """A repository that somebody may not see is answered with 404 once a token was shown."""

    def push(self, repository: str, tag: str, body: bytes, media_type: str = MANIFEST) -> str:
        digest = digest_of(body)
        for reference in (tag, digest, digest_of(body, "sha512")):
            self.manifests[repository, reference] = (media_type, body)
        self.tags.setdefault(repository, []).append(tag)
        return digest

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.path == "/v2/":
            return self._challenge("") or self._plain(200, b"{}", "application/json")
        repository, _, rest = request.path.removeprefix("/v2/").rpartition("/")
        repository, _, kind = repository.rpartition("/")
        if refusal := self._refusal(request, repository):
            return refusal
        if kind == "tags" and repository in self.tags:
            return self._tag_page(request, repository)
        if kind == "manifests" and (repository, rest) in self.manifests:
            media_type, body = self.manifests[repository, rest]
            return self._plain(200, body, media_type, {"Docker-Content-Digest": digest_of(body)})
        return self._unknown()

    def _refusal(self, request: web.Request, repository: str) -> web.StreamResponse | None:
        readers = self.readers.get(repository, {""})
        authorization = request.headers.get("Authorization", "")
        scheme, _, shown = authorization.partition(" ")
        if self.tokens is not None:
            user, scope = self.tokens.grants.get(shown, ("", "")) if scheme == "Bearer" else ("", "")
            if not scope.startswith(f"repository:{repository}:pull"):
                return self._challenge(f"repository:{repository}:pull")
            if "" in readers or user in readers:
                return None
            return self._unknown() if self.hides else self._challenge(f"repository:{repository}:pull")
        if "" in readers or any(login(name, self.logins[name]) == authorization for name in readers):
            return None
        return self._challenge("")

    def _challenge(self, scope: str) -> web.StreamResponse | None:
        if self.tokens is not None:
            asks = f'Bearer realm="{self.tokens.url}/token",service="the-registry"'
            asks += f',scope="{scope}"' if scope else ""
        elif self.logins:
            asks = 'Basic realm="the registry"'
        else:
            return None
        return self._plain(401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', headers={"WWW-Authenticate": asks})

    def _tag_page(self, request: web.Request, repository: str) -> web.StreamResponse:
        tags = self.tags[repository]
        last = request.query.get("last")
        start = tags.index(last) + 1 if last else 0
        shown = tags[start : start + self.page]
        headers = {}
        if start + self.page < len(tags):
            headers["Link"] = f'</v2/{repository}/tags/list?n={self.page}&last={shown[-1]}>; rel="next"'
        body = json.dumps({"name": repository, "tags": shown}).encode()
        return self._plain(200, body, "application/json", headers)

    def _unknown(self) -> web.StreamResponse:
        return self._plain(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', "application/json")

    def _plain(
        self,
        status: int,
        body: bytes,
        media_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> web.Response:
        every = {"Docker-Distribution-API-Version": "registry/2.0", "Content-Type": media_type}
        return web.Response(status=status, body=body, headers={**every, **(headers or {})})


@asynccontextmanager
async def running(server: Server, *, tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[None]:
    """Run a server on a port of loopback, a free one if none is named, and tell it where it is."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        (address,) = runner.addresses
        server.host = f"127.0.0.1:{address[1]}"
        server.scheme = "https" if tls else "http"
        yield
    finally:
        await runner.cleanup()
