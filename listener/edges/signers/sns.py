"""The gate for Amazon SNS: the signature in each message, by a certificate that its own address serves.

The message says where that certificate is, and a stranger may have written the message. So it is fetched only from the
SNS hosts of the configured topics' regions; a few times a minute for each source of messages and so many times in all,
so that one who invents certificates keeps nobody else from theirs; and kept by its URL, whose content does not change.
Those that have signed something have places of their own. While one cannot be looked for, its sender is told to come
again. https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec
import structlog
from aiolimiter import AsyncLimiter
from cachetools import LRUCache, TTLCache
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from yarl import URL

from listener.core.events import Delivery
from listener.edges.signers.fetching import Fetching, server_name
from listener.errors import SignerUnavailable, Unauthenticated

log = structlog.get_logger()

_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
_OPTIONAL: Final = "Subject"
_MEMBERS: Final = tuple(sorted({*_CONFIRMATION, _OPTIONAL, "Signature", "SignatureVersion", "SigningCertURL"}))
# Whatever else a stranger writes is skipped over: to make objects of a megabyte of it takes a fifth of a second.
_decode: Final = msgspec.json.Decoder(
    msgspec.defstruct("_Message", [(name, str | None, None) for name in _MEMBERS])
).decode
_HASHES: Final[Mapping[str, SHA1 | SHA256]] = {"1": SHA1(), "2": SHA256()}  # noqa: S303 - version 1 is SHA-1
_RSA_BITS: Final = 2048

_CERTIFICATES: Final = 16
_FETCHES_A_MINUTE: Final = 60
_FETCHES_OF_A_SOURCE: Final = 5  # a minute; a region has one certificate at a time
_SOURCES: Final = 1000

_RAW: Final = (
    "it came as raw message delivery, which is not signed; switch raw message delivery off at the subscription"
)


class SnsGate:
    """Lets in what SNS signed for one of the topics."""

    needs_body = True

    def __init__(self, registry: str, fetching: Fetching, *, topics: Collection[str]) -> None:
        """`topics` are ARNs."""
        self._registry = registry
        self._fetching = fetching
        self._topics = frozenset(topics)
        self._hosts = frozenset(_host(topic) for topic in topics)
        self._certificates: LRUCache[URL, x509.Certificate] = LRUCache(_CERTIFICATES)  # that have signed something
        self._others: LRUCache[URL, x509.Certificate] = LRUCache(_CERTIFICATES)
        self._limiter = AsyncLimiter(_FETCHES_A_MINUTE, 60)
        self._fetched_for: TTLCache[str, int] = TTLCache(_SOURCES, 60)
        self._running: dict[URL, asyncio.Task[x509.Certificate | Exception]] = {}

    async def admit(self, delivery: Delivery) -> None:
        """Raises Unauthenticated, or SignerUnavailable if the certificate cannot be had."""
        if delivery.headers.get("x-amz-sns-rawdelivery", "").strip().lower() == "true":
            raise self._refused(_RAW)
        if delivery.headers.get("content-encoding", "identity") != "identity":
            raise self._refused("it has a Content-Encoding, so that what is signed is not what would be read")
        message = self._read(delivery.body)
        if message.get("TopicArn") not in self._topics:
            raise self._refused("it is of no topic in `auth.sns.topics`")
        algorithm = _HASHES.get(message.get("SignatureVersion", ""))
        if algorithm is None:
            raise self._refused("its SignatureVersion is neither 1 nor 2")
        signed = self._signed(message)
        try:
            signature = base64.b64decode(message.get("Signature", ""), validate=True)
        except ValueError:
            signature = b""
        if not signature:
            raise self._refused("it holds no Signature")
        url = self._at_sns("SigningCertURL", message.get("SigningCertURL", ""))
        if not url.path.endswith(".pem") or url.raw_query_string:
            raise self._refused("its SigningCertURL leads to no .pem file")
        certificate = await self._certificate(url, delivery.source)
        key = self._key(certificate)
        try:
            key.verify(signature, signed, PKCS1v15(), algorithm)
        except InvalidSignature:
            raise self._refused(
                "its signature is wrong: SNS did not write it, or something on the way changed it"
            ) from None
        self._certificates[url] = certificate

    async def confirm(self, text: str) -> None:
        """Ask the URL that confirms a subscription, of a message that was admitted. SNS takes it more than once.

        Raises Unauthenticated if it is none, and SignerUnavailable if SNS could not do it now: it sends another one.
        """
        url = self._at_sns("SubscribeURL", text)
        if url.query.get("Action") != "ConfirmSubscription" or url.query.get("TopicArn") not in self._topics:
            raise self._refused("its SubscribeURL confirms no subscription of a topic in `auth.sns.topics`")
        answer = await self._fetching.get(url)
        if answer.status != 200:
            raise SignerUnavailable(
                f"{server_name(url)}: the subscription is not confirmed, it answered {answer.status}"
            )
        log.info("sns.subscription_confirmed", topic=url.query["TopicArn"])

    async def close(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _read(self, body: bytes) -> Mapping[str, str]:
        """The members that SNS sends, as far as they are there."""
        try:
            found = msgspec.structs.asdict(_decode(body))
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise self._refused("it is no JSON object with the members that SNS sends") from None
        return {name: value for name, value in found.items() if value is not None}

    def _signed(self, message: Mapping[str, str]) -> bytes:
        """What SNS signs: some of the members, each name and each value on a line of its own."""
        names = _SIGNED.get(message.get("Type", ""))
        if names is None:
            raise self._refused("its Type is none that SNS sends")
        missing = [name for name in names if name not in message and name != _OPTIONAL]
        if missing:
            raise self._refused(f"it lacks {missing[0]}")
        text = "".join(f"{name}\n{message[name]}\n" for name in names if name in message)
        return text.encode()

    def _at_sns(self, member: str, text: str) -> URL:
        """The URL, if it leads to an SNS host of the topics. It is used as it was judged, and not read again."""
        try:
            url = URL(text)
            at_sns = (
                url.scheme == "https" and url.host in self._hosts and url.user is None and url.password is None
            ) and url.port == 443
        except ValueError:
            at_sns = False
        if not at_sns:
            raise self._refused(f"its {member} is not https at {' or '.join(sorted(self._hosts))}")
        return url.with_fragment(None)

    async def _certificate(self, url: URL, source: str) -> x509.Certificate:
        """Fetch a certificate once for all who wait. The fetch belongs to none of them; `source` is charged for it."""
        kept = self._certificates.get(url) or self._others.get(url)
        if kept is not None:
            return kept
        task = self._running.get(url)
        if task is None:
            asked = self._fetched_for.get(source, 0)
            if asked >= _FETCHES_OF_A_SOURCE or not self._limiter.has_capacity():
                raise SignerUnavailable(f"{server_name(url)}: too many certificates were asked for; deliver again")
            self._fetched_for[source] = asked + 1
            await self._limiter.acquire()
            task = self._running[url] = asyncio.create_task(self._fetch(url), name="certificate-of-sns")
            task.add_done_callback(lambda _: self._running.pop(url, None))
        found = await asyncio.shield(task)
        if isinstance(found, Exception):
            raise type(found)(str(found))
        return found

    async def _fetch(self, url: URL) -> x509.Certificate | Exception:
        """Fetch a certificate and keep it. A failure is a value: each who waits raises its own exception of it."""
        try:
            answer = await self._fetching.get(url)
        except SignerUnavailable as error:
            return error
        if answer.status == 429 or answer.status >= 500:
            return SignerUnavailable(f"{server_name(url)}: it answered {answer.status}")
        if answer.status != 200:
            return self._refused(f"there is no certificate at its SigningCertURL, which answered {answer.status}")
        try:
            found = x509.load_pem_x509_certificate(answer.body)
        except ValueError:
            return self._refused("what its SigningCertURL leads to is no certificate")
        self._others[url] = found
        return found

    def _key(self, certificate: x509.Certificate) -> RSAPublicKey:
        if not certificate.not_valid_before_utc <= datetime.now(UTC) <= certificate.not_valid_after_utc:
            raise self._refused("its certificate is not valid now")
        try:
            key = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, RSAPublicKey) or key.key_size < _RSA_BITS:
            raise self._refused(f"its certificate holds no RSA key of {_RSA_BITS} bits or more")
        return key

    def _refused(self, why: str) -> Unauthenticated:
        return Unauthenticated(f"the delivery is no message of SNS that registry {self._registry!r} takes: {why}")


def _host(topic: str) -> str:
    """Where SNS is for a topic: its region stands in its ARN."""
    _, partition, _, region, *_ = topic.split(":")
    return f"sns.{region}.amazonaws.com" + (".cn" if partition == "aws-cn" else "")
