"""The grammar of image references, legal apart from customary."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from listener.core import references
from listener.core.references import Reference
from listener.errors import InvalidReference

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("nginx", Reference("", "nginx"), id="bare name"),
        pytest.param("wildfly:15.0", Reference("", "wildfly", "15.0"), id="name and tag, the dot is in the tag"),
        pytest.param("bar/foo/baz", Reference("", "bar/foo/baz"), id="first component without dot is no registry"),
        pytest.param("quay.io/org/app:v1", Reference("quay.io", "org/app", "v1"), id="registry by its dot"),
        pytest.param("localhost/app", Reference("localhost", "app"), id="localhost"),
        pytest.param("reg:5000/app:5000", Reference("reg:5000", "app", "5000"), id="registry by its port, numeric tag"),
        pytest.param("[::1]:5000/app", Reference("[::1]:5000", "app"), id="IPv6 and port"),
        pytest.param("[fd00::7]/a/b:x", Reference("[fd00::7]", "a/b", "x"), id="IPv6 without port"),
        pytest.param("127.0.0.1:80/a", Reference("127.0.0.1:80", "a"), id="IPv4 and port"),
        pytest.param("Registry.Example.COM/app", Reference("Registry.Example.COM", "app"), id="case of a host is kept"),
        pytest.param(f"app@{DIGEST}", Reference("", "app", None, DIGEST), id="digest"),
        pytest.param(f"r.io/app:1@{DIGEST}", Reference("r.io", "app", "1", DIGEST), id="tag and digest"),
        pytest.param(f"app@sha512:{HEX}{HEX}", Reference("", "app", None, f"sha512:{HEX}{HEX}"), id="sha512"),
        pytest.param("a__b/c---d/e.f_g", Reference("", "a__b/c---d/e.f_g"), id="all separators"),
        pytest.param("app:_Weird-1.2", Reference("", "app", "_Weird-1.2"), id="tag with case and underscore"),
        pytest.param("a" * 255, Reference("", "a" * 255), id="longest repository"),
        pytest.param("a:" + "t" * 128, Reference("", "a", "t" * 128), id="longest tag"),
    ],
)
def test_parses_without_adding_anything(text: str, expected: Reference) -> None:
    assert references.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "empty", id="empty"),
        pytest.param(" nginx", "lower-case letters", id="blank before"),
        pytest.param("nginx\n", "lower-case letters", id="line end after"),
        pytest.param("nginx:1\n", "is no tag", id="line end after the tag"),
        pytest.param("https://quay.io/app", "without a scheme", id="scheme"),
        pytest.param("Org/app", "lower case", id="upper case in the path"),
        pytest.param("quay.io/Org/app", "lower case", id="upper case behind a registry"),
        pytest.param("a//b", "empty component", id="empty component"),
        pytest.param("/a", "empty component", id="leading slash"),
        pytest.param("a/", "empty component", id="trailing slash"),
        pytest.param("quay.io/", "missing", id="registry and a slash"),
        pytest.param("quay.io", "no repository", id="registry alone"),
        pytest.param("localhost:5000", "no repository", id="localhost with port alone"),
        pytest.param(":tag", "missing", id="leading colon"),
        pytest.param(f"@{DIGEST}", "missing", id="leading at"),
        pytest.param("app:", "is no tag", id="empty tag"),
        pytest.param("app:.1", "is no tag", id="tag with a leading dot"),
        pytest.param("app:1:2", "is no tag", id="two tags"),
        pytest.param("app:caf\u00e9", "is no tag", id="tag outside ASCII"),
        pytest.param("app:" + "t" * 129, "is no tag", id="tag too long"),
        pytest.param("app@", "is no digest", id="empty digest"),
        pytest.param("app@sha256:abc", "is no digest", id="short digest"),
        pytest.param(f"app@sha256:{HEX.upper()}", "is no digest", id="upper-case digest"),
        pytest.param(f"app@md5:{HEX[:32]}", "is no digest", id="unknown algorithm"),
        pytest.param(f"app@{HEX}", "is no digest", id="digest without algorithm"),
        pytest.param("a" * 256, "longer than 255", id="repository too long"),
        pytest.param("a" * 100_000, "longer than 1024", id="text too long"),
        pytest.param("-a.io/app", "no registry host", id="host with a leading dash"),
        pytest.param("a.io:port/app", "no registry host", id="port that is no number"),
        pytest.param("[::1/app", "no registry host", id="open bracket"),
        pytest.param("user:secret@quay.io/app", "is no digest", id="credentials"),
        pytest.param("a..b/c", "no registry host", id="empty label in the host"),
        pytest.param("x/../y", "lower-case letters", id="path traversal"),
        pytest.param("app_", "lower-case letters", id="trailing separator"),
        pytest.param("a___b", "lower-case letters", id="three underscores"),
        pytest.param("\u0430pp", "lower-case letters", id="cyrillic letter"),
    ],
)
def test_refuses_with_the_text_and_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidReference, match=reason) as caught:
        references.parse(text)
    assert repr(text[:1024]) in str(caught.value)
    assert len(str(caught.value)) < 4096


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("nginx", "docker.io/library/nginx:latest", id="everything missing"),
        pytest.param("org/app", "docker.io/org/app:latest", id="library only for one component"),
        pytest.param("docker.io/nginx", "docker.io/library/nginx:latest", id="docker.io written"),
        pytest.param("index.docker.io/nginx:1", "docker.io/library/nginx:1", id="index.docker.io"),
        pytest.param("registry-1.docker.io/library/nginx", "docker.io/library/nginx:latest", id="registry-1"),
        pytest.param("quay.io/app", "quay.io/app:latest", id="no library elsewhere"),
        pytest.param("Quay.IO/app:v", "quay.io/app:v", id="host in lower case"),
        pytest.param(f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}", id="digest needs no tag"),
    ],
)
def test_completes_as_a_container_runtime_would(text: str, expected: str) -> None:
    completed = references.parse(text).with_defaults()
    assert str(completed) == expected
    assert completed.with_defaults() == completed


def test_keeps_the_tag_beside_a_digest_but_writes_the_digest() -> None:
    reference = references.parse(f"r.io/app:1@{DIGEST}")
    assert reference.with_defaults().tag == "1"
    assert str(reference) == f"r.io/app@{DIGEST}"


components = st.from_regex(r"[a-z0-9]{1,8}((\.|__?|-{1,3})[a-z0-9]{1,8}){0,2}", fullmatch=True)
registries = st.one_of(
    st.just(""),
    st.just("localhost"),
    st.from_regex(r"[a-zA-Z0-9]{1,6}\.[a-z]{2,4}(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"\[[0-9a-f]{0,4}:[0-9a-f:]{1,12}\](:[0-9]{1,5})?", fullmatch=True),
)


@st.composite
def any_reference(draw: st.DrawFn) -> Reference:
    registry = draw(registries)
    path = draw(st.lists(components, min_size=1, max_size=4))
    if not registry:
        path[0] = path[0].replace(".", "-")
        if path[0] == "localhost":
            path[0] = "host"
    tag = draw(st.none() | st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))
    digest = draw(st.none() | st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format))
    return Reference(registry, "/".join(path), tag, digest)


@given(any_reference())
def test_what_is_written_is_read_back(reference: Reference) -> None:
    written = replace(reference, tag=None) if reference.digest else reference
    assert references.parse(str(reference)) == written


@given(any_reference())
def test_the_completed_form_is_read_back(reference: Reference) -> None:
    completed = replace(reference.with_defaults(), tag=None if reference.digest else reference.tag or "latest")
    assert references.parse(str(completed)) == completed


@given(st.text() | st.text("aA0.:/@_-[]", max_size=40))
def test_any_text_parses_or_is_refused(text: str) -> None:
    try:
        reference = references.parse(text)
    except InvalidReference:
        return
    assert references.is_repository(reference.repository)
    assert references.parse(str(reference)).repository == reference.repository


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r.io", True),
        ("r.io:5000", True),
        ("[::1]:1", True),
        ("r.io/x", False),
        ("", False),
        ("a b", False),
        ("r.io\n", False),
    ],
)
def test_tells_a_registry_host(text: str, expected: bool) -> None:
    assert references.is_registry(text) is expected
