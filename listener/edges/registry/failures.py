"""Why a registry did not tell what was asked: a value inside this edge, and at its door one of our errors.

The words are OpenShift's where it has some, since people search for them. A message names the image and what to do.
Nothing that a server sent gets into one, but its status and its error codes; no path or query of a URL does either.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, auto

from listener.core.references import Reference
from listener.errors import RegistryError, RegistryRefused, RegistryUnavailable


class End(Enum):
    """How a question can end without its answer."""

    NOT_FOUND = auto()
    NO_ACCESS = auto()
    WRONG_LOGIN = auto()
    HTTP_ONLY = auto()
    NOT_A_REGISTRY = auto()
    FORBIDDEN = auto()
    INVALID = auto()
    UNUSABLE = auto()
    """An answer that helps nobody; the same question would get it again."""
    UNREACHABLE = auto()
    """There was not even a connection, so nothing was said: another scheme may work."""
    UNAVAILABLE = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """One end, and what is to be told of it.

    `server` is who failed, where it is not the registry itself. `authenticated`: a login had been accepted before.
    """

    end: End
    cause: str = ""
    retry_after_seconds: float | None = None
    authenticated: bool = False
    server: str = ""

    def told(self, server: str = "") -> str:
        who = self.server or server
        return f"{who}: {self.cause}" if who else self.cause


class Failed(Exception):
    """Carries a failure up to where the question was asked. Never leaves this edge.

    Its `__cause__` is an error of the operating system at most. The HTTP library's own carry URLs and headers, and so
    secrets: they are not chained.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.told() or failure.end.name)
        self.failure = failure


def failed(end: End, cause: str = "", *, retry_after_seconds: float | None = None) -> Failed:
    return Failed(Failure(end, cause, retry_after_seconds))


def elsewhere(failure: Failure, server: str) -> Failure:
    """The same failure at another server than the registry itself, such as its token server."""
    end = End.UNAVAILABLE if failure.end is End.UNREACHABLE else failure.end
    return replace(failure, end=end, server=failure.server or server)


def goes_on(failure: Failure) -> bool:
    """Tell whether another login may help. Private repositories often answer 404 to those who may not see them."""
    return failure.end in (End.NOT_FOUND, End.NO_ACCESS, End.WRONG_LOGIN)


def most_helpful(failures: list[Failure]) -> Failure:
    """Choose, of the failures of each login in turn and of none at last, the one to report.

    It is the first: the most specific credential is the one that somebody meant for this image. But when a login was
    accepted and the image was not there then, that is the answer, whatever the other logins met.
    """
    for failure in failures:
        if failure.end is End.NOT_FOUND and failure.authenticated:
            return failure
    return failures[0]


def error(failure: Failure, reference: Reference) -> RegistryError:
    """Translate a failure into the error that is raised, for the image as it was written."""
    target = reference.with_defaults()
    host = target.registry
    match failure.end:
        case End.NOT_FOUND if failure.authenticated:
            return RegistryRefused(f'dockerimage "{reference}" not found', reason="NotFound")
        case End.NOT_FOUND:
            hint = f"if it is private, this namespace needs a pull secret for {host}"
            return RegistryRefused(f'dockerimage "{reference}" not found; {hint}', reason="NotFound")
        case End.NO_ACCESS:
            message = f'you may not have access to the container image "{reference}": {failure.told()}'
            return RegistryRefused(message, reason="Unauthorized")
        case End.WRONG_LOGIN:
            message = f'incorrect username or password for the container image "{reference}": {failure.told()}'
            return RegistryRefused(message, reason="Unauthorized")
        case End.HTTP_ONLY:
            message = f"registry {host} is HTTP only: to import {reference} from it, mark it, or the tag, as insecure"
            return RegistryRefused(message, reason="BadRequest")
        case End.NOT_A_REGISTRY:
            message = f"{host} is no container registry (version 2 of its API), so there is no {reference}"
            return RegistryRefused(f"{message}: {failure.told()}", reason="NotV2Registry")
        case End.FORBIDDEN:
            message = f"importing images from registry {host} is forbidden: {failure.told()}"
            return RegistryRefused(message, reason="Forbidden")
        case End.INVALID:
            return RegistryRefused(f"{target}: {failure.told()}", reason="Invalid")
        case End.UNUSABLE:
            return RegistryRefused(_internal(target, failure), reason="InternalError")
        case End.UNREACHABLE | End.UNAVAILABLE:
            return RegistryUnavailable(_internal(target, failure), retry_after_seconds=failure.retry_after_seconds)


def _internal(target: Reference, failure: Failure) -> str:
    return f"Internal error occurred: {target}: {failure.told(f'registry {target.registry}')}"
