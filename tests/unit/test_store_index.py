"""The index as one sequence: every search agrees with a look at all entries."""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_recording import BEGIN_NS, ENTRY, NS, Record, Recording, histories

from fwdcap import abi
from fwdcap.errors import Invalid, NotFound
from fwdcap.store import index as index_module
from fwdcap.store import pcap
from fwdcap.store.download import open_range, open_single
from fwdcap.store.index import Index
from fwdcap.store.indexer import Totals, scan
from fwdcap.store.segments import contents
from fwdcap.store.views import VIEWS

pytestmark = pytest.mark.unit


@contextmanager
def written(records: list[Record], complete: bool = True) -> Iterator[Recording]:
    with tempfile.TemporaryDirectory() as top:
        yield Recording(Path(top), records).write(complete)


def every(index: Index) -> list[tuple[int, ...]]:
    return [tuple(index[number]) for number in range(len(index))]


def flat(recording: Recording) -> list[tuple[int, ...]]:
    return [entry for segment in recording.entries() for entry in segment]


def many(count: int, roll: int = 0, gap_ns: int = NS) -> list[Record]:
    return [
        Record(BEGIN_NS + n * gap_ns, bytes([n % 251 + 1]) * 20, bool(roll) and n % roll == 0)
        for n in range(count)
    ]


@settings(max_examples=80, deadline=None)
@given(records=histories(), data=st.data())
def test_entries_and_searches_agree_with_the_whole_list(
    records: list[Record], data: st.DataObject
) -> None:
    with written(records) as recording, Index(contents(recording.directory)) as index:
        truth = flat(recording)
        assert every(index) == truth
        assert index.total == Totals(
            len(records), sum(len(record.raw) for record in records), records[-1].ns
        )
        low = data.draw(st.integers(0, len(truth)))
        ns = data.draw(st.sampled_from([entry[0] for entry in truth])) + data.draw(
            st.integers(-2, 2)
        )
        size = data.draw(st.integers(-1, index.total.bytes + 1))
        times, sizes = [entry[0] for entry in truth], [entry[4] for entry in truth]
        assert index.at_time(ns, low) == bisect_left(times, ns, low)
        assert index.at_bytes(size, low) == bisect_left(sizes, size, low)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("rolls", [0, 40, 500])
def test_searches_over_many_blocks_whatever_the_rate(
    tmp_path_factory: pytest.TempPathFactory, rolls: int, data: st.DataObject
) -> None:
    top = tmp_path_factory.getbasetemp() / f"blocks{rolls}"
    records = uneven(3000, rolls)
    recording = Recording(top, records)
    if not top.exists():
        recording.write(complete=True)
    view = data.draw(st.sampled_from((None, *VIEWS)))
    with Index(contents(recording.directory)) as index:
        if view:
            index.expect(view, records[0].ns)
        times, low = [record.ns for record in records], 0
        sizes = [item.before for item in recording.stored()]
        for _ in range(data.draw(st.integers(1, 8))):
            wanted = data.draw(st.integers(0, 2999))
            at = data.draw(st.integers(-1, 1))
            assert index.at_time(times[wanted] + at, low) == bisect_left(
                times, times[wanted] + at, low
            )
            assert index.at_bytes(sizes[wanted] + at, low) == bisect_left(
                sizes, sizes[wanted] + at, low
            )
            low = data.draw(st.integers(0, wanted))


def uneven(count: int, rolls: int) -> list[Record]:
    """Each second one record, so each an entry; the pace changes by powers of ten."""
    records, ns = [], BEGIN_NS
    for n in range(count):
        ns += NS * 10 ** (n // 300 % 4)
        records.append(Record(ns, bytes(10 + n % 7), bool(rolls) and n % rolls == 0))
    return records


def test_a_search_reads_a_few_blocks_of_a_long_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_module, "_FEW", 4)
    recording = Recording(tmp_path, many(4000, roll=1000)).write()
    with Index(contents(recording.directory)) as index:
        assert len(index) == 4000
        reads = 0
        read = index._files.read

        def counted(place: int, first: int, count: int) -> bytes:
            nonlocal reads
            reads += 1
            return read(place, first, count)

        monkeypatch.setattr(index._files, "read", counted)
        assert index.at_time(BEGIN_NS + 2345 * NS) == 2345
        assert index.at_bytes(36 * 3456) == 3456
        assert reads <= 4


def test_few_files_are_open_at_a_time_and_none_afterwards(tmp_path: Path) -> None:
    recording = Recording(tmp_path, many(300, roll=2)).write()
    before = len(os.listdir("/proc/self/fd"))
    with Index(contents(recording.directory)) as index:
        assert every(index) == flat(recording)
        assert len(os.listdir("/proc/self/fd")) <= before + 49
    assert len(os.listdir("/proc/self/fd")) == before


def test_of_a_running_stream_only_what_is_committed_counts(tmp_path: Path) -> None:
    recording = Recording(tmp_path, many(50, roll=20)).write()
    later = Record(BEGIN_NS + 60 * NS, b"later")
    with (recording.directory / "000002.pcap").open("ab") as segment:
        segment.write(later.raw)
    with (recording.directory / "000002.index").open("ab") as file:
        file.write(ENTRY.pack(later.ns, BEGIN_NS, 999, 50, 9999))
    next_segment = recording.directory / "000003.pcap"
    next_segment.write_bytes(pcap.file_header() + later.raw)
    next_segment.with_suffix(".index").write_bytes(ENTRY.pack(later.ns, 1, 24, 51, 9999))
    with Index(contents(recording.directory)) as index:
        assert every(index) == flat(recording)
        assert index.total.last_ns == BEGIN_NS + 49 * NS


@settings(max_examples=60, deadline=None)
@given(records=histories(), data=st.data())
def test_a_missing_index_is_made_from_the_records(
    records: list[Record], data: st.DataObject
) -> None:
    with written(records) as recording:
        for path in sorted(recording.directory.glob("*.index")):
            if data.draw(st.booleans()):
                path.unlink()
        if data.draw(st.booleans()):
            (recording.directory / "checkpoint").unlink()
        with Index(contents(recording.directory)) as index:
            assert every(index) == flat(recording)
            assert index.total.packets == len(records)


def test_an_index_longer_than_its_torn_segment_ends_with_it(tmp_path: Path) -> None:
    recording = Recording(tmp_path, many(500)).write()
    segment = recording.directory / "000000.pcap"
    os.truncate(segment, 24 + 36 * 100 + 5)
    with Index(contents(recording.directory)) as index:
        assert every(index) == flat(recording)[:101]
    (recording.directory / "checkpoint").unlink()
    with Index(contents(recording.directory)) as index:
        assert every(index) == flat(recording)[:100]


def test_an_empty_stream_has_no_entry(tmp_path: Path) -> None:
    recording = Recording(tmp_path, []).write()
    with Index(contents(recording.directory)) as index:
        assert (len(index), index.at_time(0), index.at_bytes(0)) == (0, 0, 0)
        index.expect(VIEWS[0], 0)
        with pytest.raises(IndexError):
            index[0]


def test_an_index_cut_while_it_is_read_is_an_error_not_an_answer(tmp_path: Path) -> None:
    recording = Recording(tmp_path, many(500)).write()
    with Index(contents(recording.directory)) as index:
        os.truncate(recording.directory / "000000.index", 40)
        with pytest.raises(OSError, match="shorter"):
            index[400]


@settings(max_examples=150, deadline=None)
@given(records=histories(), data=st.data())
def test_a_walk_from_any_entry_makes_the_same_entries(
    records: list[Record], data: st.DataObject
) -> None:
    with written(records) as recording:
        segments = recording.entries()
        number = data.draw(st.integers(0, len(segments) - 1))
        start = data.draw(st.integers(0, len(segments[number]) - 1))
        entry = segments[number][start]
        path = recording.directory / f"{number:06}.pcap"
        fd = os.open(path, os.O_RDONLY)
        try:
            before = Totals(entry[3], entry[4], entry[1])
            found = scan(fd, entry[2], path.stat().st_size, before, records[0].ns)
        finally:
            os.close(fd)
        assert found.entries == b"".join(ENTRY.pack(*each) for each in segments[number][start:])
        assert found.end == path.stat().st_size
        inside = [item for item in recording.stored() if item.segment == number]
        assert found.last_offset == inside[-1].offset
        assert found.totals.packets == sum(item.segment <= number for item in recording.stored())


# ---- time ranges


def naive(records: list[Record], start_ns: int, stop_ns: int) -> bytes:
    inside = (record.raw for record in records if start_ns <= record.ns < stop_ns)
    return pcap.file_header() + b"".join(inside)


@settings(max_examples=150, deadline=None)
@given(records=histories(), data=st.data())
def test_a_range_is_exactly_the_records_in_it(records: list[Record], data: st.DataObject) -> None:
    near = st.sampled_from([record.ns for record in records])
    bound = st.builds(lambda ns, by: ns + by, near, st.integers(-2, 2) | st.integers(-NS, NS))
    start_ns, stop_ns = sorted((data.draw(bound), data.draw(bound)))
    with written(records, data.draw(st.booleans())) as recording:
        if start_ns == stop_ns:
            with pytest.raises(Invalid):
                open_range(recording.root, recording.stream, start_ns, stop_ns)
        elif stop_ns <= records[0].ns or start_ns > records[-1].ns:
            with pytest.raises(NotFound) as refusal:
                open_range(recording.root, recording.stream, start_ns, stop_ns)
            assert str(records[0].ns) in str(refusal.value)
            assert str(records[-1].ns) in str(refusal.value)
        else:
            download = open_range(recording.root, recording.stream, start_ns, stop_ns)
            truth = naive(records, start_ns, stop_ns)
            assert download.file.read() == truth
            assert download.length == len(truth)


def test_a_range_around_everything_is_the_single_download(tmp_path: Path) -> None:
    recording = Recording(tmp_path, many(100, roll=30)).write()
    whole = open_range(tmp_path, recording.stream, -(10**30), 10**30)
    assert whole.file.read() == open_single(tmp_path, recording.stream).file.read()
    gap = open_range(tmp_path, recording.stream, BEGIN_NS + 1, BEGIN_NS + NS)
    assert gap.file.read() == pcap.file_header()


def test_ranges_of_what_is_not_there(tmp_path: Path) -> None:
    empty = Recording(tmp_path, []).write()
    for stream in (empty.stream, "none", "../x"):
        with pytest.raises(NotFound):
            open_range(tmp_path, stream, 0, 10**19)


def test_ranges_that_differ_have_different_marks(tmp_path: Path) -> None:
    recording = Recording(tmp_path, many(10)).write()
    spans = [(a, b) for a in range(10) for b in range(a + 1, 11)]
    downloads = [
        open_range(tmp_path, recording.stream, BEGIN_NS + a * NS, BEGIN_NS + b * NS)
        for a, b in spans
    ]
    assert len({download.mark for download in downloads}) == len(spans)


def test_at_most_one_interval_is_walked_at_either_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = bytes([1]) * (abi.INDEX_BYTES // 8)
    recording = Recording(
        tmp_path, [Record(BEGIN_NS + n * 1_000_000, frame) for n in range(200)]
    ).write()
    walked: list[pcap.RecordHead] = []
    walk = pcap.walk

    def counted(fd: int, offset: int, end: int) -> Iterator[pcap.RecordHead]:
        for head in walk(fd, offset, end):
            walked.append(head)
            yield head

    monkeypatch.setattr(pcap, "walk", counted)
    download = open_range(tmp_path, recording.stream, BEGIN_NS + 50_500_000, BEGIN_NS + 150_500_000)
    assert download.length == 24 + 100 * (16 + len(frame))
    assert len(walked) <= 2 * 9
