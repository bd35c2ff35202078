"""The samples of every dialect, and deliveries that a stranger might make of them.

`samples/NAME/` holds request bodies for the dialect NAME, byte for byte, and `index.json`:

    {"about": …, "secret": the one its signatures were made with, if any are,
     "detected": what `auto` takes these for, if it is another dialect,
     "files": [{"file", "origin", "headers" (or only "content_type"), "query", "kind", "expect", "signed", "note"}]}

`expect` lists pushes with all their fields; one whose tag is null is understood and ignored. `signed` false says that
the header in which the dialect signs holds something else. `detected` may stand at a file as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener import dialects
from listener.core import references
from listener.core.authentication import admits
from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import DIALECTS, Dialect
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, SIGNATURE_TAG

SAMPLES = Path(__file__).parent / "samples"


@dataclass(frozen=True)
class Sample:
    dialect: str
    secret: str
    detected: str
    entry: dict[str, Any]
    delivery: Delivery

    def __str__(self) -> str:
        return f"{self.dialect}/{self.entry['file']}"

    @property
    def document(self) -> Any:
        """The body's JSON, or its text."""
        try:
            return json.loads(self.delivery.body)
        except ValueError:
            return self.delivery.body.decode()

    @property
    def by_tag(self) -> tuple[PushEvent, ...]:
        return tuple(
            PushEvent(**{**found, "timestamp": found["timestamp"] and datetime.fromisoformat(found["timestamp"])})
            for found in self.entry["expect"]
            if found["tag"]
        )


def samples() -> Iterator[Sample]:
    for index_file in sorted(SAMPLES.glob("*/index.json")):
        index = json.loads(index_file.read_bytes())
        name = index_file.parent.name
        for entry in index["files"]:
            headers = entry.get("headers") or {"content-type": entry["content_type"]}
            yield Sample(
                name,
                index.get("secret", ""),
                entry.get("detected", index.get("detected", name)),
                entry,
                Delivery(
                    {key.lower(): value for key, value in headers.items()},
                    dict(parse_qsl(entry.get("query", ""))),
                    (index_file.parent / entry["file"]).read_bytes(),
                ),
            )


ALL = list(samples())
each = pytest.mark.parametrize("sample", ALL, ids=str)


@each
def test_auto_finds_the_dialect(sample: Sample) -> None:
    found = dialects.detect(sample.delivery)
    assert found is not None
    assert found.name == sample.detected


@each
def test_the_pushes_are_those_expected(sample: Sample) -> None:
    parsed = DIALECTS[sample.dialect].parse(sample.delivery)

    assert parsed.pushes == sample.by_tag
    if sample.entry["kind"] != "malformed":
        assert parsed.refused == ()
    if sample.entry["kind"] not in {"empty", "control"}:
        assert parsed.pushes or parsed.ignored or parsed.refused, "what was not taken must be told"
    if len(sample.by_tag) < len(sample.entry["expect"]):
        assert parsed.ignored, "a push without a tag is ignored with a reason"


@each
def test_the_signature_is_that_of_the_secret(sample: Sample) -> None:
    signature = DIALECTS[sample.dialect].signature
    if signature is None or signature.header not in sample.delivery.headers:
        return
    signed = sample.entry.get("signed", True)
    assert admits(signature, [sample.secret.encode()], sample.delivery) is signed
    assert admits(signature, [b"old", sample.secret.encode()], sample.delivery) is signed
    assert not admits(signature, [b"another"], sample.delivery)
    altered = Delivery(sample.delivery.headers, sample.delivery.query, sample.delivery.body + b" ")
    assert not admits(signature, [sample.secret.encode()], altered)


@pytest.mark.parametrize("folder", sorted(path for path in SAMPLES.iterdir()), ids=lambda path: path.name)
def test_a_folder_holds_what_its_index_says(folder: Path) -> None:
    ours = [sample for sample in ALL if sample.dialect == folder.name]
    assert {path.name for path in folder.iterdir()} == {sample.entry["file"] for sample in ours} | {"index.json"}
    if signature := DIALECTS[folder.name].signature:
        assert any(signature.header in sample.delivery.headers and sample.entry.get("signed", True) for sample in ours)


# What a stranger might send


def _inside(found: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], object]]:
    """Everything in a document, with the path to it."""
    yield path, found
    inner = found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ()
    for key, value in inner:
        yield from _inside(value, (*path, key))


EVERYTHING = [place for sample in ALL for place in _inside(sample.document)]
KEYS = sorted({path[-1] for path, _ in EVERYTHING if path and isinstance(path[-1], str)})
TEXTS = sorted(
    {value for _, value in EVERYTHING if isinstance(value, str) and len(value) <= 128} | {SIGNATURE_TAG, DIGEST}
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)
headers = st.dictionaries(
    st.sampled_from(sorted({name for sample in ALL for name in sample.delivery.headers} | {"x", "ce-type"})),
    st.text(max_size=20)
    | st.sampled_from(sorted({value for sample in ALL for value in sample.delivery.headers.values()})),
    max_size=4,
)
foreign = st.builds(
    Delivery,
    headers,
    st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
    json_values.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=200),
)


def _with(found: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copy = list(found) if isinstance(found, list) else dict(found)
    copy[path[0]] = _with(found[path[0]], path[1:], value)
    return copy


@st.composite
def mutated(draw: st.DrawFn) -> Delivery:
    """A sample with a few values exchanged, with other headers, or with bytes cut out."""
    sample = draw(st.sampled_from(ALL))
    delivery, body = sample.delivery, sample.delivery.body
    if draw(st.booleans()):
        document = sample.document
        for _ in range(draw(st.integers(1, 3))):
            path, _ = draw(st.sampled_from(list(_inside(document))))
            document = _with(document, path, draw(json_values))
        body = json.dumps(document).encode()
    else:
        start = draw(st.integers(0, len(body)))
        body = body[:start] + draw(st.binary(max_size=3)) + body[draw(st.integers(start, len(body))) :]
    return Delivery({**delivery.headers, **draw(headers)}, delivery.query, body)


def check(parsed: Parsed) -> None:
    for found in parsed.pushes:
        assert references.is_repository(found.repository)
        assert references.is_tag(found.tag)
        assert found.digest is None or references.is_digest(found.digest)
        assert found.timestamp is None or found.timestamp.utcoffset() is not None
        for shown in (found.registry, found.media_type, found.actor, found.event_id):
            assert shown is None or (shown and shown.isprintable() and len(shown) <= 256)
        assert found.registry is None or found.registry == found.registry.lower()
    for remark in (*parsed.ignored, *parsed.refused):
        for shown in (remark.what, remark.why):
            assert shown
            assert shown.isprintable()
            assert len(shown) <= 256
    for key, value in (parsed.reply or {}).items():
        assert isinstance(key, str)
        assert isinstance(value, str)
    assert parsed.confirm is None or isinstance(parsed.confirm, str)


def outcome(dialect: Dialect, delivery: Delivery) -> Parsed | str:
    try:
        return dialect.parse(delivery)
    except MalformedDelivery as error:
        return str(error)


@settings(deadline=None)
@given(foreign | mutated())
def test_whatever_comes_is_parsed_or_malformed(delivery: Delivery) -> None:
    for dialect in DIALECTS.values():
        assert dialect.recognises(delivery) in {True, False}
        found = outcome(dialect, delivery)
        if isinstance(found, Parsed):
            check(found)
        else:
            assert found.isprintable()
            assert len(found) <= 512
