"""Mutating admission: the webhooks that a write concerns are asked in turn, and may change it or refuse it.

The order is that of a real API server: configurations by name, webhooks as they are listed, and once more those that
want it where a later one changed the object. Nothing is locked while a webhook is called; a write whose object has
changed meanwhile is proposed anew and admitted anew. What no webhook concerns is written without waiting for anything.

Webhooks are asked about what clients write. The sandbox's own controllers write past them.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from listener.sandbox.cluster import cel, events, field_errors, patches, reviews, status, webhooks
from listener.sandbox.cluster.resources import ADMISSION, Resource
from listener.sandbox.cluster.reviews import CallFailed, Verdict
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.store import Change, Collection
from listener.sandbox.cluster.verbs import NAMESPACES, DeleteOptions, Proposal, Verbs, WriteOptions, Written, scale_of
from listener.sandbox.cluster.webhook_calls import WebhookClient
from listener.sandbox.cluster.webhooks import Hook, Request

Object = dict[str, Any]
CONFIGURATIONS = (ADMISSION, "mutatingwebhookconfigurations")


@dataclass(slots=True)
class _Round:
    """The asking about one write: the object as it stands, what users are to be told, and who is to be asked again.

    `patched` tells that a webhook has answered with a patch, though it may have changed nothing.
    """

    request: Request
    warnings: list[str] = field(default_factory=list)
    patched: bool = False
    asked: set[str] = field(default_factory=set)
    again: set[str] = field(default_factory=set)

    def changed(self, obj: Object) -> None:
        self.request = replace(self.request, obj=obj)
        self.again |= self.asked
        self.asked = set()


class Admission:
    """`services` is for webhooks behind a Service: see `WebhookClient`."""

    def __init__(self, verbs: Verbs, services: Mapping[str, str]) -> None:
        self._verbs = verbs
        self._client = WebhookClient(services)
        self._hooks: tuple[Hook, ...] = ()
        self._concerned: dict[tuple[Resource, str, str], tuple[tuple[Hook, Resource], ...]] = {}
        self._revision = 0
        verbs.store.observe(self._observe)

    async def close(self) -> None:
        await self._client.close()

    async def write(self, propose: Callable[[], Proposal]) -> Written:
        """Propose a write, let it be admitted, and commit it: from the newest object, as often as that takes.

        A refusal carries the warnings that were given until then.
        """
        proposal = propose()
        hooks = self._hooks and self._concerning(proposal.resource, proposal.subresource or "", proposal.operation)
        if not hooks:
            return self._verbs.commit(proposal)
        while True:
            reviewed = self._verbs.reviewed(proposal)
            asking = _Round(_request(reviewed))
            try:
                await self._ask(hooks, asking)
                if not self._verbs.is_stale(proposal):
                    return self._commit(reviewed, asking)
            except ApiError as error:
                error.warnings = (*reviewed.warnings, *asking.warnings)
                raise
            proposal = propose()
            # By now it may exist where it was to be created, and other webhooks may be there.
            hooks = self._concerning(proposal.resource, proposal.subresource or "", proposal.operation)

    async def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions, *, in_collection: bool = False
    ) -> tuple[str, ...]:
        """Let a deletion be admitted, and return the warnings. What is not there is for the verb to tell.

        Of a whole collection each object is asked about, but none is named.
        """
        hooks = self._hooks and self._concerning(resource, "", "DELETE")
        entry = hooks and self._verbs.store.collection(resource.storage).get(namespace, name)
        if not hooks or not entry:
            return ()
        old = self._verbs.load(resource, entry)
        given, shown = _delete_options(options), "" if in_collection else name
        asking = _Round(
            Request(resource, "", "DELETE", namespace, shown, None, old, given, options.dry_run, options.user)
        )
        try:
            await self._ask(hooks, asking)
        except ApiError as error:
            error.warnings = tuple(asking.warnings)
            raise
        return tuple(asking.warnings)

    def _commit(self, reviewed: Proposal, asking: _Round) -> Written:
        after, before = asking.request.obj or {}, reviewed.after
        proposal = reviewed if after is before else replace(reviewed, after=_addressed(reviewed, after))
        written = self._verbs.commit(proposal)
        return replace(written, warnings=(*written.warnings, *asking.warnings))

    # Who is asked.

    def _observe(self, collection: Collection, _change: Change) -> None:
        if collection.storage == CONFIGURATIONS:
            found = [entry.decode() for entry in collection.entries()]
            self._hooks = tuple(webhooks.read(found))
            self._concerned.clear()

    def _concerning(self, resource: Resource, subresource: str, operation: str) -> tuple[tuple[Hook, Resource], ...]:
        """Return the webhooks whose rules take such a write, each with the type as which it wants the object."""
        if self._revision != self._verbs.catalog.revision:
            self._revision = self._verbs.catalog.revision
            self._concerned.clear()
        key = resource, subresource, operation
        found = self._concerned.get(key)
        if found is None:
            exempt = webhooks.is_exempt(resource)
            found = () if exempt else tuple(self._match(resource, subresource, operation))
            self._concerned[key] = found
        return found

    def _match(self, resource: Resource, subresource: str, operation: str) -> Iterable[tuple[Hook, Resource]]:
        for hook in self._hooks:
            wanted = hook.resource_for(resource, subresource, operation, self._verbs.catalog)
            if wanted is not None:
                yield hook, wanted

    def _selects(self, hook: Hook, request: Request) -> bool:
        return hook.selects(request, self._namespace_labels(request))

    def _namespace_labels(self, request: Request) -> Mapping[str, str] | None:
        if request.resource.storage == NAMESPACES:
            return ((request.obj or request.old or {}).get("metadata") or {}).get("labels") or {}
        if not request.resource.namespaced:
            return None
        entry = self._verbs.store.collection(NAMESPACES).get("", request.namespace)
        return {} if entry is None else entry.labels or {}

    # The asking.

    async def _ask(self, hooks: tuple[tuple[Hook, Resource], ...], asking: _Round) -> None:
        for hook, wanted in hooks:
            await self._ask_one(hook, wanted, asking)
        if not asking.again:
            return
        for hook, wanted in hooks:
            if hook.key in asking.again:
                await self._ask_one(hook, wanted, asking)

    async def _ask_one(self, hook: Hook, wanted: Resource, asking: _Round) -> None:
        request = asking.request
        if not self._selects(hook, request):
            return
        obj, old = (_converted(each, request, wanted) for each in (request.obj, request.old))
        uid = str(uuid.uuid4())
        asked = reviews.attributes(request, wanted, uid)
        if not _meets(hook, request, asked, obj, old):
            return
        try:
            verdict = await self._call(hook, uid, asked, obj, old)
        except CallFailed as failed:
            if hook.fails:
                raise status.internal(f'failed calling webhook "{hook.name}": {failed}') from failed
            verdict = Verdict([], (), None)
        asking.warnings += verdict.warnings
        if verdict.refusal is not None:
            raise verdict.refusal
        if verdict.patch and obj is not None:
            after = self._patched(request, wanted, obj, verdict.patch)
            if after != obj or (not asking.patched and _has_new_time(request)):
                asking.changed(_converted(after, replace(request, resource=wanted), request.resource) or {})
            asking.patched = True
        if hook.again:
            asking.asked.add(hook.key)

    async def _call(self, hook: Hook, uid: str, asked: Object, obj: Object | None, old: Object | None) -> Verdict:
        version = reviews.version_for(hook)
        body = msgspec.json.encode(reviews.review(version, asked, obj, old))
        return reviews.verdict(hook, version, uid, await self._client.call(hook, body))

    def _patched(self, request: Request, wanted: Resource, obj: Object, patch: list[Object]) -> Object:
        """Apply a webhook's patch. One that does not apply is an error whatever the failure policy, as it is there."""
        after = obj
        for operation in patch:
            try:
                after = patches.json_patch(after, [operation])
            except patches.PatchFailed as failed:
                raise status.internal(_inapplicable(operation, after)) from failed
        if not isinstance(after.setdefault("metadata", {}), dict):
            raise status.internal("json: cannot unmarshal into Go struct field .metadata of type v1.ObjectMeta")
        return after if request.subresource == "scale" else self._verbs.completed(wanted, after)


def _has_new_time(request: Request) -> bool:
    """Tell whether the write makes or renews an entry of managedFields, which owns what it adds and what it changes.

    On a real server its time has nanoseconds, which are lost as soon as a patch is applied: the first patch is a change
    for that alone. Custom objects have times without.
    """
    obj = request.obj or {}
    if request.resource.custom or not (request.subresource == "scale" or obj["metadata"].get("managedFields")):
        return False
    return request.old is None or _adds(_unmanaged(request.old), _unmanaged(obj))


def _unmanaged(obj: Object) -> Object:
    metadata = obj["metadata"]
    return {**obj, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def _adds(before: Any, after: Any) -> bool:
    if isinstance(before, dict) and isinstance(after, dict):
        return any(name not in before or _adds(before[name], value) for name, value in after.items())
    return bool(before != after)


def _addressed(reviewed: Proposal, after: Object) -> Object:
    """Return what webhooks made of an object, which is still of the same type and at the same place.

    Who owns its fields is settled: what webhooks change has no owner of its own.
    """
    before, resource = reviewed.after, reviewed.resource
    if reviewed.subresource == "scale":
        return after
    metadata = dict(after["metadata"])
    metadata.pop("managedFields", None)
    if "managedFields" in before["metadata"]:
        metadata["managedFields"] = before["metadata"]["managedFields"]
    if resource.namespaced:
        namespace = before["metadata"]["namespace"]
        if metadata.setdefault("namespace", namespace) != namespace:
            why = "the namespace of the provided object does not match the namespace sent on the request"
            raise status.bad_request(why)
    name, given = metadata.get("name", ""), before["metadata"].get("name", "")
    if reviewed.entry is not None and name != given:
        fault = field_errors.invalid("metadata.name", name, "field is immutable")
        raise status.invalid(resource.kind, resource.group, given, [fault])
    return {**after, "kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}


def _meets(hook: Hook, request: Request, asked: Object, obj: Object | None, old: Object | None) -> bool:
    """Evaluate the match conditions. One that is false decides; else an error does, as the failure policy says."""
    if not hook.conditions:
        return True
    shown = {name: value for name, value in asked.items() if name != "uid"}
    scope = {"object": obj, "oldObject": old, "request": shown}
    errors = []
    for condition in hook.conditions:
        try:
            if not condition.expression.evaluate(scope):
                return False
        except cel.EvaluationError as error:
            errors.append(f"expression '{condition.expression.text}' resulted in error: {error}")
    if errors and hook.fails:
        told = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
        raise status.forbidden(request.resource, request.name, told)
    return not errors


def _inapplicable(operation: Object, obj: Object) -> str:
    """Say why an operation does not apply, as the library of the real server does."""
    kind, path = operation.get("op", ""), operation.get("path", "")
    if kind not in {"add", "copy", "move", "remove", "replace", "test"}:
        return f"Unexpected kind: {kind}"
    if kind == "test":
        return f"testing value {path} failed: test failed"
    if kind == "replace":
        return f"replace operation does not apply: doc is missing path: {path}: missing value"
    holder, _, name = path.rpartition("/")
    if kind == "remove" and _is_there(obj, holder):
        return f"error in remove for path: '{path}': Unable to remove nonexistent key: {name}: missing value"
    return f'{kind} operation does not apply: doc is missing path: "{path}": missing value'


def _is_there(obj: Object, path: str) -> bool:
    at: Any = obj
    for step in path.split("/")[1:]:
        at = at.get(step) if isinstance(at, dict) else None
    return at is not None


def _converted(obj: Object | None, request: Request, wanted: Resource) -> Object | None:
    """Return an object of the request's type as another version of it shows it."""
    given = request.resource
    if obj is None or wanted is given or request.subresource == "scale":
        return obj
    if given.storage == ("", "events"):
        obj = events.outward(obj) if wanted.group else events.inward(obj)
    return {**obj, "kind": wanted.kind, "apiVersion": wanted.api_version}


def _request(proposal: Proposal) -> Request:
    resource, metadata, options = proposal.resource, proposal.after["metadata"], proposal.options
    old = proposal.before
    namespace = metadata.get("namespace", "")
    name = metadata.get("name", "")
    if proposal.entry is not None:
        namespace, name = proposal.entry.key
    if proposal.subresource == "scale" and old is not None:
        old = scale_of(resource, old)
    return Request(
        resource,
        proposal.subresource or "",
        proposal.operation,
        namespace,
        name,
        proposal.after,
        old,
        _write_options(proposal.operation, options),
        options.dry_run,
        options.user,
    )


def _write_options(operation: str, options: WriteOptions) -> Object:
    kind = "CreateOptions" if operation == "CREATE" else "UpdateOptions"
    dry_run = {"dryRun": ["All"]} if options.dry_run else {}
    return {"kind": kind, "apiVersion": "meta.k8s.io/v1", **dry_run, **dict(options.named)}


def _delete_options(options: DeleteOptions) -> Object:
    preconditions = {
        name: value for name, value in (("uid", options.uid), ("resourceVersion", options.resource_version)) if value
    }
    return {
        "kind": "DeleteOptions",
        "apiVersion": "meta.k8s.io/v1",
        **({"preconditions": preconditions} if preconditions else {}),
        **({"propagationPolicy": options.propagation} if options.propagation else {}),
        **({"dryRun": ["All"]} if options.dry_run else {}),
    }
