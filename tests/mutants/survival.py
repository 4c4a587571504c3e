"""How long until something is found, where some searches ended before they found it.

A search that finds nothing says only that its time is longer than its limit. The Kaplan-Meier estimate
uses both kinds: at each find, the share of searches that go on falls by one of those still under way.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Observation:
    """One search: how long it ran, and whether it ended because it found something."""

    time: float
    found: bool


def curve(observations: list[Observation]) -> list[tuple[float, float]]:
    """(time, share of searches that have not found it by then), at each time of a find."""
    share, steps = 1.0, []
    for time in sorted({one.time for one in observations if one.found}):
        under_way = sum(one.time >= time for one in observations)
        finds = sum(one.found and one.time == time for one in observations)
        share *= 1 - finds / under_way
        steps.append((time, share))
    return steps


def median(observations: list[Observation]) -> float | None:
    """The time by which half of the searches have found it; None if that is beyond the limits."""
    return next((time for time, share in curve(observations) if share <= 0.5), None)


def restricted_mean(observations: list[Observation], limit: float) -> float:
    """The mean time to the find, counted no further than `limit`: the area below the curve."""
    area, last, share = 0.0, 0.0, 1.0
    for time, below in curve(observations):
        if time >= limit:
            break
        area += share * (time - last)
        last, share = time, below
    return area + share * (limit - last)
