"""What we tell people about an object: the content of a Kubernetes Event, before anybody sends it."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from listener.core.kinds import Kind
from listener.core.streams import StreamKey
from listener.core.workloads import WorkloadKey


class Reason(StrEnum):
    """Why an Event was written: a closed set, for alerts and `kubectl get events --field-selector reason=…`."""

    TAG_MOVED = "TagMoved"
    PUSH_REFUSED = "PushRefused"
    PUSH_UNANSWERED = "PushUnanswered"
    IMPORT_SUCCEEDED = "ImportSucceeded"
    IMPORT_FAILED = "ImportFailed"
    STREAM_REFUSED = "StreamRefused"
    IMAGE_TRIGGERED = "ImageTriggered"
    TRIGGER_INVALID = "TriggerInvalid"
    TRIGGER_WAITS = "TriggerWaits"
    TRIGGER_FAILED = "TriggerFailed"
    TRIGGER_CONTESTED = "TriggerContested"

    @property
    def is_warning(self) -> bool:
        return self not in (Reason.TAG_MOVED, Reason.IMPORT_SUCCEEDED, Reason.IMAGE_TRIGGERED)


class Subject(NamedTuple):
    """The object a notice is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class Notice(NamedTuple):
    """One sentence about one object."""

    subject: Subject
    reason: Reason
    message: str


def about_stream(key: StreamKey, uid: str) -> Subject:
    return Subject("image.openshift.io/v1", "ImageStream", key.namespace, key.name, uid)


def about_workload(key: WorkloadKey, kind: Kind, uid: str) -> Subject:
    return Subject(kind.api_version, kind.name, key.namespace, key.name, uid)
