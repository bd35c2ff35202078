"""Every way to authenticate, at a running service: who carries a secret comes in, and the secret is seen nowhere."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from tests.cluster_under_test import ClusterUnderTest
from tests.end_to_end.parts import Listener, push_event, serve

HOST = "registry.example.com"
TOPIC = "arn:aws:sns:eu-west-1:123456789012:pushes"
BODY = json.dumps({"events": [push_event(HOST, "nobody/follows", "latest", "sha256:" + "a" * 64)]}).encode()


@dataclass(frozen=True, slots=True)
class Sender:
    """How one sender carries a secret."""

    auth: Mapping[str, Any]
    dialect: str = "distribution"

    def carry(self, secret: str, body: bytes = BODY) -> tuple[Mapping[str, str], Mapping[str, str]]:
        """Headers and query."""
        ((kind, options),) = self.auth.items()
        match kind:
            case "bearer":
                return {"Authorization": f"Bearer {secret}"}, {}
            case "basic":
                word = base64.b64encode(f"{options['username']}:{secret}".encode()).decode()
                return {"Authorization": f"Basic {word}"}, {}
            case "header":
                return {options["name"]: secret}, {}
            case "query":
                return {}, {options["name"]: secret}
            case _:
                mac = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
                return {options["header"]: f"sha256={mac}"}, {}


SENDERS = {
    "bearer": Sender({"bearer": {}}),
    "basic": Sender({"basic": {"username": "robot"}}),
    "header": Sender({"header": {"name": "X-Token"}}),
    "query": Sender({"query": {"name": "apiKey"}}),
    "hmac": Sender({"hmac": {"header": "X-Sign", "prefix": "sha256="}}),
}


async def post(
    service: Listener, hook: str, headers: Mapping[str, str], query: Mapping[str, str], body: bytes = BODY
) -> tuple[int, str]:
    url = f"{service.hooks}/hooks/{hook}"
    async with service.session.post(url, data=BytesIO(body), headers=headers, params=query) as response:
        return response.status, await response.text()


def registries(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "host": f"{name}.example.com",
            "aliases": [HOST],
            "dialect": sender.dialect,
            "auth": {kind: {**options, "secretFile": str(folder / name)} for kind, options in sender.auth.items()},
        }
        for name, sender in SENDERS.items()
    ]
    oidc = {"issuer": "https://127.0.0.1:1/issuer", "audience": "us", "claims": {"sub": "ci"}}
    found += [
        {"name": "oidc", "host": "oidc.example.com", "auth": {"oidc": oidc}},
        {"name": "sns", "host": "sns.example.com", "dialect": "aws-sns", "auth": {"sns": {"topics": [TOPIC]}}},
    ]
    return found


@pytest.mark.sandbox_only(reason="what is looked at is the service's own door")
async def test_secrets_of_every_kind_open_rotate_and_are_seen_nowhere(
    cluster: ClusterUnderTest, tmp_path: Path
) -> None:
    used: list[str] = []

    def new_secret() -> str:
        used.append(f"zebra-{secrets.token_hex(12)}")
        return used[-1]

    old = {name: new_secret() for name in SENDERS}
    for name, secret in old.items():
        (tmp_path / name).write_text(secret + "\n")
    answers: list[str] = []
    async with serve(
        cluster, tmp_path / "service", registries=registries(tmp_path), namespaces=[await cluster.namespace("auth")]
    ) as service:
        await service.ready()

        async def status(name: str, secret: str) -> int:
            headers, query = SENDERS[name].carry(secret)
            used.extend(value.removeprefix("sha256=") for value in headers.values())
            found, text = await post(service, name, headers, query)
            answers.append(text)
            return found

        for name, sender in SENDERS.items():
            wrong, new = new_secret(), new_secret()
            assert [await status(name, secret) for secret in (old[name], wrong, new)] == [200, 401, 401], name
            (tmp_path / name).write_text(f"{old[name]}\n{new}\n")
            assert [await status(name, secret) for secret in (old[name], new)] == [200, 200], name
            (tmp_path / name).write_text(f"{new}\n")
            assert [await status(name, secret) for secret in (old[name], new)] == [401, 200], name
            # In all the wrong places at once, with the secret in the body too.
            headers = {"Authorization": f"Token {new}", "X-Other": new, "Cookie": f"a={new}"}
            found, text = await post(service, name, headers, {"other": new}, f'{{"secret": "{new}"}}'.encode())
            assert found == 401, sender
            answers.append(text)

        for token in ("a.b.c", _unsigned({"sub": "ci", "word": new_secret()})):
            used.append(token)
            found, text = await post(service, "oidc", {"Authorization": f"Bearer {token}"}, {})
            assert found == (401 if token == "a.b.c" else 503)
            answers.append(text)
        message = {
            "Type": "SubscriptionConfirmation",
            "TopicArn": TOPIC,
            "Token": new_secret(),
            "SubscribeURL": f"https://127.0.0.1/?Token={used[-1]}",
        }
        for headers in ({}, {"x-amz-sns-rawdelivery": "true"}):
            found, text = await post(service, "sns", headers, {}, json.dumps(message).encode())
            assert found == 401
            answers.append(text)
        metrics = (await service.get("/metrics"))[1]
        log = service.log.read_text()
    assert service.logged("hook.answered")
    for shown in (*answers, metrics, log):
        for secret in used:
            assert secret not in shown


def _unsigned(claims: Mapping[str, str]) -> str:
    parts = ({"alg": "RS256", "kid": "k1"}, claims)
    words = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts]
    return ".".join([*words, "AAAA"])
