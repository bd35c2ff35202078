"""GitHub's events of packages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from listener.core.authentication import admits, credentials
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import DIALECTS, github
from listener.errors import MalformedDelivery
from tests.dialects.bodies import (
    DIGEST,
    GONE,
    MANIFEST,
    SIGNATURE_TAG,
    changed,
    delivery,
    only_ignored,
    only_refused,
    pushed,
)

OTHER = "sha256:" + "b" * 64
VERSION = {
    "version": DIGEST,
    "created_at": "0001-01-01T00:00:00Z",
    "package_url": "ghcr.io/acme-corp/web:v1",
    "container_metadata": {
        "tag": {"name": "v1", "digest": DIGEST},
        "manifest": {"digest": DIGEST, "media_type": MANIFEST},
    },
}
PACKAGE = {
    "name": "web",
    "namespace": "Acme-Corp",
    "ecosystem": "CONTAINER",
    "package_type": "CONTAINER",
    "updated_at": "2026-11-23T00:38:12Z",
    "package_version": VERSION,
}
BODY = {"action": "published", "package": PACKAGE, "sender": {"login": "octo-bot"}}
HEADERS = {"x-github-event": "package", "x-github-delivery": "d-1", "content-type": "application/json"}
PUSHED = PushEvent(
    registry="ghcr.io",
    repository="acme-corp/web",
    tag="v1",
    digest=DIGEST,
    media_type=MANIFEST,
    timestamp=datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC),
    actor="octo-bot",
    event_id="d-1",
)


def parse(changes: dict[str, object]) -> Parsed:
    return github.parse(delivery(changed(BODY, changes), HEADERS))


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"action": "updated"}, {}, id="updated"),
        pytest.param({"package.package_type": "docker"}, {}, id="docker, in small letters"),
        pytest.param({"action": "create", "package.package_type": GONE}, {}, id="before there was a type"),
        pytest.param({"package.namespace": "acme-corp/source"}, {}, id="a namespace with a source repository"),
        pytest.param({"package.package_version.package_url": GONE}, {}, id="no URL"),
        pytest.param({"package.package_version.package_url": "ghcr.io/Acme-Corp/web:v1"}, {}, id="URL in capitals"),
        pytest.param(
            {"package.package_version.package_url": "containers.ghe.example.com:8443/acme/deep/web:v1"},
            {"registry": "containers.ghe.example.com:8443", "repository": "acme/deep/web"},
            id="Enterprise Server, a port, a deep name",
        ),
        pytest.param(
            {"package.package_version.container_metadata.manifest": GONE},
            {"media_type": None},
            id="no manifest: the tag's digest",
        ),
        pytest.param(
            {
                "package.package_version.container_metadata.manifest": None,
                "package.package_version.container_metadata.tag.digest": "",
            },
            {"media_type": None},
            id="the version is the digest",
        ),
        pytest.param(
            {
                "package.package_version.container_metadata.manifest.digest": "",
                "package.package_version.container_metadata.tag.digest": "",
                "package.package_version.version": "v1",
            },
            {"digest": None},
            id="no digest at all",
        ),
        pytest.param(
            {
                "package.package_version.container_metadata.manifest.digest": "sha256:short",
                "package.package_version.container_metadata.tag.digest": OTHER,
            },
            {"digest": OTHER},
            id="a digest that is none, and one that is",
        ),
        pytest.param({"package.updated_at": "0001-01-01T00:00:00Z"}, {"timestamp": None}, id="year 1"),
        pytest.param({"sender": GONE}, {"actor": None}, id="by nobody"),
    ],
)
def test_a_push(changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(changes) == pushed(PUSHED, **becomes)


def test_the_event_of_apps() -> None:
    body = {"action": "published", "registry_package": PACKAGE, "sender": {"login": "octo-bot"}}
    headers = {"x-github-event": "registry_package", "x-github-delivery": "d-2"}
    assert github.parse(delivery(body, headers)) == pushed(PUSHED, event_id="d-2")
    assert github.parse(delivery(body)) == pushed(PUSHED, event_id=None)


def form(text: bytes | str) -> Delivery:
    body = text if isinstance(text, bytes) else urlencode({"payload": text}).encode()
    return Delivery({**HEADERS, "content-type": "application/x-www-form-urlencoded; charset=utf-8"}, {}, body)


def test_a_form_holds_the_same_and_is_what_is_signed() -> None:
    found = form(delivery(changed(BODY, {"sender.login": "é & +"})).body.decode())
    signature = DIALECTS["github"].signature
    assert signature is not None
    signed = Delivery({**found.headers, **credentials(signature, b"s", found.body)[0]}, {}, found.body)

    assert admits(signature, [b"s"], signed)
    assert github.recognises(signed)
    assert github.parse(signed) == pushed(PUSHED, actor="é & +")


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(form(b""), id="empty"),
        pytest.param(form(b"payload="), id="empty payload"),
        pytest.param(form(b"other=%7B%7D"), id="no payload"),
        pytest.param(form(b"payload=%7B%7D&payload=%7B%7D"), id="two payloads"),
        pytest.param(form(b"payload=%7B%7D" + b"&a=1" * 20), id="too many fields"),
        pytest.param(form(b"\xff"), id="no text"),
        pytest.param(form("[]"), id="a list in it"),
        pytest.param(form("{"), id="no JSON in it"),
    ],
)
def test_another_form_is_malformed(found: Delivery) -> None:
    with pytest.raises(MalformedDelivery):
        github.parse(found)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"action": "deleted"}, "only a published or updated", id="deleted"),
        pytest.param({"package.package_type": "npm"}, "type npm is no container", id="npm"),
        pytest.param({"package.package_type": "", "package.ecosystem": ""}, "type unknown", id="no type"),
        pytest.param({"package.package_version.container_metadata.tag.name": ""}, "by digest", id="empty tag"),
        pytest.param({"package.package_version.container_metadata.tag": GONE}, "by digest", id="no tag"),
        pytest.param(
            {"package.package_version.container_metadata.tag.name": DIGEST}, "by digest", id="tag is a digest"
        ),
        pytest.param({"package.package_version.container_metadata": None}, "by digest", id="no metadata"),
        pytest.param({"package.package_version.container_metadata.tag.name": SIGNATURE_TAG}, "signature", id="signed"),
        pytest.param(
            {"package.package_version.container_metadata.manifest.media_type": "application/octet-stream"},
            "is no image manifest",
            id="another media type",
        ),
    ],
)
def test_what_is_not_for_us_is_ignored(changes: dict[str, object], why: str) -> None:
    assert only_ignored(parse(changes), why)


@pytest.mark.parametrize("event", ["ping", "push", "create", "workflow_run"])
def test_other_events_of_the_same_hook_are_ignored(event: str) -> None:
    found = delivery({"zen": "x"}, {**HEADERS, "x-github-event": event})
    assert github.recognises(found)
    assert only_ignored(github.parse(found), "only events of packages")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param(
            {"package.package_version.package_url": GONE, "package.name": ""}, "repository is missing", id="no name"
        ),
        pytest.param(
            {"package.package_version.package_url": "ghcr.io/a/../b:v1"}, "no repository name", id="path traversal"
        ),
        pytest.param({"package.package_version.container_metadata.tag.name": 7}, "a tag must be a text", id="a number"),
        pytest.param({"package.package_version.container_metadata.tag.name": "a/b"}, "no tag", id="tag with a slash"),
        pytest.param(
            {
                "package.package_version.container_metadata.manifest.digest": "sha256:short",
                "package.package_version.container_metadata.tag.digest": "",
                "package.package_version.version": "v1",
            },
            "the digest is none",
            id="no digest is one",
        ),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize("body", [b"", [], {}, {"action": "published", "package": []}])
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery):
        github.parse(delivery(body, HEADERS))


def test_is_recognised_by_its_header_alone() -> None:
    assert github.recognises(delivery(b"", {"x-github-event": "ping"}))
    assert not github.recognises(delivery(BODY))
