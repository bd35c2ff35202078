"""Our exceptions, in one short tree.

Three kinds only. *Bad input* is refused at the door and knows its HTTP status. *A broken world* (the cluster, a
registry) is translated once, in its edge, with the original chained. *Our own bugs* have no class here: they are never
caught by name. Expected ends of a piece of work are values, not exceptions.
"""

from __future__ import annotations


class ListenerError(Exception):
    """Everything this package raises on purpose."""


class Deferred(ListenerError):
    """A delivery cannot be dealt with now: its sender is told to come again, after `retry_after_seconds` if known."""

    retry_after_seconds: float | None = None


class SettingsError(ListenerError):
    """The settings cannot be used. The message names the key and what is expected there."""


class InvalidReference(ListenerError, ValueError):
    """A text that is no image reference. The message holds the text and the reason."""


class InvalidManifest(ListenerError, ValueError):
    """Bytes that are no image index. The message says what was expected, and where."""


class InvalidCertificate(ListenerError, ValueError):
    """A certificate, or the key to it, that cannot be used. The message says why, and holds neither."""


class BadInput(ListenerError):
    """A request that can never be taken as it is.

    `status` is the HTTP status to answer with.
    """

    status = 400


class MalformedDelivery(BadInput):
    """The body is not what its dialect sends: no JSON, or not the documented envelope."""


class MalformedReview(BadInput):
    """The body is no AdmissionReview that can be answered."""


class IncompleteDelivery(BadInput):
    """The body did not arrive in time."""

    status = 408


class Unauthenticated(BadInput):
    """The delivery does not carry the secret that its registry's settings ask for."""

    status = 401


class SignerUnavailable(Deferred):
    """Whether a delivery is signed by whom it should be cannot be told now: the signer's keys cannot be fetched."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class UnknownHook(BadInput):
    """No registry of that name is configured."""

    status = 404


class NotPosted(BadInput):
    """A hook was asked for, and nothing was delivered to it."""

    status = 405


class TooLarge(BadInput):
    """The body is larger than any delivery is."""

    status = 413


class UnknownEncoding(BadInput):
    """The body is compressed in a way that we do not read."""

    status = 415


class Limited(Deferred):
    """The sender has to wait: too many of its requests were refused, or too much is under way."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ClusterError(ListenerError):
    """The Kubernetes API did not do what was asked. The message names the request and its answer."""


class ClusterUnavailable(ClusterError, Deferred):
    """No answer, or one that says "later": the network, 429, 5xx. Trying again can help.

    `retry_after_seconds` is the server's own advice, where it gave one.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ClusterRefused(ClusterError):
    """The API server understood and said no: a right, a type or a name is missing. `status` is its HTTP status."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


class NotServed(ClusterRefused):
    """404 about a resource: the API server does not know it, now. A CustomResourceDefinition may bring it."""


class WatchSilent(ClusterUnavailable):
    """A watch told nothing for so long, not even that nothing changed, that something is wrong with it."""


class WatchExpired(ClusterError):
    """410: the place where the watch should go on is no longer in the server's memory. List again."""


class RegistryError(ListenerError):
    """A registry did not tell what was asked. The message is fit for a condition: it names the image, and no secret.

    `reason` is the condition's reason, one of OpenShift's words: NotFound, Unauthorized, BadRequest, NotV2Registry,
    Forbidden, Invalid, InternalError.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class RegistryUnavailable(RegistryError):
    """No answer, or one that says "later": the network, a time limit, 429, 5xx. Trying again can help.

    `retry_after_seconds` is the registry's own advice, where it gave one.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message, reason="InternalError")
        self.retry_after_seconds = retry_after_seconds


class RegistryRefused(RegistryError):
    """The question has its answer, and it is no: not there, no access, not allowed, or nothing we can use."""


class Unconfirmed(Deferred):
    """What a push says could not be confirmed now: its registry does not answer."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
