"""What the data path counted of late, so that a warning ends with its cause.

Its counters never go back to zero by themselves. A notice that looked at them
alone would stay for months after the sender was put right, so notices go by what
was added within about the last minute; the counters stay to be seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from fwdcap import abi
from fwdcap.control.kernel import View

SPAN_NS = 60_000_000_000
_EVERY_NS = 10_000_000_000


@dataclass(frozen=True)
class Seen:
    """Packets that matched a rule, and packets by reason."""

    matched: int = 0
    reasons: Mapping[abi.Reason, int] = field(default_factory=dict)

    @classmethod
    def of(cls, view: View) -> Seen:
        """Everything since the data path was attached."""
        matched = sum(counters.matched_packets for counters in view.counters.values())
        return cls(matched, dict(view.reasons))

    def since(self, earlier: Seen) -> Seen:
        """What came on top; all of it where counting began anew in between."""
        return Seen(
            _added(self.matched, earlier.matched),
            {
                reason: _added(count, earlier.reasons.get(reason, 0))
                for reason, count in self.reasons.items()
            },
        )


def _added(now: int, before: int) -> int:
    return now - before if now >= before else now


class Recent:
    """Remembers what was seen, every ten seconds for a minute; the clock is monotonic."""

    def __init__(self, monotonic_ns: Callable[[], int]) -> None:
        self._monotonic_ns = monotonic_ns
        self._kept: deque[tuple[int, Seen]] = deque()

    def begin(self, view: View) -> None:
        """A data path was attached or adopted: what it counted before is no news."""
        self._kept.clear()
        self.note(view)

    def note(self, view: View) -> None:
        """Keep what is seen now."""
        self._kept.append((self._monotonic_ns(), Seen.of(view)))
        while len(self._kept) > 1 and self._kept[1][0] <= self._monotonic_ns() - SPAN_NS:
            self._kept.popleft()

    @property
    def due(self) -> bool:
        """Is it time to note again?"""
        return not self._kept or self._monotonic_ns() - self._kept[-1][0] >= _EVERY_NS

    def of(self, view: View) -> Seen:
        """What was added since about a minute ago."""
        kept = list(self._kept)  # a tick may add to it meanwhile
        return Seen.of(view).since(kept[0][1]) if kept else Seen()
