"""The numbers of one stream while it grows: its share of what the program counts.

The program counts on through a roll, so a stream's numbers are the program's
less those at its beginning (`baseline` of stream.json). Looked at every second,
which is how losses get their times and a roll finds a look on either side.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fwdcap import abi
from fwdcap.capture import counters, losses
from fwdcap.capture.counters import Counters, Emitted
from fwdcap.capture.losses import Episode
from fwdcap.store.stream_json import StreamJson

States = Sequence[abi.CpuState]
_LOOKS = 120  # seconds: a stream that rolled may have to wait for the next one's beginning


def _seen(look: Emitted) -> int:
    return look.seen


class Tally:
    """Of one stream."""

    def __init__(self, words: StreamJson) -> None:
        self.base = Emitted.of(words.baseline)
        self.episodes = losses.parse(words.losses)
        self._lost_before = losses.parse_table(words.baseline.get("losses"))
        self._looks: deque[Emitted] = deque([self.base], maxlen=_LOOKS)
        self._looked_ns = words.started_ns

    def look(self, states: States, report: abi.Checkpoint | None, utc_ns: int) -> None:
        """Take note of what is counted now, and of new losses."""
        self.episodes = self._grown(states, report, utc_ns)
        self._looks.append(counters.total(states))
        self._looked_ns = utc_ns

    def live(
        self, states: States, report: abi.Checkpoint | None, utc_ns: int
    ) -> tuple[Counters, tuple[Episode, ...]]:
        """What there is to show now; nothing is noted."""
        numbers = counters.live(counters.total(states).since(self.base), report)
        return numbers, self._grown(states, report, utc_ns)

    def boundary(self, report: abi.Checkpoint, now: Emitted) -> Emitted:
        """The program's counters where the stream ended by itself, `now` being a look since.

        Taken from the looks on either side of that moment.
        """
        looks = [*self._looks, now]
        seen = self.base.seen + int(report.packets) + sum(report.lost_records)
        before = max((look for look in looks if look.seen <= seen), key=_seen, default=self.base)
        after = min((look for look in looks if look.seen >= seen), key=_seen, default=looks[-1])
        return counters.boundary(self.base, report, before, after, now)

    def baseline(
        self, end: Emitted, states: States, report: abi.Checkpoint, utc_ns: int
    ) -> dict[str, Any]:
        """The `baseline` of the stream that goes on from `end`."""
        now = losses.look(states, report, self._looked_ns, utc_ns)
        return {**end.to_dict(), "losses": losses.table_list(now.table)}

    def settle(self, total: Emitted, report: abi.Checkpoint | None, rest: abi.Loss) -> Counters:
        """A stream that ended with its emission: what nothing explains is `rest`."""
        own = total.since(self.base)
        if own.seen:
            return counters.settled(own, report, rest)
        return replace(counters.reported(report), interfaces=own.interfaces)

    def conclude(self, end: Emitted, report: abi.Checkpoint) -> Counters:
        """A stream that ended by itself, at `end`."""
        return counters.concluded(self.base, end, report)

    def final_losses(self, numbers: Counters, words: StreamJson, stopped_ns: int) -> list[Any]:
        """The `losses` of a stream with those final numbers."""
        first_ns = numbers.first_loss_ns or words.started_ns
        last_ns = numbers.last_loss_ns or stopped_ns
        found = losses.settled(self.episodes, numbers.lost, first_ns, last_ns)
        return [episode.to_dict() for episode in found]

    def _grown(
        self, states: States, report: abi.Checkpoint | None, utc_ns: int
    ) -> tuple[Episode, ...]:
        now = losses.look(states, report, self._looked_ns, utc_ns)
        return losses.grown(self.episodes, self._lost_before, now)
