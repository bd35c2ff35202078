"""Questions to a registry with a login, or without one: challenges met, tokens refreshed, redirects followed.

What a registry asks for is remembered, so that a token goes along with the first request. It is learned from its
challenges; only when it refuses something without ever having asked is it asked outright, at `/v2/`. That also
tells a registry from any other web server.
"""

from __future__ import annotations

import asyncio
import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from cachetools import LRUCache, TTLCache
from yarl import URL

from listener.core import challenges
from listener.core.challenges import Challenge
from listener.core.keyring import Credential
from listener.core.references import DOCKER_HUB
from listener.edges.registry import failures
from listener.edges.registry.certificates import Certificates, spellings
from listener.edges.registry.failures import End, Failed, Failure
from listener.edges.registry.tokens import Endpoint, Tokens, Wanted, basic
from listener.edges.registry.transport import REDIRECTS, Answer, Transport, server_name

_HUB_HOST: Final = "registry-1.docker.io"
_API_VERSION: Final = "Docker-Distribution-API-Version"
# The specification's error codes; what else an error says is the registry's own prose, and not for our messages.
_ERROR_CODE: Final = re.compile(rb'"code"\s*:\s*"([A-Z_]{1,40})"')
_REMEMBERED: Final = 1024
_WAY_SECONDS: Final = 600
_MOST_TRIES: Final = 4
_MOST_REDIRECTS: Final = 5
_PING_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Visit:
    """One repository of a registry, and the login to come with; None is to come without."""

    endpoint: Endpoint
    repository: str
    credential: Credential | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A registry's answer. `authenticated`: to somebody whose login it had accepted."""

    answer: Answer
    authenticated: bool

    def failure(self) -> Failure:
        """What the answer comes to when it is not the one that was hoped for."""
        if self.answer.status == 404:
            return Failure(End.NOT_FOUND, authenticated=self.authenticated)
        failure = self.answer.failure()
        codes = b", ".join(_ERROR_CODE.findall(self.answer.body[:4096])).decode()
        return replace(failure, cause=f"{failure.cause} ({codes})") if codes else failure


@dataclass(frozen=True, slots=True)
class _Way:
    """How a registry wants to be asked: `scheme` is basic, bearer, or "" for no login at all."""

    scheme: str
    realm: str = ""
    service: str = ""


_OPEN: Final = _Way("")


@dataclass(frozen=True, slots=True)
class _Pass:
    """What goes along with a request. `token` is the one inside, and `kept` tells that it is not fresh."""

    headers: Mapping[str, str]
    is_login: bool = False
    wanted: Wanted | None = None
    token: str = ""
    kept: bool = False


_NO_PASS: Final = _Pass({})


class Door:
    """The way in to all registries. What it remembers of them is bounded."""

    def __init__(
        self, transport: Transport, tokens: Tokens, certificates: Certificates, trusts: Callable[[str], bool]
    ) -> None:
        """`trusts` tells whether the operator named a host."""
        self._transport = transport
        self._tokens = tokens
        self._certificates = certificates
        self._trusts = trusts
        self._ways: TTLCache[Endpoint, _Way] = TTLCache(_REMEMBERED, _WAY_SECONDS)
        self._scopes: LRUCache[tuple[Endpoint, str, str], str] = LRUCache(_REMEMBERED)
        self._held_until: LRUCache[tuple[Endpoint, Credential | None], float] = LRUCache(_REMEMBERED)

    def asks_for_nothing(self, endpoint: Endpoint) -> bool:
        """Tell whether the registry has said that it wants no login: then every login gets the same answer."""
        return self._ways.get(endpoint) == _OPEN

    async def ask(self, visit: Visit, method: str, path: str, *, accept: str, limit: int) -> Reply:
        """Ask for something below the repository, such as `manifests/TAG`. Raises Failed.

        Every status but 401 and 403 comes back as a reply.
        """
        self._wait_was_asked(visit)
        url = url_of(visit.endpoint, f"/v2/{visit.repository}/{path}")
        try:
            reply = await self._ask(visit, method, url, path.partition("/")[0], accept, limit)
            if reply.answer.says_later:
                raise Failed(reply.failure())
        except Failed as failed:
            if seconds := failed.failure.retry_after_seconds:
                self._held_until[visit.endpoint, visit.credential] = asyncio.get_running_loop().time() + seconds
            raise
        return reply

    async def speaks_http(self, endpoint: Endpoint) -> bool:
        """Tell whether there is a registry at all at an endpoint without TLS. Sends no credentials."""
        try:
            await self._ping(endpoint)
        except Failed as failed:
            return failed.failure.end is End.NO_ACCESS
        return True

    async def _ask(self, visit: Visit, method: str, url: URL, kind: str, accept: str, limit: int) -> Reply:
        for _ in range(_MOST_TRIES):
            way = self._ways.get(visit.endpoint)
            ours = await self._pass(visit, way, kind)
            headers = {"Accept": accept, **ours.headers}
            answer = await self._follow(visit.endpoint, method, url, headers, limit)
            if answer.status == 401 and same_server(answer.url, url):
                if self._learn(visit, kind, way, answer):
                    continue
                if ours.wanted is None or not ours.kept:
                    raise Failed(_refused(visit, ours))
                self._tokens.drop(ours.wanted, ours.token)
                continue
            if way is None and answer.status in (403, 404):
                self._ways[visit.endpoint] = await self._ping(visit.endpoint)
                if not self.asks_for_nothing(visit.endpoint):
                    continue
            if answer.status in (401, 403):
                raise Failed(_refused(visit, ours))
            return Reply(answer, ours.is_login)
        raise failures.failed(End.NO_ACCESS, "the registry asks for another login each time")

    async def _pass(self, visit: Visit, way: _Way | None, kind: str) -> _Pass:
        """What the registry wants to see, as far as we know and have it."""
        credential = visit.credential
        if way is None or way == _OPEN:
            return _NO_PASS
        if way.scheme == "basic":
            if credential is None or credential.identity_token:
                return _NO_PASS
            return _Pass({"Authorization": basic(credential)}, is_login=True)
        scope = self._scopes.get((visit.endpoint, visit.repository, kind)) or f"repository:{visit.repository}:pull"
        wanted = Wanted(visit.endpoint, way.realm, way.service, scope, credential)
        token, kept = await self._tokens.get(wanted)
        return _Pass({"Authorization": f"Bearer {token}"}, credential is not None, wanted, token, kept)

    def _learn(self, visit: Visit, kind: str, known: _Way | None, answer: Answer) -> bool:
        """Take over what a 401 asks for; tell whether that is anything new."""
        asked, scope = _asked(answer)
        if asked is None:
            return False
        self._ways[visit.endpoint] = asked
        key = (visit.endpoint, visit.repository, kind)
        usual = f"repository:{visit.repository}:pull"
        # Azure's registry has a scope of its own for the list of tags. One for another repository is none for us.
        if scope == self._scopes.get(key, usual) or not scope.startswith(f"repository:{visit.repository}:"):
            return asked != known
        self._scopes[key] = scope
        return True

    async def _ping(self, endpoint: Endpoint) -> _Way:
        """Ask the registry what it wants. Raises Failed: NOT_A_REGISTRY when it is none."""
        url = url_of(endpoint, "/v2/")
        answer = await self._follow(endpoint, "GET", url, {"Accept": "application/json"}, _PING_BYTES)
        match answer.status:
            case 401 if not same_server(answer.url, url):
                return _OPEN  # it sent us on without asking for anything, as registry.k8s.io does
            case 401:
                way, _ = _asked(answer)
                if way is None:
                    raise failures.failed(End.NO_ACCESS, "the registry wants a kind of login that is not known here")
                return way
            case 200 if _API_VERSION in answer.headers or "json" in answer.headers.get("Content-Type", ""):
                return _OPEN
            case 403:
                return _OPEN
            case _ if answer.says_later:
                raise Failed(answer.failure())
        raise failures.failed(End.NOT_A_REGISTRY, f"/v2/ answers {answer.status}")

    async def _follow(
        self, endpoint: Endpoint, method: str, url: URL, headers: Mapping[str, str], limit: int
    ) -> Answer:
        """Send a request, and again where it is redirected to. Off the registry's own server it carries no login."""
        at_home = True
        for _ in range(_MOST_REDIRECTS + 1):
            try:
                answer = await self._send(endpoint, method, url, headers, limit, at_home=at_home)
            except Failed as failed:
                if at_home:
                    raise
                failure = failures.elsewhere(failed.failure, f"redirected to {server_name(url)}")
                raise Failed(failure) from failed.__cause__
            if answer.status not in REDIRECTS or "Location" not in answer.headers:
                return answer
            target = _redirected(endpoint, url, answer.headers["Location"])
            if not same_server(target, url):
                at_home = False
                headers = {name: value for name, value in headers.items() if name != "Authorization"}
            url = target
        raise failures.failed(End.UNUSABLE, f"it redirects more than {_MOST_REDIRECTS} times")

    async def _send(
        self, endpoint: Endpoint, method: str, url: URL, headers: Mapping[str, str], limit: int, *, at_home: bool
    ) -> Answer:
        tls: ssl.SSLContext | bool = False
        if endpoint.verified or not at_home:
            tls = self._certificates.believed(endpoint.registry if at_home else self._certificates.configured(url))
        # A registry that the operator did not name may not lead us to one that he did, which may be an internal one.
        anywhere = endpoint.anywhere and (at_home or any(self._trusts(name) for name in spellings(url)))
        return await self._transport.send(method, url, headers=headers, tls=tls, anywhere=anywhere, limit=limit)

    def _wait_was_asked(self, visit: Visit) -> None:
        """Do not ask before the time that the registry named, in an answer to the same login. Raises Failed."""
        if not self._held_until:
            return
        seconds = self._held_until.get((visit.endpoint, visit.credential), 0.0) - asyncio.get_running_loop().time()
        if seconds > 0:
            cause = f"the registry wants to be left alone for {math.ceil(seconds)} s more"
            raise failures.failed(End.UNAVAILABLE, cause, retry_after_seconds=seconds)


def url_of(endpoint: Endpoint, path: str) -> URL:
    """The URL of a path, whose parts the grammar of references has made safe. Docker Hub is served by another name."""
    host = _HUB_HOST if endpoint.registry == DOCKER_HUB else endpoint.registry
    try:
        url = URL(f"{endpoint.scheme}://{host}{path}", encoded=True)
        _ = url.port  # an encoded URL is taken apart only now
    except ValueError:
        raise failures.failed(End.INVALID, f"{host} cannot be called: its port is no port") from None
    return url


def _redirected(endpoint: Endpoint, url: URL, location: str) -> URL:
    """Where a redirect leads. A login in the URL is not ours and is left out."""
    try:
        target = url.join(URL(location)).with_user(None)
    except ValueError:
        target = URL()
    if target.scheme not in ("http", "https") or not target.host:
        raise failures.failed(End.UNUSABLE, "it redirects to what is no http or https URL")
    if target.scheme == "http" and endpoint.verified:
        raise failures.failed(End.UNUSABLE, f"it redirects to {server_name(target)} without TLS")
    return target


def same_server(one: URL, other: URL) -> bool:
    """Tell whether two URLs lead to the same scheme, host and port: then what one may know the other may know."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _asked(answer: Answer) -> tuple[_Way | None, str]:
    """The login that a 401 asks for, and the scope; a token is preferred, for it shows the password to one server."""
    found = {challenge.scheme: challenge.parameters for challenge in reversed(_challenges(answer))}
    bearer = found.get("bearer", {})
    if realm := bearer.get("realm"):
        return _Way("bearer", realm, bearer.get("service", "")), bearer.get("scope", "")
    return (_Way("basic") if "basic" in found else None), ""


def _challenges(answer: Answer) -> tuple[Challenge, ...]:
    return challenges.parse(answer.headers.getall("WWW-Authenticate", ()))


def _refused(visit: Visit, ours: _Pass) -> Failure:
    """What a refusal means to somebody with this pass."""
    if ours.wanted is None and ours.is_login:
        return Failure(End.WRONG_LOGIN, f"correct the pull secret for {visit.endpoint.registry}")
    if ours.is_login:
        return Failure(End.NO_ACCESS, "the login in the pull secret has no right to pull it", authenticated=True)
    if visit.credential is not None:
        return Failure(End.NO_ACCESS, "the registry has no use for the kind of login in the pull secret")
    return Failure(End.NO_ACCESS, f"add a pull secret for {visit.endpoint.registry} to this namespace")
