"""What may come in any dialect: bodies that are nothing, members twice, odd numbers, times, names, types of content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed
from listener.core.origins import Origin
from listener.core.references import Reference
from listener.core.streams import Source
from listener.dialects import DIALECTS, dockerhub, generic, harbor, payload
from tests.dialects.bodies import DIGEST, MANIFEST, delivery
from tests.dialects.test_samples import ALL, Sample, outcome

FORM = "application/x-www-form-urlencoded"
OBJECTS = [
    sample
    for sample in ALL
    if sample.by_tag
    and isinstance(sample.document, dict)
    and not sample.delivery.headers.get("content-type", "").startswith(FORM)
]
objects = pytest.mark.parametrize("sample", OBJECTS, ids=str)


def parse(sample: Sample, body: bytes, headers: Mapping[str, str] | None = None) -> Parsed:
    found = Delivery(sample.delivery.headers if headers is None else headers, sample.delivery.query, body)
    return DIALECTS[sample.dialect].parse(found)


def test_there_is_a_push_of_every_dialect() -> None:
    assert {sample.dialect for sample in OBJECTS} == DIALECTS.keys()


# Syntax


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"nonsense", id="no JSON"),
        pytest.param(b"{'a': 1}", id="single quotes"),
        pytest.param(b'{"a": 1} {"a": 1}', id="two documents"),
        pytest.param(b"7", id="a number"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"null", id="null"),
        pytest.param(b"true", id="true"),
        pytest.param(b"[7]", id="a list"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[NaN]", id="NaN in a list"),
        pytest.param(b"-Infinity", id="infinity"),
        pytest.param(b"9" * 5_000, id="an endless number"),
        pytest.param(b"[" * 65 + b"]" * 65, id="lists in lists"),
        pytest.param(b'{"a":' * 65 + b"1" + b"}" * 65, id="objects in objects"),
        pytest.param(b"\xff\xfe\xfd", id="no text"),
        pytest.param(b'{"a": "\xff"}', id="invalid UTF-8 inside"),
        pytest.param(b"\xef\xbb\xbf", id="a byte-order mark alone"),
        pytest.param(b"\x00", id="a zero"),
    ],
)
def test_a_body_that_is_nothing_is_told_in_every_dialect(dialect: str, body: bytes) -> None:
    found = outcome(DIALECTS[dialect], delivery(body))
    if isinstance(found, str):
        assert found.startswith("expected ")
    else:
        assert found.pushes == ()
        assert found.ignored or found.refused


@objects
def test_of_a_member_that_is_there_twice_the_last_counts(sample: Sample) -> None:
    """As most readers of JSON have it, and whichever of our two it is that reads."""
    doubles = "".join(f"{json.dumps(key)}: {json.dumps(['another'])}, " for key in sample.document)
    doubled = b"{" + doubles.encode() + sample.delivery.body.lstrip()[1:]
    assert parse(sample, doubled).pushes == sample.by_tag
    assert parse(sample, with_odd_number(doubled)).pushes == sample.by_tag


@objects
def test_a_number_that_is_none_disturbs_nothing_beside_it(sample: Sample) -> None:
    assert parse(sample, with_odd_number(sample.delivery.body)).pushes == sample.by_tag


def with_odd_number(body: bytes) -> bytes:
    return body.rstrip()[:-1] + b', "odd": [NaN, -Infinity, 1e999]}'


@objects
@pytest.mark.parametrize(
    ("mark", "encoding"), [("\ufeff", "utf-8"), ("\ufeff", "utf-16-le"), ("", "utf-16-be")], ids=["BOM", "LE", "BE"]
)
def test_a_byte_order_mark_or_another_unicode_says_the_same(sample: Sample, mark: str, encoding: str) -> None:
    body = (mark + sample.delivery.body.decode()).encode(encoding)
    assert parse(sample, body).pushes == sample.by_tag


# Types of content


@objects
@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "application/json",
        "application/json; charset=utf-8",
        "text/plain; charset=UTF-8",
        "application/octet-stream",
        "application/vnd.docker.distribution.events.v2+json",
    ],
)
def test_where_the_dialect_is_set_the_type_of_content_decides_nothing(sample: Sample, content_type: str | None) -> None:
    headers = {name: value for name, value in sample.delivery.headers.items() if name != "content-type"}
    if content_type is not None:
        headers["content-type"] = content_type
    assert parse(sample, sample.delivery.body, headers).pushes == sample.by_tag


# Times


@pytest.mark.parametrize(
    ("found", "moment"),
    [
        pytest.param(1795394292, datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC), id="seconds"),
        pytest.param(1795394292.5, datetime(2026, 11, 23, 0, 38, 12, 500_000, tzinfo=UTC), id="a float"),
        pytest.param("1795394292", datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC), id="a text"),
        pytest.param("1.795394292e+09", datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC), id="a float as a text"),
        pytest.param(float("nan"), None, id="NaN"),
        pytest.param("NaN", None, id="NaN as a text"),
        pytest.param(float("inf"), None, id="infinity"),
        pytest.param("-inf", None, id="infinity as a text"),
        pytest.param(0, None, id="zero"),
        pytest.param(-1, None, id="before 1970"),
        pytest.param(10**400, None, id="beyond the calendar"),
        pytest.param("9" * 5_000, None, id="beyond it as a text"),
        pytest.param("2026-11-23", None, id="a date"),
        pytest.param("", None, id="empty"),
        pytest.param(True, None, id="true"),
        pytest.param(None, None, id="null"),
        pytest.param([1795394292], None, id="a list"),
    ],
)
def test_unix_times(found: object, moment: datetime | None) -> None:
    assert payload.unix_time(found) == moment


@pytest.mark.parametrize("time", [b"NaN", b'"NaN"', b"Infinity", b'"soon"', b"-5", b"{}"], ids=bytes.decode)
def test_a_time_that_is_none_costs_the_time_and_not_the_push(time: bytes) -> None:
    hub = b'{"push_data": {"tag": "v1", "pushed_at": %s}, "repository": {"repo_name": "a/b"}}' % time
    resource = b'{"tag": "v1", "resource_url": "h.io/a/b:v1"}'
    project = b'{"type": "PUSH_ARTIFACT", "occur_at": %s, "event_data": {"resources": [%s], "repository": %s}}'
    for found in (
        dockerhub.parse(delivery(hub)),
        harbor.parse(delivery(project % (time, resource, b'{"repo_full_name": "a/b"}'))),
    ):
        assert [(push.repository, push.tag, push.timestamp) for push in found.pushes] == [("a/b", "v1", None)]


# Names


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"repository": "redis", "tag": "7"}, id="no host"),
        pytest.param({"registry": "docker.io", "repository": "redis", "tag": "7"}, id="docker.io"),
        pytest.param({"registry": "Index.Docker.io", "repository": "library/redis", "tag": "7"}, id="index.docker.io"),
        pytest.param({"repository": "registry-1.docker.io/redis:7"}, id="registry-1.docker.io"),
        pytest.param({"repository": "docker.io/library/redis:7"}, id="a pull spec"),
        pytest.param({"push_data": {"tag": "7"}, "repository": {"repo_name": "redis"}}, id="its own hook"),
    ],
)
def test_docker_hub_is_one_registry_whatever_calls_it_what(host: str, body: Mapping[str, Any]) -> None:
    dialect = dockerhub if "push_data" in body else generic
    (push,) = dialect.parse(delivery(body)).pushes
    assert Origin("hub", host).complaint(push) is None
    assert Source.of(Reference(host, push.repository, push.tag)) == ("docker.io", "library/redis", "7", "")


@objects
def test_whoever_pushed_is_shown_in_bounds(sample: Sample) -> None:
    """An actor is a text that somebody chose: with markup, control characters, of any length."""
    actor = sample.by_tag[0].actor
    if actor is None:
        return
    chosen = actor[:1] + "<b>\x1b[31m\r\n\u202e" + "x" * 10_000
    body = sample.delivery.body.replace(json.dumps(actor)[1:-1].encode(), json.dumps(chosen)[1:-1].encode())
    headers = {name: value.replace(actor, "x") for name, value in sample.delivery.headers.items()}
    shown = [push.actor for push in parse(sample, body, headers).pushes]
    assert shown
    assert actor not in shown
    for text in shown:
        assert text is None or (text.isprintable() and len(text) <= 256)


# Registries that write as distribution does: what of an event is a push


def event(action: str = "push", **target: object) -> dict[str, Any]:
    ordinary = {"mediaType": MANIFEST, "digest": DIGEST, "repository": "shop/web", "tag": "v1", "size": 528}
    return {"id": "e", "action": action, "request": {"host": "r.io"}, "target": ordinary | target}


DISTRIBUTION_LIKE = pytest.mark.parametrize("dialect", ["distribution", "gitlab", "openshift"])


@DISTRIBUTION_LIKE
def test_children_come_first_and_the_tag_is_at_the_index(dialect: str) -> None:
    index, children = "sha256:" + "f" * 64, ["sha256:" + letter * 64 for letter in "abc"]
    events = [event(digest=child, tag="") for child in children]
    events.append(event(digest=index, mediaType="application/vnd.oci.image.index.v1+json"))
    parsed = DIALECTS[dialect].parse(delivery({"events": events}))
    assert [(push.tag, push.digest) for push in parsed.pushes] == [("v1", index)]
    assert [remark.why for remark in parsed.ignored] == [payload.BY_DIGEST] * 3


@DISTRIBUTION_LIKE
@pytest.mark.parametrize(
    "target",
    [
        pytest.param({"tag": ""}, id="digest only"),
        pytest.param({"digest": "", "mediaType": ""}, id="tag only"),
        pytest.param({"digest": "", "tag": "", "mediaType": "", "size": 0}, id="both empty"),
        pytest.param({"digest": None, "tag": None, "mediaType": None}, id="neither"),
    ],
)
def test_a_deletion_is_no_push_of_nothing(dialect: str, target: Mapping[str, object]) -> None:
    parsed = DIALECTS[dialect].parse(delivery({"events": [event("delete", **target), event()]}))
    assert [push.tag for push in parsed.pushes] == ["v1"]
    assert [remark.why for remark in parsed.ignored] == ["only a push moves a tag"]
    assert parsed.refused == ()


@DISTRIBUTION_LIKE
@pytest.mark.parametrize(
    ("digest", "is_one"),
    [
        pytest.param("sha512:" + "a" * 128, True, id="sha512"),
        pytest.param("sha384:" + "a" * 96, True, id="sha384"),
        pytest.param("sha512:" + "a" * 64, False, id="sha512, too short"),
        pytest.param("sha256:" + "a" * 65, False, id="too long"),
        pytest.param("sha1:" + "a" * 40, False, id="sha1"),
        pytest.param("SHA256:" + "a" * 64, False, id="the algorithm in capitals"),
        pytest.param("a" * 64, False, id="bare digits"),
        pytest.param("sha256:" + "g" * 64, False, id="no digits"),
        pytest.param(DIGEST + "\n", False, id="a line end"),
    ],
)
def test_digests_of_other_kinds(dialect: str, digest: str, is_one: bool) -> None:
    parsed = DIALECTS[dialect].parse(delivery({"events": [event(digest=digest)]}))
    assert [push.digest for push in parsed.pushes] == ([digest] if is_one else [])
    assert len(parsed.refused) == (0 if is_one else 1)


@DISTRIBUTION_LIKE
@pytest.mark.parametrize("size", ["528", 528.0, -1, None, [], True, 10**40], ids=repr)
def test_of_a_size_nothing_is_asked(dialect: str, size: object) -> None:
    (push,) = DIALECTS[dialect].parse(delivery({"events": [event(size=size)]})).pushes
    assert push.digest == DIGEST
