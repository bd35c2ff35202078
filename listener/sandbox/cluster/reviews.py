"""AdmissionReviews: what a webhook is sent, and what is made of its answer.

Pure. Answers are read as strictly as a real server reads them, and refused in its words.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import msgspec

from listener.errors import ListenerError
from listener.sandbox.cluster.resources import Resource
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.webhooks import NAMESPACES, Hook, Request

Object = dict[str, Any]
GROUP = "admission.k8s.io"
VERSIONS = ("v1", "v1beta1")
_SCALE = {"group": "autoscaling", "version": "v1", "kind": "Scale"}


class CallFailed(ListenerError):
    """A webhook that could not be asked, or whose answer is none: `failurePolicy` says what becomes of the request."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a webhook answered. `patch` is a JSON Patch, or empty. `refusal` None allows the request."""

    patch: list[Object]
    warnings: tuple[str, ...]
    refusal: ApiError | None


def version_for(hook: Hook) -> str:
    """Return the version of AdmissionReview to speak: the first on the webhook's list that is known here."""
    return next(version for version in hook.versions if version in VERSIONS)


def attributes(request: Request, resource: Resource, uid: str) -> Object:
    """Return the review's `request` but for the objects: what match conditions see too.

    `resource` is the type as which the webhook wants the object.
    """
    asked = request.resource
    namespaced = request.namespace or (request.name if resource.storage == NAMESPACES else "")
    return {
        "uid": uid,
        "kind": _kind(resource, request.subresource),
        "resource": _resource(resource),
        **({"subResource": request.subresource} if request.subresource else {}),
        "requestKind": _kind(asked, request.subresource),
        "requestResource": _resource(asked),
        **({"requestSubResource": request.subresource} if request.subresource else {}),
        **({"name": request.name} if request.name else {}),
        **({"namespace": namespaced} if namespaced else {}),
        "operation": request.operation,
        "userInfo": request.user.info(),
        "dryRun": request.dry_run,
        "options": request.options,
    }


def review(version: str, asked: Object, obj: Object | None, old: Object | None) -> Object:
    request = {**asked, "object": obj, "oldObject": old}
    return {"kind": "AdmissionReview", "apiVersion": f"{GROUP}/{version}", "request": request}


def _kind(resource: Resource, subresource: str) -> Object:
    if subresource == "scale":
        return _SCALE
    return {"group": resource.group, "version": resource.version, "kind": resource.kind}


def _resource(resource: Resource) -> Object:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def verdict(hook: Hook, version: str, uid: str, answer: bytes) -> Verdict:
    """Read an answer. Raises `CallFailed`."""
    given = _decoded(answer)
    response = _checked(given, version)
    if version == "v1":
        _check_kind(given, version)
        if response.get("uid", "") != uid:
            raise _invalid(f'expected response.uid="{uid}", got "{response.get("uid", "")}"')
    warnings = tuple(response.get("warnings") or ())
    if not response.get("allowed"):
        return Verdict([], warnings, _refusal(hook.name, response.get("status") or {}))
    return Verdict(_patch(response, version), warnings, None)


def _decoded(answer: bytes) -> Object:
    try:
        given = msgspec.json.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError):
        given = ""  # to a real server, which reads YAML too, whatever is no JSON is a text
    if not isinstance(given, dict):
        found = _go_type(given)
        fields = 'APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\""'
        why = f"json: cannot unmarshal {found} into Go value of type struct {{ {fields} }}"
        raise _uncalled(f"couldn't get version/kind; json parse error: {why}")
    return given


def _checked(given: Object, version: str) -> Object:
    """Return the response, its fields of the right types."""
    kind, api_version = given.get("kind") or "", given.get("apiVersion") or ""
    if kind and api_version and (kind != "AdmissionReview" or api_version not in {f"{GROUP}/{v}" for v in VERSIONS}):
        raise _uncalled(f'no kind "{kind}" is registered for version "{api_version}" in scheme "sandbox"')
    if kind and api_version not in {"", f"{GROUP}/{version}"}:
        spoken = api_version.rpartition("/")[2]
        raise _uncalled(f"converting ({spoken}.AdmissionReview) to ({version}.AdmissionReview): unknown conversion")
    response = given.get("response")
    if response is None:
        raise _invalid("webhook response was absent")
    for field, (kinds, go_type) in _TYPES.items():
        value = response.get(field) if isinstance(response, dict) else None
        if value is not None and not isinstance(value, kinds):
            found = _go_type(value)
            where = f"Go struct field AdmissionResponse.response.{field}"
            raise _uncalled(f"json: cannot unmarshal {found} into {where} of type {go_type}")
    if not isinstance(response, dict):
        raise _uncalled("json: cannot unmarshal into Go struct field AdmissionReview.response")
    return response


_TYPES: dict[str, tuple[type, str]] = {
    "uid": (str, "types.UID"),
    "allowed": (bool, "bool"),
    "status": (dict, "v1.Status"),
    "patch": (str, "[]uint8"),
    "patchType": (str, "v1.PatchType"),
    "warnings": (list, "[]string"),
}


def _check_kind(given: Object, version: str) -> None:
    expected = f"{GROUP}/{version}, Kind=AdmissionReview"
    got = f"{given.get('apiVersion') or ''}, Kind={given.get('kind') or ''}"
    if got != expected:
        raise _invalid(f"expected webhook response of {expected}, got {got}")


def _patch(response: Object, version: str) -> list[Object]:
    text, kind = response.get("patch") or "", response.get("patchType") or ""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _uncalled("illegal base64 data at input byte 0") from None
    if version == "v1" and raw and not kind:
        raise _invalid("webhook returned response.patch but not response.patchType")
    if version == "v1" and kind and not raw:
        raise _invalid("webhook returned response.patchType but not response.patch")
    if not raw:
        return []
    if kind not in {"", "JSONPatch"}:
        raise CallFailed(f'unsupported patch type "{kind}"')
    undecodable = "received undecodable patch in webhook response"
    try:
        patch = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CallFailed(f"{undecodable}: {error}") from None
    if not isinstance(patch, list) or not all(isinstance(operation, dict) for operation in patch):
        found = "array" if isinstance(patch, list) else _go_type(patch)
        raise CallFailed(f"{undecodable}: json: cannot unmarshal {found} into Go value of type jsonpatch.Patch")
    return patch


def _refusal(name: str, given: Object) -> ApiError:
    """Word a denial. The code is the webhook's if it is one of a refusal, else 400."""
    code, reason, message = given.get("code") or 0, given.get("reason") or "", given.get("message") or ""
    why = message or reason
    told = f": {why}" if why else " without explanation"
    return ApiError(
        max(code, 400),
        f'admission webhook "{name}" denied the request{told}',
        reason=reason,
        details=given.get("details"),
    )


def _go_type(value: Any) -> str:
    return {list: "array", dict: "object", str: "string", bool: "bool"}.get(type(value), "number")


def _uncalled(why: str) -> CallFailed:
    return CallFailed(f"failed to call webhook: {why}")


def _invalid(why: str) -> CallFailed:
    return CallFailed(f"received invalid webhook response: {why}")
