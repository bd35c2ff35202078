"""Whose hook it is, and what of a delivery concerns that registry: for the service, and for who explains it offline."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from listener.core.events import PushEvent, Remark
from listener.core.references import canonical_registry
from listener.core.streams import StreamKey, is_namespace

# What Kubernetes takes as the name of a custom resource.
_STREAM_NAME: Final = re.compile(r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")

_MOST_UNPROVEN: Final = 100


@dataclass(frozen=True, slots=True)
class Origin:
    """A registry that may call us. `host` is how pull specs name it, `aliases` how it may call itself in its events.

    With `integrated`, its repository NAMESPACE/NAME is the stream NAME in NAMESPACE. With `verify`, it is asked about
    what it says; with `believes_unverified`, what it says is believed while it cannot be asked. Unless it `is_proven`,
    anybody may be its sender.
    """

    name: str
    host: str
    aliases: frozenset[str] = frozenset()
    integrated: bool = False
    verify: bool = True
    believes_unverified: bool = False
    is_proven: bool = True

    def complaint(self, event: PushEvent) -> str | None:
        """Say why a push cannot be taken, whatever streams there are; None if it can.

        An event that names no host speaks of the registry whose hook it came to. Docker Hub's names are one.
        """
        if not (event.registry is None or self._is_called(event.registry)):
            return f"{event.registry} is neither host nor alias of registry {self.name!r}; add it to its aliases"
        if event.digest is None and not self.verify:
            return f"it names no digest, and registry {self.name!r} is not to be asked for it (verify: false)"
        return None

    def believed(self, events: Sequence[PushEvent]) -> tuple[Sequence[PushEvent], Remark | None]:
        """Return what is believed of the pushes of one delivery, and what is to be said of those that are left out.

        Of who proved nothing, only that something was pushed; what it is, the registry says. Where it is not asked,
        somebody wrote out that anybody is to be believed.
        """
        if self.is_proven or not self.verify:
            return events, None
        remark = None
        if len(events) > _MOST_UNPROVEN:
            why = f"of who proved nothing, {_MOST_UNPROVEN} pushes of a delivery are looked up; set a secret in auth"
            remark = Remark(f"{len(events) - _MOST_UNPROVEN} pushes more", why)
        return [event._replace(digest=None, timestamp=None) for event in events[:_MOST_UNPROVEN]], remark

    def own_stream(self, event: PushEvent, namespaces: Collection[str]) -> StreamKey | str:
        """Return the stream that an integrated registry's repository is; or say why it is none.

        `namespaces` are those of the settings, empty for all.
        """
        namespace, _, name = event.repository.partition("/")
        if not (is_namespace(namespace) and _STREAM_NAME.fullmatch(name)):
            return f"in integrated registry {self.name!r} repositories are NAMESPACE/NAME, as Kubernetes names go"
        if namespaces and namespace not in namespaces:
            return f"namespace {namespace} is not among the `namespaces` of the settings"
        return StreamKey(namespace, name)

    def _is_called(self, name: str) -> bool:
        known = (self.host, *self.aliases)
        return name in known or canonical_registry(name) in map(canonical_registry, known)
