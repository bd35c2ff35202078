"""Tokens of a registry's token server: fetched once for all who wait, kept until shortly before they expire.

The protocol is distribution's: GET with Basic, or with nothing for an anonymous token; and OAuth 2, a POST, where a
credential is an identity token. A token is kept per registry, scope and credential, so none reaches a registry
that it was not made for, whatever that one says about its token server.
"""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from cachetools import TLRUCache
from yarl import URL

from listener.core.keyring import Credential
from listener.edges.registry import failures
from listener.edges.registry.certificates import Certificates
from listener.edges.registry.failures import End, Failed, Failure
from listener.edges.registry.transport import REDIRECTS, USER_AGENT, Answer, Transport, server_name

_TOKENS: Final = 2048
_ANSWER_BYTES: Final = 1024 * 1024
# What a header bears, and what 2048 of them may take in memory.
_TOKEN: Final = re.compile(r"[!-~]{1,16384}")
_DEFAULT_SECONDS: Final = 60.0
_LONGEST_SECONDS: Final = 24 * 3600.0
_USABLE_PART: Final = 0.9


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A registry, the way it is spoken to. What is learned from one is not believed of another.

    `registry` is its name in pull specs. `verified`: its certificate is. `anywhere`: the operator named it, so it and
    its token server may be at any address.
    """

    registry: str
    scheme: str
    verified: bool
    anywhere: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which token: of whom, for what, and with which login; None is an anonymous one."""

    endpoint: Endpoint
    realm: str
    service: str
    scope: str
    credential: Credential | None


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    seconds: float


class Tokens:
    """All tokens of all registries. `close()` it."""

    def __init__(self, transport: Transport, certificates: Certificates) -> None:
        self._transport = transport
        self._certificates = certificates
        self._kept: TLRUCache[Wanted, _Token] = TLRUCache(_TOKENS, lambda _, token, now: now + token.seconds)
        self._fetching: dict[Wanted, asyncio.Task[_Token | Failure]] = {}

    async def close(self) -> None:
        for task in self._fetching.values():
            task.cancel()
        await asyncio.gather(*self._fetching.values(), return_exceptions=True)

    async def get(self, wanted: Wanted) -> tuple[str, bool]:
        """Return a token, and whether it was kept from before. Raises Failed.

        The fetch belongs to nobody of those who wait for it: one of them who gives up does not stop it.
        """
        kept = self._kept.get(wanted)
        if kept is not None:
            return kept.text, True
        task = self._fetching.get(wanted)
        if task is None:
            task = asyncio.create_task(self._fetch(wanted), name=f"token-of-{wanted.endpoint.registry}")
            self._fetching[wanted] = task
            task.add_done_callback(lambda _: self._fetching.pop(wanted))
        result = await asyncio.shield(task)
        if isinstance(result, Failure):
            raise Failed(result)
        return result.text, False

    def drop(self, wanted: Wanted, text: str) -> None:
        """Forget a token that was refused, unless there is another one by now."""
        kept = self._kept.get(wanted)
        if kept is not None and kept.text == text:
            self._kept.pop(wanted, None)

    async def _fetch(self, wanted: Wanted) -> _Token | Failure:
        """Fetch a token and keep it. A failure is a value: each who waits raises its own exception of it."""
        try:
            realm = _realm(wanted)
        except Failed as failed:
            return failed.failure
        server = f"token server {server_name(realm)}"
        try:
            answer = await self._ask(realm, wanted)
        except Failed as failed:
            return failures.elsewhere(failed.failure, server)
        result = _read(answer, wanted.credential)
        if isinstance(result, Failure):
            return failures.elsewhere(result, server)
        self._kept[wanted] = result
        return result

    async def _ask(self, realm: URL, wanted: Wanted) -> Answer:
        endpoint, credential = wanted.endpoint, wanted.credential
        query = {"service": wanted.service, "scope": wanted.scope}
        query = {name: value for name, value in query.items() if value}
        # An internal registry's token server usually has its certificate from the same CA.
        name = self._certificates.configured(realm) or endpoint.registry
        verified = endpoint.verified and not self._certificates.insecure(name)
        headers = {"Accept": "application/json"}
        form = None
        if credential is None:
            realm = realm.update_query(query)
        elif credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "client_id": USER_AGENT,
                "refresh_token": credential.identity_token,
                **query,
            }
        else:
            realm = realm.update_query(query)
            headers["Authorization"] = basic(credential)
        return await self._transport.send(
            "GET" if form is None else "POST",
            realm,
            headers=headers,
            tls=self._certificates.believed(name) if verified else False,
            anywhere=endpoint.anywhere,
            limit=_ANSWER_BYTES,
            form=form,
        )


def basic(credential: Credential) -> str:
    """The value of `Authorization` for a login by name and password."""
    pair = f"{credential.username}:{credential.password}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def lifetime_seconds(answer: Mapping[str, Any], now: float) -> float:
    """How long a token may be used: nine tenths of its time, counted from when it was issued, if that can be."""
    stated = answer.get("expires_in")
    usable = isinstance(stated, int | float) and not isinstance(stated, bool) and stated > 0
    seconds = min(float(stated), _LONGEST_SECONDS) if usable and stated is not None else _DEFAULT_SECONDS
    try:
        age = now - datetime.fromisoformat(str(answer.get("issued_at"))).timestamp()
    except (ValueError, OverflowError):
        age = 0.0
    # Anything else is a clock that differs from ours, and would leave us without a token for ever.
    age = age if 0 < age < seconds else 0.0
    return seconds * _USABLE_PART - age


def _realm(wanted: Wanted) -> URL:
    registry = wanted.endpoint.registry
    try:
        realm = URL(wanted.realm)
    except ValueError:
        realm = URL()
    if realm.scheme not in ("http", "https") or not realm.host:
        raise failures.failed(End.UNUSABLE, f"{registry} names a token server that is no http or https URL")
    if realm.scheme == "http" and wanted.credential is not None and wanted.endpoint.scheme != "http":
        cause = f"{registry} names a token server without TLS; no credentials are sent there"
        raise failures.failed(End.NO_ACCESS, cause)
    return realm.with_user(None).with_fragment(None)


def _read(answer: Answer, credential: Credential | None) -> _Token | Failure:
    by_identity = credential is not None and bool(credential.identity_token)
    if answer.status in (401, 403) or (by_identity and answer.status == 400):
        return Failure(End.NO_ACCESS if credential is None else End.WRONG_LOGIN, f"it answered {answer.status}")
    if by_identity and answer.status in (404, 405):
        return Failure(End.NO_ACCESS, "it takes no identity tokens")
    if answer.status in REDIRECTS:
        return Failure(End.UNUSABLE, "it redirects, which is not followed")
    if answer.status != 200:
        return answer.failure()
    try:
        content = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        content = None
    if not isinstance(content, dict):
        return Failure(End.UNUSABLE, "it sent no JSON object")
    text = content.get("token") or content.get("access_token")
    if not isinstance(text, str) or not _TOKEN.fullmatch(text):
        return Failure(End.UNUSABLE, "it sent no usable token")
    return _Token(text, lifetime_seconds(content, time.time()))
