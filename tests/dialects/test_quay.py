"""Quay's notifications."""

from __future__ import annotations

from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent
from listener.dialects import quay
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, GONE, SIGNATURE_TAG, changed, delivery, only_ignored, only_refused, pushed

BODY = {
    "name": "web",
    "repository": "acme/web",
    "namespace": "acme",
    "docker_url": "quay.example.com/acme/web",
    "homepage": "https://quay.example.com/repository/acme/web",
    "updated_tags": ["latest"],
}
PUSHED = PushEvent("quay.example.com", "acme/web", "latest", None, None, None, None, None)


def parse(changes: dict[str, object]) -> Parsed:
    return quay.parse(delivery(changed(BODY, changes)))


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"updated_tags": {"latest": "b750fe79" * 8}}, {}, id="the map of 2013, whose ids are no digests"),
        pytest.param({"docker_url": GONE}, {"registry": None}, id="no host"),
        pytest.param({"docker_url": "Quay.io:8443/acme/web"}, {"registry": "quay.io:8443"}, id="host with a port"),
        pytest.param({"repository": GONE}, {}, id="the name in two pieces"),
        pytest.param({"repository": "Acme/Web"}, {}, id="capitals in the name"),
    ],
)
def test_a_push(changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(changes) == pushed(PUSHED, **becomes)


@pytest.mark.parametrize("tags", [["latest", "1.9", "latest"], {"latest": "x", "1.9": None}], ids=["list", "map"])
def test_every_tag_counts(tags: object) -> None:
    assert {found.tag for found in parse({"updated_tags": tags}).pushes} == {"latest", "1.9"}


def test_a_bad_tag_is_refused_alone() -> None:
    parsed = parse({"updated_tags": ["v1", "a/b", 7, None, SIGNATURE_TAG, "v2"]})
    assert [found.tag for found in parsed.pushes] == ["v1", "v2"]
    assert [remark.why for remark in parsed.refused] == [
        "no tag: a/b",
        "a tag must be a text, in quotes",
        "the tag is missing",
    ]
    assert len(parsed.ignored) == 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"updated_tags": GONE, "tags": ["latest"], "vulnerability": {"id": "CVE"}}, id="vulnerability"),
        pytest.param({"updated_tags": GONE, "build_id": "b", "docker_tags": ["latest"]}, id="build"),
        pytest.param({"updated_tags": GONE, "message": "acme/web"}, id="mirror"),
        pytest.param({"updated_tags": GONE, "tags": ["latest"], "expiring_in": "3 days"}, id="expiry"),
        pytest.param({"updated_tags": []}, id="no tag"),
        pytest.param({"updated_tags": {}}, id="an empty map"),
        pytest.param({"updated_tags": "latest"}, id="a text"),
        pytest.param({"updated_tags": None}, id="null"),
    ],
)
def test_without_updated_tags_it_is_no_push(changes: dict[str, object]) -> None:
    assert only_ignored(parse(changes), 'without "updated_tags"')


@pytest.mark.parametrize("body", [{}, {"quota": 90, "threshold_percent": 80}, {"text": "what a template made of it"}])
def test_any_other_object_is_ignored_for_errors_would_disable_the_notification(body: object) -> None:
    assert only_ignored(quay.parse(delivery(body)), 'without "updated_tags"')


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"repository": GONE, "namespace": GONE}, "the repository is missing", id="half a name"),
        pytest.param({"repository": "a//b"}, "no repository name", id="no name"),
        pytest.param({"updated_tags": [DIGEST]}, "no tag", id="tag is a digest"),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"payload=%7B%7D", id="form"),
        pytest.param([BODY], id="list"),
        pytest.param(changed(BODY, {"updated_tags": ["v"] * 10_001}), id="too many tags"),
        pytest.param(changed(BODY, {"updated_tags": {f"v{n}": 0 for n in range(10_001)}}), id="too many tags, a map"),
    ],
)
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery):
        quay.parse(delivery(body))


@pytest.mark.parametrize(
    ("body", "known"),
    [(BODY, True), (changed(BODY, {"updated_tags": GONE}), True), ({"repository": "a/b"}, False), (b"x", False)],
    ids=["push", "another notification", "another product", "no JSON"],
)
def test_recognises(body: object, known: bool) -> None:
    assert quay.recognises(delivery(body)) is known
