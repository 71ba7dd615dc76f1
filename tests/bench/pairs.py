"""What a capture costs: forwarding without and with one, in turn, so that noise meets both.

A machine that other people share is now fast and now slow; a ratio of two
trials minutes apart says more about that than about us. Here every trial with a
capture has its own without, just before it, on the same data path.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.bench.device import Fwdcap, Trial
from tests.bench.wire import Generator


@dataclass(frozen=True)
class Pair:
    """Two trials at full offer, one after the other."""

    alone: Trial
    captured: Trial

    @property
    def ratio(self) -> float:
        return self.captured.forwarded_rate / self.alone.forwarded_rate


@dataclass(frozen=True)
class Pairs:
    """Of one frame size."""

    frame_bytes: int
    pairs: tuple[Pair, ...]

    @property
    def ratios(self) -> list[float]:
        return sorted(pair.ratio for pair in self.pairs)

    @property
    def lost(self) -> int:
        return sum(pair.captured.lost + pair.captured.dropped for pair in self.pairs)

    def to_dict(self) -> dict[str, Any]:
        return {
            "frame_bytes": self.frame_bytes,
            "alone": [pair.alone.forwarded_rate for pair in self.pairs],
            "captured": [pair.captured.forwarded_rate for pair in self.pairs],
            "median_ratio": statistics.median(self.ratios),
            "lost": self.lost,
        }

    def __str__(self) -> str:
        ratios = self.ratios
        alone = statistics.median(1e9 / pair.alone.forwarded_rate for pair in self.pairs)
        captured = statistics.median(1e9 / pair.captured.forwarded_rate for pair in self.pairs)
        return (
            f"{self.frame_bytes} B, inline copy, {len(ratios)} pairs of trials: "
            f"{statistics.median(ratios):.2f} x forward only "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f}), "
            f"{alone:.0f} ns a frame alone, {captured:.0f} ns with the copy, {self.lost} lost"
        )


def measure_pairs(
    device: Fwdcap,
    generator: Generator,
    frame_bytes: int,
    *,
    seconds: float,
    count: int,
    say: Callable[[str], None],
) -> Pairs:
    """Forward only and with the capture, `count` times in turn, at full offer."""
    pairs = []
    for _ in range(count):
        device.capture = False
        alone = device.trial(generator, seconds, 0)
        device.capture = True
        captured = device.trial(generator, seconds, 0)
        pairs.append(Pair(alone, captured))
        say(
            f"{frame_bytes} B: forward only {alone.forwarded_rate / 1e6:.2f} M/s, "
            f"inline {captured.forwarded_rate / 1e6:.2f}, ratio {pairs[-1].ratio:.2f}, "
            f"lost {captured.lost}"
        )
    return Pairs(frame_bytes, tuple(pairs))
