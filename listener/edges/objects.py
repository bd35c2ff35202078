"""Kubernetes' JSON, read into our nouns and written from them.

Only the fields that planning reads are decoded (`managedFields`, env and the rest never become Python objects): some 8
µs and a few hundred bytes a workload, where whole typed models take 0.8 ms and 47 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from sys import intern
from typing import Any

import msgspec

from listener.core import build_configs, deployment_configs, lookups, runs, streams, triggers
from listener.core.actions import LAST_TRIGGERED
from listener.core.fanouts import Failure, FanOutRecord, Phase
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.imports import ImportAnswer, Imported
from listener.core.keyring import PullSecret
from listener.core.kinds import DAEMON_SET, DEPLOYMENT, JOB, POD, STATEFUL_SET, Form, Kind
from listener.core.leases import Lease
from listener.core.managers import Manager
from listener.core.notices import Notice
from listener.core.renewal import Secret, Webhooks
from listener.core.streams import SpecTag, Stream, StreamKey, summarise
from listener.core.workloads import Container, Workload, WorkloadKey

REPORTER = "imagestream-listener"
PULL_SECRET_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
EXCLUDE_SECRET = "openshift.io/image.excludeSecret"  # noqa: S105 - the name of an annotation


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """Unknown fields are passed over; `null` and "absent" mean the same, so every container is optional."""


class _Annotations(_Struct):
    ours: str | None = msgspec.field(name=triggers.ANNOTATION, default=None)
    alpha: str | None = msgspec.field(name=triggers.ALPHA_ANNOTATION, default=None)
    names: str | None = msgspec.field(name=lookups.RESOLVE_NAMES, default=None)
    waiting: str | None = msgspec.field(name=lookups.WAITS_FOR, default=None)


class _ObjectMetadata(_Struct):
    name: str
    uid: str = ""
    namespace: str = ""
    resource_version: str = ""
    generation: int | None = None


class _Owner(_Struct):
    controller: bool | None = None


class Metadata(_ObjectMetadata):
    """The part of a workload's `metadata` that anybody here reads."""

    annotations: _Annotations | None = None
    deletion_timestamp: str | None = None
    owner_references: list[_Owner] | None = None


class _RunAnnotations(_Annotations):
    last: str | None = msgspec.field(name=LAST_TRIGGERED, default=None)


class _RunMetadata(Metadata):
    annotations: _RunAnnotations | None = None


class _Container(_Struct):
    name: str = ""
    image: str | None = None


class _TemplateAnnotations(_Struct):
    names: str | None = msgspec.field(name=lookups.RESOLVE_NAMES, default=None)


class _TemplateMetadata(_Struct):
    annotations: _TemplateAnnotations | None = None


class _Template(_Struct):
    metadata: _TemplateMetadata | None = None


class _PodSpec(_Struct):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _RollingUpdate(_Struct):
    partition: int | None = None


class _UpdateStrategy(_Struct):
    type: str | None = None
    rolling_update: _RollingUpdate | None = None


class _ScaledSpec(_Struct):
    replicas: int | None = None
    paused: bool | None = None
    update_strategy: _UpdateStrategy | None = None


class _StatusCondition(_Struct):
    type: str = ""
    status: str = ""


class _BuiltinStatus(_Struct):
    """What the kinds of Kubernetes itself tell of their rollout, or of their end."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    desired_number_scheduled: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    phase: str = ""
    conditions: list[_StatusCondition] | None = None


class _NamedObject(_Struct):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class _ImageChangeParameters(_Struct):
    automatic: bool | None = None
    container_names: list[str] | None = None
    source: _NamedObject | None = msgspec.field(name="from", default=None)
    last_triggered_image: str | None = None


class _ConfigTrigger(_Struct):
    type: str = ""
    image_change_params: _ImageChangeParameters | None = None


class _ConfigSpec(_Struct):
    triggers: list[_ConfigTrigger] | None = None


class _ImageChange(_Struct):
    source: _NamedObject | None = msgspec.field(name="from", default=None)
    last_triggered_image_id: str | None = msgspec.field(name="lastTriggeredImageID", default=None)
    paused: bool | None = None


class _BuildTrigger(_Struct):
    type: str = ""
    image_change: _ImageChange | None = None


class _Strategy(_Struct):
    source: _NamedObject | None = msgspec.field(name="from", default=None)


class _Strategies(_Struct):
    source_strategy: _Strategy | None = None
    docker_strategy: _Strategy | None = None
    custom_strategy: _Strategy | None = None


class _BuildSpec(_Struct):
    triggers: list[_BuildTrigger] | None = None
    strategy: _Strategies | None = None


class _BuildStatus(_Struct):
    image_change_triggers: list[_ImageChange] | None = None


class _BuildConfig(_Struct):
    metadata: Metadata
    spec: _BuildSpec | None = None
    status: _BuildStatus | None = None


class _Runnable(_Struct):
    metadata: _RunMetadata


class _ManagedFields(_Struct):
    manager: str = ""
    operation: str = ""
    time: str | None = None
    fields: dict[str, Any] | None = msgspec.field(name="fieldsV1", default=None)


class _ManagedMetadata(_Struct):
    managed_fields: list[_ManagedFields] | None = None


class _ManagedObject(_Struct):
    metadata: _ManagedMetadata


class _StreamAnnotations(_Struct):
    check: str | None = msgspec.field(name=streams.REPOSITORY_CHECK, default=None)
    insecure: str | None = msgspec.field(name=streams.INSECURE_REPOSITORY, default=None)
    shared_with: str | None = msgspec.field(name=streams.SHARED_WITH, default=None)


class _StreamMetadata(_ObjectMetadata):
    annotations: _StreamAnnotations | None = None


class _TagAnnotations(_Struct):
    hold: str | None = msgspec.field(name=streams.HOLD, default=None)
    interval: str | None = msgspec.field(name=streams.IMPORT_INTERVAL, default=None)
    prefer_os: str | None = msgspec.field(name=streams.PREFER_OS, default=None)
    prefer_architecture: str | None = msgspec.field(name=streams.PREFER_ARCHITECTURE, default=None)


class _ImportPolicy(_Struct):
    insecure: bool | None = None
    scheduled: bool | None = None
    import_mode: str | None = None


class _From(_Struct):
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None


class _ReferencePolicy(_Struct):
    type: str | None = None


class _SpecTag(_Struct):
    name: str
    annotations: _TagAnnotations | None = None
    source: _From | None = msgspec.field(name="from", default=None)
    reference: bool | None = None
    generation: int | None = None
    import_policy: _ImportPolicy | None = None
    reference_policy: _ReferencePolicy | None = None


class _LookupPolicy(_Struct):
    local: bool | None = None


class _StreamSpec(_Struct):
    docker_image_repository: str | None = None
    lookup_policy: _LookupPolicy | None = None
    tags: list[_SpecTag] | None = None


class _Item(_Struct):
    created: str | None = None
    docker_image_reference: str | None = None
    image: str | None = None
    generation: int | None = None
    pushed: str | None = None


class _Resolution(_Struct):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    reference: bool = False
    import_mode: str = ""
    followed: str = ""
    version: str = ""


class _Condition(_Struct):
    type: str
    status: str = ""
    last_transition_time: str | None = None
    reason: str | None = None
    message: str | None = None
    generation: int | None = None


class _StatusTag(_Struct):
    tag: str
    items: list[_Item] | None = None
    conditions: list[_Condition] | None = None
    waiting: list[_Item] | None = None
    resolved: _Resolution | None = None


class _Failure(_Struct):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    reason: str = ""


class _FanOut(_Struct):
    tag: str
    docker_image_reference: str = ""
    image: str = ""
    generation: int = 0
    started: str = ""
    cause: str = ""
    delivery: str = ""
    phase: str = ""
    matched: int = 0
    patched: int = 0
    current: int = 0
    paused: int = 0
    waiting: int = 0
    failed: int = 0
    rollouts: int = 0
    rolled_out: int = 0
    first_patched: str = ""
    last_patched: str = ""
    first_rolled_out: str = ""
    last_rolled_out: str = ""
    failures: list[_Failure] | None = None


class _StreamStatus(_Struct):
    docker_image_repository: str | None = None
    public_docker_image_repository: str | None = None
    tags: list[_StatusTag] | None = None
    conditions: list[_Condition] | None = None
    fan_outs: list[_FanOut] | None = None


class _StreamObject(_Struct):
    metadata: _StreamMetadata
    spec: _StreamSpec | None = None
    status: _StreamStatus | None = None


class _Named(_Struct):
    metadata: _ObjectMetadata


class _ImportResult(_Struct):
    status: str = ""
    reason: str = ""
    message: str = ""


class _ImportedImage(_Struct):
    status: _ImportResult
    image: _Named | None = None


class _ImportStatus(_Struct):
    images: list[_ImportedImage] | None = None
    stream: _StreamObject | None = msgspec.field(name="import", default=None)


class _Import(_Struct):
    status: _ImportStatus


class _SecretAnnotations(_Struct):
    exclude: str | None = msgspec.field(name=EXCLUDE_SECRET, default=None)


class _SecretMetadata(_Struct):
    name: str
    annotations: _SecretAnnotations | None = None


class _Secret(_Struct):
    metadata: _SecretMetadata
    type: str | None = None
    data: dict[str, bytes] | None = None  # msgspec takes the base64 off


class _KeptSecret(_Struct):
    metadata: _ObjectMetadata
    data: dict[str, bytes] | None = None


class _ClientConfig(_Struct):
    ca_bundle: bytes | None = None


class _Webhook(_Struct):
    name: str
    client_config: _ClientConfig


class _WebhookConfiguration(_Struct):
    metadata: _ObjectMetadata
    webhooks: list[_Webhook] | None = None


class _LeaseSpec(_Struct):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Lease(_Struct):
    metadata: _ObjectMetadata
    spec: _LeaseSpec | None = None


_managed = msgspec.json.Decoder(_ManagedObject)
_build_config = msgspec.json.Decoder(_BuildConfig)
_runnable = msgspec.json.Decoder(_Runnable)
_stream = msgspec.json.Decoder(_StreamObject)
_import = msgspec.json.Decoder(_Import)
_secret = msgspec.json.Decoder(_Secret)
_kept_secret = msgspec.json.Decoder(_KeptSecret)
_webhooks = msgspec.json.Decoder(_WebhookConfiguration)
_lease = msgspec.json.Decoder(_Lease)

# Thousands of workloads carry the same annotation text; what it says is an immutable value that they can share.
_parse_triggers = lru_cache(maxsize=4096)(triggers.parse)
_NO_TRIGGERS = triggers.Triggers((), ())
_PHASES = frozenset(Phase)
_FAN_OUT_NAMES = tuple(zip(_FanOut.__struct_fields__, _FanOut.__struct_encode_fields__, strict=True))
_ROLLED_OUT = frozenset(kind.label for kind in (DEPLOYMENT, STATEFUL_SET, DAEMON_SET))


def read_workload(kind: Kind, raw: bytes | msgspec.Raw, *, with_lookups: bool = False) -> Workload:
    """Read what planning needs. What follows no tag comes without its containers: nobody will ask.

    So does what a controller owns, where its kind says so, and what is being deleted or has run to its end. With
    lookups, images that may be names of stream tags are found too; then all come with their containers, for somebody
    may set such a name again. Raises msgspec.ValidationError for an object of another shape.
    """
    match kind.form:
        case Form.BUILD_CONFIG:
            return _read_build_config(kind, raw)
        case Form.RUN:
            return _read_runnable(kind, raw)
    found = _with_pod_spec(kind).decode(raw)
    metadata: Metadata = found.metadata
    holder = found.at
    status: _BuiltinStatus | None = found.status if kind.everywhere else None
    if kind.form is Form.DEPLOYMENT_CONFIG:
        followed = deployment_configs.read(
            msgspec.to_builtins(holder.triggers or ()) if holder else (), namespace=metadata.namespace
        )
    else:
        followed = _annotated(kind, metadata)
    with_lookups = with_lookups and not (lookups.is_fixed(kind) or _is_owned(metadata))
    if not (followed.valid or followed.problems or with_lookups) or _is_left_alone(kind, metadata, status):
        return _without_triggers(kind, metadata)
    pod_spec = template = found
    for _ in kind.pod_spec_path:
        template = pod_spec
        pod_spec = pod_spec.at if pod_spec else None
    containers = _containers(pod_spec.containers if pod_spec else None)
    init_containers = _containers(pod_spec.init_containers if pod_spec else None)
    return Workload(
        _workload_key(kind, metadata),
        metadata.uid,
        metadata.resource_version,
        followed,
        containers,
        init_containers,
        _is_rolled_out(kind, metadata, holder, status),
        metadata.annotations is not None,
        lookups=_lookups(metadata, template, containers, init_containers) if with_lookups else (),
    )


def _lookups(
    metadata: Metadata, template: Any, containers: tuple[Container, ...], init_containers: tuple[Container, ...]
) -> tuple[lookups.Lookup, ...]:
    """`template` is what holds the pod spec: a template with annotations of its own, or the object itself."""
    ours = metadata.annotations
    found = getattr(template, "metadata", None)
    inner = found.annotations if found else None
    return lookups.find(
        metadata.namespace,
        {"initContainers": init_containers, "containers": containers},
        forced=lookups.is_forced(ours.names if ours else None, inner.names if inner else None),
        waiting=lookups.read_waiting(ours.waiting) if ours else None,
    )


@cache
def _with_pod_spec(kind: Kind) -> msgspec.json.Decoder[Any]:
    """A decoder for objects with a pod spec at the kind's path: each `at` holds what lies one step further on it."""
    inner: Any = _PodSpec
    first, *rest = kind.pod_spec_path
    for depth, part in reversed(list(enumerate(rest))):
        base: type = _Template if part == "spec" and depth == len(rest) - 1 else _Struct
        if depth == 0 and kind.form is Form.DEPLOYMENT_CONFIG:
            base = _ConfigSpec
        elif depth == 0 and kind.label in _ROLLED_OUT:
            base = _ScaledSpec
        at = ("at", inner | None, msgspec.field(name=part, default=None))
        inner = msgspec.defstruct("_Holder", [at], bases=(base,), gc=False)
    fields: list[Any] = [
        ("metadata", Metadata),
        ("at", inner | None, msgspec.field(name=first, default=None)),
    ]
    if kind.everywhere:  # what others put into a status of theirs may be of any type
        fields.append(("status", _BuiltinStatus | None, None))
    return msgspec.json.Decoder(msgspec.defstruct("_Object", fields, gc=False))


def _read_build_config(kind: Kind, raw: bytes | msgspec.Raw) -> Workload:
    found = _build_config.decode(raw)
    spec: Any = msgspec.to_builtins(found.spec or _BuildSpec())
    status: Any = msgspec.to_builtins(found.status or _BuildStatus())
    followed = build_configs.read(spec, status, namespace=found.metadata.namespace)
    if not (followed.valid or followed.problems) or found.metadata.deletion_timestamp:
        return _without_triggers(kind, found.metadata)
    key = _workload_key(kind, found.metadata)
    return Workload(key, found.metadata.uid, found.metadata.resource_version, followed, (), ())


def _read_runnable(kind: Kind, raw: bytes | msgspec.Raw) -> Workload:
    metadata = _runnable.decode(raw).metadata
    followed = _annotated(kind, metadata)
    if not (followed.valid or followed.problems) or metadata.deletion_timestamp:
        return _without_triggers(kind, metadata)
    record = runs.read_record(metadata.annotations.last if metadata.annotations else None)
    key = _workload_key(kind, metadata)
    return Workload(key, metadata.uid, metadata.resource_version, followed, (), (), record=record)


def _annotated(kind: Kind, metadata: Metadata) -> triggers.Triggers:
    annotations = metadata.annotations
    text = (annotations.ours or annotations.alpha) if annotations else None
    return _parse_triggers(text, namespace=metadata.namespace, kind=kind) if text else _NO_TRIGGERS


def _without_triggers(kind: Kind, metadata: Metadata) -> Workload:
    return Workload(_workload_key(kind, metadata), metadata.uid, metadata.resource_version, _NO_TRIGGERS, (), ())


def _workload_key(kind: Kind, metadata: Metadata) -> WorkloadKey:
    return WorkloadKey(kind.label, intern(metadata.namespace), metadata.name)


def _is_owned(metadata: Metadata) -> bool:
    return any(owner.controller for owner in metadata.owner_references or ())


def _is_left_alone(kind: Kind, metadata: Metadata, status: _BuiltinStatus | None) -> bool:
    """Tell what others will replace or remove, and what has run to its end: an image matters to none of them."""
    if metadata.deletion_timestamp:
        return True
    if not kind.owned and _is_owned(metadata):
        return True
    if status is None:
        return False
    if kind.label == POD.label:
        return status.phase in ("Succeeded", "Failed")
    return kind.label == JOB.label and any(
        condition.type in ("Complete", "Failed") and condition.status == "True" for condition in status.conditions or ()
    )


def _is_rolled_out(kind: Kind, metadata: Metadata, spec: Any, status: _BuiltinStatus | None) -> bool | None:
    """Tell whether all Pods that shall run what the pod spec says do, as `kubectl rollout status` does.

    None where nothing rolls out by itself: while it is paused, or where old Pods stay until somebody deletes them.
    """
    if kind.label not in _ROLLED_OUT:
        return None
    strategy = spec.update_strategy if spec else None
    if spec and (spec.paused or (strategy and strategy.type == "OnDelete")):
        return None
    if not status or status.observed_generation < (metadata.generation or 0):
        return False
    if kind.label == DAEMON_SET.label:
        wanted = status.desired_number_scheduled
        return status.updated_number_scheduled >= wanted and status.number_available >= wanted
    wanted = 1 if spec is None or spec.replicas is None else spec.replicas
    if kind.label == STATEFUL_SET.label:
        kept = (strategy.rolling_update.partition or 0) if strategy and strategy.rolling_update else 0
        return status.updated_replicas >= wanted - kept and status.ready_replicas >= wanted
    return wanted <= status.updated_replicas == status.replicas <= status.available_replicas


def read_last_triggered(raw: bytes) -> str | None:
    """Read an object's annotation last-triggered. Raises msgspec.ValidationError for what is no object."""
    annotations = _runnable.decode(raw).metadata.annotations
    return annotations.last if annotations else None


def read_managers(raw: bytes) -> list[Manager]:
    """Read who manages which fields of an object. Raises msgspec.ValidationError for what is no object."""
    return [
        Manager(each.manager, each.operation, each.time or "", each.fields or {})
        for each in _managed.decode(raw).metadata.managed_fields or ()
    ]


def _containers(found: list[_Container] | None) -> tuple[Container, ...]:
    return tuple([Container(intern(c.name), c.image or "") for c in found or ()])


def read_stream(raw: bytes | msgspec.Raw) -> Stream:
    """Read an ImageStream. Raises msgspec.ValidationError for an object of another shape."""
    return _read_stream(_stream.decode(raw))


def _read_stream(found: _StreamObject) -> Stream:
    metadata, spec, status = found.metadata, found.spec or _StreamSpec(), found.status or _StreamStatus()
    annotations = metadata.annotations or _StreamAnnotations()
    return Stream(
        key=StreamKey(intern(metadata.namespace), intern(metadata.name)),
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        generation=metadata.generation or 0,
        repository=spec.docker_image_repository or "",
        status_repository=status.docker_image_repository or "",
        public_repository=status.public_docker_image_repository or "",
        spec_tags=tuple(_spec_tag(t) for t in spec.tags or ()),
        tags=tuple(sorted((_tag_history(t) for t in status.tags or ()), key=lambda history: history.tag)),
        conditions=_conditions(status.conditions),
        shared_with=frozenset(name.strip() for name in (annotations.shared_with or "").split(",") if name.strip()),
        is_checked=bool(annotations.check),
        insecure_repository=annotations.insecure == "true",
        local_lookup=bool(spec.lookup_policy and spec.lookup_policy.local),
        fan_outs=tuple(_fan_out(each) for each in status.fan_outs or ()),
    )


def _spec_tag(tag: _SpecTag) -> SpecTag:
    source, policy, annotations = tag.source or _From(), tag.import_policy or _ImportPolicy(), tag.annotations
    found = annotations or _TagAnnotations()
    return SpecTag(
        name=tag.name,
        from_kind=source.kind or "",
        from_namespace=source.namespace or "",
        from_name=source.name or "",
        reference=bool(tag.reference),
        generation=tag.generation,
        reference_policy=(tag.reference_policy.type if tag.reference_policy else None) or "Source",
        import_mode=policy.import_mode or "Legacy",
        scheduled=bool(policy.scheduled),
        insecure=bool(policy.insecure),
        hold=None if found.hold in (None, "false") else "" if found.hold == "true" else found.hold,
        import_interval=found.interval or "",
        prefer_os=found.prefer_os or "",
        prefer_architecture=found.prefer_architecture or "",
    )


def _tag_history(tag: _StatusTag) -> TagHistory:
    found = tag.resolved
    return TagHistory(
        tag=tag.tag,
        items=_items(tag.items),
        conditions=_conditions(tag.conditions),
        waiting=_items(tag.waiting),
        resolved=Resolution(
            found.kind,
            found.namespace,
            found.name,
            found.reference,
            found.import_mode,
            found.followed,
            found.version,
        )
        if found
        else None,
    )


def _fan_out(found: _FanOut) -> FanOutRecord:
    fields = {name: getattr(found, name) for name in _FanOut.__struct_fields__}
    # A phase that we do not know was written by a newer release: nothing for us to go on with.
    fields["phase"] = Phase(found.phase) if found.phase in _PHASES else Phase.DONE
    fields["failures"] = tuple(Failure(f.kind, f.namespace, f.name, f.reason) for f in found.failures or ())
    return FanOutRecord(**fields)


def _items(found: list[_Item] | None) -> tuple[TagItem, ...]:
    return tuple(
        TagItem(i.created or "", i.docker_image_reference or "", i.image or "", i.generation or 0, i.pushed or "")
        for i in found or ()
    )


def _conditions(found: list[_Condition] | None) -> tuple[Condition, ...]:
    return tuple(
        Condition(c.type, c.status, c.last_transition_time or "", c.reason or "", c.message or "", c.generation)
        for c in found or ()
    )


def write_import(stream: Stream, spec_tags: Iterable[SpecTag]) -> dict[str, Any]:
    """Write an ImageStreamImport of these tags. With the uid a stream that is gone is not made again."""
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": stream.key.name, "namespace": stream.key.namespace, "uid": stream.uid},
        "spec": {"import": True, "images": [_write_image(spec_tag) for spec_tag in spec_tags]},
    }


def _write_image(spec_tag: SpecTag) -> dict[str, Any]:
    policy: dict[str, Any] = {"insecure": spec_tag.insecure, "scheduled": spec_tag.scheduled}
    if spec_tag.import_mode:
        policy["importMode"] = spec_tag.import_mode
    return {
        "from": {"kind": "DockerImage", "name": spec_tag.from_name},
        "to": {"name": spec_tag.name},
        "importPolicy": policy,
        "referencePolicy": {"type": spec_tag.reference_policy},
    }


def read_import(raw: bytes, asked: int) -> ImportAnswer:
    """Read the answer to an ImageStreamImport of so many images. Raises msgspec.ValidationError for another."""
    status = _import.decode(raw).status
    images = tuple(_imported(found) for found in status.images or ())
    if len(images) != asked:
        raise msgspec.ValidationError(f"{asked} images were asked for, and it speaks of {len(images)}")
    return ImportAnswer(images, _read_stream(status.stream) if status.stream else None)


def _imported(found: _ImportedImage) -> Imported:
    if found.image and found.status.status == "Success":
        return Imported(digest=found.image.metadata.name)
    return Imported(reason=found.status.reason, message=found.status.message or "unknown error prevented import")


def read_pull_secrets(items: Iterable[msgspec.Raw]) -> list[PullSecret]:
    """Read Secrets; those that their owner keeps from imports are left out, and what is no Secret too."""
    found = []
    for item in items:
        try:
            secret = _secret.decode(item)
        except msgspec.ValidationError:
            continue
        annotations = secret.metadata.annotations
        if not (annotations and annotations.exclude == "true"):
            found.append(PullSecret(secret.metadata.name, secret.type or "", secret.data or {}))
    return found


def read_secret(raw: bytes) -> Secret:
    """Read one Secret, whole. Raises msgspec.ValidationError for what is none."""
    found = _kept_secret.decode(raw)
    metadata = found.metadata
    return Secret(metadata.namespace, metadata.name, metadata.resource_version, found.data or {})


def write_secret(secret: Secret, data: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """A JSON Patch that sets these keys, if the Secret is still as it was read."""
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": secret.resource_version}
    if not secret.data:
        return [test, {"op": "add", "path": "/data", "value": dict(data)}]
    return [test, *({"op": "add", "path": f"/data/{key}", "value": value} for key, value in data.items())]


def read_lease(raw: bytes | msgspec.Raw) -> Lease:
    """Read one Lease. Raises msgspec.ValidationError for what is none."""
    found = _lease.decode(raw)
    metadata, spec = found.metadata, found.spec or _LeaseSpec()
    return Lease(
        metadata.namespace,
        metadata.name,
        metadata.resource_version,
        spec.holder_identity or "",
        spec.lease_duration_seconds or 0,
        spec.acquire_time or "",
        spec.renew_time or "",
        spec.lease_transitions or 0,
    )


def write_lease(lease: Lease) -> dict[str, Any]:
    """The Lease as the API holds it; as a merge patch it is stored only at its resource version."""
    version = {"resourceVersion": lease.resource_version} if lease.resource_version else {}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": lease.namespace, "name": lease.name, **version},
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": lease.life_seconds,
            "acquireTime": lease.acquired,
            "renewTime": lease.renewed,
            "leaseTransitions": lease.transitions,
        },
    }


def read_webhooks(raw: bytes) -> Webhooks:
    """Read what a webhook configuration is given of ours. Raises msgspec.ValidationError for what is none."""
    found = _webhooks.decode(raw)
    bundles = tuple((each.name, each.client_config.ca_bundle or b"") for each in found.webhooks or ())
    return Webhooks(found.metadata.name, bundles)


def write_bundle(webhooks: Webhooks, bundle: bytes) -> list[dict[str, Any]]:
    """A JSON Patch that gives the bundle to each that has another one, if they are still in these places."""
    operations: list[dict[str, Any]] = []
    for index, (name, there) in enumerate(webhooks.bundles):
        if there != bundle:
            path = f"/webhooks/{index}"
            operations += [
                {"op": "test", "path": f"{path}/name", "value": name},
                {"op": "add", "path": f"{path}/clientConfig/caBundle", "value": bundle},
            ]
    return operations


def write_status(stream: Stream) -> dict[str, Any]:
    """The whole status as the API holds it, with the summary that `kubectl get imagestreams` shows.

    As a merge patch: null takes away what is not said any more.
    """
    summary = summarise(stream.tags)
    return {
        "dockerImageRepository": stream.status_repository or None,
        "publicDockerImageRepository": stream.public_repository or None,
        "tags": write_tags(stream.tags),
        "conditions": [_write_condition(c) for c in stream.conditions] or None,
        "summary": {"tags": summary.tags, "updated": summary.updated} if summary.updated else None,
        "fanOuts": write_fan_outs(stream.fan_outs) or None,
    }


def write_tags(histories: Iterable[TagHistory]) -> list[dict[str, Any]]:
    """`status.tags` as the API holds it."""
    return [_write_history(history) for history in histories]


def write_fan_outs(records: Iterable[FanOutRecord]) -> list[dict[str, Any]]:
    """`status.fanOuts` as the API holds it. The counts are all there; what has not happened yet is left out."""
    found = []
    for record in records:
        fields = {written: getattr(record, name) for name, written in _FAN_OUT_NAMES}
        fields["phase"] = record.phase.value
        fields["failures"] = [_write_failure(each) for each in record.failures]
        found.append({name: value for name, value in fields.items() if value or isinstance(value, int)})
    return found


def _write_failure(failure: Failure) -> dict[str, Any]:
    return {"kind": failure.kind, "namespace": failure.namespace, "name": failure.name, "reason": failure.reason}


def _write_history(history: TagHistory) -> dict[str, Any]:
    written: dict[str, Any] = {"tag": history.tag, "items": [_write_item(item) for item in history.items]}
    if history.conditions:
        written["conditions"] = [_write_condition(c) for c in history.conditions]
    if history.waiting:
        written["waiting"] = [_write_item(item) for item in history.waiting]
    if history.resolved:
        written["resolved"] = _write_resolution(history.resolved)
    return written


def _write_item(item: TagItem) -> dict[str, Any]:
    written: dict[str, Any] = {
        "created": item.created,
        "dockerImageReference": item.docker_image_reference,
        "image": item.image,
        "generation": item.generation,
    }
    return written | {"pushed": item.pushed} if item.pushed else written


def _write_resolution(resolution: Resolution) -> dict[str, Any]:
    found = {
        "kind": resolution.kind,
        "namespace": resolution.namespace,
        "name": resolution.name,
        "reference": resolution.reference,
        "importMode": resolution.import_mode,
        "followed": resolution.followed,
        "version": resolution.version,
    }
    return {name: value for name, value in found.items() if value}


def _write_condition(condition: Condition) -> dict[str, Any]:
    written: dict[str, Any] = {"type": condition.type, "status": condition.status}
    optional = {
        "lastTransitionTime": condition.last_transition_time,
        "reason": condition.reason,
        "message": condition.message,
        "generation": condition.generation,
    }
    return written | {name: value for name, value in optional.items() if value not in ("", None)}


def write_event(name: str, notice: Notice, *, count: int, first: str, last: str) -> dict[str, Any]:
    """A core/v1 Event. It stands in its object's namespace, as the API demands."""
    subject = notice.subject
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": subject.namespace},
        "involvedObject": {
            "apiVersion": subject.api_version,
            "kind": subject.kind,
            "namespace": subject.namespace,
            "name": subject.name,
            "uid": subject.uid,
        },
        "type": "Warning" if notice.reason.is_warning else "Normal",
        "reason": str(notice.reason),
        "message": notice.message,
        "source": {"component": REPORTER},
        "reportingComponent": REPORTER,
        "count": count,
        "firstTimestamp": first,
        "lastTimestamp": last,
    }
