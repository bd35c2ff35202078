"""The Kubernetes API: lists, watches, patches, and every error translated once.

From the library come configuration, TLS, credentials and the HTTP session; requests and replies are bytes. Its typed
models cost a hundred times more, its Watch has neither back-off nor a way past 410, and the session is plain aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.parse import quote, urlencode
from urllib.request import getproxies

import aiohttp
import msgspec
import structlog
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from listener.core.actions import Start
from listener.core.changes import Gone, Mark, Page, Seen
from listener.core.imports import ImportAnswer
from listener.core.keyring import PullSecret
from listener.core.kinds import Kind
from listener.core.leases import Lease
from listener.core.managers import Manager
from listener.core.notices import Notice
from listener.core.outcomes import End, Outcome, shortened
from listener.core.renewal import Secret, Webhooks
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.core.workloads import Workload, WorkloadKey
from listener.edges import kubernetes, objects
from listener.errors import ClusterRefused, ClusterUnavailable, NotServed, SettingsError, WatchExpired, WatchSilent

log = structlog.get_logger()

FIELD_MANAGER = "imagestream-listener"
STREAMS_PATH = "/apis/image.openshift.io/v1"
_WEBHOOKS_PATH = "/apis/admissionregistration.k8s.io/v1"
_LEASES_PATH = "/apis/coordination.k8s.io/v1"

_PAGE_SIZE = 500  # some 2.6 MB of Deployments: 5 ms to decode, so the loop never blocks
_SECRETS_PAGE_SIZE = 20  # of up to 1.4 MB each
_SECRETS_BYTES = 4 * 1024 * 1024  # a pull secret takes some 2 KB
_LINE_LIMIT = 32 * 1024 * 1024  # one watch event; etcd refuses objects over 1.5 MiB, JSON escapes can multiply that
_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30)
_STORE_TIMEOUT = aiohttp.ClientTimeout(total=8)  # a hook waits for it, and its sender seldom longer than 10 s
_IMPORT_TIMEOUT = aiohttp.ClientTimeout(total=65)  # API servers end every request after a minute
_LIST_TIMEOUT = aiohttp.ClientTimeout(total=120)
# The server ends a watch after `timeoutSeconds`. Bookmarks come about once a minute, so a connection that is silent for
# much longer is dead without knowing it (a black hole): read on from where we were, on a new one.
_WATCH_SECONDS = (240, 480)
_WATCH_SILENCE = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=100)
_TOKEN_REFRESH_SECONDS = 60
_DEFAULT_KUBECONFIG = os.path.expanduser("~/.kube/config")  # noqa: PTH111 - Path would raise where there is no home

# How Kubernetes refuses a change of what can never be changed; the reason is told by the text alone.
_IMMUTABLE = ("field is immutable", "updates may not change fields")

_LONGEST_MESSAGE = 1000  # that a log line bears

_DEFAULT_NAMESPACE = "default"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

K = TypeVar("K")
V = TypeVar("V")


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _NameOnly(msgspec.Struct):
    metadata: objects.Metadata


class _Bookmark(msgspec.Struct):
    metadata: _ListMetadata


class _Details(msgspec.Struct):
    name: str = ""


class _Resource(msgspec.Struct):
    name: str
    kind: str


class _ResourceList(msgspec.Struct):
    resources: list[_Resource]


class _Status(msgspec.Struct):
    code: int = 0
    reason: str = ""
    message: str = ""
    details: _Details | None = None


_decode_list = msgspec.json.Decoder(_List).decode
_decode_event = msgspec.json.Decoder(_WatchEvent).decode
_decode_name = msgspec.json.Decoder(_NameOnly).decode
_decode_bookmark = msgspec.json.Decoder(_Bookmark).decode
_decode_resources = msgspec.json.Decoder(_ResourceList).decode
_decode_status = msgspec.json.Decoder(_Status).decode
_encode = msgspec.json.Encoder().encode
_PREFIX = re.compile(rb'\{"type":"([A-Z]+)","object":(?=\{)')
_DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError)  # the second for strings that are no UTF-8


class _NotThere(ClusterRefused):
    """404 about the object that was asked for, and not about a resource that is not served."""


class Cluster:
    """One API server. Use as a context manager, or `close()` it."""

    def __init__(
        self,
        api: kubernetes.ApiClient,
        refresher: asyncio.Task[None] | None = None,
        namespace: str = _DEFAULT_NAMESPACE,
        *,
        with_lookups: bool = False,
    ) -> None:
        self._api = api
        # The library's own session looks for proxies and for ~/.netrc before each request, a fifth of the time that a
        # patch costs us; whether there are proxies at all does not change.
        self._session = aiohttp.ClientSession(
            connector=api.rest_client.pool_manager.connector, connector_owner=False, trust_env=bool(getproxies())
        )
        self._host: str = api.configuration.host.rstrip("/")
        self._refresher = refresher
        self._plurals: dict[tuple[str, str], str] = {}
        self._with_lookups = with_lookups
        self._may_write: Callable[[], bool] | None = None
        self.namespace = namespace
        """Where to look when nobody says: the kubeconfig context's namespace, in a Pod the service account's."""
        rest = api.rest_client
        self._request_options: dict[str, Any] = {}
        if rest.server_hostname:
            self._request_options["server_hostname"] = rest.server_hostname
        if rest.proxy:
            self._request_options |= {"proxy": rest.proxy, "proxy_headers": rest.proxy_headers}

    @classmethod
    async def connect(
        cls,
        *,
        kubeconfig: str | None = None,
        context: str | None = None,
        max_connections: int = 200,
        with_lookups: bool = False,
    ) -> Self:
        """Read the configuration; nothing is sent yet.

        Without `kubeconfig`: the Pod's service account if we run in one, else $KUBECONFIG, else ~/.kube/config. Each
        watch pins one of `max_connections`. With lookups, workloads are read with their images that may be names of
        stream tags.

        Raises SettingsError when there is no usable configuration.
        """
        configuration = kubernetes.Configuration()
        configuration.connection_pool_maxsize = max_connections
        refresher = None
        namespace = ""
        in_pod = kubeconfig is None and context is None and "KUBERNETES_SERVICE_HOST" in os.environ
        try:
            if in_pod:
                kubernetes.load_incluster_config(client_configuration=configuration)
                namespace = _service_account_namespace()
            else:
                file = kubeconfig or os.environ.get("KUBECONFIG") or _DEFAULT_KUBECONFIG
                if not _any_file(file):
                    raise FileNotFoundError("there is no such file")
                loader = await kubernetes.load_kube_config(
                    config_file=file, context=context, client_configuration=configuration, persist_config=False
                )
                namespace = loader.current_context["context"].get("namespace")
                # Only exec plugins and gcp are renewed by the loader; for any other user this ends at once.
                refresher = asyncio.create_task(
                    kubernetes.refresh_token(loader, configuration, _TOKEN_REFRESH_SECONDS), name="token-refresh"
                )
            api = kubernetes.ApiClient(configuration)
        except Exception as error:  # on a broken file the library lets through whatever broke in it
            where = "the Pod's service account" if in_pod else f"kubeconfig {file}"
            why = " ".join(_reason(error).split())
            raise SettingsError(f"{where} cannot be used: {why}. Name a usable one with --kubeconfig") from error
        return cls(api, refresher, namespace or _DEFAULT_NAMESPACE, with_lookups=with_lookups)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        if self._refresher is not None:
            self._refresher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._refresher
        await self._session.close()
        await self._api.close()

    def fenced(self, may_write: Callable[[], bool]) -> Self:
        """The same cluster, to which nothing is written once `may_write` says so: not even what was begun before."""
        found = copy(self)
        found._may_write = may_write
        return found

    # What is followed

    def streams(self, namespace: str | None = None) -> Collection[StreamKey, Stream]:
        """The image streams of one namespace, or of all."""
        return Collection(
            self, STREAMS_PATH, "imagestreams", namespace, objects.read_stream, StreamKey, identity=_own_identity
        )

    def workloads(self, kind: Kind, namespace: str | None = None) -> Collection[WorkloadKey, Workload]:
        """The workloads of one kind, of one namespace or of all."""
        return self.of_kind(kind, namespace, self._reader(kind), identity=_own_identity)

    def lease(self, namespace: str, name: str) -> Collection[tuple[str, str], Lease]:
        """One Lease, to be followed."""
        return Collection(self, _LEASES_PATH, "leases", namespace, objects.read_lease, lambda *key: key, name=name)

    def _reader(self, kind: Kind) -> Callable[[bytes | msgspec.Raw], Workload]:
        return partial(objects.read_workload, kind, with_lookups=self._with_lookups)

    def of_kind(
        self,
        kind: Kind,
        namespace: str | None,
        read: Callable[[bytes | msgspec.Raw], V],
        *,
        identity: Callable[[V], tuple[WorkloadKey, str]] | None = None,
    ) -> Collection[WorkloadKey, V]:
        """The same, as `read` makes them of their JSON."""

        def key(namespace: str, name: str) -> WorkloadKey:
            return WorkloadKey(kind.label, namespace, name)

        return Collection(
            self,
            _group_path(kind.api_version),
            kind.plural,
            namespace,
            read,
            key,
            kind=kind,
            identity=identity,
        )

    # What is read and written by name

    async def get_stream(self, key: StreamKey) -> Stream | None:
        """The stream as it is now; None if there is none. Raises ClusterError."""
        path = _path(STREAMS_PATH, "imagestreams", key.namespace, key.name)
        return await self.find(path, objects.read_stream, limits=_STORE_TIMEOUT)

    async def get_workload(self, kind: Kind, key: WorkloadKey) -> Workload | None:
        """The workload as it is now; None if there is none. Raises ClusterError."""
        return await self.workloads(kind, key.namespace).get(key.name)

    async def create_stream(self, key: StreamKey, spec: Mapping[str, Any] | None = None) -> Outcome[Stream]:
        """Create a stream, an empty one without `spec`. STALE means that somebody else just did."""
        body: dict[str, Any] = {
            "apiVersion": "image.openshift.io/v1",
            "kind": "ImageStream",
            "metadata": {"name": key.name, "namespace": key.namespace},
        }
        if spec is not None:
            body["spec"] = spec
        path = _path(STREAMS_PATH, "imagestreams", key.namespace)
        return await self._write("POST", path, body, "application/json", objects.read_stream, limits=_STORE_TIMEOUT)

    async def store_status(self, stream: Stream) -> Outcome[Stream]:
        """Replace the status by that of `stream`, if the stream is still at its resource version; else STALE."""
        body = {"metadata": {"resourceVersion": stream.resource_version}, "status": objects.write_status(stream)}
        path = _path(STREAMS_PATH, "imagestreams", stream.key.namespace, stream.key.name, "status")
        content_type = "application/merge-patch+json"
        return await self._write("PATCH", path, body, content_type, objects.read_stream, limits=_STORE_TIMEOUT)

    async def patch_stream(
        self, key: StreamKey, operations: Sequence[Mapping[str, Any]], *, subresource: str = ""
    ) -> Outcome[Stream]:
        """Send one JSON Patch for a stream, or for its `status`. A failed `test` is STALE."""
        rest = [subresource] if subresource else []
        path = _path(STREAMS_PATH, "imagestreams", key.namespace, key.name, *rest)
        return await self._write("PATCH", path, operations, "application/json-patch+json", objects.read_stream)

    async def annotate_stream(self, stream: Stream, annotations: Mapping[str, str]) -> Outcome[Stream]:
        """Set annotations of a stream, if it is still at the resource version of `stream`; else STALE."""
        path = _path(STREAMS_PATH, "imagestreams", stream.key.namespace, stream.key.name)
        body = {"metadata": {"resourceVersion": stream.resource_version, "annotations": annotations}}
        return await self._write("PATCH", path, body, "application/merge-patch+json", objects.read_stream)

    async def import_images(self, stream: Stream, spec_tags: Sequence[SpecTag]) -> Outcome[ImportAnswer]:
        """Have OpenShift import these tags into a stream now. APPLIED tells that it has tried, and how it went."""
        path = _path(STREAMS_PATH, "imagestreamimports", stream.key.namespace)
        body = objects.write_import(stream, spec_tags)
        read = partial(objects.read_import, asked=len(spec_tags))
        return await self._write("POST", path, body, "application/json", read, limits=_IMPORT_TIMEOUT)

    async def patch_workload(
        self, kind: Kind, key: WorkloadKey, operations: Sequence[Mapping[str, Any]], *, dry_run: bool = False
    ) -> Outcome[Workload]:
        """Send one JSON Patch. A failed `test` is STALE. A dry run goes through everything and stores nothing."""
        try:
            path = await self._object_path(kind, key)
        except (ClusterRefused, ClusterUnavailable) as error:
            return Outcome(End.UNREACHABLE, message=str(error))
        return await self._write(
            "PATCH",
            path,
            operations,
            "application/json-patch+json",
            self._reader(kind),
            dry_run=dry_run,
        )

    async def start(self, namespace: str, start: Start, *, dry_run: bool = False) -> Outcome[None]:
        """Create what a plan starts. STALE: there is one of that name."""
        rest = (start.name, start.subresource) if start.subresource else ()
        path = _path(_group_path(start.api_version), start.plural, namespace, *rest)
        return await self._write("POST", path, start.body, "application/json", lambda _: None, dry_run=dry_run)

    async def get_run_record(self, namespace: str, start: Start) -> str | None:
        """What the run of that name was made of, as its annotation last-triggered says. Raises ClusterError."""
        path = _path(_group_path(start.api_version), start.plural, namespace, start.name)
        return await self.find(path, objects.read_last_triggered)

    async def managers(self, kind: Kind, key: WorkloadKey) -> Sequence[Manager]:
        """Who manages which fields of a workload; nobody if it is gone. Raises ClusterError."""
        return await self.find(await self._object_path(kind, key), objects.read_managers) or ()

    async def plural(self, api_version: str, kind: str) -> str:
        """What the resource of a kind is called in paths, by the API server's discovery. Raises ClusterError.

        It is asked for once: a definition may come and go, but not change its names.
        """
        if (api_version, kind) not in self._plurals:
            resources = await self._resources(api_version)
            found = [each.name for each in resources if each.kind == kind and "/" not in each.name]
            if not found:
                raise NotServed(f"the cluster serves no kind {kind} of {api_version}", status=404)
            self._plurals[api_version, kind] = found[0]
        return self._plurals[api_version, kind]

    async def serves(self, api_version: str, resource: str) -> bool:
        """Tell whether there is a resource of that plural, by the API server's discovery. Raises ClusterError."""
        try:
            return any(each.name == resource for each in await self._resources(api_version))
        except NotServed:
            return False

    async def _resources(self, api_version: str) -> list[_Resource]:
        path = _group_path(api_version)
        answer = await self.read(path, {}, limits=_REQUEST_TIMEOUT)
        try:
            return _decode_resources(answer).resources
        except _DECODE_ERRORS as error:
            raise ClusterUnavailable(f"GET {path}: not a list of resources: {error}") from error

    async def _object_path(self, kind: Kind, key: WorkloadKey) -> str:
        plural = kind.plural or await self.plural(kind.api_version, kind.name)
        return _path(_group_path(kind.api_version), plural, key.namespace, key.name)

    async def pull_secrets(self, namespace: str) -> list[PullSecret]:
        """The secrets with which images are pulled in a namespace. Raises ClusterError.

        Of very many, or very large ones, only the first: whoever may write them must not fill our memory.
        """
        found = [
            secret
            for kind in objects.PULL_SECRET_TYPES
            for secret in await self._pull_secrets(namespace, {"fieldSelector": f"type={kind}"})
        ]
        return sorted(found, key=lambda secret: secret.name)

    async def _pull_secrets(self, namespace: str, selection: Mapping[str, str]) -> list[PullSecret]:
        path = _path("/api/v1", "secrets", namespace)
        query = {"limit": str(_SECRETS_PAGE_SIZE), **selection}
        found: list[PullSecret] = []
        size = 0
        while True:
            answer = await self.read(path, query, limits=_REQUEST_TIMEOUT)
            try:
                listed = _decode_list(answer)
            except _DECODE_ERRORS as error:
                raise ClusterUnavailable(f"GET {path}: not a list of secrets: {type(error).__name__}") from None
            found += objects.read_pull_secrets(listed.items or ())
            size += len(answer)
            if not listed.metadata.continue_:
                return found
            if size > _SECRETS_BYTES:
                log.warning("pull_secrets.too_many", namespace=namespace, read=len(found), bytes=size)
                return found
            query["continue"] = listed.metadata.continue_

    async def get_secret(self, namespace: str, name: str) -> Secret | None:
        """One Secret as it is now; None if there is none. Raises ClusterError."""
        path = _path("/api/v1", "secrets", namespace, name)
        return await self.find(path, _confidential(objects.read_secret))

    async def store_secret(self, secret: Secret, data: Mapping[str, bytes]) -> Outcome[Secret]:
        """Set these keys of a Secret, if it is still at its resource version; else STALE."""
        path = _path("/api/v1", "secrets", secret.namespace, secret.name)
        operations = objects.write_secret(secret, data)
        return await self._write(
            "PATCH", path, operations, "application/json-patch+json", _confidential(objects.read_secret)
        )

    async def get_webhooks(self, name: str) -> Webhooks | None:
        """One MutatingWebhookConfiguration as it is now; None if there is none. Raises ClusterError."""
        path = _path(_WEBHOOKS_PATH, "mutatingwebhookconfigurations", None, name)
        return await self.find(path, objects.read_webhooks)

    async def store_bundle(self, webhooks: Webhooks, bundle: bytes) -> Outcome[Webhooks]:
        """Give a CA bundle to each of these webhooks, if they are still in their places; else STALE."""
        path = _path(_WEBHOOKS_PATH, "mutatingwebhookconfigurations", None, webhooks.name)
        operations = objects.write_bundle(webhooks, bundle)
        return await self._write("PATCH", path, operations, "application/json-patch+json", objects.read_webhooks)

    async def get_lease(self, namespace: str, name: str) -> Lease | None:
        """One Lease as it is now; None if there is none. Raises ClusterError."""
        return await self.find(_path(_LEASES_PATH, "leases", namespace, name), objects.read_lease)

    async def create_lease(self, lease: Lease) -> Outcome[Lease]:
        """Create a Lease. STALE means that somebody else just did."""
        path = _path(_LEASES_PATH, "leases", lease.namespace)
        return await self._write("POST", path, objects.write_lease(lease), "application/json", objects.read_lease)

    async def store_lease(self, lease: Lease) -> Outcome[Lease]:
        """Write a Lease, if it is still at the resource version; else STALE."""
        path = _path(_LEASES_PATH, "leases", lease.namespace, lease.name)
        body = objects.write_lease(lease)
        return await self._write("PATCH", path, body, "application/merge-patch+json", objects.read_lease)

    async def create_event(self, name: str, notice: Notice, *, count: int, first: str, last: str) -> Outcome[None]:
        """Write a new Event. `first` and `last` are RFC 3339 times."""
        body = objects.write_event(name, notice, count=count, first=first, last=last)
        path = _path("/api/v1", "events", body["metadata"]["namespace"])
        return await self._write("POST", path, body, "application/json", lambda _: None)

    async def repeat_event(self, name: str, notice: Notice, *, count: int, last: str) -> Outcome[None]:
        """Say that an Event of ours happened again. GONE when the server has forgotten it."""
        body = {"count": count, "lastTimestamp": last, "message": notice.message}
        path = _path("/api/v1", "events", notice.subject.namespace, name)
        return await self._write("PATCH", path, body, "application/merge-patch+json", lambda _: None)

    # What the walkthrough needs besides: objects as they are

    async def create(self, path: str, body: Mapping[str, Any]) -> Outcome[bytes]:
        """POST an object. STALE means that there is one of that name."""
        return await self._write("POST", path, body, "application/json", bytes)

    async def delete(self, path: str) -> Outcome[bytes]:
        """DELETE an object; GONE if there is none."""
        return await self._write("DELETE", path, {"propagationPolicy": "Background"}, "application/json", bytes)

    async def get(self, path: str) -> bytes:
        """GET an object. Raises ClusterError."""
        return await self.read(path, {}, limits=_REQUEST_TIMEOUT)

    # Requests

    async def find(
        self, path: str, read: Callable[[bytes], V], *, limits: aiohttp.ClientTimeout = _REQUEST_TIMEOUT
    ) -> V | None:
        """GET an object, and read it; None if there is none. Raises ClusterError."""
        try:
            return read(await self.read(path, {}, limits=limits))
        except _NotThere:
            return None
        except _DECODE_ERRORS as error:
            raise ClusterUnavailable(f"GET {path}: the answer is not the object: {error}") from error

    async def _write(
        self,
        method: str,
        path: str,
        body: object,
        content_type: str,
        read: Callable[[bytes], V],
        *,
        dry_run: bool = False,
        limits: aiohttp.ClientTimeout = _REQUEST_TIMEOUT,
    ) -> Outcome[V]:
        query = {} if method == "DELETE" else {"fieldManager": FIELD_MANAGER}
        if dry_run:
            query["dryRun"] = "All"
        try:
            status, headers, answer = await self._send(method, path, query, _encode(body), content_type, limits=limits)
        except ClusterUnavailable as error:
            return Outcome(End.UNREACHABLE, message=str(error))
        if status in (200, 201, 202):
            try:
                return Outcome(End.APPLIED, read(answer))
            except _DECODE_ERRORS as error:
                return Outcome(End.UNREACHABLE, message=f"{method} {path}: the answer is not the object: {error}")
        whole = _message(answer)
        message = shortened(whole, _LONGEST_MESSAGE)
        # The code is the webhook's choice: its 409 is no conflict, and its 429 says nothing of the server's load.
        is_denial = whole.startswith('admission webhook "')
        match status:
            case _ if is_denial:
                pass
            case 404 if _names_an_object(answer):
                return Outcome(End.GONE, message=message)
            case 404:
                return Outcome(End.REFUSED, message=f"the cluster does not serve {path}: {message}", may_pass=True)
            case 409:
                return Outcome(End.STALE, message=message)
            case 422 if content_type == "application/json-patch+json" and _is_failed_patch(answer):
                return Outcome(End.STALE, message=message)
            case 429:
                return Outcome(End.THROTTLED, message=message, retry_after_seconds=_retry_after(headers))
            case status if status >= 500 and not _is_too_large(message):
                return Outcome(End.UNREACHABLE, message=message, retry_after_seconds=_retry_after(headers))
        is_final = status == 422 and any(text in whole for text in _IMMUTABLE)
        may_pass = status in (401, 403) or (is_denial and status not in (400, 422))
        return Outcome(End.REFUSED, message=message, may_pass=may_pass, is_final=is_final)

    async def read(self, path: str, query: Mapping[str, str], *, limits: aiohttp.ClientTimeout) -> bytes:
        """GET a body. Raises ClusterUnavailable, ClusterRefused (with its status), WatchExpired (410)."""
        status, headers, answer = await self._send("GET", path, query, limits=limits)
        if status == 200:
            return answer
        raise _refusal(f"GET {path}", status, headers, answer)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        content_type: str | None = None,
        *,
        limits: aiohttp.ClientTimeout = _REQUEST_TIMEOUT,
    ) -> tuple[int, Mapping[str, str], bytes]:
        fenced = _Fenced(body, self._may_write) if body is not None and self._may_write else None
        try:
            async with self._session.request(
                method,
                self._url(path, query),
                data=body if fenced is None else fenced,
                headers=await self._headers(content_type),
                timeout=limits,
                **self._request_options,
            ) as response:
                return response.status, response.headers, await response.read()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            if fenced is not None and fenced.is_held_back:
                raise ClusterUnavailable(f"{method} {path}: not sent, for another replica may lead by now") from error
            raise ClusterUnavailable(
                f"{method} {path}: no answer from {URL(self._host).origin()}: {_reason(error)}"
            ) from error

    @contextlib.asynccontextmanager
    async def stream(self, path: str, query: Mapping[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """GET a body that comes line by line, for as long as it comes. Raises as `read` does, and WatchSilent."""
        try:
            async with self._session.get(
                self._url(path, query),
                headers=await self._headers(None),
                timeout=_WATCH_SILENCE,
                **self._request_options,
            ) as response:
                if response.status != 200:
                    raise _refusal(f"GET {path}", response.status, response.headers, await response.read())
                yield _lines(response.content)
        except aiohttp.SocketTimeoutError as error:
            raise WatchSilent(f"GET {path}: the answer broke off: {_reason(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise ClusterUnavailable(f"GET {path}: the answer broke off: {_reason(error)}") from error

    def _url(self, path: str, query: Mapping[str, str]) -> URL:
        return URL(f"{self._host}{path}?{urlencode(query)}", encoded=True)

    async def _headers(self, content_type: str | None) -> dict[str, str]:
        headers = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        if content_type is not None:
            headers["Content-Type"] = content_type
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"])
        except kubernetes.ConfigException as error:  # the file of the Pod's token is empty for a moment
            raise ClusterUnavailable(f"the service account's token cannot be read: {_reason(error)}") from error
        return headers


class Collection(Generic[K, V]):
    """The objects of one resource, in one namespace or in all: to list, to follow, to get one."""

    def __init__(
        self,
        cluster: Cluster,
        group_path: str,
        plural: str,
        namespace: str | None,
        read: Callable[[bytes | msgspec.Raw], V],
        key: Callable[[str, str], K],
        *,
        kind: Kind | None = None,
        identity: Callable[[V], tuple[K, str]] | None = None,
        name: str | None = None,
    ) -> None:
        """`plural` may be "": then discovery is asked what the kind is called. `identity` returns the key and the
        resource version of what `read` made; without it each object is decoded once more for them. `name`: only the
        object of that name.
        """
        self._cluster = cluster
        self._group_path = group_path
        self._plural = plural
        self._kind = kind
        self._read = read
        self._key = key
        self._identity = identity
        self._selection = {"labelSelector": kind.selector} if kind and kind.selector else {}
        if name is not None:
            self._selection["fieldSelector"] = f"metadata.name={name}"
        # Two groups may have resources of the same name.
        is_ambiguous = kind is not None and kind.label != kind.name
        self.resource = kind.label.lower().replace(".", "s.", 1) if kind and is_ambiguous else plural
        self.namespace = namespace
        self.is_optional = kind is not None and not kind.everywhere

    def __str__(self) -> str:
        return f"{self.resource} in {self.namespace}" if self.namespace else self.resource

    async def pages(self) -> AsyncIterator[Page[K, V]]:
        """List everything, page by page; while one is read, the server works on the next.

        Raises ClusterError; WatchExpired when the list took too long to go on with.
        """
        path = await self._path()
        query = {"limit": str(_PAGE_SIZE), **self._selection}

        def ask() -> asyncio.Task[bytes]:
            return asyncio.create_task(self._cluster.read(path, dict(query), limits=_LIST_TIMEOUT), name=f"list {self}")

        coming: asyncio.Task[bytes] | None = ask()
        try:
            while coming is not None:
                answer, coming = await coming, None
                try:
                    listed = _decode_list(answer)
                    if listed.metadata.continue_:
                        query["continue"] = listed.metadata.continue_
                        coming = ask()
                        await asyncio.wait([coming], timeout=0.001)  # to read holds up the loop: first let it leave
                    page = self._page(listed)
                except _DECODE_ERRORS as error:
                    raise ClusterUnavailable(f"GET {path}: not a list of objects: {error}") from error
                del answer, listed  # megabytes, and the next are coming
                yield page
        finally:
            if coming is not None:
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

    def _page(self, listed: _List) -> Page[K, V]:
        read = [(raw, self._try_read(raw)) for raw in listed.items or ()]
        keys = frozenset(self._identify(raw, value)[0] for raw, value in read)
        return Page(tuple(value for _, value in read if value is not None), keys, listed.metadata.resource_version)

    async def changes(self, resource_version: str) -> AsyncIterator[Seen[V] | Gone[K] | Mark]:
        """Follow what changes after `resource_version` until the server ends the watch (some minutes).

        Raises ClusterError; WatchExpired when the server no longer remembers that far back.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(random.randint(*_WATCH_SECONDS)),  # noqa: S311 - spreads load, keeps no secret
            **self._selection,
        }
        async with self._cluster.stream(await self._path(), query) as lines:
            async for line in lines:
                yield self._change(line)

    async def get(self, name: str) -> V | None:
        """The object as it is now; None if there is none. Raises ClusterError."""
        path = f"{await self._path()}/{quote(name, safe='')}"
        return await self._cluster.find(path, self._read)

    async def _path(self) -> str:
        plural = self._plural
        if self._kind and not plural:
            plural = await self._cluster.plural(self._kind.api_version, self._kind.name)
        return _path(self._group_path, plural, self.namespace)

    def _change(self, line: bytes) -> Seen[V] | Gone[K] | Mark:
        try:
            type_, found = _event(line)
            if type_ == "ERROR":
                status = _decode_status(found)
                raise _refusal(f"watch {self._group_path}/{self}", status.code, {}, bytes(found))
            if type_ == "BOOKMARK":
                return Mark(_decode_bookmark(found).metadata.resource_version)
            value = None if type_ == "DELETED" else self._try_read(found)
            key, version = self._identify(found, value)
        except _DECODE_ERRORS as error:
            raise ClusterUnavailable(f"watch {self._group_path}/{self}: not a watch event: {error}") from error
        if type_ == "DELETED":
            return Gone(key, version)
        return Mark(version) if value is None else Seen(value, version)

    def _identify(self, raw: bytes | msgspec.Raw, value: V | None) -> tuple[K, str]:
        """The key of an object and its resource version, whether it could be read or not."""
        if value is not None and self._identity:
            return self._identity(value)
        metadata = _decode_name(raw).metadata
        return self._key(metadata.namespace, metadata.name), metadata.resource_version

    def _try_read(self, raw: bytes | msgspec.Raw) -> V | None:
        """Read one object. One of an unknown shape is logged and passed over: it must not hide all the others."""
        try:
            return self._read(raw)
        except _DECODE_ERRORS as error:
            log.error(
                "cluster.object_unreadable",
                resource=self.resource,
                object=str(self._identify(raw, None)[0]),
                reason=str(error),
            )
            return None


class _Fenced(aiohttp.BytesPayload):
    """A body that is sent only if it may be in the very moment in which it is: a request waits for a connection, and a
    process may have been stopped meanwhile. Without its body no write is one.
    """

    def __init__(self, body: bytes, may_write: Callable[[], bool]) -> None:
        super().__init__(body)
        self._may_write = may_write
        self.is_held_back = False

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        if not self._may_write():
            self.is_held_back = True
            raise ConnectionAbortedError("held back")
        await super().write_with_length(writer, content_length)


def _own_identity(value: Stream | Workload) -> tuple[Any, str]:
    return value.key, value.resource_version


def _service_account_namespace() -> str:
    with contextlib.suppress(OSError):
        return _NAMESPACE_FILE.read_text(encoding="utf-8").strip()
    return ""


def _any_file(kubeconfig: str) -> bool:
    """Tell whether there is anything to read: $KUBECONFIG may name several files, some of them absent."""
    return any(Path(file).expanduser().is_file() for file in kubeconfig.split(os.pathsep))


def _group_path(api_version: str) -> str:
    return f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"


def _path(group_path: str, plural: str, namespace: str | None, *rest: str) -> str:
    """Build a request path. Names are quoted: some come from outside, and none may climb out of its place."""
    parts = ["namespaces", namespace, plural, *rest] if namespace else [plural, *rest]
    return "/".join([group_path, *(quote(part, safe="") for part in parts)])


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split at newlines. aiohttp's own readline gives up at its buffer's size, which a large object exceeds."""
    rest = bytearray()
    async for chunk in content.iter_any():
        first, *others = chunk.split(b"\n")
        rest += first
        if not others:
            if len(rest) > _LINE_LIMIT:
                raise ClusterUnavailable(f"a watch event is larger than {_LINE_LIMIT} bytes")
            continue
        *whole, tail = others
        for line in (bytes(rest), *whole):
            if line:
                yield line
        rest = bytearray(tail)


def _event(line: bytes) -> tuple[str, bytes | msgspec.Raw]:
    """The type of a watch event, and its object, which is not looked at.

    API servers write the type first and nothing after the object, so what comes between is found without reading
    kilobytes once more; fan-outs bring three events for each patch.
    """
    start = _PREFIX.match(line)
    if start and line.endswith(b"}}"):
        return start[1].decode(), line[start.end() : -1]
    event = _decode_event(line)
    return event.type, event.object


def _message(answer: bytes) -> str:
    """The server's own sentence, from its Status object."""
    try:
        return _decode_status(answer).message
    except msgspec.DecodeError:
        return answer[:300].decode(errors="replace").strip()


def _names_an_object(answer: bytes) -> bool:
    """Tell "there is no object of that name" (or no such namespace) from "no such resource is served": both are 404."""
    try:
        details = _decode_status(answer).details
    except msgspec.DecodeError:
        return False
    return bool(details and details.name)


def _is_too_large(message: str) -> bool:
    """Tell the objects that etcd will never take: the API server reports them as errors of its own, with 500."""
    return "request is too large" in message or "trying to send message larger than max" in message


def _is_failed_patch(answer: bytes) -> bool:
    """Tell a failed `test` (or a path that is not there any more) from an object that somebody finds invalid.

    Both are 422 Invalid. Validation fills `details` with the object and the fields; a patch that did not fit leaves
    them empty.
    """
    try:
        status = msgspec.json.decode(answer, type=dict)
    except msgspec.DecodeError:
        return False
    return not status.get("details")


def _refusal(what: str, status: int, headers: Mapping[str, str], answer: bytes) -> Exception:
    message = f"{what}: {status} {shortened(_message(answer), _LONGEST_MESSAGE)}"
    if status == 410:
        return WatchExpired(message)
    if status == 429 or status >= 500:
        return ClusterUnavailable(message, retry_after_seconds=_retry_after(headers))
    if status == 404:
        return _NotThere(message, status=status) if _names_an_object(answer) else NotServed(message, status=status)
    return ClusterRefused(message, status=status)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Kubernetes sends whole seconds only."""
    value = headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() else None


def _confidential(read: Callable[[bytes], V]) -> Callable[[bytes], V]:
    """Let no word of the answer into the error, not even as what it came from."""

    def readable(raw: bytes) -> V:
        try:
            return read(raw)
        except _DECODE_ERRORS as error:
            kind = type(error).__name__
        raise msgspec.ValidationError(kind)

    return readable


def _reason(error: BaseException) -> str:
    return str(error) or type(error).__name__
