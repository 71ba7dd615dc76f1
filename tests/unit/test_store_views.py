"""Splits: every packet in exactly one of every view, and sized to the byte."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_recording import BEGIN_NS, NS, Record, Recording, histories

from fwdcap.errors import Invalid, NotFound
from fwdcap.store import pcap
from fwdcap.store.download import open_range
from fwdcap.store.indexer import Totals
from fwdcap.store.listing import open_splits
from fwdcap.store.times import zone_of
from fwdcap.store.views import (
    VIEWS,
    Entry,
    Split,
    View,
    split_name,
    split_names,
    splits,
    view_named,
)

pytestmark = pytest.mark.unit

ANY_VIEW = st.sampled_from(VIEWS)


class Listed:
    """Entries in memory, searched one by one."""

    def __init__(self, entries: Sequence[tuple[int, ...]]) -> None:
        self._entries = [Entry(*entry) for entry in entries]

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, number: int) -> Entry:
        return self._entries[number]

    def at_time(self, ns: int, low: int = 0) -> int:
        return self._first(lambda entry: entry.first_ns >= ns, low)

    def at_bytes(self, size: int, low: int = 0) -> int:
        return self._first(lambda entry: entry.bytes >= size, low)

    def _first(self, fits, low: int) -> int:  # type: ignore[no-untyped-def]
        numbers = range(low, len(self))
        return next((n for n in numbers if fits(self._entries[n])), len(self))


def listed(recording: Recording, view: View) -> list[Split]:
    entries = Listed([entry for segment in recording.entries() for entry in segment])
    return list(splits(entries, total(recording.records), view))


def total(records: Sequence[Record]) -> Totals:
    size = sum(len(record.raw) for record in records)
    return Totals(len(records), size, records[-1].ns if records else 0)


def opened_by_time(records: Sequence[Record], period_ns: int) -> list[int]:
    """The first packet at or after first + k × period, for every k, each once."""
    first_ns, begins = records[0].ns, []
    periods = (records[-1].ns - first_ns) // period_ns
    number = 0
    for k in range(periods + 1):
        while records[number].ns < first_ns + k * period_ns:
            number += 1
        if not begins or begins[-1] != number:
            begins.append(number)
    return begins


def opened_by_size(recording: Recording, size: int) -> list[int]:
    """The first index entry at or after k × size bytes, for every k, each once; never one
    that stands between packets of one time."""
    entries = [entry for segment in recording.entries() for entry in segment]
    usable = [entries[0], *(entry for entry in entries[1:] if entry[0] != entry[1])]
    begins: list[int] = []
    for k in range(total(recording.records).bytes // size + 1):
        found = next((entry[3] for entry in usable if entry[4] >= k * size), None)
        if found is not None and found not in begins:
            begins.append(found)
    return begins


@settings(max_examples=200, deadline=None)
@given(records=histories(), view=ANY_VIEW.filter(lambda view: view.kind == "time"))
def test_boundaries_of_a_time_view_are_exact(records: list[Record], view: View) -> None:
    """The index alone gives what a look at every packet gives."""
    rows = listed(Recording(Path(), records), view)
    begins = opened_by_time(records, view.step)
    assert [row.start_ns for row in rows] == [records[number].ns for number in begins]
    ends = [*begins[1:], len(records)]
    assert [row.packets for row in rows] == [
        end - begin for begin, end in zip(begins, ends, strict=True)
    ]


@settings(max_examples=200, deadline=None)
@given(records=histories(), size=st.sampled_from([10**6, 10**7, 100_000, 300_000]))
def test_boundaries_of_a_size_view_are_the_entries_after_each_multiple(
    records: list[Record], size: int
) -> None:
    recording = Recording(Path(), records)
    rows = listed(recording, View("any", "size", size))
    assert [row.start_ns for row in rows] == [
        records[number].ns for number in opened_by_size(recording, size)
    ]


@settings(max_examples=200, deadline=None)
@given(records=histories(), view=ANY_VIEW, step=st.none() | st.integers(1, 400_000))
def test_splits_are_contiguous_and_hold_every_packet_once(
    records: list[Record], view: View, step: int | None
) -> None:
    if view.kind == "size" and step:
        view = View("any", "size", step)
    rows = listed(Recording(Path(), records), view)
    assert rows[0].start_ns == records[0].ns
    assert rows[-1].stop_ns == records[-1].ns + 1
    assert [row.stop_ns for row in rows[:-1]] == [row.start_ns for row in rows[1:]]
    for row in rows:
        inside = [record for record in records if row.start_ns <= record.ns < row.stop_ns]
        assert row.packets == len(inside) > 0
        assert row.size_bytes == 24 + sum(len(record.raw) for record in inside)
    assert sum(row.packets for row in rows) == len(records)


@settings(max_examples=60, deadline=None)
@given(records=histories(most=30), view=ANY_VIEW, complete=st.booleans())
def test_each_row_of_a_store_is_the_download_it_names(
    records: list[Record], view: View, complete: bool
) -> None:
    with tempfile.TemporaryDirectory() as top:
        recording = Recording(Path(top), records).write(complete)
        rows = list(open_splits(recording.root, recording.stream, view))
        assert rows == listed(recording, view)
        body = b""
        for row in rows:
            got = open_range(recording.root, recording.stream, row.start_ns, row.stop_ns)
            assert got.length == row.size_bytes
            data = got.file.read()
            assert len(data) == row.size_bytes
            body += data[pcap.FILE_HEADER_BYTES :]
        assert body == b"".join(record.raw for record in records)


@settings(max_examples=100, deadline=None)
@given(records=histories(), view=ANY_VIEW, more=st.integers(1, 5))
def test_a_growing_stream_only_changes_its_last_split(
    records: list[Record], view: View, more: int
) -> None:
    grown = [*records, *(Record(records[-1].ns + n * NS // 2, b"more") for n in range(more))]
    before = listed(Recording(Path(), records), view)
    after = listed(Recording(Path(), grown), view)
    assert after[: len(before) - 1] == before[:-1]
    assert after[len(before) - 1].start_ns == before[-1].start_ns


@settings(max_examples=100, deadline=None)
@given(records=histories(), view=ANY_VIEW, data=st.data())
def test_a_trimmed_stream_keeps_its_boundaries(
    records: list[Record], view: View, data: st.DataObject
) -> None:
    """Without its first segments: the same rows, but for the one that lost its beginning."""
    recording = Recording(Path(), records)
    segments = recording.entries()
    gone = data.draw(st.integers(0, len(segments) - 1))
    kept = [entry for segment in segments[gone:] for entry in segment]
    rows = list(splits(Listed(kept), total(records), view, records[0].ns))
    whole = listed(recording, view)
    assert rows[0].start_ns == kept[0][0]
    assert rows[1:] == [row for row in whole if row.start_ns > rows[0].start_ns][: len(rows) - 1]
    assert sum(row.packets for row in rows) == len(records) - kept[0][3]


def test_no_drift_and_no_row_for_a_silent_period() -> None:
    seconds = [0, 0.9, 1.95, 2.0, 2.99, 7.5, 8.0]
    records = [Record(BEGIN_NS + int(second * NS), b"x") for second in seconds]
    rows = listed(Recording(Path(), records), view_named("split_1sec"))
    assert [(row.start_ns - BEGIN_NS) / NS for row in rows] == [0, 1.95, 2.0, 7.5, 8.0]
    assert [row.packets for row in rows] == [2, 1, 2, 1, 1]


def test_packets_of_one_time_are_not_parted_by_a_segment() -> None:
    burst = [Record(BEGIN_NS + NS, bytes(5000), new=n % 10 == 0) for n in range(40)]
    records = [Record(BEGIN_NS, b"first"), *burst, Record(BEGIN_NS + 2 * NS, b"last")]
    rows = listed(Recording(Path(), records), View("any", "size", 20_000))
    assert [row.packets for row in rows] == [41, 1]


def test_views_are_those_of_the_interface_in_its_order() -> None:
    text = "1sec 10sec 1min 10min 15min 1hour 1MB 10MB 100MB 1GB 10GB 100GB 1TB"
    assert [view.name for view in VIEWS] == [f"split_{word}" for word in text.split()]
    assert view_named("split_15min").step == 900 * NS
    assert view_named("split_1TB").step == 10**12
    for name in ("", "split_2sec", "x" * 10_000, "ä"):
        with pytest.raises(Invalid) as refusal:
            view_named(name)
        assert "split_1sec" in str(refusal.value)


def test_a_split_is_named_by_its_start_in_the_zone() -> None:
    start_ns = 1_434_793_007_780_373_366
    assert split_name(start_ns, zone_of("Asia/Tokyo")) == "20150620_18:36:47.780.373.366"
    assert split_name(5, UTC) == "19700101_00:00:00.000.000.005"


def test_an_empty_stream_has_no_split(tmp_path: Path) -> None:
    recording = Recording(tmp_path, []).write()
    for view in VIEWS:
        assert list(open_splits(tmp_path, recording.stream, view)) == []


def test_no_such_stream_is_said_before_the_first_row(tmp_path: Path) -> None:
    (tmp_path / "streams" / "empty").mkdir(parents=True)
    for stream in ("none", "empty", "../x"):
        with pytest.raises(NotFound):
            open_splits(tmp_path, stream, VIEWS[0])


@given(
    starts=st.lists(st.integers(0, 1 << 62), min_size=1, max_size=20),
    zone=st.sampled_from(["UTC", "Asia/Tokyo", "America/St_Johns", "Africa/Monrovia"]),
)
def test_names_of_many_are_the_names_of_each(starts: list[int], zone: str) -> None:
    close = [start + step for start in starts for step in (0, NS, 59 * NS, 60 * NS)]
    many = split_names(zone_of(zone))
    assert [many(ns) for ns in close] == [split_name(ns, zone_of(zone)) for ns in close]
