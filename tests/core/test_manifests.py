"""What an index names, and which of its images stands for the whole."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.core import manifests
from listener.core.manifests import Child, Platform
from listener.errors import InvalidManifest

DIGEST = "sha256:" + "a" * 64


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def entry(**more: Any) -> dict[str, Any]:
    return {"mediaType": manifests.OCI_MANIFEST, "digest": DIGEST, **more}


def index(*entries: Any, **more: Any) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": manifests.OCI_INDEX, "manifests": entries, **more}).encode()


def test_reads_what_an_index_names_in_its_order() -> None:
    body = index(
        entry(platform={"os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1"}, size=3),
        entry(digest=digest("b"), platform={"os": "linux", "architecture": "amd64"}),
        entry(digest=digest("c")),
        entry(digest=digest("d"), platform=None, annotations={"a": "b"}),
    )
    assert manifests.read_index(body) == (
        Child(DIGEST, manifests.OCI_MANIFEST, Platform("linux", "arm", "v7")),
        Child(digest("b"), manifests.OCI_MANIFEST, Platform("linux", "amd64")),
        Child(digest("c"), manifests.OCI_MANIFEST),
        Child(digest("d"), manifests.OCI_MANIFEST),
    )


def test_reads_an_empty_index() -> None:
    assert manifests.read_index(index()) == ()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", "JSON object", id="nothing"),
        pytest.param(b"<html>", "JSON object", id="HTML"),
        pytest.param(b"\xff\xfe\x00", "JSON object", id="no text"),
        pytest.param(b"[]", "JSON object", id="a list"),
        pytest.param(b'{"a":' * 100_000, "JSON object", id="deeper than the stack"),
        pytest.param(b"{}", 'list "manifests"', id="no manifests"),
        pytest.param(b'{"schemaVersion":2,"config":{},"layers":[]}', 'list "manifests"', id="one image"),
        pytest.param(b'{"manifests":{}}', 'list "manifests"', id="manifests is no list"),
        pytest.param(index(entry(), 7), r"manifests\[1\] must be an object", id="entry is no object"),
        pytest.param(index(entry(digest="sha256:abc")), r"manifests\[0\].digest", id="short digest"),
        pytest.param(index(entry(digest=None)), r"manifests\[0\].digest", id="no digest"),
        pytest.param(index(entry(mediaType=7)), r"manifests\[0\].mediaType", id="media type is no text"),
        pytest.param(index(entry(platform="linux")), r"platform must be an object", id="platform is no object"),
        pytest.param(index(entry(platform={"os": 7})), r"platform must hold", id="os is no text"),
    ],
)
def test_says_what_it_expected(body: bytes, expected: str) -> None:
    with pytest.raises(InvalidManifest, match=expected):
        manifests.read_index(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b'{"mediaType":"application/vnd.x"}', "application/vnd.x", id="it says so"),
        pytest.param(b'{"manifests":[]}', manifests.OCI_INDEX, id="shape of an index"),
        pytest.param(b'{"config":{},"layers":[]}', manifests.OCI_MANIFEST, id="shape of a manifest"),
        pytest.param(b'{"tags":[]}', None, id="something else"),
        pytest.param(b'{"mediaType":7}', None, id="media type is no text"),
        pytest.param(b"<html>", None, id="HTML"),
        pytest.param(b"[]", None, id="a list"),
    ],
)
def test_tells_the_media_type_from_the_content(body: bytes, expected: str | None) -> None:
    assert manifests.media_type_of(body) == expected


@pytest.mark.parametrize(
    ("media_type", "expected"),
    [
        (manifests.OCI_INDEX, True),
        (manifests.DOCKER_LIST, True),
        (manifests.OCI_MANIFEST, False),
        (manifests.DOCKER_MANIFEST, False),
        ("", False),
    ],
)
def test_tells_an_index(media_type: str, expected: bool) -> None:
    assert manifests.is_index(media_type) is expected


def child(letter: str, platform: str | None) -> Child:
    parts = Platform(*platform.split("/")) if platform else None
    return Child(digest(letter), manifests.OCI_MANIFEST, parts)


AMD, ARM = child("a", "linux/amd64"), child("b", "linux/arm64/v8")
ARM6, ARM7 = child("c", "linux/arm/v6"), child("d", "linux/arm/v7")
WINDOWS = child("e", "windows/amd64")
S390 = child("f", "linux/s390x")
NOTHING_SAID = child("1", None)
ATTESTATION = child("0", "unknown/unknown")
ON_AMD, ON_ARM64 = Platform("linux", "amd64"), Platform("linux", "arm64")


@pytest.mark.parametrize(
    ("children", "preferred", "own", "expected"),
    [
        pytest.param([ARM, AMD], "/", ON_AMD, AMD, id="our own platform"),
        pytest.param([AMD, ARM], "/", ON_ARM64, ARM, id="our own platform, whose variant is not known"),
        pytest.param([ARM6, ARM7], "/", Platform("linux", "arm", "v7"), ARM7, id="our own variant"),
        pytest.param([ARM6, ARM7], "/", Platform("linux", "arm", "v5"), ARM6, id="our own variant is not there"),
        pytest.param([S390, AMD], "/", ON_ARM64, AMD, id="else linux/amd64"),
        pytest.param([S390, WINDOWS], "/", ON_ARM64, S390, id="else the first"),
        pytest.param([AMD, ARM], "linux/arm64", ON_AMD, ARM, id="preferred"),
        pytest.param([AMD, ARM], "/arm64", ON_AMD, ARM, id="preferred architecture, any system"),
        pytest.param([ARM, WINDOWS], "windows/", ON_ARM64, WINDOWS, id="preferred system, any architecture"),
        pytest.param(
            [child("9", "windows/arm64"), ARM], "/arm64", ON_AMD, ARM, id="the open part is ours if it can be"
        ),
        pytest.param([AMD, ARM], "plan9/mips", ON_ARM64, ARM, id="preferred is not there"),
        pytest.param([ATTESTATION, ARM], "/", ON_AMD, ARM, id="never an attestation"),
        pytest.param([ATTESTATION], "/", ON_AMD, ATTESTATION, id="unless there is nothing else"),
        pytest.param([ATTESTATION, S390], "unknown/unknown", ON_AMD, S390, id="not even when it is asked for"),
        pytest.param([NOTHING_SAID, AMD], "/", ON_ARM64, AMD, id="no platform fits nothing"),
        pytest.param([NOTHING_SAID, S390], "/", ON_ARM64, NOTHING_SAID, id="no platform can be the first"),
        pytest.param([], "/", ON_AMD, None, id="empty index"),
    ],
)
def test_chooses_one_image(children: list[Child], preferred: str, own: Platform, expected: Child | None) -> None:
    os, _, architecture = preferred.partition("/")
    assert manifests.choose(children, preferred_os=os, preferred_architecture=architecture, own=own) == expected
