"""When somebody else keeps setting back what a trigger sets: how often it is put right, and when that ends.

An edit by hand is put back, as OpenShift does. A controller that wants another image would set it back for ever, and
each round is a rollout. So after some rounds the image is left to the other side until the tag moves; then it is tried
once more, and if that is set back too the fight is over at once. This room must not know what time it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from listener.core.actions import pointer
from listener.core.deployment_configs import ConfigTrigger
from listener.core.kinds import Kind
from listener.core.managers import Manager, advice
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import ContainerTrigger, locate
from listener.core.workloads import Workload

ROUNDS: Final = 4
"""The set-back that ends the fight; those before are put right."""
WINDOW_SECONDS: Final = 24 * 3600
"""How long a set-back counts: some tools come by once an hour."""


@dataclass(frozen=True, slots=True)
class Contest:
    """How a container's image was set back from `image`: when, as readings of one clock, the last few times.

    `image` is "" where the fight over it was lost and the tag has moved since; the next set-back names another.
    """

    image: str
    times: tuple[float, ...]

    def is_lost(self, now: float) -> bool:
        """Whether the other side may keep its image."""
        return len(_recent(self.times, now)) >= ROUNDS


def sent(contest: Contest, image: str, now: float) -> Contest | None:
    """Return what is left of a contest when `image` is sent: nothing of one over another image that is undecided.

    How the patch ends does not matter. One that is refused is sent again, for `image` is left to nobody yet.
    """
    if contest.image == image:
        return contest
    return replace(contest, image="") if contest.is_lost(now) else None


def set_back(contest: Contest | None, image: str, now: float) -> Contest:
    """Take note that `image` was set back."""
    if contest is None:
        return Contest(image, (now,))
    times = _recent(contest.times, now)
    if contest.image != image and len(times) < ROUNDS:
        times = ()
    return Contest(image, (*times, now)[-ROUNDS:])


def containers_set_back(
    before: Workload, after: Workload, resolve: Callable[[StreamKey, str], Resolved | None]
) -> dict[str, str]:
    """Return the containers that had the image of their tag, and have another now though the tag has not moved; with
    the image of the tag.
    """
    if (before.containers, before.init_containers) == (after.containers, after.init_containers):
        return {}
    had, has = images(before), images(after)
    return {
        name: image
        for name, image in _wanted(after, resolve).items()
        if had.get(name) == image and has.get(name, image) != image
    }


def images(workload: Workload) -> dict[str, str]:
    """Return the image of each container, by name."""
    return {found.name: found.image for found in (*workload.init_containers, *workload.containers)}


def _wanted(workload: Workload, resolve: Callable[[StreamKey, str], Resolved | None]) -> dict[str, str]:
    """What the tag of each container says now, by the container's name."""
    found: dict[str, str] = {}
    for trigger in workload.triggers.valid:
        resolved = None if trigger.paused else resolve(trigger.stream, trigger.tag)
        if resolved is None:
            continue
        match trigger:
            case ContainerTrigger():
                place = locate(trigger, workload.containers, workload.init_containers)
                if not isinstance(place, str):
                    found.setdefault(workload.at(*place).name, resolved.pull_spec)
            case ConfigTrigger():
                found.update(dict.fromkeys(trigger.containers, resolved.pull_spec))
    for lookup in workload.lookups:
        if resolved := resolve(lookup.stream, lookup.tag):
            found.setdefault(lookup.container, resolved.pull_spec)
    return found


def _recent(times: tuple[float, ...], now: float) -> tuple[float, ...]:
    return tuple(moment for moment in times if now - moment < WINDOW_SECONDS)


def sentence(contest: Contest, manager: Manager | None, workload: Workload, kind: Kind, container: str) -> str:
    """Say who won a fight over the image of a container, and how to end it for good."""
    who = f"field manager {manager.name!r}" if manager else "somebody"
    seconds = contest.times[-1] - contest.times[0]
    how_long = f"within {seconds:.0f} s" if seconds >= 1 else "at once"
    section, index = workload.find(container) or ("containers", 0)
    path = pointer(*kind.pod_spec_path, section, str(index), "image")
    return (
        f"container {container}: {who} set the image back {len(contest.times)} times {how_long}, the last time"
        f" from {contest.image}, so it is left alone until the tag moves. If the tag shall decide:"
        f" {advice(manager.name if manager else '', kind, container, path)}"
    )
