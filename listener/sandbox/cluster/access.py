"""Who is asking: the administrator, by the one token of the sandbox, or a ServiceAccount, by one that was made for it.

What they may do is in `rights`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.store import Entry, Store

Object = dict[str, Any]
SERVICE_ACCOUNTS = ("", "serviceaccounts")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who was let in."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""

    def info(self) -> Object:
        """Return it as a `UserInfo`."""
        return {"username": self.name, **({"uid": self.uid} if self.uid else {}), "groups": list(self.groups)}


ADMIN = User("sandbox-admin", ("system:masters", "system:authenticated"))


def account_name(namespace: str, name: str) -> str:
    """Return what a ServiceAccount is called as a user."""
    return f"system:serviceaccount:{namespace}:{name}"


def new_token() -> str:
    return secrets.token_hex(32)


@dataclass(frozen=True, slots=True)
class _Issued:
    namespace: str
    name: str
    uid: str
    ends: float


class Users:
    """Tokens and whose they are."""

    def __init__(self, store: Store, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._accounts = store.collection(SERVICE_ACCOUNTS)
        self._token = token
        self._clock = clock
        # By a digest: how long it takes to find one tells nothing about tokens.
        self._issued: dict[bytes, _Issued] = {}

    def issue(self, account: Entry, seconds: int) -> str:
        """Make a token for a ServiceAccount. It ends with the time, or with the account."""
        now = self._clock()
        self._issued = {key: each for key, each in self._issued.items() if now < each.ends}
        token = new_token()
        self._issued[_digest(token)] = _Issued(account.namespace, account.name, account.uid, now + seconds)
        return token

    def of(self, token: str) -> User | None:
        if _same(token, self._token):
            return ADMIN
        found = self._issued.get(_digest(token))
        if found is None or self._clock() >= found.ends:
            return None
        account = self._accounts.get(found.namespace, found.name)
        if account is None or account.uid != found.uid:
            return None
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{found.namespace}", "system:authenticated")
        return User(account_name(found.namespace, found.name), groups, found.uid)


def admitted(authorization: str, path: str, user: Callable[[str], User | None]) -> tuple[User, str] | None:
    """Return who asks and the path that is asked for, or None where there is no token that `user` knows.

    The token is taken from the Authorization header, or as the first segment of the path: client-go, and so kubectl,
    never sends credentials over plain HTTP, but it keeps the path of the server's address. Other clients do both.
    """
    first, slash, rest = path.removeprefix("/").partition("/")
    if found := user(first):
        return found, slash + rest or "/"
    scheme, _, token = authorization.partition(" ")
    found = user(token) if scheme == "Bearer" else None
    return (found, path) if found else None


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized")


# A header may hold bytes that are no UTF-8, which aiohttp hands on as surrogates.
def _same(given: str, expected: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
