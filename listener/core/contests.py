"""When somebody else keeps setting back what a trigger sets: how often it is put right, and when that ends.

An edit by hand is put back, as OpenShift does. A controller that wants another image would set it back for ever, and
each round is a rollout. So after some rounds the image is left to the other side until the tag moves; then it is tried
once more, and if that is set back too the fight is over at once. This room must not know what time it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from listener.core.actions import pointer
from listener.core.kinds import Kind
from listener.core.managers import Manager, advice
from listener.core.streams import Resolved, StreamKey
from listener.core.workloads import Workload

ROUNDS: Final = 4
"""The set-back that ends the fight; those before are put right."""
WINDOW_SECONDS: Final = 24 * 3600
"""How long a set-back counts: some tools come by once an hour."""


@dataclass(frozen=True, slots=True)
class Contest:
    """How a container's image was set back from `image`: when, as readings of one clock, the last few times."""

    image: str
    times: tuple[float, ...]

    @property
    def is_lost(self) -> bool:
        """Whether the other side may keep its image."""
        return len(self.times) >= ROUNDS


def set_back(contest: Contest | None, image: str, now: float) -> Contest:
    """Take note that `image` was set back."""
    if contest is None:
        return Contest(image, (now,))
    times = tuple(moment for moment in contest.times if now - moment < WINDOW_SECONDS)
    if contest.image != image and len(times) < ROUNDS:
        times = ()
    return Contest(image, (*times, now)[-ROUNDS:])


def containers_set_back(
    before: Workload, after: Workload, resolve: Callable[[StreamKey, str], Resolved | None]
) -> dict[str, str]:
    """Return the containers that had the image of a tag which still is there, and have another now, with that image."""
    if (before.containers, before.init_containers) == (after.containers, after.init_containers):
        return {}
    wanted = {
        resolved.pull_spec
        for trigger in after.triggers.valid
        if not trigger.paused and (resolved := resolve(trigger.stream, trigger.tag))
    }
    now = {container.name: container.image for container in (*after.containers, *after.init_containers)}
    return {
        container.name: container.image
        for container in (*before.containers, *before.init_containers)
        if container.image in wanted and now.get(container.name, container.image) != container.image
    }


def sentence(contest: Contest, manager: Manager | None, workload: Workload, kind: Kind, container: str) -> str:
    """Say who won a fight over the image of a container, and how to end it for good."""
    who = f"field manager {manager.name!r}" if manager else "somebody"
    seconds = contest.times[-1] - contest.times[0]
    lists = {"containers": workload.containers, "initContainers": workload.init_containers}
    path = next(
        pointer(*kind.pod_spec_path, section, str(index), "image")
        for section, containers in lists.items()
        for index, found in enumerate(containers)
        if found.name == container
    )
    return (
        f"container {container}: {who} set the image back from {contest.image} {len(contest.times)} times within"
        f" {seconds:.0f} s, so it is left alone until the tag moves. If the tag shall decide:"
        f" {advice(manager.name if manager else '', kind, container, path)}"
    )
