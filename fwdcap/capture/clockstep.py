"""Was the machine's clock set while a stream was recorded? Pure.

A stream keeps the offset between the kernel's monotonic clock and UTC that it
began with, so that a clock that is set never turns time back inside it. What its
times are then off by stands in stream.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

STEP_NS = 500_000_000  # less may be a look at two clocks that was interrupted


def look(
    offset_ns: int, steps: Sequence[Mapping[str, Any]], monotonic_ns: int, utc_ns: int
) -> dict[str, int] | None:
    """The step since those known, as `clock_steps` of stream.json has it; None for none.

    `offset_ns` is the stream's own; `at_ns` of a step is in the stream's time.
    """
    known_ns = offset_ns + sum(int(step.get("by_ns", 0)) for step in steps)
    by_ns = utc_ns - monotonic_ns - known_ns
    if abs(by_ns) < STEP_NS:
        return None
    return {"at_ns": monotonic_ns + offset_ns, "by_ns": by_ns}


def said(stream: str, step: Mapping[str, int]) -> str:
    """A line for the log."""
    way = "forward" if step["by_ns"] > 0 else "back"
    seconds = abs(step["by_ns"]) / 1e9
    return f"The clock was set {way} by {seconds:.1f} s; {stream} keeps the time it began with."
