"""The HTTP side of the cluster API: who is asking, for what, in which form, and the stream of a watch.

Each request is answered by one method, from the bytes to the bytes; everything that has a rule is asked of another
room. Faults that are switched on do their damage here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import yaml
from aiohttp import web

from listener.sandbox.cluster import (
    access,
    discovery,
    faults,
    field_errors,
    openapi,
    requests,
    rights,
    status,
    warning_headers,
)
from listener.sandbox.cluster.access import ADMIN, User, Users
from listener.sandbox.cluster.admission import Admission
from listener.sandbox.cluster.faults import Call, Fault, Faults
from listener.sandbox.cluster.imports import Imports
from listener.sandbox.cluster.listing import Query, page
from listener.sandbox.cluster.requests import PATCH_TYPES, Answer, Target
from listener.sandbox.cluster.resources import IMPORTS, Catalog, Resource
from listener.sandbox.cluster.rights import Rights
from listener.sandbox.cluster.shapes import Shaper, error_event
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.store import Store
from listener.sandbox.cluster.verbs import DeleteOptions, Verbs, WriteOptions, Written, now, scale_of
from listener.sandbox.cluster.watching import lines

_log = logging.getLogger(__name__)

BODY_LIMIT = 3 * 1024 * 1024  # what a real server takes
_OBJECTS = frozenset({"Table", "PartialObjectMetadata"})
_LISTS = frozenset({"Table", "PartialObjectMetadataList"})
_TOKEN_SECONDS, _SHORTEST_TOKEN_SECONDS = 3600, 600
_HEALTH = frozenset({"/healthz", "/livez", "/readyz"})
_encode = msgspec.json.Encoder().encode


class Server:
    """Answers requests. `served` counts them, watches when they begin."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        verbs: Verbs,
        admission: Admission,
        users: Users,
        bookmark_seconds: float,
        new_kind_seconds: float,
    ) -> None:
        self.served = 0
        self.faults = Faults(self._wake_watches)
        self._store = store
        self._catalog = catalog
        self._verbs = verbs
        self._admission = admission
        self._imports = Imports(verbs)
        self._users = users
        self.rights = Rights(store)
        self._bookmark_seconds = bookmark_seconds
        self._new_kind_seconds = new_kind_seconds
        self._closing = asyncio.Event()
        self._openapi_documents: dict[str, bytes] = {}
        self._openapi_revision = 0

    def close(self) -> None:
        """End the running watches, so that their connections can be closed."""
        self._closing.set()
        self._wake_watches()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.served += 1
        try:
            return await self._answer(request)
        except ApiError as error:
            return _refusal(error)
        except web.HTTPRequestEntityTooLarge:
            return _refusal(ApiError(413, f"Request entity too large: limit is {BODY_LIMIT}"))
        except ConnectionError:
            raise  # the client went away in the middle of a watch; aiohttp knows what to do
        except Exception as error:
            _log.exception("sandbox cluster failed to answer %s %s", request.method, request.path)
            return _refusal(status.internal(repr(error)))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        admitted = access.admitted(request.headers.get("Authorization", ""), request.path, self._users.of)
        if admitted is None:
            raise access.unauthorized()
        user, path = admitted
        if user is not ADMIN:
            self.rights.check(user, rights.asked(request.method, path, request.query))
        if path.startswith(("/api/", "/apis/")):
            try:
                asked = requests.target(self._catalog, path)
            except ApiError:
                return self._unknown(path)
            if asked is not None:
                return await self._resource(request, asked, user)
        if path == "/sandbox/faults":
            return await self._faults(request)
        if request.method != "GET":
            raise status.method_not_allowed()
        return self._document(request, path.rstrip("/") or "/")

    # Documents: discovery, OpenAPI, health.

    def _document(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if path in _HEALTH:
            return web.Response(text="ok")
        if path == "/version":
            return _json(discovery.VERSION)
        found: Any = None
        if path in {"/api", "/apis"}:
            answer = requests.negotiate(request.headers.get("Accept", ""), frozenset({"APIGroupDiscoveryList"}))
            if answer.shape == "APIGroupDiscoveryList":
                body = _encode(discovery.aggregated(self._catalog, core=path == "/api"))
                content_type = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
                return web.Response(body=body, headers={"Content-Type": content_type})
            found = discovery.versions(request.host) if path == "/api" else discovery.groups(self._catalog)
        elif path == "/openapi/v2":
            return _openapi_v2(request.headers.get("Accept", ""))
        elif path == "/openapi/v3" or path.startswith("/openapi/v3/"):
            return self._openapi(path)
        else:
            parts = path.strip("/").split("/")
            if parts[0] == "api" and len(parts) == 2:
                found = discovery.resources(self._catalog, "", parts[1])
            elif parts[0] == "apis" and len(parts) == 2:
                found = discovery.group(self._catalog, parts[1])
            elif parts[0] == "apis" and len(parts) == 3:
                found = discovery.resources(self._catalog, parts[1], parts[2])
        return self._unknown(path) if found is None else _json(found)

    def _openapi(self, path: str) -> web.StreamResponse:
        """Answer with the index or one document. Costly to make, each is kept until another type is served."""
        if self._openapi_revision != self._catalog.revision:
            self._openapi_revision = self._catalog.revision
            self._openapi_documents.clear()
        body = self._openapi_documents.get(path)
        if body is None:
            found = self._openapi_document(path.removeprefix("/openapi/v3").strip("/"))
            if found is None:
                return self._unknown(path)
            body = self._openapi_documents[path] = _encode(found)
        return web.Response(body=body, headers={**_HEADERS, "ETag": openapi.etag(body)})

    def _openapi_document(self, path: str) -> Any:
        if not path:
            groups = self._catalog.groups()
            return openapi.v3_index((group, version) for group, versions in groups.items() for version in versions)
        root, _, rest = path.partition("/")
        group, _, version = rest.rpartition("/")
        served = self._catalog.of(group, version)
        if not served or (root == "api") is not (group == ""):
            return None
        return openapi.v3_document(group, version, [_described(each) for each in served])

    def _unknown(self, path: str) -> web.StreamResponse:
        """Answer for what is not served: a built-in group refuses with a Status, everywhere else there is no one to
        write one.
        """
        parts = path.strip("/").split("/")
        if parts[0] == "api" or (parts[0] == "apis" and self._catalog.is_builtin_group("".join(parts[1:2]))):
            return _refusal(status.not_served())
        return web.Response(status=404, text="404 page not found\n")

    async def _faults(self, request: web.BaseRequest) -> web.StreamResponse:
        match request.method:
            case "GET":
                pass
            case "PUT":
                try:
                    plan = faults.read_plan(await request.read())
                except msgspec.MsgspecError as error:
                    raise status.bad_request(f"the plan of faults is refused: {error}") from None
                self.faults.set(plan.faults, plan.seed)
            case "DELETE":
                self.faults.clear()
            case _:
                raise status.method_not_allowed()
        return _json(self.faults.shown())

    # Objects.

    async def _resource(self, request: web.BaseRequest, asked: Target, user: User) -> web.StreamResponse:
        query = request.query
        verb = requests.verb(request.method, asked, query)
        call = Call(verb, asked.resource.plural, asked.subresource or "", asked.namespace or "", asked.name or "")
        if self.faults.active:
            await self._strike(request, call)
        if verb == "watch":
            return await self._watch(request, asked, call)
        if verb == "list":
            return self._list(request, asked)
        body = await request.read()
        match verb:
            case "get":
                return self._get(request, asked)
            case "create":
                return await self._create(request, asked, body, user)
            case "update" | "patch":
                return await self._change(request, asked, verb, body, user)
            case "delete":
                return await self._delete(request, asked, body, user)
        return await self._delete_all(request, asked, body, user)

    def _get(self, request: web.BaseRequest, asked: Target) -> web.StreamResponse:
        answer = requests.negotiate(request.headers.get("Accept", ""), _OBJECTS)
        resource = asked.resource
        entry = self._verbs.get(resource, asked.namespace or "", asked.name or "")
        if asked.subresource == "scale":
            return _reply(_encode(scale_of(resource, self._verbs.load(resource, entry))), answer)
        return _reply(_shaper(resource, answer, request.query).one(entry), answer)

    def _list(self, request: web.BaseRequest, asked: Target) -> web.StreamResponse:
        answer = requests.negotiate(request.headers.get("Accept", ""), _LISTS)
        selection = requests.selection(asked, request.query)
        found = page(self._store, selection, requests.list_query(request.query))
        return _reply(_shaper(asked.resource, answer, request.query).many(found), answer)

    async def _create(self, request: web.BaseRequest, asked: Target, body: bytes, user: User) -> web.StreamResponse:
        answer = requests.negotiate(request.headers.get("Accept", ""), _OBJECTS)
        resource = asked.resource
        if asked.subresource:
            resource = resource.posted(asked.subresource)
        options = _write_options("CreateOptions", request, user)
        given = requests.document(body, request.headers.get("Content-Type", ""), resource.kind)
        obj = requests.checked_type(resource, given, body)
        if resource == IMPORTS:
            return _json(await self._imports.answer(asked.namespace or "", obj), 201)
        if resource.verbs == ("create",):
            return _json(rights.review(resource.kind, obj, now(), user, self.rights), 201)
        if asked.subresource == "token":
            return _json(self._token(asked, obj), 201)
        if asked.subresource:
            builds, written = self._verbs.instantiate(resource, asked.namespace or "", obj, options)
            return self._written(request, Target(builds, asked.namespace), answer, written)
        if self._new_kind_seconds and resource.custom and self._verbs.age_seconds(resource) < self._new_kind_seconds:
            await asyncio.sleep(self._new_kind_seconds)  # all of it, as `customresource_handler.go` does
        namespace = asked.namespace or ""
        written = await self._admission.write(lambda: self._verbs.propose_create(resource, namespace, obj, options))
        return self._written(request, asked, answer, written)

    def _token(self, asked: Target, given: Mapping[str, Any]) -> dict[str, Any]:
        """Make a token for a ServiceAccount."""
        account = self._verbs.get(asked.resource, asked.namespace or "", asked.name or "")
        spec, made = given.get("spec") or {}, datetime.now(UTC)
        seconds = spec.get("expirationSeconds") or _TOKEN_SECONDS
        if seconds < _SHORTEST_TOKEN_SECONDS:
            fault = field_errors.invalid(
                "spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes"
            )
            raise status.invalid("TokenRequest", "authentication.k8s.io", "", [fault])
        ends = (made + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            **given,
            "metadata": {"name": account.name, "namespace": account.namespace, "creationTimestamp": now()},
            "spec": {"audiences": [], "boundObjectRef": None, **spec, "expirationSeconds": seconds},
            "status": {"token": self._users.issue(account, seconds), "expirationTimestamp": ends},
        }

    async def _change(
        self, request: web.BaseRequest, asked: Target, verb: str, body: bytes, user: User
    ) -> web.StreamResponse:
        answer = requests.negotiate(request.headers.get("Accept", ""), _OBJECTS)
        resource, namespace, name = asked.resource, asked.namespace or "", asked.name or ""
        content_type = request.headers.get("Content-Type", "")
        if verb == "update":
            options = _write_options("UpdateOptions", request, user)
            obj = requests.document(body, content_type, resource.kind)
            if asked.subresource != "scale":
                obj = requests.checked_type(resource, obj, body)
            written = await self._admission.write(
                lambda: self._verbs.propose_update(resource, namespace, name, obj, options, asked.subresource)
            )
            return self._written(request, asked, answer, written)
        kind = PATCH_TYPES.get(content_type.partition(";")[0].strip())
        if kind is None or (kind == "strategic" and resource.custom and asked.subresource != "scale"):
            raise status.unknown_patch_format(custom=resource.custom)
        options = _write_options("PatchOptions", request, user, applies=kind == "apply")
        patch = requests.patch_document(body, kind)
        written = await self._admission.write(
            lambda: self._verbs.propose_patch(resource, namespace, name, kind, patch, options, asked.subresource)
        )
        return self._written(request, asked, answer, written)

    def _written(self, request: web.BaseRequest, asked: Target, answer: Answer, written: Written) -> web.StreamResponse:
        resource = asked.resource
        if asked.subresource == "scale":
            found = _encode(scale_of(resource, self._verbs.load(resource, written.entry)))
        else:
            found = _shaper(resource, answer, request.query).one(written.entry)
        response = _reply(found, answer, 201 if written.created else 200)
        _warn(response, written.warnings)
        return response

    async def _delete(self, request: web.BaseRequest, asked: Target, body: bytes, user: User) -> web.StreamResponse:
        options = _delete_options(request, body, user)
        answer = requests.negotiate(request.headers.get("Accept", ""), _OBJECTS)
        resource, namespace, name = asked.resource, asked.namespace or "", asked.name or ""
        warnings = await self._admission.delete(resource, namespace, name, options)
        written = self._verbs.delete(resource, namespace, name, options)
        if not written.gone or resource.storage in _RETURNED_WHOLE:
            response = _reply(_shaper(resource, answer, request.query).one(written.entry), answer)
        else:
            found = {**status.details(resource, name), "uid": written.entry.uid}
            response = _json(
                {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": found}
            )
        _warn(response, warnings)
        return response

    async def _delete_all(self, request: web.BaseRequest, asked: Target, body: bytes, user: User) -> web.StreamResponse:
        options = _delete_options(request, body, user)
        answer = requests.negotiate(request.headers.get("Accept", ""), _LISTS)
        selection = requests.selection(asked, request.query)
        found = page(self._store, selection, Query())
        warnings: list[str] = []
        for entry in found.entries:
            warnings += await self._admission.delete(
                asked.resource, entry.namespace, entry.name, options, in_collection=True
            )
        self._verbs.delete_all(found.entries, selection, options)
        response = _reply(_shaper(asked.resource, answer, request.query).many(found), answer)
        _warn(response, warnings)
        return response

    # Watches and faults.

    async def _watch(self, request: web.BaseRequest, asked: Target, call: Call) -> web.StreamResponse:
        answer = requests.negotiate(request.headers.get("Accept", ""), _OBJECTS)
        selection = requests.selection(asked, request.query)
        query = requests.watch_query(request.query)
        shaper = _shaper(asked.resource, answer, request.query)
        response = web.StreamResponse(headers=_HEADERS)
        response.enable_chunked_encoding()
        await response.prepare(request)
        async with aclosing(lines(self._store, selection, query, shaper, self._bookmark_seconds)) as stream:
            async for chunk in stream:
                if self._closing.is_set():
                    break
                if self.faults.active and await self._interrupt(request, response, call, chunk):
                    return response
                if chunk:
                    try:
                        await response.write(chunk)
                    except ConnectionResetError:  # the client is gone
                        break
        return response

    async def _interrupt(
        self, request: web.BaseRequest, response: web.StreamResponse, call: Call, chunk: bytes
    ) -> bool:
        """Strike a running watch before it sends `chunk`; tell whether that ended it."""
        kinds = faults.RUNNING if chunk else faults.RUNNING - {"cut"}
        fault = self.faults.take(call, kinds)
        if fault is None:
            return False
        match fault.fault:
            case "stall":
                await self._closing.wait()
            case "expired-event":
                expired = ApiError(410, "too old resource version: the sandbox was told to say so")
                await response.write(error_event(expired.status()))
            case "cut":
                await response.write(chunk[: (chunk.index(b"\n") + 1) // 2])
                if request.transport is not None:
                    request.transport.close()
            case _:
                _reset(request)
        return True

    async def _strike(self, request: web.BaseRequest, call: Call) -> None:
        slow = self.faults.take(call, frozenset({"latency"}))
        if slow is not None:
            await asyncio.sleep(slow.seconds)
        fault = self.faults.take(call, faults.OPENING)
        if fault is not None:
            raise _fault_error(request, fault, call)

    def _wake_watches(self) -> None:
        for collection in self._store.collections():
            collection.wake()


_HEADERS = {"Content-Type": "application/json", "Cache-Control": "no-cache, private"}
# A real server answers the deletion of these with the object that is gone, of others with a Status.
_RETURNED_WHOLE = frozenset({("", "pods"), ("", "services"), ("", "serviceaccounts")})


def _fault_error(request: web.BaseRequest, fault: Fault, call: Call) -> ApiError:
    named = Resource("", "v1", call.resource, call.resource, call.resource)
    match fault.fault:
        case "conflict":
            return status.conflict(named, call.name)
        case "throttle":
            return status.too_many_requests(fault.retry_after)
        case "deny":
            why = 'admission webhook "sandbox.example" denied the request: the sandbox was told to deny'
            return ApiError(403, why, reason="Forbidden")
        case "expired":
            return ApiError(410, "too old resource version: the sandbox was told to say so")
        case "reset":
            _reset(request)
    return status.internal("the sandbox was told to fail")


def _reset(request: web.BaseRequest) -> None:
    """Break the connection off with a TCP reset, without an answer."""
    transport = request.transport
    if isinstance(transport, asyncio.Transport):
        transport.abort()


def _openapi_v2(accept: str) -> web.Response:
    """Answer with an OpenAPI v2 document that describes nothing.

    kubectl asks for one, in protobuf, when it applies a manifest of kind List, and leaves to the server what it does
    not find there: the server checks each item anyway. In protobuf such a document is no bytes at all.
    """
    if "proto-openapi" in accept:
        return web.Response(
            body=b"", headers={"Content-Type": "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"}
        )
    info = {"title": "Kubernetes", "version": discovery.VERSION["gitVersion"]}
    return _json({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})


def _described(resource: Resource) -> openapi.ResourceInfo:
    return openapi.ResourceInfo(
        group=resource.group,
        version=resource.version,
        kind=resource.kind,
        plural=resource.plural,
        singular=resource.singular,
        namespaced=resource.namespaced,
        subresources=tuple(sorted(resource.subresources)),
        schema=resource.openapi,
    )


def _shaper(resource: Resource, answer: Answer, query: Mapping[str, str]) -> Shaper:
    return Shaper(resource, answer.shape, query.get("includeObject") or "Metadata")


def _write_options(kind: str, request: web.BaseRequest, user: User, *, applies: bool = False) -> WriteOptions:
    found = requests.write_options(kind, request.query, request.headers.get("User-Agent", ""), applies=applies)
    return replace(found, user=user)


def _delete_options(request: web.BaseRequest, body: bytes, user: User) -> DeleteOptions:
    found = requests.delete_options(body, request.headers.get("Content-Type", ""), request.query)
    return replace(found, user=user)


def _json(found: Any, code: int = 200) -> web.Response:
    return web.Response(status=code, body=_encode(found), headers=_HEADERS)


def _reply(body: bytes, answer: Answer, code: int = 200) -> web.Response:
    if answer.as_yaml:
        text = yaml.safe_dump(msgspec.json.decode(body), sort_keys=False)
        return web.Response(status=code, text=text, content_type="application/yaml")
    return web.Response(status=code, body=body, headers=_HEADERS)


def _refusal(error: ApiError) -> web.Response:
    response = web.Response(status=error.code, body=_encode(error.status()), headers=_HEADERS)
    retry_after = (error.details or {}).get("retryAfterSeconds")
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    _warn(response, error.warnings)
    return response


def _warn(response: web.Response, warnings: Iterable[str]) -> None:
    for header in warning_headers.headers(warnings):
        response.headers.add("Warning", header)
