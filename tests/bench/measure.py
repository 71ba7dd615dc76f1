"""Highest clean rate by bisection, and what happens at full offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.bench.device import Device, Trial
from tests.bench.wire import Generator

STEPS = 6


@dataclass(frozen=True)
class Result:
    """One row of the table: the best clean trial, and the one at full offer."""

    device: str
    frame_bytes: int
    clean: Trial | None
    full: Trial


def measure(
    name: str,
    device: Device,
    generator: Generator,
    frame_bytes: int,
    *,
    seconds: float,
    bisect: bool,
    say: Callable[[str], None],
) -> Result:
    """Full offer first; unless that is clean, bisect the offered rate below it."""

    def run(rate: float) -> Trial:
        trial = device.trial(generator, seconds, rate)
        say(
            f"{name}, {frame_bytes} B: offered {trial.offered / 1e6:.3f} M/s, forwarded "
            f"{trial.forwarded_rate / 1e6:.3f}, recorded {trial.recorded_rate / 1e6:.3f}, "
            f"lost {trial.lost}, dropped {trial.dropped}"
        )
        return trial

    device.trial(generator, 0.3, 0)  # warms caches and the neighbour table
    full = run(0)
    if full.clean or not bisect:
        return Result(name, frame_bytes, full if full.clean else None, full)
    low, high, best = 0.0, full.offered, None
    for _ in range(STEPS):
        middle = (low + high) / 2
        trial = run(middle)
        if trial.clean:
            low, best = middle, trial
        else:
            high = middle
    return Result(name, frame_bytes, best, full)
