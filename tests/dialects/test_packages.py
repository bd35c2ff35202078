"""Packages of Gitea and Forgejo."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from listener.core.authentication import admits, complaint, credentials
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import DIALECTS, packages
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
HEADERS = {"x-gitea-event": "package", "x-gitea-delivery": "d-1"}


def event(action: object = "created", **package: object) -> dict[str, Any]:
    return {
        "action": action,
        "package": {
            "owner": {"login": "Acme"},
            "type": "container",
            "name": "shop/web",
            "version": "rc1",
            "html_url": "https://Git.example.test:3000/acme/-/packages/container/shop%2Fweb/rc1",
            "created_at": "2026-11-23T00:38:12Z",
        }
        | package,
        "sender": {"login": "ci-bot"},
    }


def parse(body: object, headers: dict[str, str] | None = None) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return packages.parse(Delivery(HEADERS if headers is None else headers, {}, raw), "gitea")


PUSHED = PushEvent(
    registry="git.example.test:3000",
    repository="acme/shop/web",
    tag="rc1",
    digest=None,
    media_type=None,
    timestamp=datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC),
    actor="ci-bot",
    event_id="d-1",
)


@pytest.mark.parametrize(
    ("body", "headers", "becomes"),
    [
        pytest.param(event(), HEADERS, {}, id="as it is"),
        pytest.param(
            urlencode({"payload": json.dumps(event())}).encode(),
            HEADERS | {"content-type": "application/x-www-form-urlencoded"},
            {},
            id="as a form",
        ),
        pytest.param(event(), {}, {"event_id": None}, id="a proxy took the headers away"),
        pytest.param(event(owner={"username": "acme"}), HEADERS, {}, id="the owner by the other name"),
        pytest.param(event(html_url=None), HEADERS, {"registry": None}, id="no page"),
        pytest.param(event(created_at=None), HEADERS, {"timestamp": None}, id="no time"),
        pytest.param(event() | {"sender": None}, HEADERS, {"actor": None}, id="nobody"),
        pytest.param(event(type="Container"), HEADERS, {}, id="type in another case"),
    ],
)
def test_a_push(body: object, headers: dict[str, str], becomes: dict[str, Any]) -> None:
    wanted = PUSHED._asdict() | becomes
    assert parse(body, headers) == Parsed((PushEvent(**wanted),))


@pytest.mark.parametrize("name", ["gitea", "forgejo"])
def test_of_a_form_the_json_inside_is_signed_which_proves_nothing_and_is_told(name: str) -> None:
    signature = DIALECTS[name].signature
    assert signature is not None
    inside = json.dumps(event()).encode()
    headers, _ = credentials(signature, b"s", inside)
    headers = {**headers, "content-type": "application/x-www-form-urlencoded"}
    sent = Delivery(headers, {}, urlencode({"payload": inside}).encode())
    assert not admits(signature, [b"s"], sent)
    assert "set the content type to JSON" in complaint(signature, sent)
    assert admits(signature, [b"s"], sent._replace(body=inside))


@pytest.mark.parametrize(
    ("body", "headers", "why"),
    [
        pytest.param(event("deleted"), HEADERS, 'only "created"', id="deleted"),
        pytest.param(event("archived"), HEADERS, 'only "created"', id="an action to come"),
        pytest.param(event(type="npm"), HEADERS, "npm is no image", id="another type"),
        pytest.param(event(version=DIGEST), HEADERS, "by digest", id="child of an index"),
        pytest.param(event(version=f"sha256-{'a' * 64}.sig"), HEADERS, "signature", id="signature"),
        pytest.param(b"not read", {"x-gitea-event": "push"}, 'only the event "package"', id="another event"),
    ],
)
def test_what_is_not_for_us_is_ignored(body: object, headers: dict[str, str], why: str) -> None:
    parsed = parse(body, headers)
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert why in parsed.ignored[0].why


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(event(None), '"action" or', id="no action"),
        pytest.param(event(type=7), '"action" or', id="type is a number"),
        pytest.param(event(owner=None), "repository is missing", id="nobody's"),
        pytest.param(event(name=""), "repository is missing", id="no name"),
        pytest.param(event(name="../b"), "no repository name", id="path traversal"),
        pytest.param(event(version=None), "the tag is missing", id="no version"),
        pytest.param(event(version=1.0), "a tag must be a text", id="version is a number"),
        pytest.param(event(version="a/b"), "no tag", id="version with a slash"),
    ],
)
def test_an_unusable_push_is_refused(body: object, why: str) -> None:
    parsed = parse(body)
    assert (parsed.pushes, parsed.ignored) == ((), ())
    assert why in parsed.refused[0].why


@pytest.mark.parametrize("body", [b"", b"x", b"[]", b"{}", b'{"package": []}', b'{"ref": "refs/heads/main"}'])
def test_what_is_no_package_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match='"package"'):
        parse(body)
