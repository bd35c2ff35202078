"""It finds what the server bears: first whole servers, simulated; then the single rules.

The servers are of the kinds that there are. `BUSY` is a real API server on two cores that it shared with a controller
manager, as measured (patches a second by patches in flight); `QUICK` is about one without that, as it is between two
garbage collections; `FLAT` is one whose two cores are all there is; `DISK` commits in groups, so latency stays 10 ms
until fifty are in flight; `FAR` is 80 ms away.
"""

from __future__ import annotations

import heapq
import math
import random
import statistics
from bisect import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

import pytest

from listener.core.concurrency import Knee

BUSY = {1: 199, 2: 271, 4: 310, 8: 340, 16: 375, 32: 390, 64: 407, 100: 430}
QUICK = {1: 250, 2: 400, 4: 520, 11: 650, 33: 680, 100: 702}
FLAT = {1: 200, 2: 380, 4: 400, 100: 400}
DISK = {1: 100, 50: 5000, 100: 5000}
FAR = {1: 12.5, 100: 1250}

CEILING = 100
SEEDS = range(5)


class Limit(Protocol):
    limit: int
    in_flight: int

    def sent(self, now: float) -> None: ...

    def ended(self, now: float) -> None: ...

    def refused(self, now: float, seconds: float) -> None: ...

    def dropped(self, now: float) -> None: ...


@dataclass
class Fixed:
    """The bare client: always as many."""

    limit: int
    in_flight: int = 0

    def sent(self, _now: float) -> None:
        self.in_flight += 1

    def ended(self, _now: float) -> None:
        self.in_flight -= 1

    def refused(self, _now: float, _seconds: float) -> None:
        self.in_flight -= 1

    def dropped(self, _now: float) -> None:
        self.in_flight -= 1


@dataclass(frozen=True)
class Server:
    """Requests share what the server does at that many in flight; each has a different amount of work.

    `noise` is how much its speed wanders (natural logarithm), for a third of a second at a time. More requests than
    `bears` are refused, with the advice to wait a second. After `slow_after` requests it has a third of its speed. It
    `collects` garbage for 1.6 of so many seconds, at half its speed. One of so many `fails` comes to nothing.
    """

    rates: Mapping[int, float]
    noise: float = 0.0
    bears: int | None = None
    slow_after: int | None = None
    collects: float | None = None
    fails: int | None = None

    def rate(self, in_flight: int) -> float:
        """Between two measured points their logarithms are joined by a line."""
        low = max((n for n in self.rates if n <= in_flight), default=min(self.rates))
        high = min((n for n in self.rates if n >= in_flight), default=max(self.rates))
        share = math.log(in_flight / low) / math.log(high / low) if high > low else 0.0
        return float(self.rates[low] * (self.rates[high] / self.rates[low]) ** share)


@dataclass
class Run:
    """What came of it. `limits` is the limit after each request that was answered."""

    seconds: float = 0.0
    refusals: int = 0
    ended_at: list[float] = field(default_factory=list)
    limits: list[int] = field(default_factory=list)

    def settled(self) -> float:
        return statistics.mean(self.limits[len(self.limits) // 2 :])

    def rate(self, first: int, last: int) -> float:
        return (last - first) / (self.ended_at[last - 1] - self.ended_at[first])


def run(server: Server, limit: Limit, requests: int, seed: int = 0, begins: float = 0.0) -> Run:
    """Send so many requests, as fast as the limit lets; those that are refused or fail come again."""
    work, weather = random.Random(seed), random.Random(seed + 1000)  # noqa: S311 - a dice that can be thrown again
    paces = [0.0, *(server.rate(n) / n for n in range(1, CEILING + 1))]
    now = begins
    progress = gate = 0.0  # `progress` is the work that each of those in flight has got since the beginning
    speed, changes = 1.0, begins
    serving: list[tuple[float, int]] = []  # the progress at which it is done
    refusing: list[tuple[float, float]] = []  # when the refusal arrives, and when it was sent
    left, number, result = requests, 0, Run()
    while len(result.limits) < requests:
        while left and now >= gate and limit.in_flight < limit.limit:
            limit.sent(now)
            left -= 1
            number += 1
            if server.bears is not None and len(serving) >= server.bears:
                heapq.heappush(refusing, (now + 0.005, now))
            else:
                heapq.heappush(serving, (progress + work.gammavariate(8, 1 / 8), number))
        pace = paces[len(serving)] * speed
        if server.slow_after is not None and len(result.limits) >= server.slow_after:
            pace /= 3
        if server.collects is not None and now % server.collects < 1.6:
            pace /= 2
        answer = now + (serving[0][0] - progress) / pace if serving else math.inf
        refusal = refusing[0][0] if refusing else math.inf
        opening = gate if gate > now else math.inf
        before, now = now, min(answer, refusal, opening, changes)
        progress += pace * (now - before)
        if now == changes:
            speed = math.exp(weather.gauss(0, server.noise))
            changes = now + weather.expovariate(3)
        elif now == answer:
            _, served = heapq.heappop(serving)
            if server.fails is not None and served % server.fails == 0:
                limit.dropped(now)
                left += 1
                continue
            limit.ended(now)
            result.ended_at.append(now)
            result.limits.append(limit.limit)
        elif now == refusal:
            _, sent = heapq.heappop(refusing)
            limit.refused(now, now - sent)
            left += 1
            result.refusals += 1
            gate = max(gate, now + 1)
        assert limit.in_flight <= CEILING
    result.seconds = now - begins
    return result


def best(server: Server, requests: int, seed: int) -> float:
    """The seconds of the best fixed limit."""
    return min(run(server, Fixed(n), requests, seed).seconds for n in (4, 33, CEILING))


@pytest.mark.parametrize(
    ("server", "limits", "slowest"),
    [
        pytest.param(Server(BUSY, 0.03), (64, 100), 1.04, id="busy: the last rung still pays"),
        pytest.param(Server(BUSY, 0.15), (64, 100), 1.06, id="busy and noisy"),
        pytest.param(Server(BUSY, 0.03, fails=10), (64, 100), 1.04, id="busy, and one of ten fails"),
        pytest.param(Server(DISK, 0.03), (50, 100), 1.04, id="group commit"),
        pytest.param(Server(DISK, 0.15), (50, 100), 1.06, id="group commit, noisy"),
        pytest.param(Server(FAR, 0.03), (90, 100), 1.04, id="far away: all that may be"),
        pytest.param(Server(FAR, 0.15), (90, 100), 1.04, id="far away and noisy"),
    ],
)
def test_ten_thousand_requests_settle_where_more_would_not_pay(
    server: Server, limits: tuple[int, int], slowest: float
) -> None:
    settles(server, 10_000, limits, slowest)


@pytest.mark.parametrize(
    ("server", "most"),
    [
        pytest.param(Server(FLAT, 0.03), 33, id="quiet"),
        pytest.param(Server(FLAT, 0.15), 50, id="noisy"),
        pytest.param(Server(FLAT, 0.03, fails=60), 33, id="one of sixty fails"),
        pytest.param(Server(FLAT, 0.03, fails=10), 33, id="one of ten fails"),
    ],
)
def test_where_a_few_do_as_well_as_a_hundred_that_is_found_out_in_time(server: Server, most: int) -> None:
    """It costs nobody but others who ask the server meanwhile, so there is time to be sure."""
    settles(server, 30_000, (2, most), 1.06)


def settles(server: Server, requests: int, limits: tuple[int, int], slowest: float) -> None:
    runs = [run(server, Knee(CEILING), requests, seed) for seed in SEEDS]
    assert limits[0] <= statistics.median(each.settled() for each in runs) <= limits[1]
    times = [each.seconds / best(server, requests, seed) for seed, each in zip(SEEDS, runs, strict=True)]
    assert statistics.median(times) <= slowest
    assert max(times) <= slowest + 0.08


@pytest.mark.parametrize(
    ("server", "slowest"),
    [
        pytest.param(Server(BUSY, 0.03), 1.01, id="busy"),
        pytest.param(Server(BUSY, 0.15), 1.01, id="busy and noisy"),
        pytest.param(Server(FLAT, 0.03), 1.01, id="flat"),
        pytest.param(Server(DISK, 0.03), 1.02, id="group commit"),
        pytest.param(Server(FAR, 0.03), 1.07, id="far away: the first crowd takes a round trip"),
    ],
)
def test_the_first_thousand_take_hardly_longer_than_with_a_hundred_in_flight(server: Server, slowest: float) -> None:
    times = [
        run(server, Knee(CEILING), 1000, seed).seconds / run(server, Fixed(CEILING), 1000, seed).seconds
        for seed in SEEDS
    ]
    assert statistics.median(times) <= slowest
    assert max(times) <= slowest + 0.01


@pytest.mark.parametrize(
    ("bears", "refusals"),
    [
        pytest.param(1, 65, id="one at a time"),
        pytest.param(15, 30, id="below the first crowd"),
        pytest.param(40, 15, id="just above the first crowd"),
        pytest.param(64, 15, id="below the ceiling"),
    ],
)
def test_a_server_that_refuses_is_refused_little_and_used_well(bears: int, refusals: int) -> None:
    """In some twenty seconds: every refusal costs one of them, for all."""
    server = Server(BUSY, 0.03, bears=bears)
    for seed in SEEDS:
        found = run(server, Knee(CEILING), 8000, seed)
        assert found.refusals <= refusals
        assert bears // 3 <= found.limits[-1] <= bears
        assert found.seconds <= 1.15 * run(server, Fixed(bears), 8000, seed).seconds


@pytest.mark.parametrize(
    ("rates", "limits"),
    [
        pytest.param(BUSY, (33, 100), id="busy"),
        pytest.param(FLAT, (1, 75), id="flat"),
        pytest.param(DISK, (33, 100), id="group commit"),
        pytest.param(FAR, (80, 100), id="far away"),
    ],
)
def test_a_server_that_loses_two_thirds_of_its_speed_is_measured_anew(
    rates: Mapping[int, float], limits: tuple[int, int]
) -> None:
    server = Server(rates, 0.03, slow_after=4000)
    runs = [run(server, Knee(CEILING), 10_000, seed) for seed in SEEDS]
    assert limits[0] <= statistics.median(each.settled() for each in runs) <= limits[1]
    # It was noticed: within the next 1,500, or three seconds, the limit was halved at least.
    for each in runs:
        soon = max(5500, bisect(each.ended_at, each.ended_at[4000] + 3))
        assert min(each.limits[4000:soon]) <= max(1, max(each.limits[3500:4000]) / 2)
    fixed = [max(run(server, Fixed(n), 10_000, seed).rate(5000, 10_000) for n in (33, CEILING)) for seed in SEEDS]
    ratios = [each.rate(5000, 10_000) / rate for each, rate in zip(runs, fixed, strict=True)]
    assert statistics.median(ratios) >= 0.92


def test_a_server_that_collects_its_garbage_has_not_become_slower() -> None:
    rates = {in_flight: 2 * rate for in_flight, rate in BUSY.items()}  # so that a window is short enough to be wrong
    for seed in SEEDS:
        found = run(Server(rates, 0.03, collects=7.0), Knee(CEILING), 10_000, seed)
        assert CEILING // 2 not in found.limits, "it was halved"


@pytest.mark.parametrize(
    ("server", "slowest"),
    [
        pytest.param(Server(BUSY, 0.15, collects=2.9), 1.03, id="busy"),
        pytest.param(Server(QUICK, 0.05, collects=2.9), 1.01, id="quick"),
        pytest.param(Server(QUICK, 0.2, collects=2.9), 1.01, id="quick and noisy"),
    ],
)
def test_that_a_garbage_collection_begins_or_ends_during_a_trial_says_nothing_about_it(
    server: Server, slowest: float
) -> None:
    """They take half of the time here, as they do on an API server with some thousand workloads and two cores."""
    times = [
        run(server, Knee(CEILING), 10_000, seed).seconds / run(server, Fixed(CEILING), 10_000, seed).seconds
        for seed in SEEDS
    ]
    assert statistics.median(times) <= slowest
    assert max(times) <= slowest + 0.01


def test_what_was_learnt_serves_the_next_fan_out() -> None:
    knee = Knee(CEILING)
    now = serve(knee, Server(FLAT), 10_000, 0.0)
    learnt = knee.limit
    assert learnt <= 33
    serve(knee, Server(FLAT), 100, now + 30)
    assert knee.limit == learnt


@pytest.mark.parametrize("pause_seconds", [0.2, 5.0, 50.0])
@pytest.mark.parametrize("noise", [0.03, 0.15])
def test_a_fan_out_that_is_too_short_to_learn_from_is_no_trial(noise: float, pause_seconds: float) -> None:
    """Twenty of a thousand, one after the other: on none of them another limit is tried."""
    knee, now = Knee(CEILING), 0.0
    limits = []
    for number in range(20):
        found = run(Server(BUSY, noise), knee, 1000, number, begins=now)
        now += found.seconds + pause_seconds
        limits += found.limits
    assert set(limits[200:]) == {CEILING}


def test_a_trial_ends_with_its_fan_out() -> None:
    """The next one goes back to what is held, two more with each answer."""
    server, knee = Server(BUSY), Knee(CEILING)
    now = answer(knee, server, begin_a_trial(knee, server), leave=0)
    assert knee.limit == 33
    assert set(run(server, knee, 500, begins=now + 1).limits[(CEILING - 33) // 2 :]) == {CEILING}


def test_a_trial_ends_with_its_fan_out_though_a_request_hangs() -> None:
    """A webhook takes its time over one patch, and the next fan-out begins meanwhile: one window tells."""
    server, knee = Server(BUSY), Knee(CEILING)
    now, limits = begin_a_trial(knee, server), []
    for number in range(620):
        if number == 120:
            now = answer(knee, server, now, leave=1) + 20
            assert knee.limit == 33
        fill(knee, now)
        now = answer(knee, server, now, leave=knee.in_flight - 1)
        limits.append(knee.limit)
    assert set(limits[120 + CEILING :]) == {CEILING}


def begin_a_trial(knee: Knee, server: Server) -> float:
    """Send until less is tried; return the time."""
    now, highest = 0.0, 0
    while knee.limit >= highest:
        highest = knee.limit
        fill(knee, now)
        now = answer(knee, server, now, leave=knee.in_flight - 1)
    return now


def answer(knee: Knee, server: Server, now: float, *, leave: int) -> float:
    """Let requests be answered until so many are in flight; return the time."""
    while knee.in_flight > leave:
        now += 1 / server.rate(knee.in_flight)
        knee.ended(now)
    return now


def test_a_trial_that_outlasts_its_fan_out_is_not_repeated_in_each() -> None:
    """Of 1,500, so that the first trial begins with the last three hundred: on a far server that costs a sixth."""
    knee, now, tried = Knee(CEILING), 0.0, 0
    for number in range(20):
        found = run(Server(FAR, 0.03), knee, 1500, number, begins=now)
        now += found.seconds + 5
        tried += min(found.limits[200:]) < CEILING
    assert 1 <= tried <= 2


@pytest.mark.parametrize("pause_seconds", [0.2, 30.0])
def test_climbs_after_a_refusal_in_short_fan_outs_too(pause_seconds: float) -> None:
    """Of a hundred, after all of three crowds were refused."""
    server, knee, now = Server(FAR, 0.03), Knee(CEILING), 0.0
    for _ in range(3):
        fill(knee, now)
        while knee.in_flight:
            knee.refused(now + 0.01, 0.01)
        now += 1.1
    low = knee.limit
    for number in range(40):
        now += run(server, knee, 100, number, begins=now).seconds + pause_seconds
    assert low <= 4
    assert knee.limit >= 4 * low


def serve(knee: Knee, server: Server, requests: int, now: float) -> float:
    """Let every request in flight be answered after as long as that many take, in the order of sending."""
    sent: list[float] = []
    done = 0
    while done < requests:
        while knee.in_flight < knee.limit and done + knee.in_flight < requests:
            knee.sent(now)
            sent.append(now)
        now += 1 / server.rate(knee.in_flight)
        sent.pop(0)
        knee.ended(now)
        done += 1
    return now


def fill(knee: Knee, now: float) -> None:
    while knee.in_flight < knee.limit:
        knee.sent(now)


def test_many_refusals_of_one_moment_count_once() -> None:
    knee = Knee(CEILING)
    fill(knee, 0.0)
    start = knee.limit
    for number in range(start):
        knee.refused(0.01 + number / 1000, 0.01 + number / 1000)
    assert knee.limit == start // 2
    fill(knee, 1.1)
    for _ in range(knee.in_flight):
        knee.refused(1.2, 0.1)
    assert knee.limit == start // 4


def test_a_refused_limit_is_tried_again_after_a_while_and_then_ever_later() -> None:
    """The server bears fifteen, always."""
    server, knee, now = Server(FAR), Knee(CEILING), 0.0
    tries: list[float] = []
    while now < 1200:
        fill(knee, now)
        if knee.in_flight > 15:
            tries.append(now)
            while knee.in_flight:
                knee.refused(now + 0.01, 0.01)
            now += 1
        else:
            now += knee.in_flight / server.rate(knee.in_flight)
            for _ in range(knee.in_flight):
                knee.ended(now)
    gaps = [later - earlier for earlier, later in pairwise(tries) if later - earlier > 5]
    assert 60 <= gaps[0] < 100
    assert gaps == sorted(gaps)
    assert len(tries) <= 12


@pytest.mark.parametrize(
    ("idle_seconds", "limits"),
    [
        pytest.param(30, (1, 1), id="half a minute: nothing is forgotten"),
        pytest.param(120, (2, 5), id="two minutes: a little"),
        pytest.param(300, (9, 11), id="five minutes: half"),
        pytest.param(86_400, (33, 33), id="a day: everything"),
    ],
)
def test_forgets_a_bad_time_while_idle(idle_seconds: float, limits: tuple[int, int]) -> None:
    knee = Knee(CEILING)
    for second in range(10):
        knee.sent(float(second))
        knee.refused(second + 0.5, 0.5)
    assert knee.limit == 1
    knee.sent(9.5 + idle_seconds)
    assert limits[0] <= knee.limit <= limits[1]


def test_what_was_learnt_to_be_enough_is_forgotten_too() -> None:
    knee = Knee(CEILING)
    now = serve(knee, Server(FLAT), 10_000, 0.0)
    assert knee.limit <= 33
    serve(knee, Server(FLAT), 200, now + 7200)
    assert knee.limit == CEILING


@pytest.mark.parametrize(
    "in_flight",
    [
        pytest.param([1] * 5000, id="one at a time"),
        pytest.param([20] * 500, id="in small crowds"),
    ],
)
def test_says_nothing_about_a_limit_that_is_not_used(in_flight: Sequence[int]) -> None:
    """The server gets slower and slower, but not for us."""
    knee, now = Knee(CEILING), 0.0
    for turn, crowd in enumerate(in_flight):
        for _ in range(crowd):
            knee.sent(now)
        now += 0.01 * 1.01 ** min(turn, 500)
        for _ in range(crowd):
            knee.ended(now)
    assert knee.limit == CEILING


@pytest.mark.parametrize("ceiling", [1, 2, 3, 5, 10, 33, 34, 99, 250])
def test_stays_between_one_and_the_ceiling(ceiling: int) -> None:
    chance = random.Random(ceiling)  # noqa: S311 - a dice that can be thrown again
    knee, now = Knee(ceiling), 0.0
    seen = set()
    for _ in range(20_000):
        now += chance.expovariate(50)
        while knee.in_flight < knee.limit and chance.random() < 0.97:
            knee.sent(now)
        for _ in range(min(knee.in_flight, chance.choice((1, 1, 2, 8)))):
            end = chance.random()
            if end < 0.0005:
                knee.refused(now, 0.001)
            elif end < 0.001:
                knee.dropped(now)
            else:
                knee.ended(now)
        if chance.random() < 0.0005:
            now += chance.expovariate(1 / 200)
        seen.add(knee.limit)
        assert 1 <= knee.limit <= ceiling
    assert ceiling == 1 or len(seen) > 1


def test_an_outage_does_not_look_like_a_slow_server() -> None:
    """Again and again all that are in flight get no answer for half a minute."""
    server, knee = Server(FAR), Knee(CEILING)
    now = serve(knee, server, 5000, 0.0)
    for _ in range(20):
        now = serve(knee, server, 150, now)
        fill(knee, now)
        now += 30
        while knee.in_flight:
            knee.dropped(now)
        assert knee.limit == CEILING


def test_what_does_not_tell_how_fast_the_server_is_does_not_raise_the_limit() -> None:
    """A server that is down refuses connections at once: the quickest of all answers."""
    knee, now = Knee(CEILING), 0.0
    for _ in range(5000):
        fill(knee, now)
        now += 0.0001
        knee.dropped(now)
    assert knee.limit == 33
