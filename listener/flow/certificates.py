"""Keep the door's certificate: in a Secret that all replicas share, in use, and known to the API servers.

Every replica does the same, and none leads. What is to be done is `core.renewal`'s to say; each look does one step of
it at most, for what a step leads to has to be seen by everybody before the next one. A write needs the Secret as it was
read, so of two replicas one writes, and the other takes what it wrote.

Whatever is missing is told and looked for again; nothing here ends, and nobody waits for it but the door.

A Secret that somebody empties gets a new CA; while a replica still shows a certificate by the old one, that one stays
in the bundle for a day. After a theft of the keys nobody shall believe it: empty the Secret, and restart all replicas.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, NoReturn, Protocol

import structlog

from listener.core import renewal
from listener.core.outcomes import End, Outcome
from listener.core.renewal import Held, Leaf, Secret, Step, Webhooks
from listener.errors import ClusterError, ClusterRefused, InvalidCertificate
from listener.flow.backoff import Backoff

log = structlog.get_logger()

_LOOK_SECONDS = (45, 60)  # so that what somebody deletes is mended within a minute
_FILES_SECONDS = 10
_TRIES = 5  # in a row, when others write between our reading and our writing

_CONTESTED = "somebody else writes it all the time"
_MISSING_SECRET = "create it; it may be empty"  # noqa: S105 - tells of one, and is none
_MISSING_WEBHOOKS = "create it; until it holds our CA, API servers do not call us"
_RIGHTS = "the service account needs get and patch on this object"
_LATER = "it is tried again; until then the certificate in use stays"


class Store(Protocol):
    """Where certificates are kept, and made known. Reads raise ClusterError, and return None for what is not there."""

    async def get_secret(self, namespace: str, name: str) -> Secret | None: ...

    async def store_secret(self, secret: Secret, data: dict[str, bytes]) -> Outcome[Secret]:
        """Set these keys, if the Secret is still as it was read; else STALE."""

    async def get_webhooks(self, name: str) -> Webhooks | None: ...

    async def store_bundle(self, webhooks: Webhooks, bundle: bytes) -> Outcome[Webhooks]:
        """Give the bundle to each of the webhooks, if they are still those; else STALE."""


class Issuer(Protocol):
    """Who makes certificates, and reads them."""

    def read(self, data: dict[str, bytes], /) -> Held: ...

    def issue_authority(self, now: datetime, /) -> Held: ...

    def issue_leaf(self, held: Held, hosts: Collection[str], now: datetime, /) -> Leaf: ...


class Files(Protocol):
    """A certificate that somebody else renews."""

    def read(self) -> Leaf:
        """Raises InvalidCertificate."""


class _Door:
    """Hands each certificate to the door once."""

    def __init__(self, use: Callable[[Leaf], None]) -> None:
        self._use = use
        self.leaf: Leaf | None = None

    def take(self, leaf: Leaf) -> None:
        """Raises InvalidCertificate; then the one before stays in use."""
        if leaf == self.leaf:
            return
        self._use(leaf)
        self.leaf = leaf
        log.info("certificate.in_use", hosts=sorted(leaf.hosts), ends=leaf.ends.isoformat())

    @property
    def ends(self) -> float | None:
        return self.leaf.ends.timestamp() if self.leaf else None


class Keeper:
    """Keeps a certificate of our own."""

    def __init__(
        self,
        store: Store,
        issuer: Issuer,
        *,
        secret: tuple[str, str],
        hosts: Collection[str],
        webhook: str | None,
        use: Callable[[Leaf], None],
        now: Callable[[], datetime],
        backoff: Backoff | None = None,
    ) -> None:
        """`secret` is its namespace and its name. `webhook` is the configuration whose CA bundle we keep; without one
        whoever keeps it is believed to be done as soon as there is something to keep. `use` gets what the door shall
        show, and raises InvalidCertificate when that cannot be.
        """
        self._store = store
        self._issuer = issuer
        self._secret = secret
        self._hosts = frozenset(map(renewal.canonical_host, hosts))
        self._webhook = webhook
        self._door = _Door(use)
        self._now = now
        self._backoff = backoff or Backoff(1, 60)
        self._bundle = b""
        self._published: tuple[bytes, float] | None = None  # what API servers have, and since when
        self._told: dict[str, str] = {}

    @property
    def ends(self) -> float | None:
        """When the certificate in use ends, in Unix seconds; None while there is none."""
        return self._door.ends

    async def run(self) -> NoReturn:
        while True:
            is_well = await self._keep()
            is_well = await self._publish() and is_well
            if is_well:
                self._backoff.reset()
                await asyncio.sleep(random.uniform(*_LOOK_SECONDS))  # noqa: S311 - spreads load, keeps no secret
            else:
                await asyncio.sleep(self._backoff.next())

    # The Secret

    async def _keep(self) -> bool:
        """Look at the Secret, do what is due, and use what it holds. False: try again soon."""
        try:
            for _ in range(_TRIES):
                secret = await self._store.get_secret(*self._secret)
                if secret is None:
                    return self._lacks(self._secret_name, "there is no such object", _MISSING_SECRET)
                outcome = await self._step(secret)
                if outcome is None:
                    self._told.pop(self._secret_name, None)
                    return True
                if outcome.end is not End.STALE:
                    return self._lacks(self._secret_name, outcome.message, _hint(outcome, _MISSING_SECRET))
        except ClusterError as error:
            return self._lacks(self._secret_name, str(error), _hint_of(error))
        except InvalidCertificate as error:
            return self._lacks(self._secret_name, str(error), "empty it, and what it holds is made anew")
        return self._lacks(self._secret_name, _CONTESTED, _LATER)

    async def _step(self, secret: Secret) -> Outcome[Secret] | None:
        """Use what is there, and do what is due. None: all is done that can be done now."""
        now = self._now()
        held = self._issuer.read(dict(secret.data))
        if held.leaf and renewal.is_believed(held.leaf, now):
            self._take(held)
        held = renewal.recovered(held, self._door.leaf, now)
        step = renewal.next_step(held, self._hosts, now, published_for=self._published_for(held.bundle))
        if step is Step.KEEP:
            return None
        held = self._made(step, held, now)
        outcome = await self._store.store_secret(secret, held.data())
        if outcome.end is not End.APPLIED:
            return outcome
        log.info("certificate.renewed", secret=self._secret_name, step=step.value)
        self._take(held)
        return None

    def _made(self, step: Step, held: Held, now: datetime) -> Held:
        """What the Secret shall hold after a step."""
        if step is Step.FORGET:
            kept = (held.signer,) if held.signer else ()
            return Held(kept, held.signer, held.key, held.leaf)
        if step is Step.SIGN:
            return Held(held.authorities, held.signer, held.key, self._issuer.issue_leaf(held, self._hosts, now))
        made = self._issuer.issue_authority(now)
        if step is Step.BEGIN:
            return Held(made.authorities, made.signer, made.key, self._issuer.issue_leaf(made, self._hosts, now))
        before = (held.leaf.authority,) if held.leaf and held.leaf.authority else ()
        return Held(made.authorities + before, made.signer, made.key, held.leaf)

    def _take(self, held: Held) -> None:
        self._bundle = held.bundle
        if held.leaf:
            self._door.take(held.leaf)

    # The webhook configuration

    async def _publish(self) -> bool:
        """Let the API servers know the bundle. False: try again soon."""
        if not self._bundle:
            return True
        if self._webhook is None:
            self._now_published()
            return True
        try:
            for _ in range(_TRIES):
                found = await self._store.get_webhooks(self._webhook)
                if found is None:
                    return self._lacks_webhooks("there is no such object", _MISSING_WEBHOOKS)
                if all(bundle == self._bundle for _, bundle in found.bundles):
                    self._told.pop(self._webhook_name, None)
                    self._now_published()
                    return True
                self._published = None
                outcome = await self._store.store_bundle(found, self._bundle)
                match outcome.end:
                    case End.APPLIED:
                        log.info("certificate.published", webhook=self._webhook_name)
                    case End.STALE:
                        pass
                    case _:
                        return self._lacks_webhooks(outcome.message, _hint(outcome, _MISSING_WEBHOOKS))
        except ClusterError as error:
            return self._lacks_webhooks(str(error), _hint_of(error))
        return self._lacks_webhooks(_CONTESTED, _LATER)

    def _now_published(self) -> None:
        if self._published is None or self._published[0] != self._bundle:
            self._published = self._bundle, asyncio.get_running_loop().time()

    def _published_for(self, bundle: bytes) -> timedelta | None:
        if self._published is None or self._published[0] != bundle:
            return None
        return timedelta(seconds=asyncio.get_running_loop().time() - self._published[1])

    # What is missing

    @property
    def _secret_name(self) -> str:
        return "Secret " + "/".join(self._secret)

    @property
    def _webhook_name(self) -> str:
        return f"MutatingWebhookConfiguration {self._webhook}"

    def _lacks_webhooks(self, reason: str, hint: str) -> bool:
        self._published = None
        return self._lacks(self._webhook_name, reason, hint)

    def _lacks(self, name: str, reason: str, hint: str) -> bool:
        """Tell it, once for each reason."""
        if self._told.get(name) != reason:
            self._told[name] = reason
            log.warning(
                "certificate.unkept", object=name, reason=reason, hint=hint, is_in_use=self._door.leaf is not None
            )
        return False


def _hint(outcome: Outcome[Any], missing: str) -> str:
    if outcome.end is End.GONE:
        return missing
    return _RIGHTS if outcome.may_pass else _LATER


def _hint_of(error: ClusterError) -> str:
    return _RIGHTS if isinstance(error, ClusterRefused) and error.status in (401, 403) else _LATER


class FileKeeper:
    """Uses a certificate that somebody else renews in files."""

    def __init__(self, files: Files, *, use: Callable[[Leaf], None]) -> None:
        self._files = files
        self._door = _Door(use)
        self._told = ""

    @property
    def ends(self) -> float | None:
        """When the certificate in use ends, in Unix seconds; None while there is none."""
        return self._door.ends

    async def run(self) -> NoReturn:
        while True:
            try:
                self._door.take(self._files.read())
                self._told = ""
            except InvalidCertificate as error:
                self._tell(str(error))
            await asyncio.sleep(_FILES_SECONDS)

    def _tell(self, reason: str) -> None:
        """Once for each reason: a pair that is half written is whole the next time."""
        if reason != self._told:
            self._told = reason
            log.warning(
                "certificate.unusable", files=str(self._files), reason=reason, is_in_use=self._door.leaf is not None
            )
