"""The verbs on single objects: get, create, update, patch, apply, delete, and the status and scale subresources.

One write is one pass through the same doors, in the order of a real server: decode, unknown fields, defaults, the
server's own fields, validation, field managers, storage. A write that changes nothing stores nothing. Synchronous, so a
verb is atomic in the event loop. Knows no HTTP.

A write that webhooks are asked about comes in two halves, for they take time: what is proposed, and its commit. Between
them `reviewed` shows it as it stands at the door of admission, and `is_stale` tells whether to propose it anew.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from listener.sandbox.cluster import apply, builds, custom, events, field_errors, patches, schema, status, strategies
from listener.sandbox.cluster.access import ADMIN, User
from listener.sandbox.cluster.definitions import validate_crd
from listener.sandbox.cluster.field_errors import FieldError
from listener.sandbox.cluster.listing import Selection
from listener.sandbox.cluster.resources import Catalog, Resource, ScalePaths
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.store import Entry, Object, Store

NAMESPACES = ("", "namespaces")
STREAMS = ("image.openshift.io", "imagestreams")
BUILD_CONFIGS, BUILDS = ("build.openshift.io", "buildconfigs"), ("build.openshift.io", "builds")
DEFINITIONS = ("apiextensions.k8s.io", "customresourcedefinitions")
PROTECTED = frozenset({"default", "kube-system", "kube-public"})
FOREGROUND = "foregroundDeletion"

FieldValidation = Literal["Ignore", "Warn", "Strict"]
PatchKind = Literal["json", "merge", "strategic", "apply"]


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """`named` are those that the client named itself, as its options object would hold them; `user` is who writes."""

    manager: str = "unknown"
    dry_run: bool = False
    field_validation: FieldValidation = "Warn"
    force: bool = False
    named: tuple[tuple[str, str], ...] = ()
    user: User = ADMIN


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """`propagation` None leaves it to the type, which for every type here means background."""

    dry_run: bool = False
    propagation: Literal["Orphan", "Background", "Foreground"] | None = None
    uid: str | None = None
    resource_version: str | None = None
    user: User = ADMIN


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left.

    `entry` is what is stored, or would be in a dry run. `gone` tells that the object was removed by it.
    """

    entry: Entry
    created: bool = False
    gone: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Proposal:
    """A write under way: what is stored, what shall be, and by which door it came.

    `entry` and `before` are None for an object that is to be created. With the subresource `scale`, `after` is a Scale.
    `tracked` tells that the managedFields of `after` are those to be stored.
    """

    resource: Resource
    entry: Entry | None
    before: Object | None
    after: Object
    options: WriteOptions
    subresource: str | None = None
    patch: bool = False
    applied: bool = False
    tracked: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def operation(self) -> Literal["CREATE", "UPDATE"]:
        return "CREATE" if self.before is None else "UPDATE"


class Verbs:
    def __init__(self, store: Store, catalog: Catalog) -> None:
        self.store = store
        self.catalog = catalog

    def get(self, resource: Resource, namespace: str, name: str) -> Entry:
        entry = self.store.collection(resource.storage).get(namespace, name)
        if entry is None:
            raise status.not_found(resource, name)
        return entry

    def age_seconds(self, resource: Resource) -> float:
        """Return for how long a custom type has been served."""
        entry = self.store.collection(DEFINITIONS).get("", f"{resource.plural}.{resource.group}")
        return custom.age_seconds(entry.decode(), datetime.now(UTC)) if entry else math.inf

    def create(self, resource: Resource, namespace: str, obj: Object, options: WriteOptions) -> Written:
        return self.commit(self.propose_create(resource, namespace, obj, options))

    def propose_create(self, resource: Resource, namespace: str, obj: Object, options: WriteOptions) -> Proposal:
        obj = self._addressed(resource, namespace, obj)
        if obj["metadata"].get("resourceVersion"):
            raise ApiError(500, "resourceVersion should not be set on objects to be created", reason="")
        obj, warnings = self._decoded(resource, obj, options)
        self._require_namespace(resource, namespace, obj["metadata"].get("name", ""))
        return Proposal(resource, None, None, obj, options, warnings=warnings)

    def propose_update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        obj: Object,
        options: WriteOptions,
        subresource: str | None = None,
    ) -> Proposal:
        """Replace an object, or with a subresource its status, or its scale: then `obj` is a Scale."""
        obj = self._addressed(resource, namespace, obj, name)
        entry = self.get(resource, namespace, name)
        before = self.load(resource, entry)
        if subresource == "scale":
            return Proposal(resource, entry, before, obj, options, subresource)
        if not resource.unconditional and not obj["metadata"].get("resourceVersion"):
            missing = field_errors.invalid("metadata.resourceVersion", 0, "must be specified for an update")
            raise status.invalid(resource.plural, resource.group, name, [missing])
        return Proposal(resource, entry, before, obj, options, subresource)

    def propose_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        kind: PatchKind,
        patch: Any,
        options: WriteOptions,
        subresource: str | None = None,
    ) -> Proposal:
        """Patch an object. An apply patch creates it where it is missing."""
        if kind == "apply":
            return self._propose_apply(resource, namespace, name, patch, options, subresource)
        entry = self.get(resource, namespace, name)
        before = self.load(resource, entry)
        target = _scale_of(resource, before) if subresource == "scale" else before
        after = _patched(kind, target, patch)
        if subresource != "scale":
            after = self._addressed(resource, namespace, after, name)
        return Proposal(resource, entry, before, after, options, subresource, patch=True)

    def reviewed(self, proposal: Proposal) -> Proposal:
        """Return the proposal as webhooks are shown it: decoded, with its defaults, and its managedFields settled.

        What the server adds on its way into the store, a uid for one, is not there yet: neither is it on a real server.
        """
        resource, before, options = proposal.resource, proposal.before, proposal.options
        if proposal.subresource == "scale":
            return replace(proposal, after=strategies.scale(proposal.after))
        after, warnings = proposal.after, proposal.warnings
        if before is not None:
            after, warnings = self._decoded(resource, after, options, old=before, patch=proposal.patch)
            warnings = (*proposal.warnings, *warnings)
        after = self._defaulted(resource, after, before)
        after = {**after, "metadata": dict(after["metadata"])}
        strategies.convert(resource, after)
        if not proposal.tracked:
            prepared, moment = {**after, "metadata": dict(after["metadata"])}, now()
            if before is None:
                strategies.prepare_create(resource, prepared, moment)
            else:
                strategies.prepare_update(resource, before, prepared, proposal.subresource)
            tracked = self._tracked(resource, before, prepared, options, proposal.subresource, moment)
            after["metadata"]["managedFields"] = tracked["metadata"].get("managedFields", [])
        if before is None:
            strategies.admit(resource, after)
        return replace(proposal, after=after, tracked=True, warnings=warnings)

    def completed(self, resource: Resource, obj: Object) -> Object:
        """Return what a webhook made of an object as Go would have decoded it, with its defaults. Raises 500."""
        rules = _schema(resource)
        if rules is None:
            return obj
        why = rules.decode_error(obj)
        if why is not None:
            raise status.internal(why)
        return self._defaulted(resource, rules.prune(obj))

    def is_stale(self, proposal: Proposal) -> bool:
        """Tell whether the object has changed since the proposal was made, which then starts from what is no more."""
        if proposal.entry is None and not proposal.applied:
            return False  # whoever was faster: the commit says that the name is taken
        resource, metadata = proposal.resource, proposal.after["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata.get("name", "")
        if proposal.entry is not None:
            namespace, name = proposal.entry.key
        return self.store.collection(resource.storage).get(namespace, name) is not proposal.entry

    def commit(self, proposal: Proposal) -> Written:
        """Store what is proposed. Nothing may have come between: see `is_stale`."""
        if proposal.before is None or proposal.entry is None:
            return self._create(proposal)
        if proposal.subresource == "scale":
            return self._scale(proposal, proposal.entry, proposal.before)
        return self._update(proposal, proposal.entry, proposal.before)

    def instantiate(
        self, requested: Resource, namespace: str, request: Object, options: WriteOptions
    ) -> tuple[Resource, Written]:
        """Make a Build of the BuildConfig that a BuildRequest names; return it, with its type.

        First the BuildConfig remembers it, then there is a Build: as OpenShift does it, so that of two who ask at once
        only one is served.
        """
        request = self._addressed(requested, namespace, request)
        request, warnings = self._decoded(requested, request, options)
        name = request["metadata"].get("name")
        if not name:
            missing = field_errors.required("metadata.name", "name or generateName is required")
            raise status.invalid(requested.kind, requested.group, "", [missing])
        configs, made = self.catalog.builtin(*BUILD_CONFIGS), self.catalog.builtin(*BUILDS)
        entry = self.get(configs, namespace, name)
        before = self.load(configs, entry)
        config, build = builds.instantiate(before, request, self._stream, now())
        if not options.dry_run:
            config = {**config, "metadata": dict(config["metadata"])}
            strategies.prepare_update(configs, before, config, None)
            self._put(configs, config)
        return made, self._create(Proposal(made, None, None, build, options, warnings=warnings))

    def delete(self, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Written:
        """Delete an object, or begin to: while finalizers are left it stays, marked, and `gone` is False."""
        entry = self.get(resource, namespace, name)
        _check_preconditions(resource, entry, options)
        if resource.storage == NAMESPACES and name in PROTECTED:
            raise status.forbidden(resource, name, "this namespace may not be deleted")
        obj = self.load(resource, entry)
        if options.dry_run:
            return Written(entry, gone=True)
        metadata = obj["metadata"]
        finalizers = list(metadata.get("finalizers") or ())
        if options.propagation == "Orphan":
            self._orphan(entry.uid)
        if options.propagation == "Foreground" and self.store.dependents(entry.uid) and FOREGROUND not in finalizers:
            finalizers.append(FOREGROUND)
        if not finalizers and resource.storage != NAMESPACES:
            return Written(self.remove(resource, entry, obj), gone=True)
        if metadata.get("deletionTimestamp") and finalizers == (metadata.get("finalizers") or []):
            return Written(entry)
        metadata.setdefault("deletionTimestamp", now())
        if finalizers:
            metadata["finalizers"] = finalizers
        if resource.storage == NAMESPACES:
            obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        else:
            metadata.setdefault("deletionGracePeriodSeconds", 0)
            if "generation" in metadata:
                metadata["generation"] += 1
        return Written(self._put(resource, obj))

    def delete_all(self, entries: Iterable[Entry], selection: Selection, options: DeleteOptions) -> list[Entry]:
        """Delete each of the entries that is still there, and return those that were."""
        found = []
        for entry in entries:
            if self.store.collection(selection.resource.storage).get(*entry.key) is not None:
                self.delete(selection.resource, entry.namespace, entry.name, options)
                found.append(entry)
        return found

    def remove(self, resource: Resource, entry: Entry, obj: Object) -> Entry:
        """Take an object away for good, finalizers or not. With a definition go all its objects."""
        last = self.store.remove(resource.storage, entry, self._stored(resource, obj))
        if resource.storage == DEFINITIONS:
            self._withdraw(obj)
        return last

    def write_back(self, resource: Resource, entry: Entry, obj: Object) -> Entry:
        """Store what a controller made of an object, without the doors that clients pass. `obj` came from `load`."""
        return self._put(resource, obj) if _differs(self.load(resource, entry), obj) else entry

    def load(self, resource: Resource, entry: Entry) -> Object:
        """Return an object as this type and version shows it, decoded anew."""
        obj = {"kind": resource.kind, "apiVersion": resource.api_version, **entry.decode()}
        return events.outward(obj) if _is_new_event(resource) else obj

    def _put(self, resource: Resource, obj: Object) -> Entry:
        return self.store.put(resource.storage, self._stored(resource, obj))

    def _stored(self, resource: Resource, obj: Object) -> Object:
        return events.inward(obj) if _is_new_event(resource) else obj

    def _addressed(self, resource: Resource, namespace: str, obj: Object, name: str | None = None) -> Object:
        """Return a shallow copy that may be changed at its top and in `metadata`, checked against the URL."""
        metadata = obj.get("metadata")
        if metadata is None:
            metadata = {}
        if not isinstance(metadata, dict):
            field = f"{resource.kind}.metadata of type v1.ObjectMeta"
            why = f"json: cannot unmarshal {_json_type(metadata)} into Go struct field {field}"
            raise status.cannot_be_handled(resource.version, resource.kind, why)
        if resource.namespaced and metadata.get("namespace") not in {None, "", namespace}:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        given = metadata.get("name")
        if name is not None and given not in {None, "", name}:
            raise status.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")
        metadata = dict(metadata)
        if name is not None:
            metadata["name"] = name
        if resource.namespaced:
            metadata["namespace"] = namespace
        else:
            metadata.pop("namespace", None)
        return {**obj, "metadata": metadata}

    def _decoded(
        self,
        resource: Resource,
        obj: Object,
        options: WriteOptions,
        *,
        old: Object | None = None,
        patch: bool = False,
    ) -> tuple[Object, tuple[str, ...]]:
        """Return the object as Go would have decoded it, and the warnings about what it would have dropped."""
        rules = _schema(resource)
        if rules is None:
            return obj, ()
        known: dict[str, Any] = {} if old is None else {"old": old}
        why = rules.decode_error(obj, **known)
        if why is not None:
            raise _undecodable(resource, obj, why, patch=patch)
        warnings: tuple[str, ...] = ()
        if options.field_validation != "Ignore":
            warnings = tuple(f'unknown field "{path}"' for path in rules.unknown_fields(obj, **known))
            if warnings and options.field_validation == "Strict":
                raise _undecodable(resource, obj, f"strict decoding error: {', '.join(warnings)}", patch=patch)
        return rules.prune(obj, **known), warnings

    def _defaulted(self, resource: Resource, obj: Object, old: Object | None = None) -> Object:
        known: dict[str, Any] = {} if old is None else {"old": old}
        if resource.storage == DEFINITIONS:
            obj = custom.defaulted(obj)
        if resource.schema is not None:
            return resource.schema.default(obj, **known)
        return schema.default_builtin(obj, **known)

    def _validate(self, resource: Resource, obj: Object, old: Object | None) -> None:
        faults: list[FieldError] = list(
            strategies.metadata_faults(resource, obj["metadata"], before=None if old is None else old["metadata"])
        )
        if resource.schema is not None:
            faults += resource.schema.validate(obj) if old is None else resource.schema.validate(obj, old=old)
        else:
            faults += schema.validate_builtin(obj, old)
        if resource.storage == DEFINITIONS:
            faults += validate_crd(obj)
            faults = faults or list(custom.faults(obj))
        if faults:
            # Events of either version are validated as those of v1.
            group = "" if _is_new_event(resource) else resource.group
            raise status.invalid(resource.kind, group, obj["metadata"].get("name", ""), faults)

    def _name(self, resource: Resource, metadata: Object) -> None:
        prefix = metadata.get("generateName")
        if metadata.get("name") or not isinstance(prefix, str) or not prefix:
            return
        collection, namespace = self.store.collection(resource.storage), metadata.get("namespace", "")
        metadata["name"] = strategies.generated_name(prefix)
        while collection.get(namespace, metadata["name"]) is not None:
            metadata["name"] = strategies.generated_name(prefix)

    def _require_namespace(self, resource: Resource, namespace: str, name: str) -> None:
        if not resource.namespaced:
            return
        entry = self.store.collection(NAMESPACES).get("", namespace)
        if entry is None:
            raise status.namespace_not_found(namespace)
        if "deletionTimestamp" in entry.decode()["metadata"]:
            raise status.terminating(resource, name, namespace)

    def _create(self, proposal: Proposal) -> Written:
        resource, obj, options, warnings = proposal.resource, proposal.after, proposal.options, proposal.warnings
        managed_fields = (obj["metadata"].get("managedFields") or []) if proposal.tracked else None
        moment = now()
        obj = self._defaulted(resource, obj)
        obj = {**obj, "metadata": dict(obj["metadata"])}
        self._name(resource, obj["metadata"])
        strategies.prepare_create(resource, obj, moment)
        written = {**obj, "metadata": dict(obj["metadata"])}
        strategies.complete_create(resource, obj)
        self._validate(resource, obj, None)
        metadata = obj["metadata"]
        if self.store.collection(resource.storage).get(metadata.get("namespace", ""), metadata["name"]) is not None:
            raise status.already_exists(resource, metadata["name"])
        if managed_fields is None:
            tracked = self._tracked(resource, None, written, options, None, moment)
            managed_fields = tracked["metadata"].get("managedFields", [])
        if managed_fields:
            metadata["managedFields"] = managed_fields
        if resource.storage == DEFINITIONS:
            obj = custom.accepted(obj, moment)
            self._refuse_unheld(obj)
        if options.dry_run:
            return Written(self.store.draft(self._stored(resource, obj)), created=True, warnings=warnings)
        entry = self._put(resource, obj)
        if resource.storage == DEFINITIONS:
            self._serve(obj)
        return Written(entry, created=True, warnings=warnings)

    def _update(self, proposal: Proposal, entry: Entry, before: Object) -> Written:
        resource, after, options, subresource = (
            proposal.resource,
            proposal.after,
            proposal.options,
            proposal.subresource,
        )
        _check_version(resource, entry, after["metadata"])
        after, warnings = self._decoded(resource, after, options, old=before, patch=proposal.patch)
        warnings = (*proposal.warnings, *warnings)
        after = self._defaulted(resource, after, before)
        after = {**after, "metadata": dict(after["metadata"])}
        strategies.prepare_update(resource, before, after, subresource)
        self._validate(resource, after, before)
        if not proposal.tracked:
            after = self._tracked(resource, before, after, options, subresource, now())
        if resource.storage == DEFINITIONS and subresource is None:
            after = custom.accepted(after, now())
            self._refuse_unheld(after)
        if not _differs(before, after):
            return Written(entry, warnings=warnings)
        if options.dry_run:
            return Written(self._draft(resource, entry, after), warnings=warnings)
        metadata = after["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("finalizers") and resource.storage != NAMESPACES:
            # What is answered is the last state that was stored, without the finalizers: as the real server does.
            gone = self._draft(resource, entry, after)
            self.remove(resource, entry, after)
            return Written(gone, gone=True, warnings=warnings)
        stored = self._put(resource, after)
        if resource.storage == DEFINITIONS:
            self._serve(after)
        return Written(stored, warnings=warnings)

    def _draft(self, resource: Resource, entry: Entry, obj: Object) -> Entry:
        metadata = {**obj["metadata"], "resourceVersion": str(entry.revision)}
        return self.store.draft(self._stored(resource, {**obj, "metadata": metadata}))

    def _propose_apply(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        applied: Any,
        options: WriteOptions,
        subresource: str | None,
    ) -> Proposal:
        _check_applied_type(resource, applied, subresource)
        entry = self.store.collection(resource.storage).get(namespace, name)
        if subresource == "scale":
            entry = self.get(resource, namespace, name)
            return Proposal(resource, entry, self.load(resource, entry), applied, options, subresource)
        if entry is None and subresource is not None:
            raise status.not_found(resource, name)
        applied = self._addressed(resource, namespace, applied, name)
        if entry is None:
            self._require_namespace(resource, namespace, name)
        applied, warnings = self._decoded(resource, applied, options)
        before = None if entry is None else self.load(resource, entry)
        if subresource is None and resource.status:
            applied = {key: value for key, value in applied.items() if key != "status"}
        if subresource == "status":
            kept = {key: value for key, value in applied["metadata"].items() if key in {"name", "namespace", "uid"}}
            applied = {key: applied[key] for key in ("kind", "apiVersion", "status") if key in applied} | {
                "metadata": kept
            }
        try:
            after = apply.apply(
                before,
                applied,
                manager=options.manager,
                force=options.force,
                schema=_schema(resource),
                now=now(),
                subresource=subresource or "",
            )
        except apply.Conflicts as conflicts:
            raise _apply_conflict(conflicts) from None
        after = {**after, "metadata": dict(after["metadata"])}
        # The warnings are about what was applied: what it is merged with has gone through these doors before.
        options = replace(options, field_validation="Ignore")
        return Proposal(
            resource,
            entry,
            before,
            after,
            options,
            subresource,
            patch=True,
            applied=True,
            tracked=True,
            warnings=warnings,
        )

    def _tracked(
        self,
        resource: Resource,
        before: Object | None,
        after: Object,
        options: WriteOptions,
        subresource: str | None,
        moment: str,
    ) -> Object:
        return apply.track(
            before,
            after,
            manager=options.manager,
            operation="Update",
            subresource=subresource or "",
            api_version=resource.api_version,
            now=moment,
            schema=_schema(resource),
        )

    def _scale(self, proposal: Proposal, entry: Entry, before: Object) -> Written:
        resource, scale = proposal.resource, proposal.after
        paths = resource.scale
        if paths is None:
            raise status.not_served()
        wanted = (scale.get("spec") or {}).get("replicas", 0)
        if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 0:
            fault = field_errors.invalid("spec.replicas", wanted, "must be greater than or equal to 0")
            raise status.invalid("Scale", "autoscaling", entry.name, [fault])
        after = _with(before, paths.replicas.split("."), wanted)
        version = (scale.get("metadata") or {}).get("resourceVersion")
        after = {**after, "metadata": {**after["metadata"], **({"resourceVersion": version} if version else {})}}
        return self._update(replace(proposal, after=after, patch=False), entry, before)

    def _stream(self, namespace: str, name: str) -> Object | None:
        if self.catalog.stored(STREAMS) is None:
            return None
        entry = self.store.collection(STREAMS).get(namespace, name)
        return None if entry is None else entry.decode()

    def _orphan(self, uid: str) -> None:
        for storage, key in self.store.dependents(uid):
            entry = self.store.collection(storage).get(*key)
            if entry is None:
                continue
            obj = entry.decode()
            owners = obj["metadata"].pop("ownerReferences", [])
            kept = [owner for owner in owners if owner.get("uid") != uid]
            if kept:
                obj["metadata"]["ownerReferences"] = kept
            self.store.put(storage, obj)

    def _refuse_unheld(self, crd: Object) -> None:
        """Refuse a definition whose schema is right and still cannot be held to here, CEL rules for one."""
        try:
            custom.resources(crd)
        except schema.UnsupportedSchema as error:
            name = crd["metadata"]["name"]
            fault = field_errors.invalid("spec.versions", name, str(error))
            raise status.invalid("CustomResourceDefinition", DEFINITIONS[0], name, [fault]) from None

    def _serve(self, crd: Object) -> None:
        served = custom.resources(crd)
        self.store.collection(custom.storage(crd))
        self.catalog.replace(custom.storage(crd), served)

    def _withdraw(self, crd: Object) -> None:
        storage = custom.storage(crd)
        collection = self.store.collection(storage)
        for entry in list(collection.entries()):
            self.store.remove(storage, entry, entry.decode())
        self.catalog.replace(storage, ())
        self.store.drop(storage)


def now() -> str:
    """Return the time as Kubernetes writes it in metadata: whole seconds, UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def scale_of(resource: Resource, obj: Object) -> Object:
    """Return the object's `autoscaling/v1` Scale.

    Raises `ApiError` 500 where a custom object has no replicas, as the real server does when it is asked for it.
    """
    paths = resource.scale
    if resource.custom and paths is not None and _get(obj, paths.replicas) is None:
        raise status.internal(f'the spec replicas field ".{paths.replicas}" does not exist')
    return _scale_of(resource, obj)


def _scale_of(resource: Resource, obj: Object) -> Object:
    paths = resource.scale
    if paths is None:
        raise status.not_served()
    replicas = _get(obj, paths.replicas)
    metadata = {name: obj["metadata"][name] for name in _SCALE_METADATA if name in obj["metadata"]}
    shown: Object = {"replicas": _get(obj, paths.status_replicas) or 0}
    selector = _scale_selector(obj, paths)
    if selector:
        shown["selector"] = selector
    # A replica count of zero is left out, as Go's omitempty does.
    spec = {"replicas": replicas} if replicas else {}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": shown}


_SCALE_METADATA = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def _scale_selector(obj: Object, paths: ScalePaths) -> str:
    selector = _get(obj, paths.selector) if paths.selector else None
    if not isinstance(selector, dict):
        return selector if isinstance(selector, str) else ""
    labels = selector.get("matchLabels") if "matchLabels" in selector or "matchExpressions" in selector else selector
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items()))


def _get(obj: Object, path: str) -> Any:
    at: Any = obj
    for step in path.split("."):
        at = at.get(step) if isinstance(at, dict) else None
    return at


def _with(obj: Object, steps: list[str], value: Any) -> Object:
    """Return the object with another value at a path; what is not on the path is shared."""
    if not steps:
        return value  # type: ignore[no-any-return]
    return {**obj, steps[0]: _with(obj.get(steps[0]) or {}, steps[1:], value)}


def _schema(resource: Resource) -> schema.Schema | None:
    return resource.schema if resource.schema is not None else schema.builtin(resource.api_version, resource.kind)


def _is_new_event(resource: Resource) -> bool:
    return resource.group == "events.k8s.io"


_PATCHES: dict[str, Callable[[Object, Any], Object]] = {
    "json": patches.json_patch,
    "merge": patches.merge_patch,
    "strategic": patches.strategic_merge,
}


def _patched(kind: PatchKind, target: Object, patch: Any) -> Object:
    try:
        return _PATCHES[kind](target, patch)
    except patches.PatchFailed as failed:
        if failed.status == 422:
            # The real server keeps what went wrong to itself.
            message = "the server rejected our request due to an error in our request"
            raise ApiError(422, message, details={}) from failed
        raise ApiError(failed.status, failed.message, reason="" if failed.status == 500 else None) from failed


def _check_version(resource: Resource, entry: Entry, metadata: Object) -> None:
    version, uid = metadata.get("resourceVersion"), metadata.get("uid")
    if version and not str(version).isdigit():
        raise ApiError(500, f'strconv.ParseUint: parsing "{version}": invalid syntax', reason="")
    if uid and uid != entry.uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {entry.uid}"
        raise status.conflict(resource, entry.name, why)
    if version and int(version) != entry.revision:
        raise status.conflict(resource, entry.name)


def _check_preconditions(resource: Resource, entry: Entry, options: DeleteOptions) -> None:
    if options.uid is not None and options.uid != entry.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({entry.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise status.precondition_failed(resource, entry.name, why)
    if options.resource_version is not None and options.resource_version != str(entry.revision):
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({entry.revision}). The object might have been modified"
        )
        raise status.precondition_failed(resource, entry.name, why)


def _check_applied_type(resource: Resource, applied: Any, subresource: str | None) -> None:
    kind, version = resource.kind, resource.api_version
    if subresource == "scale":
        kind, version = "Scale", "autoscaling/v1"
    found = applied if isinstance(applied, dict) else {}
    if not found.get("kind") or not found.get("apiVersion"):
        group, _, found_version = str(found.get("apiVersion", "")).rpartition("/")
        raise status.bad_request(f"invalid object type: {group}/{found_version}, Kind={found.get('kind', '')}")
    if found["kind"] != kind or found["apiVersion"] != version:
        raise status.bad_request(
            f"the object's type ({found['apiVersion']}, Kind={found['kind']}) does not match the type of the URL "
            f"({version}, Kind={kind})"
        )


def _apply_conflict(conflicts: apply.Conflicts) -> ApiError:
    causes = [{"reason": "FieldManagerConflict", "message": c.message, "field": c.field} for c in conflicts.conflicts]
    return ApiError(409, str(conflicts), details={"causes": causes})


def _undecodable(resource: Resource, obj: Object, why: str, *, patch: bool) -> ApiError:
    if not patch:
        return status.cannot_be_handled(resource.version, resource.kind, why)
    # The words of the real server: it wraps the patched object as the value of a field called "patch".
    text = msgspec.json.encode(obj).decode()
    return status.invalid("", "", "", [field_errors.invalid("patch", text, why)])


def _differs(before: Object, after: Object) -> bool:
    return _comparable(before) != _comparable(after)


def _comparable(obj: Object) -> Object:
    """Leave out what changes by itself: the version, and when a manager last wrote what it wrote."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "resourceVersion"}
    managers = metadata.pop("managedFields", None) or []
    timeless = [{name: value for name, value in manager.items() if name != "time"} for manager in managers]
    return {**obj, "metadata": metadata, "": timeless}


def _json_type(value: Any) -> str:
    return {list: "array", str: "string", bool: "bool"}.get(type(value), "number")
