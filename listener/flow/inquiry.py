"""Ask a registry on behalf of a namespace: with its pull secrets, and for the image that a tag takes of an index.

What a registry says is passed on as it is; when it is asked, and what follows from the answer, is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from listener.core import keyring, manifests
from listener.core.conditions import Problem
from listener.core.keyring import Credential, Keyring, PullSecret
from listener.core.manifests import Child, Described, Platform
from listener.core.references import Reference
from listener.core.streams import PRESERVE_ORIGINAL, SpecTag
from listener.errors import ClusterRefused, RegistryRefused

log = structlog.get_logger()

_REMEMBERED_SECONDS = 60
_REMEMBERED_NAMESPACES = 2000


class RegistryClient(Protocol):
    """The registries. Each raises RegistryError."""

    async def head(self, reference: Reference, credentials: Sequence[Credential], *, insecure: bool) -> Described: ...

    async def children(
        self, reference: Reference, credentials: Sequence[Credential], *, insecure: bool
    ) -> tuple[Child, ...]: ...

    async def tags(
        self, reference: Reference, credentials: Sequence[Credential], *, insecure: bool
    ) -> tuple[str, ...]: ...


class SecretStore(Protocol):
    """The cluster, as far as pull secrets are read. Raises ClusterError."""

    async def pull_secrets(self, namespace: str) -> Sequence[PullSecret]: ...


class PullSecrets:
    """The keyrings of namespaces, each read again after a minute, and at once after `forget`."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Keyring]] = {}
        self._reading: dict[str, asyncio.Task[Keyring]] = {}
        self._told: set[str] = set()

    async def of(self, namespace: str) -> Keyring:
        """Return the keyring of a namespace, an empty one where we may not read its secrets.

        Raises ClusterUnavailable.
        """
        now = asyncio.get_running_loop().time()
        until, known = self._known.get(namespace, (0.0, None))
        if known is not None and now < until:
            return known
        if namespace not in self._reading:
            task = asyncio.create_task(self._read(namespace), name=f"pull secrets of {namespace}")
            self._reading[namespace] = task
            task.add_done_callback(partial(self._was_read, namespace))
        return await asyncio.shield(self._reading[namespace])

    def forget(self, namespace: str) -> None:
        """Read them again when they are asked for next."""
        self._known.pop(namespace, None)

    def _was_read(self, namespace: str, task: asyncio.Task[Keyring]) -> None:
        self._reading.pop(namespace, None)
        if not task.cancelled():
            task.exception()  # whoever asked may be gone; that is no reason for a warning

    async def _read(self, namespace: str) -> Keyring:
        try:
            found = keyring.read(await self._store.pull_secrets(namespace))
        except ClusterRefused as refusal:
            found = keyring.read(())
            self._tell(
                namespace, f"{refusal}; private images cannot be imported there without the right to list secrets"
            )
        for problem in found.problems:
            self._tell(namespace, problem)
        while len(self._known) >= _REMEMBERED_NAMESPACES:
            del self._known[next(iter(self._known))]
        self._known[namespace] = (asyncio.get_running_loop().time() + _REMEMBERED_SECONDS, found)
        return found

    def _tell(self, namespace: str, problem: str) -> None:
        """Say it once, not once a minute."""
        if problem not in self._told and len(self._told) < _REMEMBERED_NAMESPACES:
            self._told.add(problem)
            log.warning("pull_secrets.unusable", namespace=namespace, reason=problem)


@dataclass(frozen=True, slots=True)
class Access:
    """How a registry is asked: two that are equal get the same answer."""

    credentials: tuple[Credential, ...]
    insecure: bool


class Inquiry:
    """Questions to registries. `own` is the platform that a tag takes of an index if it says nothing itself."""

    def __init__(self, registries: RegistryClient, secrets: PullSecrets, own: Platform) -> None:
        self._registries = registries
        self._secrets = secrets
        self._own = own

    async def access(self, namespace: str, reference: Reference, *, insecure: bool) -> Access:
        """Return how a namespace may ask for an image. Raises ClusterUnavailable."""
        keys = await self._secrets.of(namespace)
        return Access(keys.matching(reference), insecure)

    async def head(self, reference: Reference, access: Access) -> Described:
        """Return what a tag or digest stands for. Raises RegistryError."""
        return await self._registries.head(reference, access.credentials, insecure=access.insecure)

    async def image(self, reference: Reference, described: Described, spec_tag: SpecTag, access: Access) -> str:
        """Return the digest that a tag takes of what was found at `reference`. Raises RegistryError.

        That is the digest itself, or, of an index, unless the tag preserves it, that of the image for its platform.
        """
        if spec_tag.import_mode == PRESERVE_ORIGINAL or not manifests.is_index(described.media_type):
            return described.digest
        index = Reference(reference.registry, reference.repository, None, described.digest)
        found = await self._registries.children(index, access.credentials, insecure=access.insecure)
        child = manifests.choose(
            found,
            preferred_os=spec_tag.prefer_os,
            preferred_architecture=spec_tag.prefer_architecture,
            own=self._own,
        )
        if child is None:
            raise RegistryRefused(f"the index {index} holds no image", reason=Problem.NOT_FOUND)
        return child.digest

    async def tags(self, repository: Reference, access: Access) -> tuple[str, ...]:
        """Return the tags of a repository. Raises RegistryError."""
        return await self._registries.tags(repository, access.credentials, insecure=access.insecure)

    def forget_secrets(self, namespace: str) -> None:
        """A registry would not let us in: somebody may be about to mend the namespace's secrets."""
        self._secrets.forget(namespace)
