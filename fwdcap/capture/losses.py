"""When what was lost, of which ring, and why: the losses of a stream as episodes. Pure.

The program counts per CPU, a CPU emits into one ring (cpu % rings), and the
daemon looks every second. What grew since the last look belongs to an episode,
which goes on while no more than a look or two pass without a loss. An episode's
time is the program's own where it says one, else the look's. What a disk did not
take was lost from the first such record on, however late the recorder gave up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fwdcap import abi
from fwdcap.capture.counters import word

MAX_EPISODES = 100
GAP_NS = 2_500_000_000  # two looks: a longer pause ends an episode

Key = tuple[int | None, abi.Loss]
Table = Mapping[Key, int]

_KERNEL = (abi.Loss.RING_FULL, abi.Loss.COPY)
_BY_WORD = {word(reason): reason for reason in abi.Loss}


@dataclass(frozen=True)
class Episode:
    """Records lost between two times (UTC ns); `ring` None where it is no one ring's."""

    ring: int | None
    reason: abi.Loss
    records: int
    first_ns: int
    last_ns: int

    @property
    def key(self) -> Key:
        return self.ring, self.reason

    def to_dict(self) -> dict[str, Any]:
        return {
            "ring": self.ring,
            "reason": word(self.reason),
            "records": self.records,
            "first_ns": self.first_ns,
            "last_ns": self.last_ns,
        }


@dataclass(frozen=True)
class Look:
    """Everything lost so far, by ring and reason; `spans` is when the program's first and
    last loss in each ring were, `unwritten_ns` when the first record was emitted that the
    disk did not take, 0 for not known. Times are UTC, `since_ns` that of the look before."""

    table: Table
    spans: Mapping[int, tuple[int, int]]
    since_ns: int
    now_ns: int
    unwritten_ns: int = 0


def look(
    states: Sequence[abi.CpuState], report: abi.Checkpoint | None, since_ns: int, now_ns: int
) -> Look:
    """What the program and the recorder count now. Rings are numbered as the recorder does."""
    rings = max(1, int(report.nr_rings)) if report is not None else 1
    offset_ns = int(report.clock_offset_ns) if report is not None else 0
    unwritten_ns = 0
    table: Counter[Key] = Counter()
    spans: dict[int, tuple[int, int]] = {}
    for cpu, state in enumerate(states):
        for reason in _KERNEL:
            table[cpu % rings, reason] += int(state.lost_records[reason])
        if state.first_loss_ns and offset_ns:
            first_ns, last_ns = state.first_loss_ns + offset_ns, state.last_loss_ns + offset_ns
            known = spans.get(cpu % rings, (first_ns, last_ns))
            spans[cpu % rings] = min(known[0], first_ns), max(known[1], last_ns)
    if report is not None:
        before = int(report.lost_before[abi.Loss.DISK])
        table[None, abi.Loss.DISK] = before + int(report.lost_records[abi.Loss.DISK])
        # The first loss of all may be one before the last record, which is of another kind.
        unwritten_ns = max(int(report.first_loss_ns), int(report.last_ns))
    counts = {key: n for key, n in table.items() if n}
    return Look(counts, spans, since_ns, now_ns, unwritten_ns)


def grown(episodes: Sequence[Episode], baseline: Table, now: Look) -> tuple[Episode, ...]:
    """The episodes with what that look found new; `baseline` was lost before the stream."""
    known = Counter(dict(baseline))
    for episode in episodes:
        known[episode.key] += episode.records
    found = list(episodes)
    for key, count in now.table.items():
        if count > known[key]:
            _add(found, key, count - known[key], now)
    return tuple(_bounded(found))


def settled(
    episodes: Sequence[Episode], lost: Mapping[abi.Loss, int], first_ns: int, last_ns: int
) -> tuple[Episode, ...]:
    """The episodes of a stream that has ended, made to add up to its final losses.

    What no look saw is laid between its first and its last loss; what a look saw and was
    after its end belongs to nobody.
    """
    found = list(episodes)
    for reason in abi.Loss:
        seen = sum(episode.records for episode in found if episode.reason == reason)
        count = lost.get(reason, 0)
        if count > seen:
            _add_late(found, reason, count - seen, first_ns, last_ns)
        elif count < seen:
            _take_back(found, reason, seen - count)
    return tuple(found)


def parse(raw: Iterable[Mapping[str, Any]]) -> tuple[Episode, ...]:
    """The episodes of a stream.json; what is damaged is left out."""
    found = []
    for item in raw:
        reason = _BY_WORD.get(str(item.get("reason")))
        numbers = [item.get(key) for key in ("records", "first_ns", "last_ns")]
        ring = item.get("ring")
        if reason is not None and all(isinstance(number, int) for number in numbers):
            records, first_ns, last_ns = (int(number or 0) for number in numbers)
            found.append(
                Episode(ring if isinstance(ring, int) else None, reason, records, first_ns, last_ns)
            )
    return tuple(found)


def table_list(table: Table) -> list[dict[str, Any]]:
    """A table as JSON has it."""
    return [
        {"ring": ring, "reason": word(reason), "records": count}
        for (ring, reason), count in table.items()
    ]


def parse_table(raw: object) -> dict[Key, int]:
    """The table that `table_list` wrote."""
    items = raw if isinstance(raw, list | tuple) else ()
    whole = ({"first_ns": 0, "last_ns": 0, **item} for item in items if isinstance(item, Mapping))
    return {episode.key: episode.records for episode in parse(whole)}


def _add(found: list[Episode], key: Key, count: int, now: Look) -> None:
    first_ns, last_ns = now.since_ns, now.now_ns
    span = now.spans.get(key[0]) if key[0] is not None else None
    if span is not None:
        first_ns = max(first_ns, min(span[0], last_ns))
        last_ns = max(first_ns, min(span[1], last_ns))
    elif key[1] is abi.Loss.DISK and now.unwritten_ns:
        first_ns = min(now.unwritten_ns, last_ns)
    at = next((at for at in reversed(range(len(found))) if found[at].key == key), None)
    if at is not None and first_ns - found[at].last_ns <= GAP_NS:
        grown_by = found[at].records + count
        found[at] = replace(found[at], records=grown_by, last_ns=max(last_ns, found[at].last_ns))
    else:
        found.append(Episode(*key, count, first_ns, last_ns))


def _add_late(
    found: list[Episode], reason: abi.Loss, count: int, first_ns: int, last_ns: int
) -> None:
    at = next((at for at in reversed(range(len(found))) if found[at].reason == reason), None)
    if at is None:
        found.append(Episode(None, reason, count, first_ns, last_ns))
    else:
        found[at] = replace(found[at], records=found[at].records + count)


def _take_back(found: list[Episode], reason: abi.Loss, count: int) -> None:
    for at in reversed(range(len(found))):
        if found[at].reason != reason or not count:
            continue
        taken = min(count, found[at].records)
        count -= taken
        found[at] = replace(found[at], records=found[at].records - taken)
    found[:] = [episode for episode in found if episode.records]


def _bounded(found: list[Episode]) -> list[Episode]:
    """At most MAX_EPISODES: the oldest of a kind become one."""
    while len(found) > MAX_EPISODES:
        first = found.pop(0)
        at = next((at for at, later in enumerate(found) if later.key == first.key), None)
        if at is None:
            found.append(first)
            continue
        later = found[at]
        records = first.records + later.records
        found[at] = replace(later, records=records, first_ns=first.first_ns)
    return found
