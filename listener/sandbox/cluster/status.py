"""The refusals of a Kubernetes API server, worded as kube-apiserver words them.

Clients read more than the code: kubectl prints the message, controllers branch on `reason`, server-side apply reads
`details.causes`. So every refusal is made here, once, and is a value that can be raised. Knows nothing of HTTP
libraries.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from listener.errors import ListenerError
from listener.sandbox.cluster.field_errors import FieldError

_BY_CODE = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    406: "NotAcceptable",
    409: "Conflict",
    410: "Expired",
    413: "RequestEntityTooLarge",
    415: "UnsupportedMediaType",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    504: "Timeout",
}
NOT_SERVED = "the server could not find the requested resource"
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class ApiError(ListenerError):
    """A request that is refused: its code, its reason and its `details`, ready to be a `Status` object.

    `warnings` are what users are told besides.
    """

    def __init__(self, code: int, message: str, *, reason: str | None = None, details: dict[str, Any] | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.reason = _BY_CODE.get(code, "") if reason is None else reason
        self.details = details
        self.warnings: tuple[str, ...] = ()

    def status(self) -> dict[str, Any]:
        """Return the `Status` object, of `v1`."""
        status: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        status["message"] = self.message
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


class Named(Protocol):
    """What an error must know of a type: `Resource` has it."""

    @property
    def group(self) -> str: ...
    @property
    def plural(self) -> str: ...
    @property
    def kind(self) -> str: ...


def qualified(resource: Named) -> str:
    """Return `deployments.apps`, or `pods` for the core group."""
    return f"{resource.plural}.{resource.group}" if resource.group else resource.plural


def details(resource: Named, name: str) -> dict[str, Any]:
    found = {"name": name} if name else {}
    if resource.group:
        found["group"] = resource.group
    return {**found, "kind": resource.plural}


def bad_request(message: str) -> ApiError:
    return ApiError(400, message)


def not_served() -> ApiError:
    return ApiError(404, NOT_SERVED, details={})


def method_not_allowed() -> ApiError:
    return ApiError(405, "the server does not allow this method on the requested resource", details={})


def not_found(resource: Named, name: str) -> ApiError:
    return ApiError(404, f'{qualified(resource)} "{name}" not found', details=details(resource, name))


def namespace_not_found(namespace: str) -> ApiError:
    return ApiError(404, f'namespaces "{namespace}" not found', details={"name": namespace, "kind": "namespaces"})


def already_exists(resource: Named, name: str) -> ApiError:
    message = f'{qualified(resource)} "{name}" already exists'
    return ApiError(409, message, reason="AlreadyExists", details=details(resource, name))


def conflict(resource: Named, name: str, why: str = MODIFIED) -> ApiError:
    message = f'Operation cannot be fulfilled on {qualified(resource)} "{name}": {why}'
    return ApiError(409, message, details=details(resource, name))


def precondition_failed(resource: Named, name: str, why: str) -> ApiError:
    """Refuse a delete whose precondition does not hold. Here, unlike in `conflict`, the server names the kind."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    found = {"name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.kind}
    return ApiError(409, f'Operation cannot be fulfilled on {kind} "{name}": {why}', details=found)


def forbidden(resource: Named, name: str, why: str, causes: list[dict[str, str]] | None = None) -> ApiError:
    found = details(resource, name)
    if causes:
        found["causes"] = causes
    return ApiError(403, f'{qualified(resource)} "{name}" is forbidden: {why}', details=found)


def terminating(resource: Named, name: str, namespace: str) -> ApiError:
    cause = {
        "reason": "NamespaceTerminating",
        "message": f"namespace {namespace} is being terminated",
        "field": "metadata.namespace",
    }
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    return forbidden(resource, name, why, [cause])


def invalid(kind: str, group: str, name: str, faults: Sequence[FieldError]) -> ApiError:
    """Refuse an object for its fields; `kind` is the kind, or the plural where the store itself refuses."""
    told = list(dict.fromkeys(f"{fault.path}: {fault.message}" for fault in faults))
    where = f"{kind}.{group}" if group else kind
    found: dict[str, Any] = {"name": name} if name else {}
    if group:
        found["group"] = group
    if kind:
        found["kind"] = kind
    found["causes"] = [{"reason": fault.kind, "message": fault.message, "field": fault.path} for fault in faults]
    listed = told[0] if len(told) == 1 else f"[{', '.join(told)}]"
    return ApiError(422, f'{where} "{name}" is invalid: {listed}', details=found)


def invalid_options(kind: str, faults: Sequence[FieldError]) -> ApiError:
    """Refuse query parameters or options, as `CreateOptions.meta.k8s.io` and its like."""
    return invalid(kind, "meta.k8s.io", "", faults)


def unknown_format(accepted: Iterable[str]) -> ApiError:
    listed = ", ".join(accepted)
    return ApiError(415, f"the body of the request was in an unknown format - accepted media types include: {listed}")


def unknown_patch_format(*, custom: bool) -> ApiError:
    """Refuse a patch type.

    For built-in types the real server refuses in fewer words, before it knows what it could take.
    """
    if not custom:
        return ApiError(415, "415: Unsupported Media Type", details={})
    return unknown_format(f"application/{kind}" for kind in ("json-patch+json", "merge-patch+json", "apply-patch+yaml"))


def not_acceptable() -> ApiError:
    return ApiError(406, "only the following media types are accepted: application/json, application/yaml")


def cannot_be_handled(version: str, kind: str, why: str) -> ApiError:
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {why}')


def too_old(asked: int, oldest: int) -> ApiError:
    """Say that a watch asks for changes that the bounded log no longer holds: list again."""
    return ApiError(410, f"too old resource version: {asked} ({oldest})")


def continue_expired() -> ApiError:
    return ApiError(
        410,
        "The provided continue parameter is too old to display a consistent list result. You can start a new list "
        "without the continue parameter.",
    )


def too_large(asked: int, current: int) -> ApiError:
    return ApiError(
        504,
        f"Timeout: Too large resource version: {asked}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )


def too_many_requests(retry_after_seconds: int) -> ApiError:
    message = "the server has received too many requests and has asked us to try again later"
    return ApiError(429, message, details={"retryAfterSeconds": retry_after_seconds})


def internal(why: str) -> ApiError:
    return ApiError(500, f"Internal error occurred: {why}", details={"causes": [{"message": why}]})
