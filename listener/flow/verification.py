"""Whether a push is true: its registry has the last word, and a hook is only a hint.

An image is seen in its repository before a tag moves to it. A tag is looked up where the push does not name its image,
or where nothing else tells whether the push is the newest. The questions are those of the stream's namespace, with its
pull secrets, and they go to the host of the settings: never to one that a payload names.

A registry that says no ends the matter: the push is refused, for its sender would repeat it for ever. One that does
not answer does not: then the sender comes again, unless the settings let us believe it meanwhile. A push that came in
vain for five minutes, while its registry answers about other images, is given up as a push (`Unanswered`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from listener.core import pushes
from listener.core.conditions import Problem
from listener.core.manifests import Described
from listener.core.pushes import Effect, Place, Push
from listener.core.streams import Source, StreamKey
from listener.errors import ClusterError, Deferred, RegistryRefused, RegistryUnavailable, Unconfirmed
from listener.flow.overdue import Overdue, Trouble
from listener.flow.questions import Questions
from listener.flow.state import State

log = structlog.get_logger()

_SETTLE_SECONDS = 0.3
_EARLY_PAUSES = (0.3, 0.7)
# Registries tell of a push some milliseconds before they move the tag; what was told so late is not early.
_OLD: Final = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Refused:
    """A push for one stream that its registry does not confirm.

    `why` is for the sender, `message` the registry's own words.
    """

    stream: StreamKey
    why: str
    message: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A push for one stream that its registry cannot speak about, and has not been able to for long.

    It is only a hint by now: that the registry is to be asked where the tag is, until it can say.
    """

    stream: StreamKey
    source: Source
    message: str


class Verification:
    """What the registry says of the pushes of one delivery. Everything raises Deferred if the registry cannot say now.

    `believes` lets a push pass that the registry cannot be asked about now, as it came. `overdue` is what deliveries
    before have come with in vain.
    """

    def __init__(self, questions: Questions, state: State, overdue: Overdue, *, asks: bool, believes: bool) -> None:
        """`asks` false: nothing is asked, and everything believed."""
        self._questions = questions
        self._state = state
        self._overdue = overdue
        self._asks = asks
        self._believes = believes

    async def resolved(
        self, key: StreamKey, tag: str, source: Source, push: Callable[[str], Push]
    ) -> Push | Refused | Unanswered:
        """Find out what was pushed to a tag; `push` makes one of a digest.

        Where the registry names what the tag has, or had, it may not have moved its own tag yet: it is asked again.
        """
        try:
            described, stood = await self._settled(key, tag, source)
            digest = await self._questions.image(key, tag, source, described)
        except RegistryRefused as error:
            found = self._refused(key, source, error)
            is_missing = error.reason == Problem.NOT_FOUND
            return replace(found, why=f"{found.why}. A test button sends such pushes") if is_missing else found
        except (RegistryUnavailable, ClusterError) as error:
            return await self._unanswered((key, source, ""), error)
        self._overdue.forget((key, source, ""))
        return replace(push(digest), followed=described.digest, is_sure=True, stood=stood)

    async def checked(self, key: StreamKey, push: Push, effect: Effect, *, turn: int) -> Push | Refused | Unanswered:
        """Return the push with the answer to what its effect asks for. In a later `turn` tags are looked up anew."""
        if effect not in (Effect.UNSEEN, Effect.UNSURE):
            return push
        if not self._asks:
            return replace(push, is_there=True, is_sure=effect is Effect.UNSURE)
        trouble = key, push.source, push.followed
        try:
            found = await (self._seen(key, push) if effect is Effect.UNSEEN else self._confirmed(key, push, turn))
        except RegistryRefused as error:
            return self._refused(key, _by_digest(push) if effect is Effect.UNSEEN else push.source, error)
        except (RegistryUnavailable, ClusterError) as error:
            # What may be an old push is not believed: it would move a tag backwards.
            if not self._believes or effect is Effect.UNSURE:
                return await self._unanswered(trouble, error)
            log.info("hook.believed", source=str(push.source), digest=push.followed, reason=str(error))
            return replace(push, is_there=True)
        self._overdue.forget(trouble)
        return found

    async def _seen(self, key: StreamKey, push: Push) -> Push:
        described = await self._questions.head(key, push.tag, _by_digest(push))
        digest = await self._questions.image(key, push.tag, push.source, described)
        return replace(push, digest=digest, is_there=True)

    async def _confirmed(self, key: StreamKey, push: Push, turn: int) -> Push:
        """The push as its registry has it by now, which may be another one."""
        stood = self._stood(key, push.tag)
        described = await self._questions.head(key, push.tag, push.source, turn=(turn, 1))
        age = pushes.age(push)
        may_be_early = described.digest != push.followed and (age is None or age < _OLD)
        if may_be_early and await self._questions.pause(_SETTLE_SECONDS):
            stood = self._stood(key, push.tag)
            described = await self._questions.head(key, push.tag, push.source, turn=(turn, 2))
        digest = await self._questions.image(key, push.tag, push.source, described)
        pushed = push.pushed if described.digest == push.followed else ""
        return replace(
            push, digest=digest, followed=described.digest, pushed=pushed, is_there=True, is_sure=True, stood=stood
        )

    async def _settled(self, key: StreamKey, tag: str, source: Source) -> tuple[Described, Place]:
        stood = self._stood(key, tag)
        described = await self._questions.head(key, tag, source, turn=(0, 0))
        for number, pause in enumerate(_EARLY_PAUSES, 1):
            if not self._is_known(key, tag, described.digest) or not await self._questions.pause(pause):
                break
            stood = self._stood(key, tag)
            described = await self._questions.head(key, tag, source, turn=(0, number))
        return described, stood

    def _stood(self, key: StreamKey, tag: str) -> Place:
        stream = self._state.streams.get(key)
        return pushes.place(stream.history(tag)) if stream else ("", "")

    def _is_known(self, key: StreamKey, tag: str, digest: str) -> bool:
        stream = self._state.streams.get(key)
        if stream is None:
            return False
        known = stream.history(tag)
        followed = known.resolved.followed if known.resolved else ""
        return digest == followed or any(digest == item.image for item in (*known.items, *known.waiting))

    @staticmethod
    def _refused(key: StreamKey, asked: Source, error: RegistryRefused) -> Refused:
        log.info("hook.unconfirmed", stream=str(key), source=str(asked), reason=str(error))
        host, namespace = asked.registry, key.namespace
        match error.reason:
            case Problem.NOT_FOUND:
                why = f"{host} does not have it. If it is private, namespace {namespace} needs a pull secret for {host}"
                return Refused(key, why, str(error))
            case Problem.UNAUTHORIZED:
                why = f"{host} does not show it to namespace {namespace}, which needs a pull secret for {host}"
                return Refused(key, why, str(error))
            case _:
                return Refused(key, str(error), str(error))

    async def _unanswered(self, trouble: Trouble, error: RegistryUnavailable | ClusterError) -> Unanswered:
        """Give a push up, if its registry has long been at a loss about it and about little else; or raise Unconfirmed.

        While the registry as a whole is away its sender comes again, however long that takes.
        """
        key, source, _ = trouble
        log.info("hook.unconfirmed", source=str(source), reason=str(error))
        is_overdue = isinstance(error, RegistryUnavailable) and self._overdue.note(trouble)
        if is_overdue and await self._questions.answers_otherwise(key, source):
            return Unanswered(key, source, str(error))
        advice = error.retry_after_seconds if isinstance(error, (RegistryUnavailable, Deferred)) else None
        raise Unconfirmed(f"{source} cannot be confirmed: {error}", retry_after_seconds=advice) from error


def _by_digest(push: Push) -> Source:
    return push.source._replace(tag="", digest=push.followed)
