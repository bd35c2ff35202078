"""The three questions to registries: what a tag stands for, what an index names, which tags there are.

A question is asked with each login in turn and then without one, over TLS or, where that is allowed, without. This
module decides what is asked and what counts as an answer; how it is asked is the door's affair.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Self, TypeVar

import msgspec
from cachetools import LRUCache, TTLCache
from yarl import URL

from listener.core import manifests, references
from listener.core.hosts import HostPolicy
from listener.core.keyring import Credential
from listener.core.manifests import Child, Described
from listener.core.references import Reference
from listener.edges.registry import failures, links
from listener.edges.registry.certificates import Certificates, HostSettings
from listener.edges.registry.door import Door, Visit, same_server
from listener.edges.registry.failures import End, Failed, Failure
from listener.edges.registry.tokens import Endpoint, Tokens
from listener.edges.registry.transport import Answer, Transport
from listener.errors import InvalidManifest

_ACCEPT: Final = ", ".join(
    (manifests.OCI_INDEX, manifests.DOCKER_LIST, manifests.OCI_MANIFEST, manifests.DOCKER_MANIFEST)
)
_NO_HEAD: Final = frozenset({400, 405, 406, 501})

_MANIFEST_BYTES: Final = 4 * 1024 * 1024
_PAGE_BYTES: Final = 4 * 1024 * 1024
_PAGE: Final = 1000
_MOST_PAGES: Final = 100
_MOST_TAGS: Final = 100_000
_TAGS_SECONDS: Final = 120.0
# A pull secret may hold any number for one host, and each is a login that somebody counts.
_MOST_CREDENTIALS: Final = 8
_CACHED_CHILDREN: Final = 20_000
_SCHEMES: Final = 1024
_SCHEME_SECONDS: Final = 600

T = TypeVar("T")

_Question = Callable[[Visit, Reference], Awaitable[T]]
_IndexKey = tuple[str, str, str, tuple[Credential, ...]]


class _TagPage(msgspec.Struct):
    tags: list[str] | None = None


_decode_page = msgspec.json.Decoder(_TagPage).decode


class Registries:
    """All registries. An async context manager; nothing is sent before it is entered.

    Every method raises RegistryUnavailable or RegistryRefused, whose message is fit for a condition of the stream.
    Credentials are tried in the order given (eight at most) and then it is asked without any: the next one when a login
    is refused, has no access, or does not find the image, for that is how many registries answer who may not see it.
    When all of that fails, the failure of the first is reported; but that the image does not exist, when that was said
    to a login which the registry had accepted.
    """

    def __init__(
        self,
        hosts: Mapping[str, HostSettings],
        policy: HostPolicy,
        *,
        rate: float,
        burst: int,
        max_connections: int = 100,
    ) -> None:
        """`hosts` are settings by host as in pull specs. `rate` (a second) and `burst` are requests to one host.

        Raises SettingsError when a CA file cannot be used.
        """
        self._policy = policy
        self._certificates = Certificates(hosts)
        self._transport = Transport(rate=rate, burst=burst, max_connections=max_connections)
        self._tokens = Tokens(self._transport, self._certificates)
        self._door = Door(self._transport, self._tokens, self._certificates, policy.trusts)
        self._schemes: TTLCache[str, str] = TTLCache(_SCHEMES, _SCHEME_SECONDS)
        self._indexes: LRUCache[_IndexKey, tuple[Child, ...]] = LRUCache(_CACHED_CHILDREN, lambda found: len(found) + 1)

    async def __aenter__(self) -> Self:
        self._transport.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._tokens.close()
        await self._transport.close()

    async def head(
        self, reference: Reference, credentials: Sequence[Credential] = (), *, insecure: bool = False
    ) -> Described:
        """Return the digest and media type of what a tag or digest stands for. A digest counts before a tag."""
        return await self._ask(reference, credentials, insecure, self._describe)

    async def children(
        self, reference: Reference, credentials: Sequence[Credential] = (), *, insecure: bool = False
    ) -> tuple[Child, ...]:
        """Return what the index of this digest names.

        Kept: what a digest stands for never changes. But it is kept for those credentials alone.
        """
        target = reference.with_defaults()
        key = (target.registry, target.repository, target.digest or "", tuple(credentials))
        found = self._indexes.get(key)
        if found is None:
            found = await self._ask(reference, credentials, insecure, self._read_index)
            if len(found) < _CACHED_CHILDREN:
                self._indexes[key] = found
        return found

    async def tags(
        self, reference: Reference, credentials: Sequence[Credential] = (), *, insecure: bool = False
    ) -> tuple[str, ...]:
        """Return all tags of the repository, in the registry's order. Tag and digest of `reference` do not matter."""
        return await self._ask(reference, credentials, insecure, self._list_tags)

    # Asking

    async def _ask(
        self, reference: Reference, credentials: Sequence[Credential], insecure: bool, question: _Question[T]
    ) -> T:
        try:
            return await self._by_scheme(reference.with_defaults(), credentials, insecure, question)
        except Failed as failed:
            failure, cause = failed.failure, failed.__cause__
        raise failures.error(failure, reference) from cause

    async def _by_scheme(
        self, target: Reference, credentials: Sequence[Credential], insecure: bool, question: _Question[T]
    ) -> T:
        """Ask over TLS; where that is not insisted on, without verifying, and then over plain HTTP."""
        registry = target.registry
        if fault := self._policy.names(registry):
            raise failures.failed(End.FORBIDDEN, fault)
        insecure = insecure or self._certificates.insecure(registry)
        anywhere = self._policy.trusts(registry)
        unreachable: list[Failed] = []
        for scheme in ("https", "http") if insecure else ("https",):
            # An outage must not lead from TLS to plain HTTP, nor cost a registry without TLS two attempts each time.
            if insecure and self._schemes.get(registry, scheme) != scheme:
                continue
            endpoint = Endpoint(registry, scheme, not insecure, anywhere)
            try:
                return await self._over(endpoint, target, credentials, question)
            except Failed as failed:
                if failed.failure.end is not End.UNREACHABLE:
                    raise
                unreachable.append(failed)
        if not insecure and await self._door.speaks_http(Endpoint(registry, "http", False, anywhere)):
            raise failures.failed(End.HTTP_ONLY)
        raise unreachable[0]

    async def _over(
        self, endpoint: Endpoint, target: Reference, credentials: Sequence[Credential], question: _Question[T]
    ) -> T:
        """Ask with each login in turn, then with none; remember which scheme worked where there is a choice."""
        try:
            answer = await self._with_each_login(endpoint, target, credentials, question)
        except Failed as failed:
            if failures.goes_on(failed.failure):
                self._remember(endpoint)
            elif endpoint.scheme == "http":
                self._schemes.pop(endpoint.registry, None)
            raise
        self._remember(endpoint)
        return answer

    def _remember(self, endpoint: Endpoint) -> None:
        if not endpoint.verified and endpoint.registry not in self._schemes:
            self._schemes[endpoint.registry] = endpoint.scheme

    async def _with_each_login(
        self, endpoint: Endpoint, target: Reference, credentials: Sequence[Credential], question: _Question[T]
    ) -> T:
        met: list[Failure] = []
        for credential in (*credentials[:_MOST_CREDENTIALS], None):
            try:
                return await question(Visit(endpoint, target.repository, credential), target)
            except Failed as failed:
                if not failures.goes_on(failed.failure):
                    raise
                met.append(failed.failure)
            if self._door.asks_for_nothing(endpoint):
                break
        raise Failed(failures.most_helpful(met))

    # The questions

    async def _describe(self, visit: Visit, target: Reference) -> Described:
        path = f"manifests/{target.digest or target.tag}"
        answer = (reply := await self._door.ask(visit, "HEAD", path, accept=_ACCEPT, limit=0)).answer
        if answer.status == 200 and (described := _described(answer, target)):
            return described
        if answer.status != 200 and answer.status not in _NO_HEAD:
            raise Failed(reply.failure())
        described, _ = await self._manifest(visit, target)
        return described

    async def _read_index(self, visit: Visit, target: Reference) -> tuple[Child, ...]:
        if target.digest is None:
            raise failures.failed(End.INVALID, "an index is read by its digest, and there is none")
        _, body = await self._manifest(visit, target)
        try:
            return manifests.read_index(body)
        except InvalidManifest as error:
            raise failures.failed(End.INVALID, str(error)) from error

    async def _manifest(self, visit: Visit, target: Reference) -> tuple[Described, bytes]:
        """GET a manifest, and verify that it is the one that was asked for and that the registry says it is."""
        path = f"manifests/{target.digest or target.tag}"
        reply = await self._door.ask(visit, "GET", path, accept=_ACCEPT, limit=_MANIFEST_BYTES)
        if reply.answer.status != 200:
            raise Failed(reply.failure())
        body = reply.answer.body
        stated = [digest for digest in (target.digest, _digest(reply.answer)) if digest]
        media_type = _media_type(reply.answer)
        if media_type is None or not stated:  # without a digest of theirs, half a manifest has one of ours
            shape = manifests.media_type_of(body)
            if shape is None:
                raise failures.failed(End.NOT_A_REGISTRY, "what it sends for a manifest is none")
            media_type = media_type or shape
        for digest in stated:
            if _digest_of(body, digest.partition(":")[0]) != digest:
                raise failures.failed(End.UNUSABLE, f"what the registry sent does not have the digest {digest}")
        digest = stated[0] if stated else _digest_of(body, "sha256")
        return Described(digest, media_type), body

    async def _list_tags(self, visit: Visit, target: Reference) -> tuple[str, ...]:
        """Follow the pages to their end. Of a link to the next one only the query counts, so we stay at this list."""
        until = asyncio.get_running_loop().time() + _TAGS_SECONDS
        found: dict[str, None] = {}
        query: str | None = f"n={_PAGE}"
        seen: set[str] = set()
        while query is not None and query not in seen:
            seen.add(query)
            path = f"tags/list?{query}"
            reply = await self._door.ask(visit, "GET", path, accept="application/json", limit=_PAGE_BYTES)
            if reply.answer.status != 200:
                raise Failed(reply.failure())
            found.update(dict.fromkeys(filter(references.is_tag, _tags(reply.answer))))
            query = _next_query(reply.answer)
            if query is not None and (len(found) > _MOST_TAGS or len(seen) >= _MOST_PAGES):
                raise failures.failed(End.UNUSABLE, f"{target.repository} has more tags than can be listed")
            if asyncio.get_running_loop().time() > until:
                raise failures.failed(End.UNAVAILABLE, f"its tags were not listed within {_TAGS_SECONDS:.0f} s")
        return tuple(found)


def _described(answer: Answer, target: Reference) -> Described | None:
    """What a HEAD tells; None if that is not enough."""
    digest, media_type = _digest(answer), _media_type(answer)
    if digest is None or media_type is None:
        return None
    if target.digest is None or digest == target.digest:
        return Described(digest, media_type)
    if digest.partition(":")[0] != target.digest.partition(":")[0]:
        return None
    raise failures.failed(End.UNUSABLE, f"asked for {target.digest}, the registry answers with {digest}")


def _digest(answer: Answer) -> str | None:
    digest = answer.headers.get("Docker-Content-Digest", "").strip()
    return digest if references.is_digest(digest) else None


def _digest_of(body: bytes, algorithm: str) -> str:
    """Compute a digest; every algorithm that the grammar of digests lets through is one of hashlib's."""
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


def _media_type(answer: Answer) -> str | None:
    """The media type that the registry states; None if it is one that says nothing about manifests."""
    stated = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return stated if stated.startswith("application/vnd.") else None


def _tags(answer: Answer) -> list[str]:
    try:
        return _decode_page(answer.body).tags or []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    raise failures.failed(End.UNUSABLE, "what it sends for a list of tags is none")


def _next_query(answer: Answer) -> str | None:
    link = links.next_page(answer.headers.getall("Link", ()))
    if link is None:
        return None
    try:
        target = answer.url.join(URL(link))
    except ValueError:
        return None
    if not same_server(target, answer.url):
        raise failures.failed(End.UNUSABLE, "it says that its list of tags goes on at another server")
    return target.raw_query_string
