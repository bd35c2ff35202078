"""A token issuer's keys: when they are fetched, how long they are kept, and what holds while they cannot be had.

A token names its key, and anybody can send tokens: so a name that is not known leads to one fetch a minute at most.
Until the next one it may be that of a key which the issuer has just begun to use, so nobody is refused for it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from yarl import URL

from listener.edges.signers.fetching import Answer, Fetching, server_name
from listener.errors import SignerUnavailable

log = structlog.get_logger()

_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "ES256", "ES384", "ES512"})
_RSA_BITS: Final = 2048
_MOST_KEYS: Final = 100

_SHORTEST_SECONDS: Final = 5 * 60.0
_LONGEST_SECONDS: Final = 24 * 3600.0
_DEFAULT_SECONDS: Final = 3600.0
_PAUSE_SECONDS: Final = 60.0
_PAUSE_WITHOUT_KEYS_SECONDS: Final = 5.0
_MAX_AGE: Final = re.compile(r"(?:^|[\s,])max-age\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """Keys by their names, and for how long they may be kept."""

    keys: Mapping[str, jwt.PyJWK]
    seconds: float


class Keys:
    """One issuer's keys. Times are those of any clock that only goes forward."""

    def __init__(self, issuer: str, fetch: Callable[[], Awaitable[Fetched]]) -> None:
        """`fetch` raises SignerUnavailable."""
        self._issuer = issuer
        self._fetch = fetch
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._stale_at = -math.inf
        self._next_fetch_at = -math.inf
        self._failure: str | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def get(self, name: str, now: float) -> jwt.PyJWK | None:
        """Return the key of this name; None if the issuer has none. Raises SignerUnavailable if that cannot be told.

        Keys that are known hold on while newer ones cannot be fetched.
        """
        has_looked = False
        if now >= self._stale_at or name not in self._keys:
            has_looked = await self._renew(now)
        key = self._keys.get(name)
        if key is None and self._failure is not None:
            raise SignerUnavailable(self._failure)
        if key is None and not has_looked:
            raise SignerUnavailable(
                f"the key is none of those that {self._issuer} published within the last minute; deliver again",
                retry_after_seconds=self._next_fetch_at - now,
            )
        return key

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    async def _renew(self, now: float) -> bool:
        """Fetch once for all who wait; return whether that was done, or is not to be done yet.

        The fetch belongs to none of them: one who gives up does not stop it.
        """
        if self._fetching is None:
            if now < self._next_fetch_at:
                return False
            self._fetching = asyncio.create_task(self._fetch_all(now), name=f"keys-of-{self._issuer}")
            self._fetching.add_done_callback(self._fetched)
        await asyncio.shield(self._fetching)
        return True

    async def _fetch_all(self, now: float) -> None:
        try:
            found = await self._fetch()
        except SignerUnavailable as error:
            self._failure = f"the keys of {self._issuer} cannot be fetched: {error}"
            log.warning("oidc.keys_unavailable", issuer=self._issuer, known=len(self._keys), reason=str(error))
            self._next_fetch_at = now + (_PAUSE_SECONDS if self._keys else _PAUSE_WITHOUT_KEYS_SECONDS)
            return
        self._keys = found.keys
        self._failure = None
        self._stale_at = now + found.seconds
        self._next_fetch_at = now + _PAUSE_SECONDS

    def _fetched(self, _: asyncio.Task[None]) -> None:
        self._fetching = None


async def fetch(fetching: Fetching, issuer: str, jwks_uri: str | None) -> Fetched:
    """Fetch an issuer's keys, from where its discovery document says unless that is known. Raises SignerUnavailable."""
    url = URL(jwks_uri) if jwks_uri else await _discovered(fetching, issuer)
    answer = await fetching.get(url)
    found = _object(answer, url).get("keys")
    keys: dict[str, jwt.PyJWK] = {}
    for each in found[:_MOST_KEYS] if isinstance(found, list) else ():
        name = each.get("kid", "") if isinstance(each, dict) else None
        if isinstance(name, str) and (key := _key(each)):
            keys.setdefault(name, key)
    if not keys:
        raise SignerUnavailable(f"{server_name(url)}: it sent no keys that can be used")
    return Fetched(keys, kept_seconds(answer.headers.get("Cache-Control", "")))


def kept_seconds(cache_control: str) -> float:
    """How long keys are kept, as the server says, within our bounds."""
    if found := _MAX_AGE.search(cache_control):
        return min(max(float(found[1]), _SHORTEST_SECONDS), _LONGEST_SECONDS)
    return _SHORTEST_SECONDS if re.search(r"no-(?:store|cache)", cache_control, re.IGNORECASE) else _DEFAULT_SECONDS


async def _discovered(fetching: Fetching, issuer: str) -> URL:
    url = URL(issuer.rstrip("/") + "/.well-known/openid-configuration")
    document = _object(await fetching.get(url), url)
    if document.get("issuer") != issuer:
        raise SignerUnavailable(f"{server_name(url)}: its discovery document is that of another issuer")
    try:
        found = URL(str(document.get("jwks_uri", "")))
    except ValueError:
        found = URL()
    if found.scheme != "https" or not found.host or found.user is not None:
        raise SignerUnavailable(f"{server_name(url)}: its discovery document names no jwks_uri with https")
    return found


def _object(answer: Answer, url: URL) -> Mapping[str, object]:
    if answer.status != 200:
        raise SignerUnavailable(f"{server_name(url)}: it answered {answer.status}")
    try:
        found = json.loads(answer.body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise SignerUnavailable(f"{server_name(url)}: it sent no JSON object")
    return found


def _key(found: dict[str, object]) -> jwt.PyJWK | None:
    """A key as published; None for what signs nothing, and for what would let in who knows the public keys."""
    if found.get("use", "sig") != "sig" or found.get("kty") not in ("RSA", "EC"):
        return None
    try:
        key = jwt.PyJWK(found)
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError, NotImplementedError):
        return None  # the last is what the library raises for a key whose `alg` is "none"
    if key.algorithm_name not in _ALGORITHMS:
        return None
    public = key.key
    strong = isinstance(public, EllipticCurvePublicKey) or (
        isinstance(public, RSAPublicKey) and public.key_size >= _RSA_BITS
    )
    return key if strong else None
