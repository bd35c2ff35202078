"""The sandbox's container registry: the OCI distribution API on loopback, with distribution's notifications.

Real clients can push to it and pull from it (skopeo, a Docker or containerd client, our own importer), and it tells one
endpoint what happened, in the envelopes that distribution 2.8 sends. It follows that registry in status codes and error
codes, and differs from it in these points:

- **It keeps everything in memory and forgets it when it closes**, and it takes `max_bytes` in all, then answers 413.
- A tag has moved *before* its event leaves. In the original the event may overtake the tag, so a receiver that asks for
  the tag at once is told the old digest. What must cope with that is to be tested against the original.
- There is no authentication, and no TLS: it listens on 127.0.0.1 only, where clients accept that.
- A manifest is served as it is, whatever `Accept` says; the original gives old clients one image out of an index.
- `DELETE` by tag removes the tag; the original refuses it until version 3.
- `POST …/blobs/uploads/?digest=` takes a whole blob at once, as the specification has it.

This module must not know who is notified, nor anything of image streams.
"""

from __future__ import annotations

import hashlib
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from listener.sandbox.notifications import Endpoint, Notifications

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_UPLOADS = 1_000

_IMAGE_TYPES = frozenset(
    {"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"}
)
_INDEX_TYPES = frozenset(
    {"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"}
)
_BLOB_TYPE = "application/octet-stream"

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"\w[\w.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_CONTENT_RANGE = re.compile(r"(\d{1,19})-(\d{1,19})")

# The specification's error codes, with the status and the words that distribution 2.8 gives them.
_ERRORS: Mapping[str, tuple[HTTPStatus, str]] = {
    "BLOB_UNKNOWN": (HTTPStatus.NOT_FOUND, "blob unknown to registry"),
    "BLOB_UPLOAD_UNKNOWN": (HTTPStatus.NOT_FOUND, "blob upload unknown to registry"),
    "DIGEST_INVALID": (HTTPStatus.BAD_REQUEST, "provided digest did not match uploaded content"),
    "MANIFEST_BLOB_UNKNOWN": (HTTPStatus.BAD_REQUEST, "blob unknown to registry"),
    "MANIFEST_INVALID": (HTTPStatus.BAD_REQUEST, "manifest invalid"),
    "MANIFEST_UNKNOWN": (HTTPStatus.NOT_FOUND, "manifest unknown"),
    "NAME_INVALID": (HTTPStatus.BAD_REQUEST, "invalid repository name"),
    "NAME_UNKNOWN": (HTTPStatus.NOT_FOUND, "repository name not known to registry"),
    "PAGINATION_NUMBER_INVALID": (HTTPStatus.BAD_REQUEST, "invalid number of results requested"),
    "RANGE_INVALID": (HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "invalid content range"),
    "SIZE_INVALID": (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "more than this registry takes"),
    "TAG_INVALID": (HTTPStatus.BAD_REQUEST, "manifest tag did not match URI"),
    "TOOMANYREQUESTS": (HTTPStatus.TOO_MANY_REQUESTS, "too many uploads at once"),
}


class _Refused(Exception):
    """The request ends here, with one error entry per detail, all of the same code."""

    def __init__(self, code: str, *details: object) -> None:
        super().__init__(code, *details)
        self.code = code
        self.details = details

    def response(self) -> web.Response:
        status, message = _ERRORS[self.code]
        errors = [{"code": self.code, "message": message, "detail": detail} for detail in self.details]
        return web.json_response({"errors": errors}, status=status)


class _Descriptor(msgspec.Struct):
    digest: str
    urls: list[str] | None = None


class _ManifestFields(msgspec.Struct, rename="camel"):
    """What must be right in a manifest of either kind before it is stored."""

    schema_version: int
    media_type: str | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    manifests: list[_Descriptor] | None = None


@dataclass(frozen=True, slots=True)
class _Manifest:
    media_type: str
    body: bytes


@dataclass(slots=True)
class _Repository:
    """The digests of the blobs it may show (their content is shared), its manifests by digest, its tags."""

    blobs: set[str] = field(default_factory=set)
    manifests: dict[str, _Manifest] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Upload:
    repository: str
    content: bytearray = field(default_factory=bytearray)


class Registry:
    """A registry that lives between `start()` and `close()`, or in `async with`.

    `port` 0 takes a free port; `host` tells which. `max_bytes` bounds blobs, manifests and unfinished uploads together.
    """

    def __init__(self, port: int = 0, *, max_bytes: int = 1024**3) -> None:
        self._port = port
        self._max_bytes = max_bytes
        self._host = ""
        self._runner: web.AppRunner | None = None
        self._notifications = Notifications()
        self._instance_id = str(uuid.uuid4())
        self._blobs: dict[str, bytes] = {}
        self._repositories: dict[str, _Repository] = {}
        self._uploads: dict[str, _Upload] = {}
        self._used_bytes = 0

    @property
    def host(self) -> str:
        """`127.0.0.1:PORT`, as it stands in pull specs. Empty before `start()`."""
        return self._host

    def notify(
        self, url: str, headers: Mapping[str, str], *, backoff_seconds: float = 0.2, timeout_seconds: float = 5.0
    ) -> None:
        """Send the events of all that happens from now on to `url`, with these headers.

        A second call replaces the first, also for the events that still wait.
        """
        self._notifications.endpoint = Endpoint(url, headers, backoff_seconds, timeout_seconds)

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port is taken."""
        app = web.Application(client_max_size=MAX_MANIFEST_BYTES, middlewares=[_answer_refusals])
        app.on_response_prepare.append(_name_api)
        blob, manifest = "/v2/{name:.+}/blobs/{digest}", "/v2/{name:.+}/manifests/{reference}"
        uploads, upload = "/v2/{name:.+}/blobs/uploads/", "/v2/{name:.+}/blobs/uploads/{upload}"
        app.add_routes(
            [
                web.get("/v2/", self._version),
                web.get("/v2/_catalog", self._list_repositories),
                web.get("/v2/{name:.+}/tags/list", self._list_tags),
                web.post(uploads, self._start_upload),
                web.get(upload, self._show_upload),
                web.patch(upload, self._continue_upload),
                web.put(upload, self._finish_upload),
                web.delete(upload, self._cancel_upload),
                web.get(blob, self._get_blob),
                web.delete(blob, self._delete_blob),
                web.get(manifest, self._get_manifest),
                web.put(manifest, self._put_manifest),
                web.delete(manifest, self._delete_manifest),
            ]
        )
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        address, port = runner.addresses[0][:2]
        self._host = f"{address}:{port}"
        self._notifications.start()

    async def close(self, drain_seconds: float = 2.0) -> None:
        """Stop listening, then give the events that wait `drain_seconds` to be accepted."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        await self._notifications.close(drain_seconds)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # --- lists

    async def _version(self, _request: web.Request) -> web.Response:
        return web.json_response({})

    async def _list_repositories(self, request: web.Request) -> web.Response:
        page, headers = _page(request, self._repositories)
        return web.json_response({"repositories": page}, headers=headers)

    async def _list_tags(self, request: web.Request) -> web.Response:
        name = _name(request)
        if name not in self._repositories:
            raise _Refused("NAME_UNKNOWN", {"name": name})
        page, headers = _page(request, self._repositories[name].tags)
        return web.json_response({"name": name, "tags": page}, headers=headers)

    # --- uploads

    async def _start_upload(self, request: web.Request) -> web.Response:
        name, query = _name(request), request.query
        mounted, source = query.get("mount", ""), query.get("from", "")
        if self._shows(source, mounted):
            self._repository(name).blobs.add(mounted)
            self._announce(request, "mount", {**self._blob_target(request, mounted), "fromRepository": source})
            return _created(f"/v2/{name}/blobs/{mounted}", mounted)
        if len(self._uploads) >= MAX_UPLOADS:
            raise _Refused("TOOMANYREQUESTS", f"{MAX_UPLOADS} uploads are under way: finish or delete one")
        key = str(uuid.uuid4())
        upload = self._uploads[key] = _Upload(name)
        if "digest" in query:
            return await self._complete(request, key, upload)
        return _upload_state(key, upload, HTTPStatus.ACCEPTED)

    async def _show_upload(self, request: web.Request) -> web.Response:
        return _upload_state(*self._upload(request), HTTPStatus.NO_CONTENT)

    async def _continue_upload(self, request: web.Request) -> web.Response:
        key, upload = self._upload(request)
        if given := request.headers.get("Content-Range"):
            chunk = _CONTENT_RANGE.fullmatch(given)
            if chunk is None or int(chunk[1]) != len(upload.content):
                raise _Refused(
                    "RANGE_INVALID", f"Content-Range {given}: the next byte of this upload is {len(upload.content)}"
                )
        await self._receive(request, upload)
        return _upload_state(key, upload, HTTPStatus.ACCEPTED)

    async def _finish_upload(self, request: web.Request) -> web.Response:
        return await self._complete(request, *self._upload(request))

    async def _cancel_upload(self, request: web.Request) -> web.Response:
        key, upload = self._upload(request)
        self._forget_upload(key, upload)
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def _complete(self, request: web.Request, key: str, upload: _Upload) -> web.Response:
        """Take the rest of the content and make a blob of it. Whatever comes of that, the upload is over."""
        digest = _digest(request.query.get("digest", ""))
        try:
            await self._receive(request, upload)
            if _digest_of(upload.content, like=digest) != digest:
                raise _Refused("DIGEST_INVALID", {"digest": digest})
            if digest not in self._blobs:
                self._blobs[digest] = bytes(upload.content)
                self._used_bytes += len(upload.content)
        finally:
            self._forget_upload(key, upload)
        self._repository(upload.repository).blobs.add(digest)
        self._announce(request, "push", self._blob_target(request, digest))
        return _created(f"/v2/{upload.repository}/blobs/{digest}", digest)

    async def _receive(self, request: web.Request, upload: _Upload) -> None:
        async for chunk in request.content.iter_any():
            self._reserve(len(chunk))
            upload.content += chunk

    def _upload(self, request: web.Request) -> tuple[str, _Upload]:
        key = request.match_info["upload"]
        upload = self._uploads.get(key)
        if upload is None or upload.repository != _name(request):
            raise _Refused("BLOB_UPLOAD_UNKNOWN", {"upload": key})
        return key, upload

    def _forget_upload(self, key: str, upload: _Upload) -> None:
        if self._uploads.pop(key, None) is not None:
            self._used_bytes -= len(upload.content)

    # --- blobs

    async def _get_blob(self, request: web.Request) -> web.Response:
        digest = self._known_blob(request)
        content = self._blobs[digest]
        headers = {**_content_headers(digest, _BLOB_TYPE), "Accept-Ranges": "bytes"}
        try:
            start, stop, _ = request.http_range.indices(len(content))
        except ValueError:
            start, stop = 0, 0
        partial = "Range" in request.headers
        if partial and start >= stop:
            raise _Refused("RANGE_INVALID", f"Range {request.headers['Range']}: the blob has {len(content)} bytes")
        self._announce(request, "pull", self._blob_target(request, digest))
        if not partial:
            return web.Response(body=content, headers=headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return web.Response(body=content[start:stop], headers=headers, status=HTTPStatus.PARTIAL_CONTENT)

    async def _delete_blob(self, request: web.Request) -> web.Response:
        name, digest = _name(request), self._known_blob(request)
        self._repositories[name].blobs.remove(digest)
        if not any(digest in repository.blobs for repository in self._repositories.values()):
            self._used_bytes -= len(self._blobs.pop(digest))
        self._announce(request, "delete", {"digest": digest, "repository": name})
        return web.Response(status=HTTPStatus.ACCEPTED)

    def _known_blob(self, request: web.Request) -> str:
        digest = _digest(request.match_info["digest"])
        if not self._shows(_name(request), digest):
            raise _Refused("BLOB_UNKNOWN", {"digest": digest})
        return digest

    def _shows(self, name: str, digest: str) -> bool:
        return name in self._repositories and digest in self._repositories[name].blobs

    # --- manifests

    async def _get_manifest(self, request: web.Request) -> web.Response:
        name, reference = _name(request), request.match_info["reference"]
        repository = self._repositories.get(name, _Repository())
        digest = repository.tags.get(reference, reference)
        if digest not in repository.manifests:
            raise _Refused("MANIFEST_UNKNOWN", {"name": name, "reference": reference})
        manifest = repository.manifests[digest]
        headers = _content_headers(digest, manifest.media_type)
        if digest in {etag.value for etag in request.if_none_match or ()}:
            return web.Response(status=HTTPStatus.NOT_MODIFIED, headers=headers)
        self._announce(request, "pull", _manifest_target(request, digest, manifest))
        return web.Response(body=manifest.body, headers=headers)

    async def _put_manifest(self, request: web.Request) -> web.Response:
        name, reference = _name(request), request.match_info["reference"]
        by_digest = ":" in reference
        if not by_digest and not _TAG.fullmatch(reference):
            raise _Refused("TAG_INVALID", f"{reference!r} is no tag")
        try:
            manifest = _Manifest(request.content_type, await request.read())
        except web.HTTPRequestEntityTooLarge:
            raise _Refused("SIZE_INVALID", f"a manifest has at most {MAX_MANIFEST_BYTES} bytes") from None
        digest = _digest_of(manifest.body, like=_digest(reference) if by_digest else "sha256:")
        if by_digest and digest != reference:
            raise _Refused("DIGEST_INVALID", {"digest": reference})
        self._check_manifest(name, manifest)
        repository = self._repository(name)
        if digest not in repository.manifests:
            self._reserve(len(manifest.body))
        repository.manifests[digest] = manifest
        if not by_digest:
            repository.tags[reference] = digest
        self._announce(request, "push", _manifest_target(request, digest, manifest))
        return _created(f"/v2/{name}/manifests/{digest}", digest)

    async def _delete_manifest(self, request: web.Request) -> web.Response:
        name, reference = _name(request), request.match_info["reference"]
        repository = self._repositories.get(name, _Repository())
        if repository.tags.pop(reference, None) is not None:
            self._announce(request, "delete", {"repository": name, "tag": reference})
            return web.Response(status=HTTPStatus.ACCEPTED)
        if reference not in repository.manifests:
            raise _Refused("MANIFEST_UNKNOWN", {"name": name, "reference": reference})
        self._used_bytes -= len(repository.manifests.pop(reference).body)
        untagged = sorted(tag for tag, digest in repository.tags.items() if digest == reference)
        for tag in untagged:
            del repository.tags[tag]
        self._announce(
            request,
            "delete",
            {"digest": reference, "repository": name},
            *({"repository": name, "tag": tag} for tag in untagged),
        )
        return web.Response(status=HTTPStatus.ACCEPTED)

    def _check_manifest(self, name: str, manifest: _Manifest) -> None:
        """Refuse what distribution refuses: a foreign type, a body of another type, parts this repository lacks."""
        try:
            fields = msgspec.json.decode(manifest.body, type=_ManifestFields)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _Refused("MANIFEST_INVALID", str(error)) from error
        if fields.schema_version != 2:
            raise _Refused("MANIFEST_INVALID", f"schemaVersion {fields.schema_version}: expected 2")
        if fields.media_type not in (None, manifest.media_type):
            raise _Refused("MANIFEST_INVALID", f"{fields.media_type} was sent as {manifest.media_type}")
        repository = self._repositories.get(name, _Repository())
        if manifest.media_type in _INDEX_TYPES and fields.manifests is not None:
            missing = [child.digest for child in fields.manifests if child.digest not in repository.manifests]
        elif manifest.media_type in _IMAGE_TYPES and fields.config is not None and fields.layers is not None:
            # A layer with URLs of its own need not be here.
            parts = [fields.config, *(layer for layer in fields.layers if not layer.urls)]
            missing = [part.digest for part in parts if part.digest not in repository.blobs]
        else:
            raise _Refused("MANIFEST_INVALID", f"not a complete manifest or index of type {manifest.media_type}")
        if missing:
            raise _Refused("MANIFEST_BLOB_UNKNOWN", *missing)

    # --- common

    def _repository(self, name: str) -> _Repository:
        return self._repositories.setdefault(name, _Repository())

    def _reserve(self, size: int) -> None:
        if self._used_bytes + size > self._max_bytes:
            raise _Refused("SIZE_INVALID", f"this registry keeps at most {self._max_bytes} bytes, in memory")
        self._used_bytes += size

    def _blob_target(self, request: web.Request, digest: str) -> dict[str, object]:
        return _target(request, "blobs", digest, _BLOB_TYPE, len(self._blobs[digest]))

    def _announce(self, request: web.Request, action: str, *targets: Mapping[str, object]) -> None:
        """Publish one event per target. Those of one request share its id."""
        remote = request.transport.get_extra_info("peername") if request.transport is not None else None
        origin = {
            "id": str(uuid.uuid4()),
            "addr": f"{remote[0]}:{remote[1]}" if remote else "",
            "host": request.headers.get("Host", ""),
            "method": request.method,
            "useragent": request.headers.get("User-Agent", ""),
        }
        for target in targets:
            self._notifications.publish(
                {
                    "id": str(uuid.uuid4()),
                    "timestamp": _timestamp(time.time_ns()),
                    "action": action,
                    "target": target,
                    "request": origin,
                    "actor": {},
                    "source": {"addr": self._host, "instanceID": self._instance_id},
                }
            )


@web.middleware
async def _answer_refusals(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    try:
        return await handler(request)
    except _Refused as refused:
        return refused.response()


async def _name_api(_request: web.Request, response: web.StreamResponse) -> None:
    response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    if len(name) > 255 or not _NAME.fullmatch(name):
        raise _Refused("NAME_INVALID", {"name": name})
    return name


def _digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise _Refused("DIGEST_INVALID", f"{text!r} is no sha256 or sha512 digest")
    return text


def _digest_of(content: bytes | bytearray, *, like: str) -> str:
    algorithm = like.partition(":")[0]
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def _page(request: web.Request, names: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Cut out what `n` and `last` ask for; the headers lead to the rest."""
    size, last = request.query.get("n"), request.query.get("last", "")
    following = sorted(name for name in names if name > last)
    if size is None:
        return following, {}
    if not re.fullmatch(r"[0-9]{1,9}", size):
        raise _Refused("PAGINATION_NUMBER_INVALID", {"n": size})
    page = following[: int(size)]
    if not page or len(page) == len(following):
        return page, {}
    return page, {"Link": f'<{request.path}?{urlencode({"last": page[-1], "n": size})}>; rel="next"'}


def _content_headers(digest: str, media_type: str) -> dict[str, str]:
    return {"Content-Type": media_type, "Docker-Content-Digest": digest, "ETag": f'"{digest}"'}


def _created(location: str, digest: str) -> web.Response:
    return web.Response(status=HTTPStatus.CREATED, headers={"Location": location, "Docker-Content-Digest": digest})


def _upload_state(key: str, upload: _Upload, status: HTTPStatus) -> web.Response:
    return web.Response(
        status=status,
        headers={
            "Location": f"/v2/{upload.repository}/blobs/uploads/{key}",
            "Docker-Upload-UUID": key,
            # An empty upload is `0-0` too: the specification has no way to say "nothing yet".
            "Range": f"0-{max(len(upload.content) - 1, 0)}",
        },
    )


def _manifest_target(request: web.Request, digest: str, manifest: _Manifest) -> dict[str, object]:
    target = _target(request, "manifests", digest, manifest.media_type, len(manifest.body))
    reference = request.match_info["reference"]
    return target if reference == digest else {**target, "tag": reference}


def _target(request: web.Request, kind: str, digest: str, media_type: str, size: int) -> dict[str, object]:
    name = request.match_info["name"]
    return {
        "mediaType": media_type,
        "size": size,
        "digest": digest,
        "length": size,
        "repository": name,
        "url": f"{request.scheme}://{request.headers.get('Host', '')}/v2/{name}/{kind}/{digest}",
    }


def _timestamp(nanoseconds: int) -> str:
    """RFC 3339 with as many digits of the second as are not zero, as Go writes it."""
    seconds, fraction = divmod(nanoseconds, 10**9)
    digits = f".{fraction:09d}".rstrip("0").rstrip(".")
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{digits}Z"
