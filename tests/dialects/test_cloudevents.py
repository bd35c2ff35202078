"""CloudEvents in our own words, and CDEvents. How CloudEvents are sent is in `test_cloud_events`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed
from listener.dialects import cloudevents
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
AT = datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC)
PURL = f"pkg:oci/web@{DIGEST}?repository_url=r.io/team/web&tag=V1"


def event(kind: str = "dev.example.image.pushed", data: object = None, **changes: object) -> dict[str, Any]:
    data = {"repository": "team/web", "tag": "V1", "registry": "r.io", "digest": DIGEST} if data is None else data
    made = {"specversion": "1.0", "type": kind, "source": "/s", "id": "e-1", "time": "2026-11-23T00:38:12Z"}
    return made | {"data": data} | changes


def cdevent(
    package: object = PURL, kind: str = "dev.cdevents.artifact.published.0.2.0", **context: object
) -> dict[str, Any]:
    subject = {"id": package, "type": "artifact", "content": {"user": "ci-bot"}}
    return event(kind, {"context": context, "subject": subject})


def parse(body: object) -> Parsed:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return cloudevents.parse(Delivery({}, {}, raw))


@pytest.mark.parametrize(
    "kind",
    [
        "dev.example.image.pushed",
        "dev.example.image.push",
        "container.image.push",
        "Dev.Example.Image.Published",
        "dev.example.image.pushed.v1",
        "dev.example.image.pushed.0.2.0-draft",
        "dev.example.image-updated",
        "dev.example.imageCreated.created",
        pytest.param("dev.example.pushed" + "-1" * 4_000, id="a version without end"),
        "pushed",
    ],
)
def test_a_type_that_says_pushed_is_a_push(kind: str) -> None:
    (push,) = parse(event(kind)).pushes
    assert (push.registry, push.repository, push.tag, push.digest) == ("r.io", "team/web", "V1", DIGEST)
    assert (push.timestamp, push.event_id) == (AT, "e-1")


@pytest.mark.parametrize(
    "kind",
    [
        "dev.example.image.deleted",
        "dev.example.image.scanned",
        "dev.example.push.failed",
        "dev.example.unpushed",
        pytest.param("-1" * 4_000 + "!", id="a version without end"),
        "1",
        "…",
        "dev.cdevents.artifact.packaged.0.2.0",
        "dev.cdevents.artifact.signed.0.1.0",
        "dev.cdevents.service.published.0.2.0",
        "dev.cdevents.artifact.publishedness",
    ],
)
def test_other_types_are_ignored(kind: str) -> None:
    parsed = parse(event(kind))
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert parsed.ignored[0].what.startswith(f"event {kind}"[:200])


def test_the_datas_own_time_and_id_count_first() -> None:
    (push,) = parse(
        event(data={"repository": "web", "tag": "v1", "id": "own", "timestamp": "2026-11-23T00:38:11Z"})
    ).pushes
    assert push.event_id == "own"
    assert push.timestamp == AT.replace(second=11)


def test_every_event_of_a_batch_counts_and_bad_ones_are_refused_alone() -> None:
    parsed = parse([event(), 7, event(data={"repository": "team/web"}), event(data="x"), event()])
    assert len(parsed.pushes) == 2
    assert [remark.what for remark in parsed.refused] == [
        "events[1]",
        "push team/web",
        "data of dev.example.image.pushed",
    ]


@pytest.mark.parametrize(
    ("package", "digest"),
    [
        pytest.param(PURL, DIGEST, id="as documented"),
        pytest.param(
            PURL.replace("sha256:", "sha256%3A").replace("/team/", "%2Fteam%2F"), DIGEST, id="percent-encoded"
        ),
        pytest.param(PURL.replace(f"@{DIGEST}", ""), None, id="no version"),
        pytest.param(PURL.replace("r.io/", "https://r.io/"), DIGEST, id="repository as a URL"),
        pytest.param(PURL.replace("pkg:oci", "PKG:OCI"), DIGEST, id="another case"),
        pytest.param(PURL + "&arch=amd64#sub/path", DIGEST, id="more in it"),
        pytest.param(PURL.replace("team/web", "Team/Web"), DIGEST, id="repository in upper case"),
    ],
)
def test_an_artifact_was_published(package: str, digest: str | None) -> None:
    (push,) = parse(cdevent(package, timestamp="2026-11-23T00:38:11Z", id="cd-1")).pushes
    assert (push.registry, push.repository, push.tag, push.digest) == ("r.io", "team/web", "V1", digest)
    assert (push.timestamp, push.event_id, push.actor) == (AT.replace(second=11), "cd-1", "ci-bot")


def test_without_a_context_the_event_has_time_and_id() -> None:
    (push,) = parse(cdevent()).pushes
    assert (push.timestamp, push.event_id) == (AT, "e-1")


@pytest.mark.parametrize(
    ("package", "why"),
    [
        pytest.param(PURL.replace("&tag=V1", ""), "by digest", id="no tag"),
        pytest.param("pkg:golang/example.test/web@1", "no OCI package", id="another type"),
        pytest.param("web", "no OCI package", id="no package URL"),
        pytest.param(PURL.replace("V1", f"sha256-{'a' * 64}.sbom"), "SBOM", id="SBOM"),
    ],
)
def test_what_is_not_for_us_is_ignored(package: str, why: str) -> None:
    parsed = parse(cdevent(package))
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert why in parsed.ignored[0].why


@pytest.mark.parametrize(
    ("package", "why"),
    [
        pytest.param(None, '"subject.id" is missing', id="no subject"),
        pytest.param("pkg:oci/web?tag=v1", '"repository_url"', id="no repository"),
        pytest.param("pkg:oci/web?tag=v1&repository_url=r.io/team", '"repository_url"', id="without the name"),
        pytest.param("pkg:oci/web?tag=v1&repository_url=web", '"repository_url"', id="no host"),
        pytest.param(PURL.replace(DIGEST, "sha256:1"), "digest is none", id="short digest"),
        pytest.param(PURL + "&a=b" * 50, "too many", id="qualifiers without end"),
        pytest.param("pkg:oci/web?tag=a/b&repository_url=r.io/web", "no tag", id="no tag's grammar"),
    ],
)
def test_an_unusable_artifact_is_refused_alone(package: object, why: str) -> None:
    parsed = parse([cdevent(package), cdevent()])
    assert len(parsed.pushes) == 1
    assert why in parsed.refused[0].why


@pytest.mark.parametrize("body", [b"", b"x", b"{}", b'{"repository": "a", "tag": "b"}', b'{"type": "pushed"}'])
def test_what_is_no_event_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match="a CloudEvent"):
        parse(body)


def test_recognises_cloud_events_only() -> None:
    assert cloudevents.recognises(Delivery({}, {}, json.dumps(event("any")).encode()))
    assert cloudevents.recognises(Delivery({"ce-type": "any"}, {}, b""))
    assert not cloudevents.recognises(Delivery({}, {}, b'{"type": "any"}'))
