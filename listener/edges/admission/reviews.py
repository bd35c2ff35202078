"""AdmissionReviews (admission.k8s.io/v1): what is read of them, and how they are answered.

Of an object nothing is read but what `judge` asks for. Whoever sent a review is never told no: what cannot be read is
nothing that we change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from listener.core import lookups
from listener.core.admission import Subject, Verdict
from listener.core.kinds import Kind
from listener.core.workloads import Container
from listener.errors import MalformedReview

API_VERSION: Final = "admission.k8s.io/v1"
KIND: Final = "AdmissionReview"

# An API server shortens each warning to the one once all of them are longer than the other, then drops the rest; and it
# drops one with a control character in it.
_WARNING_LENGTH: Final = 256
_WARNINGS_LENGTH: Final = 4096

_OPERATIONS: Final = frozenset({"CREATE", "UPDATE"})
_NOTHING: Final = msgspec.Raw(b"")


class _Struct(msgspec.Struct, rename="camel", gc=False):
    """Unknown fields are passed over; `null` and "absent" mean the same, so every container is optional."""


class _GroupKind(_Struct):
    group: str = ""
    kind: str = ""


class _Request(_Struct):
    uid: str
    kind: _GroupKind
    operation: str
    sub_resource: str | None = None
    namespace: str = ""
    object: msgspec.Raw = _NOTHING
    old_object: msgspec.Raw = _NOTHING


class _Review(_Struct):
    api_version: str = ""
    kind: str = ""
    request: _Request | None = None


class _Annotations(_Struct):
    names: str | None = msgspec.field(name=lookups.RESOLVE_NAMES, default=None)
    waiting: str | None = msgspec.field(name=lookups.WAITS_FOR, default=None)


class _Owner(_Struct):
    controller: bool | None = None


class _Metadata(_Struct):
    annotations: _Annotations | None = None
    owner_references: list[_Owner] | None = None


class _TemplateMetadata(_Struct):
    annotations: _Annotations | None = None


class _Template(_Struct):
    metadata: _TemplateMetadata | None = None


class _Container(_Struct):
    name: str = ""
    image: str | None = None


# No Pod has so many. Anybody may send a review: without a bound one of 8 MiB takes ten seconds and 700 MiB.
_Containers = Annotated[list[_Container], msgspec.Meta(max_length=1000)]


class _PodSpec(_Struct):
    containers: _Containers | None = None
    init_containers: _Containers | None = None


class _Response(_Struct, omit_defaults=True):
    uid: str
    allowed: bool
    patch_type: str = ""
    patch: bytes = b""  # msgspec writes it as base64
    warnings: tuple[str, ...] = ()


class _Answer(_Struct):
    api_version: str
    kind: str
    response: _Response


_review = msgspec.json.Decoder(_Review)
_encode = msgspec.json.Encoder().encode

# Most answers are this one.
_BEFORE_UID, _AFTER_UID = _encode(_Answer(API_VERSION, KIND, _Response("", allowed=True))).split(b'""')


@dataclass(slots=True)
class Review:
    """What an API server asks. With `subject` None nothing is to be looked up; `problem` tells if the object of that
    kind could not be read.
    """

    uid: str
    kind: Kind | None = None
    namespace: str = ""
    subject: Subject | None = None
    before: Subject | None = None
    problem: str = ""


class Reader:
    """Reads reviews of objects of some kinds. Their versions do not matter: a pod spec stands where it stood."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._kinds = {(_group(kind), kind.name): (kind, _decoder(kind)) for kind in kinds if lookups.concerns(kind)}

    def read(self, body: bytes) -> Review:
        """Raises MalformedReview for what is no AdmissionReview of a version that we speak."""
        request = _request(body)
        asked = self._kinds.get((request.kind.group, request.kind.kind))
        if asked is None or request.sub_resource or request.operation not in _OPERATIONS:
            return Review(request.uid)
        kind, decoder = asked
        try:
            subject = _subject(kind, decoder.decode(request.object))
            before = _subject(kind, decoder.decode(request.old_object)) if request.operation == "UPDATE" else None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return Review(request.uid, kind, problem=str(error))
        return Review(request.uid, kind, request.namespace, subject, before)


def answer(uid: str, verdict: Verdict) -> bytes:
    """Write the answer that lets an object pass, as what the verdict makes of it."""
    if not (verdict.operations or verdict.warnings):
        return unchanged(uid)
    patch = _encode(verdict.operations) if verdict.operations else b""
    warnings = tuple(_fitting([_printable(warning) for warning in verdict.warnings]))
    response = _Response(uid, allowed=True, patch_type="JSONPatch" if patch else "", patch=patch, warnings=warnings)
    return _encode(_Answer(API_VERSION, KIND, response))


def unchanged(uid: str) -> bytes:
    """Write the answer that lets an object pass as it is."""
    return b"".join((_BEFORE_UID, _encode(uid), _AFTER_UID))


def _request(body: bytes) -> _Request:
    try:
        found = _review.decode(body)
    except msgspec.ValidationError as error:
        raise MalformedReview(f"the body is no {KIND} of {API_VERSION}: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedReview(f"the body is no JSON; expected an {KIND} of {API_VERSION}") from error
    except RecursionError as error:
        raise MalformedReview(f"the body has more levels than are read of an {KIND} of {API_VERSION}") from error
    if found.kind != KIND or found.api_version != API_VERSION:
        raise MalformedReview(f"the body is no {KIND} of {API_VERSION}, which is the only version that is spoken here")
    if found.request is None:
        raise MalformedReview(f"the body is an {KIND} of {API_VERSION} without a request")
    return found.request


def _group(kind: Kind) -> str:
    return kind.api_version.rpartition("/")[0]


def _decoder(kind: Kind) -> msgspec.json.Decoder[Any]:
    """For objects with a pod spec at the kind's path: each `at` holds what lies one step further on it."""
    inner: Any = _PodSpec
    last = len(kind.pod_spec_path) - 1
    for depth in range(last, -1, -1):
        part = kind.pod_spec_path[depth]
        fields: list[Any] = [("at", inner | None, msgspec.field(name=part, default=None))]
        if depth == 0:
            fields.append(("metadata", _Metadata))
        is_template = depth == last and part == "spec"
        base = _Template if is_template and depth else _Struct
        inner = msgspec.defstruct("_Holder", fields, bases=(base,), gc=False, kw_only=True)
    return msgspec.json.Decoder(inner)


def _subject(kind: Kind, found: Any) -> Subject:
    metadata: _Metadata = found.metadata
    holder, template = found, None
    for _ in kind.pod_spec_path:
        template, holder = holder, holder.at if holder else None
    ours = metadata.annotations
    inner = getattr(template, "metadata", None)
    theirs: _Annotations | None = inner.annotations if inner else None
    return Subject(
        _containers(holder.containers if holder else None),
        _containers(holder.init_containers if holder else None),
        lookups.is_forced(ours.names if ours else None, theirs.names if theirs else None),
        any(owner.controller for owner in metadata.owner_references or ()),
        ours is not None,
        ours.waiting if ours else None,
    )


def _containers(found: Sequence[_Container] | None) -> tuple[Container, ...]:
    return tuple([Container(each.name, each.image or "") for each in found]) if found else ()


def _printable(text: str) -> str:
    """What goes into a header. Names and images are whatever somebody wrote: they are not validated yet."""
    if not text.isprintable():
        text = "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
    return text if len(text) <= _WARNING_LENGTH else f"{text[: _WARNING_LENGTH - 1]}…"


def _fitting(warnings: Sequence[str]) -> Iterator[str]:
    """As many as an API server hands on; the last tells how many are left out."""
    left, rest = _WARNINGS_LENGTH, len(warnings)
    for warning in warnings:
        more = f"{rest} more {'images are' if rest > 1 else 'image is'} not told of here"
        if len(warning) + (len(more) if rest > 1 else 0) > left:
            yield more
            return
        yield warning
        left -= len(warning)
        rest -= 1
