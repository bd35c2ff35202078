"""Tiny images, and a client that pushes them: what the demo, the benches and the tests put into a registry.

An image is made from a seed text: the same seed gives the same digest, another seed another. It is a valid OCI image of
one layer that holds the seed; nothing in it can run.

This module must not know which registry it talks to: it uses the distribution API, nothing else.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import urljoin

import aiohttp

from listener.errors import ListenerError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"


class PushFailed(ListenerError):
    """The registry did not take a part of an image. The message holds the request, the status and the answer."""


@dataclass(frozen=True, slots=True)
class Image:
    """A manifest and the blobs it names, by digest; for an index, the images it names instead of blobs."""

    media_type: str
    manifest: bytes
    blobs: Mapping[str, bytes]
    architecture: str = ""
    children: tuple[Image, ...] = ()

    @property
    def digest(self) -> str:
        return _digest(self.manifest)


def make_image(seed: str, *, architecture: str = "amd64") -> Image:
    """Make a linux image of one layer, from a seed of any length.

    The same seed and architecture give the same bytes for one build of Python; zlib may pack otherwise in another.
    """
    archive = _archive("seed.txt", seed.encode())
    layer = gzip.compress(archive, mtime=0)
    config = _json(
        {
            "architecture": architecture,
            "os": "linux",
            "config": {"Labels": {"seed": seed}},
            "rootfs": {"type": "layers", "diff_ids": [_digest(archive)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", layer)],
        }
    )
    return Image(MANIFEST_TYPE, manifest, {_digest(config): config, _digest(layer): layer}, architecture)


def make_index(*images: Image) -> Image:
    """Join images of different architectures under one digest."""
    children = []
    for image in images:
        platform = {"architecture": image.architecture, "os": "linux"}
        children.append({**_descriptor(image.media_type, image.manifest), "platform": platform})
    manifest = _json({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": children})
    return Image(INDEX_TYPE, manifest, {}, children=images)


async def push(session: aiohttp.ClientSession, registry: str, repository: str, tag: str, image: Image) -> str:
    """Push an image, or an index with all its images, and return the digest that the tag now has.

    `registry` is a base URL, `http://127.0.0.1:5000`. Raises `PushFailed`, and aiohttp's own errors when the registry
    cannot be reached.
    """
    for child in image.children:
        await push(session, registry, repository, child.digest, child)
    base = f"{registry}/v2/{repository}"
    for digest, content in image.blobs.items():
        async with session.post(f"{base}/blobs/uploads/") as response:
            await _expect(response, HTTPStatus.ACCEPTED)
            location = urljoin(str(response.url), response.headers["Location"])
        async with session.put(location, params={"digest": digest}, data=content) as response:
            await _expect(response, HTTPStatus.CREATED)
    headers = {"Content-Type": image.media_type}
    async with session.put(f"{base}/manifests/{tag}", data=image.manifest, headers=headers) as response:
        await _expect(response, HTTPStatus.CREATED)
    return image.digest


async def _expect(response: aiohttp.ClientResponse, status: HTTPStatus) -> None:
    if response.status != status:
        words = (await response.text())[:1000]
        raise PushFailed(f"{response.method} {response.url}: expected {status}, got {response.status}: {words}")


def _archive(name: str, content: bytes) -> bytes:
    """Pack one file with nothing in it that changes: no time, no owner."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _descriptor(media_type: str, content: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
