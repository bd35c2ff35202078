"""Kubernetes' JSON, read into our nouns and written from them.

Only the fields that planning reads are decoded (`managedFields`, env and the rest never become Python objects): some 8
µs and a few hundred bytes a workload, where whole typed models take 0.8 ms and 47 KiB.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from sys import intern
from typing import Any

import msgspec

from listener.core import triggers
from listener.core.history import Condition, TagHistory, TagItem
from listener.core.notices import Notice
from listener.core.streams import SpecTag, Stream, StreamKey, summarise
from listener.core.workloads import Container, Kind, Workload, WorkloadKey

REPORTER = "imagestream-listener"


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """Unknown fields are passed over; `null` and "absent" mean the same, so every container is optional."""


class _Annotations(_Struct):
    ours: str | None = msgspec.field(name=triggers.ANNOTATION, default=None)
    alpha: str | None = msgspec.field(name=triggers.ALPHA_ANNOTATION, default=None)


class Metadata(_Struct):
    """The part of `metadata` that anybody here reads."""

    name: str
    uid: str = ""
    namespace: str = ""
    resource_version: str = ""
    generation: int | None = None
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


class _From(_Struct):
    kind: str | None = None
    namespace: str | None = None
    name: str | None = None


class _ReferencePolicy(_Struct):
    type: str | None = None


class _SpecTag(_Struct):
    name: str
    source: _From | None = msgspec.field(name="from", default=None)
    reference: bool | None = None
    generation: int | None = None
    reference_policy: _ReferencePolicy | None = None


class _StreamSpec(_Struct):
    docker_image_repository: str | None = None
    tags: list[_SpecTag] | None = None


class _Item(_Struct):
    created: str | None = None
    docker_image_reference: str | None = None
    image: str | None = None
    generation: int | None = None


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


class _StreamStatus(_Struct):
    docker_image_repository: str | None = None
    tags: list[_StatusTag] | None = None


class _StreamObject(_Struct):
    metadata: Metadata
    spec: _StreamSpec | None = None
    status: _StreamStatus | None = None


_templated = msgspec.json.Decoder(_TemplatedObject)
_job_templated = msgspec.json.Decoder(_JobTemplatedObject)
_stream = msgspec.json.Decoder(_StreamObject)

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
    return Stream(
        key=StreamKey(intern(metadata.namespace), intern(metadata.name)),
        uid=metadata.uid,
        resource_version=metadata.resource_version,
        generation=metadata.generation or 0,
        repository=spec.docker_image_repository or "",
        status_repository=status.docker_image_repository or "",
        spec_tags=tuple(_spec_tag(t) for t in spec.tags or ()),
        tags=tuple(sorted((_tag_history(t) for t in status.tags or ()), key=lambda history: history.tag)),
    )


def _spec_tag(tag: _SpecTag) -> SpecTag:
    source = tag.source or _From()
    return SpecTag(
        name=tag.name,
        from_kind=source.kind or "",
        from_namespace=source.namespace or "",
        from_name=source.name or "",
        reference=bool(tag.reference),
        generation=tag.generation,
        reference_policy=(tag.reference_policy.type if tag.reference_policy else None) or "Source",
    )


def _tag_history(tag: _StatusTag) -> TagHistory:
    return TagHistory(
        tag=tag.tag,
        items=tuple(
            TagItem(i.created or "", i.docker_image_reference or "", i.image or "", i.generation or 0)
            for i in tag.items or ()
        ),
        conditions=tuple(
            Condition(c.type, c.status, c.last_transition_time or "", c.reason or "", c.message or "", c.generation)
            for c in tag.conditions or ()
        ),
    )


def write_status(histories: Sequence[TagHistory]) -> dict[str, Any]:
    """`status.tags` as the API holds it, and the summary that `kubectl get imagestreams` shows."""
    summary = summarise(histories)
    shown = {"tags": summary.tags, "updated": summary.updated} if summary.updated else None
    return {"tags": write_tags(histories), "summary": shown}


def write_tags(histories: Iterable[TagHistory]) -> list[dict[str, Any]]:
    """`status.tags` as the API holds it."""
    return [
        {
            "tag": history.tag,
            "items": [
                {
                    "created": item.created,
                    "dockerImageReference": item.docker_image_reference,
                    "image": item.image,
                    "generation": item.generation,
                }
                for item in history.items
            ],
            **({"conditions": [_write_condition(c) for c in history.conditions]} if history.conditions else {}),
        }
        for history in histories
    ]


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
