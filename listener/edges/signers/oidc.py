"""The gate for OpenID Connect tokens: `Authorization: Bearer JWT`, as Google Pub/Sub sends it and CI systems can.

That a public issuer made a token says little, for it makes them for everybody. What counts is the audience and the
claims which the settings ask for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from typing import Final

import jwt

from listener.core.events import Delivery
from listener.edges.signers import keys
from listener.edges.signers.fetching import Fetching
from listener.errors import Unauthenticated

GOOGLE: Final = "https://accounts.google.com"

_CLOCKS_APART_SECONDS: Final = 60
_WHY: Final[Mapping[type[Exception], str]] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience than `auth.oidc.audience`",
    jwt.InvalidIssuerError: "it is from another issuer than `auth.oidc.issuer`",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.InvalidAlgorithmError: "it is signed in another way than its key says",
    jwt.MissingRequiredClaimError: "it lacks one of the claims exp, iss and aud",
}


class OidcGate:
    """Lets in who carries a token of the issuer, made for this audience, with all these claims."""

    needs_body = False

    def __init__(
        self,
        registry: str,
        fetching: Fetching,
        *,
        issuer: str,
        audience: str,
        claims: Mapping[str, str | bool | int],
        jwks_uri: str | None = None,
    ) -> None:
        self._registry = registry
        self._audience = audience
        self._claims = dict(claims)
        self._issuers = [issuer]
        if issuer.removeprefix("https://").rstrip("/") == GOOGLE.removeprefix("https://"):
            # It writes itself both ways, and vouches for an address only with this beside it.
            issuer = GOOGLE
            self._issuers = [GOOGLE, GOOGLE.removeprefix("https://")]
            self._claims["email_verified"] = True
        self._keys = keys.Keys(issuer, partial(keys.fetch, fetching, issuer, jwks_uri))

    async def admit(self, delivery: Delivery) -> None:
        """Raises Unauthenticated, or SignerUnavailable if the issuer's keys cannot be had."""
        kind, _, token = delivery.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if kind.lower() != "bearer" or not token:
            raise self._refused("there is none in the header Authorization")
        name = self._key_name(token)
        self._check_issuer(token)
        key = await self._keys.get(name, time.monotonic())
        if key is None:
            raise self._refused("it is signed with a key that the issuer does not publish")
        found = self._verified(token, key)
        for claim, wanted in self._claims.items():
            value = found.get(claim)
            if type(value) is not type(wanted) or value != wanted:
                raise self._refused(f"its claim {claim} is not the one asked for")

    async def close(self) -> None:
        await self._keys.close()

    def _key_name(self, token: str) -> str:
        try:
            name = jwt.get_unverified_header(token).get("kid", "")
        except (jwt.PyJWTError, ValueError, RecursionError):
            name = None
        if not isinstance(name, str):
            raise self._refused("what is there is no JWT")
        return name

    def _check_issuer(self, token: str) -> None:
        """Refuse tokens of others before their keys are looked for among ours. Nothing else is believed yet."""
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError):
            return  # what is wrong with it is told when it is verified
        if issuer is not None and issuer not in self._issuers:
            raise self._refused(_WHY[jwt.InvalidIssuerError])

    def _verified(self, token: str, key: jwt.PyJWK) -> Mapping[str, object]:
        try:
            return jwt.decode(
                token,
                key,
                # The key's own, and nothing that the token says of itself.
                algorithms=[key.algorithm_name],
                audience=self._audience,
                issuer=self._issuers,
                leeway=_CLOCKS_APART_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
            why = next((why for kind, why in _WHY.items() if isinstance(error, kind)), "it cannot be read")
        # Out here: what the library says may quote the token.
        raise self._refused(why)

    def _refused(self, why: str) -> Unauthenticated:
        return Unauthenticated(
            f"the delivery does not carry the token that registry {self._registry!r} asks for: {why}"
        )
