"""Pub/Sub's messages, wrapped or not. Google sends again for days what is not acknowledged, so nothing raises."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed
from listener.dialects import google_pubsub

DIGEST = "sha256:" + "a" * 64
NAME = "europe-west1-docker.pkg.dev/acme/apps/web"
AT = datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC)
HEADERS = {"x-goog-pubsub-message-id": "7", "x-goog-pubsub-publish-time": "2026-11-23T00:38:12Z"}
INSERT = {"action": "INSERT", "digest": f"{NAME}@{DIGEST}", "tag": f"{NAME}:v1"}


def packed(data: object) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.b64encode(raw).decode()


def wrapped(found: object, **changes: object) -> dict[str, Any]:
    message = {"data": packed(found), "messageId": "7", "publishTime": "2026-11-23T00:38:12Z"} | changes
    return {"message": message, "subscription": "projects/acme/subscriptions/gcr-push"}


def parse(body: object, headers: dict[str, str] | None = None) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return google_pubsub.parse(Delivery(headers or {}, {}, raw))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(wrapped(INSERT), {}, id="wrapped"),
        pytest.param(
            wrapped(INSERT, messageId=None, message_id="7", publishTime=None, publish_time="2026-11-23T00:38:12Z"),
            {},
            id="the other spelling",
        ),
        pytest.param(wrapped(INSERT, data=packed(INSERT).rstrip("=")), {}, id="without padding"),
        pytest.param(wrapped(INSERT, data=packed(INSERT) + "="), {}, id="padded too far"),
        pytest.param(
            wrapped(INSERT, data=base64.urlsafe_b64encode(json.dumps(INSERT | {"x": "?>~"}).encode()).decode()),
            {},
            id="URL-safe",
        ),
        pytest.param(INSERT, HEADERS, id="unwrapped"),
    ],
)
def test_a_push(body: object, headers: dict[str, str]) -> None:
    assert google_pubsub.recognises(Delivery(headers, {}, json.dumps(body).encode()))
    parsed = parse(body, headers)
    (push,) = parsed.pushes
    assert (push.registry, push.repository) == ("europe-west1-docker.pkg.dev", "acme/apps/web")
    assert (push.tag, push.digest, push.timestamp, push.event_id) == ("v1", DIGEST, AT, "7")
    assert (parsed.ignored, parsed.refused) == ((), ())


@pytest.mark.parametrize(
    ("data", "registry", "repository", "tag", "digest"),
    [
        pytest.param({"tag": f"{NAME}:v1"}, "europe-west1-docker.pkg.dev", "acme/apps/web", "v1", None, id="tag alone"),
        pytest.param(
            {"tag": "v1", "digest": f"gcr.io/acme/web@{DIGEST}"}, "gcr.io", "acme/web", "v1", DIGEST, id="a bare tag"
        ),
        pytest.param(
            {"tag": "gcr.io/acme/web:v1", "digest": DIGEST}, "gcr.io", "acme/web", "v1", DIGEST, id="bare digest"
        ),
        pytest.param(
            {"tag": "localhost:5000/acme/web:v1"}, "localhost:5000", "acme/web", "v1", None, id="a host with a port"
        ),
        pytest.param(
            {"tag": "GCR.io/acme/web:V1", "digest": f"gcr.io/acme/web@{DIGEST}"},
            "gcr.io",
            "acme/web",
            "V1",
            DIGEST,
            id="case of the host",
        ),
    ],
)
def test_references_are_taken_apart(
    data: dict[str, str], registry: str, repository: str, tag: str, digest: str | None
) -> None:
    (push,) = parse({"action": "INSERT"} | data).pushes
    assert (push.registry, push.repository, push.tag, push.digest) == (registry, repository, tag, digest)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(wrapped({"action": "DELETE", "tag": f"{NAME}:v1"}), id="untagged"),
        pytest.param(wrapped({"action": "INSERT", "digest": f"{NAME}@{DIGEST}"}), id="upload"),
        pytest.param(wrapped({"action": "INSERT", "digest": f"{NAME}@{DIGEST}", "tag": ""}), id="empty tag"),
        pytest.param(wrapped({"action": "MOVE", "tag": f"{NAME}:v1"}), id="an action to come"),
        pytest.param(wrapped({"kind": "note"}), id="another publisher's"),
        pytest.param(wrapped([INSERT]), id="a list inside"),
        pytest.param(wrapped(b"hello"), id="a text inside"),
        pytest.param(wrapped(b"\xff\xfe\xfd"), id="bytes inside"),
        pytest.param(wrapped(b"[" * 10_000), id="deep nesting inside"),
        pytest.param(wrapped(INSERT, data="?"), id="no base64"),
        pytest.param(wrapped(INSERT, data="ä"), id="no ASCII"),
        pytest.param(wrapped(INSERT, data=None), id="attributes only"),
        pytest.param(b"hello", id="unwrapped text"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[" * 10_000, id="deep nesting"),
        pytest.param([], id="list"),
        pytest.param({"message": 7, "subscription": "s"}, id="message is a number"),
        pytest.param({"action": "INSERT", "tag": f"{NAME}:sha256-{'a' * 64}.sig"}, id="signature"),
    ],
)
def test_what_is_not_for_us_is_acknowledged(body: object) -> None:
    parsed = parse(body)
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert len(parsed.ignored) == 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        pytest.param({}, "repository is missing", id="a push of nothing"),
        pytest.param({"tag": "v1"}, "repository is missing", id="a bare tag alone"),
        pytest.param({"tag": NAME}, "the tag is missing", id="a name without a tag"),
        pytest.param({"tag": 7, "digest": f"{NAME}@{DIGEST}"}, '"tag" must be a text', id="tag is a number"),
        pytest.param({"tag": f"{NAME}:v1", "digest": f"gcr.io/b@{DIGEST}"}, "different repositories", id="two names"),
        pytest.param({"tag": f"{NAME}:v1", "digest": f"{NAME}@sha256:1"}, "digest is none", id="short digest"),
        pytest.param({"tag": "gcr.io/a/../b:v1"}, "no repository name", id="path traversal"),
        pytest.param({"tag": "gcr.io/a:-v1"}, "no tag", id="no tag's grammar"),
    ],
)
def test_an_unusable_push_is_refused_and_acknowledged(data: dict[str, object], why: str) -> None:
    (remark,) = parse(wrapped({"action": "INSERT"} | data)).refused
    assert why in remark.why


@pytest.mark.parametrize(
    ("body", "headers", "known"),
    [
        pytest.param(b"hello", HEADERS, True, id="headers"),
        pytest.param(wrapped(b"hello"), {}, True, id="wrapped"),
        pytest.param(INSERT, {}, True, id="unwrapped"),
        pytest.param({"action": "DELETE", "tag": "x"}, {}, True, id="unwrapped, tag only"),
        pytest.param({"action": "push"}, {}, False, id="an action alone"),
        pytest.param(INSERT | {"target": {}}, {}, False, id="Azure's"),
        pytest.param({"message": "x"}, {}, False, id="a message alone"),
        pytest.param([], {}, False, id="list"),
    ],
)
def test_recognises(body: object, headers: dict[str, str], known: bool) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert google_pubsub.recognises(Delivery(headers, {}, raw)) is known
