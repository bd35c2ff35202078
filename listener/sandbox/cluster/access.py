"""Who may do what: one token, one administrator, everything. The reviews that clients ask say so.

Pure but for the making of the token.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from listener.sandbox.cluster.field_errors import FieldError, invalid
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.status import invalid as refused

Object = dict[str, Any]
USER = "sandbox-admin"
GROUPS = ["system:masters", "system:authenticated"]


def new_token() -> str:
    return secrets.token_hex(32)


def admitted(authorization: str, path: str, token: str) -> str | None:
    """Return the path that is asked for, or None where the token is missing.

    The token is taken from the Authorization header, or as the first segment of the path: client-go, and so kubectl,
    never sends credentials over plain HTTP, but it keeps the path of the server's address. Other clients do both.
    Compared in constant time.
    """
    first, slash, rest = path.removeprefix("/").partition("/")
    if _same(first, token):
        return slash + rest or "/"
    return path if _same(authorization, f"Bearer {token}") else None


def _same(given: str, expected: str) -> bool:
    # A header may hold bytes that are no UTF-8, which aiohttp hands on as surrogates.
    return hmac.compare_digest(given.encode(errors="surrogateescape"), expected.encode())


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized")


def review(kind: str, asked: Object, now: str) -> Object:
    """Answer one of the SelfSubject reviews. Raises 422 for an access review that asks about nothing."""
    metadata = asked.get("metadata") or {}
    answer: Object = {"kind": kind, "apiVersion": asked["apiVersion"], "metadata": metadata}
    if kind == "SelfSubjectReview":
        answer["metadata"] = {**metadata, "creationTimestamp": now}
        return {**answer, "status": {"userInfo": {"username": USER, "groups": GROUPS}}}
    spec = asked.get("spec") or {}
    if kind == "SelfSubjectRulesReview":
        rules = {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
        return {**answer, "spec": {}, "status": rules}
    if (spec.get("resourceAttributes") is None) == (spec.get("nonResourceAttributes") is None):
        why = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        found: FieldError = invalid("spec.resourceAttributes", spec.get("resourceAttributes"), why)
        raise refused("", "authorization.k8s.io", "", [found])
    return {**answer, "spec": spec, "status": {"allowed": True}}
