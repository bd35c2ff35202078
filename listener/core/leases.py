"""Who of several replicas leads, as a Lease (coordination.k8s.io/v1) tells it.

The holder renews it; who sees it unchanged for as long as it is given takes it. Other machines' clocks are not
believed: what counts is for how long one has itself seen that nothing changed, and for how long one's own last renewal
has been under way. The first is longer than the second, so that a holder which cannot renew has stopped before another
begins. This room must not know how a Lease is stored, nor what a leader does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

LIFE_SECONDS: Final = 15
"""How long others leave a Lease that is not renewed."""
HELD_SECONDS: Final = 10.0
"""How long its holder believes in it, from when the last renewal that was stored was sent."""
RENEW_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Lease:
    """One Lease. `holder` is "" while nobody has it. Times are RFC 3339 in UTC with microseconds; `transitions` counts
    its holders.
    """

    namespace: str
    name: str
    resource_version: str = ""
    holder: str = ""
    life_seconds: int = LIFE_SECONDS
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True)
class Sight:
    """A Lease as somebody sees it, and since when (seconds by that one's own clock) it has looked like this."""

    lease: Lease
    since: float

    def then(self, lease: Lease, now: float) -> Sight:
        """Return what is seen now. A Lease that nobody renewed is as old as before, whatever else was written to it."""
        return Sight(lease, self.since if _mark(lease) == _mark(self.lease) else now)

    @property
    def free_at(self) -> float:
        """When it may be taken, if it looks like this until then."""
        if not self.lease.holder:
            return self.since
        return self.since + max(self.lease.life_seconds, LIFE_SECONDS)


def taken(lease: Lease, holder: str, now: datetime) -> Lease:
    """Return the Lease with another holder."""
    moment = written(now)
    return replace(
        lease,
        holder=holder,
        life_seconds=LIFE_SECONDS,
        acquired=moment,
        renewed=moment,
        transitions=lease.transitions + 1,
    )


def renewed(lease: Lease, now: datetime) -> Lease:
    """Return the Lease as its holder renews it."""
    return replace(lease, life_seconds=LIFE_SECONDS, renewed=written(now))


def released(lease: Lease, now: datetime) -> Lease:
    """Return the Lease for the next one to take at once."""
    return replace(lease, holder="", renewed=written(now))


def written(moment: datetime) -> str:
    """Write a time as Leases have it."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _mark(lease: Lease) -> tuple[str, str, int]:
    """What changes with each renewal and each holder."""
    return lease.holder, lease.renewed, lease.transitions
