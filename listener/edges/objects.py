"""Kubernetes' JSON, read into our nouns and written from them.

Only the fields that planning reads are decoded (`managedFields`, env and the rest never become Python objects): some 8
µs and a few hundred bytes a workload, where whole typed models take 0.8 ms and 47 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from sys import intern
from typing import Any

import msgspec

from listener.core import streams, triggers
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.keyring import PullSecret
from listener.core.notices import Notice
from listener.core.streams import SpecTag, Stream, StreamKey, summarise
from listener.core.workloads import Container, Kind, Workload, WorkloadKey

REPORTER = "imagestream-listener"
PULL_SECRET_TYPES = ("kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg")
EXCLUDE_SECRET = "openshift.io/image.excludeSecret"  # noqa: S105 - the name of an annotation


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """Unknown fields are passed over; `null` and "absent" mean the same, so every container is optional."""


class _Annotations(_Struct):
    ours: str | None = msgspec.field(name=triggers.ANNOTATION, default=None)
    alpha: str | None = msgspec.field(name=triggers.ALPHA_ANNOTATION, default=None)


class _ObjectMetadata(_Struct):
    name: str
    uid: str = ""
    namespace: str = ""
    resource_version: str = ""
    generation: int | None = None


class Metadata(_ObjectMetadata):
    """The part of a workload's `metadata` that anybody here reads."""

    annotations: _Annotations | None = None


class _Container(_Struct):
    name: str = ""
    image: str | None = None


class _PodSpec(_Struct):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None


class _PodTemplate(_Struct):
    spec: _PodSpec | None = None


class _TemplateHolder(_Struct):
    template: _PodTemplate | None = None


class _JobTemplate(_Struct):
    spec: _TemplateHolder | None = None


class _JobTemplateHolder(_Struct):
    job_template: _JobTemplate | None = None


class _TemplatedObject(_Struct):
    metadata: Metadata
    spec: _TemplateHolder | None = None


class _JobTemplatedObject(_Struct):
    metadata: Metadata
    spec: _JobTemplateHolder | None = None


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


class _StreamSpec(_Struct):
    docker_image_repository: str | None = None
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


class _StreamStatus(_Struct):
    docker_image_repository: str | None = None
    public_docker_image_repository: str | None = None
    tags: list[_StatusTag] | None = None
    conditions: list[_Condition] | None = None


class _StreamObject(_Struct):
    metadata: _StreamMetadata
    spec: _StreamSpec | None = None
    status: _StreamStatus | None = None


class _SecretAnnotations(_Struct):
    exclude: str | None = msgspec.field(name=EXCLUDE_SECRET, default=None)


class _SecretMetadata(_Struct):
    name: str
    annotations: _SecretAnnotations | None = None


class _Secret(_Struct):
    metadata: _SecretMetadata
    type: str | None = None
    data: dict[str, bytes] | None = None  # msgspec takes the base64 off


class _SecretList(_Struct):
    items: list[msgspec.Raw] | None = None


_templated = msgspec.json.Decoder(_TemplatedObject)
_job_templated = msgspec.json.Decoder(_JobTemplatedObject)
_stream = msgspec.json.Decoder(_StreamObject)
_secret = msgspec.json.Decoder(_Secret)
_secrets = msgspec.json.Decoder(_SecretList)

# Thousands of workloads carry the same annotation text; what it says is an immutable value that they can share.
_parse_triggers = lru_cache(maxsize=4096)(triggers.parse)
_NO_TRIGGERS = triggers.Triggers((), ())


def read_workload(kind: Kind, raw: bytes | msgspec.Raw) -> Workload:
    """Read what planning needs. Without a trigger annotation the containers are left out too: nobody will ask.

    Raises msgspec.ValidationError for an object of another shape.
    """
    pod_spec: _PodSpec | None = None
    if kind.pod_spec_path[:2] == ("spec", "jobTemplate"):
        job = _job_templated.decode(raw)
        metadata = job.metadata
        holder = job.spec.job_template.spec if job.spec and job.spec.job_template else None
    else:
        templated = _templated.decode(raw)
        metadata = templated.metadata
        holder = templated.spec
    key = WorkloadKey(kind.name, intern(metadata.namespace), metadata.name)
    annotations = metadata.annotations
    text = (annotations.ours or annotations.alpha) if annotations else None
    if not text:
        return Workload(key, metadata.uid, metadata.resource_version, _NO_TRIGGERS, (), ())
    if holder and holder.template:
        pod_spec = holder.template.spec
    return Workload(
        key,
        metadata.uid,
        metadata.resource_version,
        _parse_triggers(text, namespace=key.namespace, pod_spec_path=kind.pod_spec_path),
        _containers(pod_spec.containers if pod_spec else None),
        _containers(pod_spec.init_containers if pod_spec else None),
    )


def _containers(found: list[_Container] | None) -> tuple[Container, ...]:
    return tuple(Container(intern(c.name), c.image or "") for c in found or ())


def read_stream(raw: bytes | msgspec.Raw) -> Stream:
    """Read an ImageStream. Raises msgspec.ValidationError for an object of another shape."""
    found = _stream.decode(raw)
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
        resolved=Resolution(found.kind, found.namespace, found.name, found.reference, found.import_mode, found.followed)
        if found
        else None,
    )


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


def read_pull_secrets(raw: bytes) -> list[PullSecret]:
    """Read a list of Secrets; those that their owner keeps from imports are left out, and what is no Secret too.

    Raises msgspec.ValidationError for what is no list.
    """
    found = []
    for item in _secrets.decode(raw).items or ():
        try:
            secret = _secret.decode(item)
        except msgspec.ValidationError:
            continue
        annotations = secret.metadata.annotations
        if not (annotations and annotations.exclude == "true"):
            found.append(PullSecret(secret.metadata.name, secret.type or "", secret.data or {}))
    return found


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
    }


def write_tags(histories: Iterable[TagHistory]) -> list[dict[str, Any]]:
    """`status.tags` as the API holds it."""
    return [_write_history(history) for history in histories]


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
