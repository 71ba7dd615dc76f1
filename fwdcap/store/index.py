"""The index of a stream: one sequence of entries over the files of all its segments.

Searches read what they touch and hold next to nothing: of the 160 MB that index
a terabyte, an hourly view reads a few hundred kilobytes. Where packets came at
an even rate a search knows where to look; it then reads one block of entries,
and that already while the boundary before it is being computed.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType

from fwdcap.store import pcap
from fwdcap.store.index_files import ENTRY_WORDS, Files, parts
from fwdcap.store.indexer import Totals
from fwdcap.store.segments import Contents
from fwdcap.store.views import Entry, View

_TIME, _SIZE = 0, 4  # columns of an entry
# Entries read at once, and how many of such blocks are kept: where few are
# wanted, and where all are.
_FEW, _FEW_KEPT = 128, 256
_MANY, _MANY_KEPT = 8192, 4
_AHEAD = 32  # boundaries to come whose blocks are being read


class _Block:
    """Some entries of one segment: the stream's number `first` and following."""

    __slots__ = ("count", "first", "number", "words")

    def __init__(self, number: int, first: int, raw: bytes) -> None:
        self.number = number
        self.first = first
        self.words = memoryview(raw).cast("Q")
        self.count = len(self.words) // ENTRY_WORDS

    def column(self, column: int) -> memoryview:
        return self.words[column::ENTRY_WORDS]

    def entry(self, number: int) -> Entry:
        at = (number - self.first) * ENTRY_WORDS
        return Entry._make(self.words[at : at + ENTRY_WORDS])


@dataclass(frozen=True)
class Place:
    """A position between records: a segment, by its place among the readable ones, and offset."""

    segment: int
    offset: int


class Index:
    """All committed entries of a stream; a context manager, because it holds files open.

    Raises OSError where files go away while they are read.
    """

    def __init__(self, held: Contents) -> None:
        self._segments = held.segments
        self._parts = parts(held)
        self._files = Files(self._parts)
        self._starts = [0, *accumulate(part.count for part in self._parts)]
        self._current: _Block | None = None
        self._block_starts: list[int] = []
        self._lay_out(_FEW, _FEW_KEPT)
        self._wanted: Iterator[int] = iter(())
        self._next_wanted: int | None = None
        self._ahead = 0
        self._guesses: dict[int, int] = {}
        first = self[0] if len(self) else Entry(0, 0, 0, 0, 0)
        self._first_ns = first.first_ns
        sizes = (segment.record_bytes for segment in held.segments)
        self._sizes = list(accumulate(sizes, initial=first.bytes))
        packets = held.before.packets + held.packets
        self.total = Totals(packets, self._sizes[-1], held.last_ns or 0)

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the files."""
        self._files.close()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Entry:
        return self._holding(number).entry(number)

    def at_time(self, ns: int, low: int = 0) -> int:
        """The first entry from `low` on that begins at `ns` or later; len() if there is none."""
        return self._find(_TIME, ns, low)

    def at_bytes(self, size: int, low: int = 0) -> int:
        """The first entry from `low` on with at least `size` bytes before it; len() if none."""
        return self._find(_SIZE, size, low)

    def locate(self, ns: int) -> Place:
        """Where the first record at `ns` or later begins; the stream's end where none does.

        Reads the heads of at most one interval's records.
        """
        if not len(self) or ns > self.total.last_ns:
            return Place(len(self._segments), pcap.FILE_HEADER_BYTES)
        number = self.at_time(ns)
        if number < len(self) and (number == 0 or self[number].previous_ns < ns):
            return self._place(number)
        return self._within(number - 1, ns)

    def expect(self, view: View, anchor_ns: int) -> None:
        """Prepares for somebody who is about to ask for the boundaries of `view` in order."""
        if not len(self):
            return
        first, end = self[0].bytes, self.total.bytes
        if view.kind == "time":
            first, end = anchor_ns, self.total.last_ns
        wanted = range(first + view.step, end + 1, view.step)
        # How far packets come at an even rate nobody knows; sizes can be trusted.
        many = len(self._parts) if view.kind == "time" else self._block_starts[-1] // 8
        if len(wanted) >= many:
            self._files.whole = True
            self._lay_out(_MANY, _MANY_KEPT)
            return
        self._wanted = iter(wanted)
        self._next_wanted = next(self._wanted, None)
        self._ahead = _AHEAD * view.step

    # ---- searching

    def _find(self, column: int, value: int, low: int) -> int:
        if low >= self._starts[-1]:
            return self._starts[-1]
        block = self._holding(low)
        if block.words[column - ENTRY_WORDS] < value:
            if self._next_wanted is not None:
                self._read_ahead(column, value)
            number = self._block_with(column, value, block.number)
            if number == self._block_starts[-1]:
                return self._starts[-1]
            block = self._current = self._block(number)
        within = max(0, low - block.first)
        return block.first + bisect_left(block.column(column), value, within)

    def _block_with(self, column: int, value: int, left: int) -> int:
        """The first block after `left` whose last key is `value` or more; their number if none.

        Gallops from where an even rate would put it, then halves what is left.
        """
        right, step = self._block_starts[-1], 1
        went_up: bool | None = None
        probe, halving = left + 1, False
        if not self._files.whole:
            guess = self._guesses.pop(value, None)
            probe = self._guess(column, value) if guess is None else guess
        while left + 1 < right:
            if not left < probe < right:
                probe, halving = (left + right) // 2, True
            words = self._block(probe).words
            up = words[column - ENTRY_WORDS] < value
            if up:
                left = probe
            else:
                right = probe
                if words[column] < value:
                    break
            halving = halving or (went_up is not None and went_up != up)
            went_up = up
            probe = (left + right) // 2 if halving else probe + (step if up else -step)
            step *= 2
        return right

    def _guess(self, column: int, value: int) -> int:
        """The block where an entry with that key would be if packets came at one rate."""
        if column == _SIZE:
            part = min(bisect_right(self._sizes, value), len(self._parts)) - 1
            begin, end = self._sizes[part], self._sizes[part + 1]
            first, last = self._starts[part], self._starts[part + 1]
        else:
            begin, end = self._first_ns, self.total.last_ns
            first, last = 0, len(self)
        number = first + (value - begin) * (last - first) // max(1, end - begin)
        return self._block_number(min(max(number, 0), len(self) - 1))

    def _read_ahead(self, column: int, value: int) -> None:
        """Has the blocks read where the next boundaries are guessed to be."""
        while self._next_wanted is not None and self._next_wanted <= value + self._ahead:
            number = self._guess(column, self._next_wanted)
            self._guesses[self._next_wanted] = number
            if number not in self._blocks:
                self._files.will_need(*self._extent(number))
            self._next_wanted = next(self._wanted, None)

    # ---- blocks

    def _lay_out(self, block_entries: int, blocks_kept: int) -> None:
        self._block_entries = block_entries
        self._blocks_kept = blocks_kept
        self._blocks: dict[int, _Block] = {}
        self._current = None
        blocks = (-(-part.count // block_entries) for part in self._parts)
        self._block_starts = [0, *accumulate(blocks)]

    def _block_number(self, number: int) -> int:
        part = bisect_right(self._starts, number) - 1
        return self._block_starts[part] + (number - self._starts[part]) // self._block_entries

    def _extent(self, block: int) -> tuple[int, int, int]:
        """Where a block is: its part, its first entry therein, and how many there are."""
        place = bisect_right(self._block_starts, block) - 1
        first = (block - self._block_starts[place]) * self._block_entries
        return place, first, min(self._block_entries, self._parts[place].count - first)

    def _holding(self, number: int) -> _Block:
        block = self._current
        if block is not None and 0 <= number - block.first < block.count:
            return block
        if not 0 <= number < len(self):
            raise IndexError(number)
        self._current = self._block(self._block_number(number))
        return self._current

    def _block(self, number: int) -> _Block:
        found = self._blocks.get(number)
        if found is None:
            if len(self._blocks) >= self._blocks_kept:
                del self._blocks[next(iter(self._blocks))]
            place, first, count = self._extent(number)
            raw = self._files.read(place, first, count)
            found = self._blocks[number] = _Block(number, self._starts[place] + first, raw)
        return found

    # ---- places

    def _place(self, number: int) -> Place:
        return Place(bisect_right(self._starts, number) - 1, self[number].offset)

    def _within(self, number: int, ns: int) -> Place:
        """The first record at `ns` or later in the interval of that entry, else its end."""
        begin = self._place(number)
        segment = self._segments[begin.segment]
        end = Place(begin.segment + 1, pcap.FILE_HEADER_BYTES)
        if number + 1 < self._starts[begin.segment + 1]:
            end = self._place(number + 1)
        limit = end.offset if end.segment == begin.segment else segment.length
        fd = os.open(segment.name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            for head in pcap.walk(fd, begin.offset, limit):
                if head.ns >= ns:
                    return Place(begin.segment, head.offset)
        finally:
            os.close(fd)
        return end
