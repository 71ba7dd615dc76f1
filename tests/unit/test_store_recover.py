"""Recovery: whatever a crash leaves, every whole record stays and all files agree."""

from __future__ import annotations

import json
import os
import random
import shutil
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_recording import BEGIN_NS, ENTRY, NS, Record, Recording, histories

from fwdcap import abi
from fwdcap.errors import Conflict, DiskFull, Forbidden, NotFound, Unavailable
from fwdcap.store import alive, checkpoint, durable, pcap, recover, repair, stream_json
from fwdcap.store.download import open_range, open_single
from fwdcap.store.index import Index
from fwdcap.store.listing import open_splits
from fwdcap.store.places import link_text
from fwdcap.store.recover import Recovery, recover_stream
from fwdcap.store.segments import contents
from fwdcap.store.stream import read_stream
from fwdcap.store.views import VIEWS

pytestmark = pytest.mark.unit

SECTOR = 512


@contextmanager
def written(records: list[Record], complete: bool = False) -> Iterator[Recording]:
    with tempfile.TemporaryDirectory() as top:
        yield Recording(Path(top), records).write(complete)


def small(count: int, roll: int = 0) -> list[Record]:
    """Frames that end in bytes other than zero, half a second apart."""
    return [
        Record(
            BEGIN_NS + n * NS // 2,
            struct.pack(">I", n + 1) * 15 + b"\xff",
            bool(roll) and n % roll == 0,
        )
        for n in range(count)
    ]


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


def read_back(directory: Path) -> list[tuple[int, bytes, bytes]]:
    """Time, frame and tag of each record; the files must hold nothing else."""
    found = []
    for path in sorted(directory.glob("*.pcap")):
        raw, offset = path.read_bytes(), 24
        assert raw[:24] == pcap.file_header()
        tags = path.with_suffix(".tags").read_bytes()
        for at in range(0, len(tags), 8):
            seconds, ns, caplen, _ = struct.unpack_from("=IIII", raw, offset)
            frame = raw[offset + 16 : offset + 16 + caplen]
            assert len(frame) == caplen
            found.append((seconds * NS + ns, frame, tags[at : at + 8]))
            offset += 16 + caplen
        assert offset == len(raw)
    return found


def assert_agreeing(recording: Recording, kept: list[Record]) -> None:
    """The stream is just these records: in each file, by the recorder's own rules."""
    directory = recording.directory
    as_written = Recording(recording.root, kept, recording.stream)
    assert [(ns, frame) for ns, frame, _ in read_back(directory)] == [
        (record.ns, record.frame) for record in kept
    ]
    paths = sorted(directory.glob("*.index"))
    assert [list(ENTRY.iter_unpack(path.read_bytes())) for path in paths] == as_written.entries()
    said = checkpoint.read(directory / "checkpoint")
    assert said is not None
    truth = as_written.checkpoint(abi.RecorderState.COMPLETE)
    fields = ("state", "segment", "segment_bytes", "segment_tags", "segment_index", "packets")
    for name in (*fields, "bytes", "frame_bytes", "first_ns", "last_ns", "error"):
        assert getattr(said, name) == getattr(truth, name), name
    info = read_stream(recording.root, recording.stream)
    assert (info.packets, info.problem) == (len(kept), "")
    assert info.state in ("recovered", "complete")
    assert info.size_bytes == open_single(recording.root, recording.stream).length
    assert info.size_bytes == 24 + sum(len(record.raw) for record in kept)


def assert_settled(recording: Recording) -> None:
    """Nothing is left to do, not even by a look at every record."""
    before = snapshot(recording.directory)
    for thorough in (False, True):
        assert recover_stream(recording.directory, thorough=thorough).outcome == "intact"
    assert snapshot(recording.directory) == before


# ---- tearing


def in_segment(recording: Recording, number: int) -> list[tuple[int, int, Record]]:
    """Begin and end of each record in that segment's file."""
    return [
        (item.offset, item.offset + len(item.record.raw), item.record)
        for item in recording.stored()
        if item.segment == number
    ]


@settings(max_examples=250, deadline=None)
@given(records=histories(most=30), data=st.data())
def test_a_tear_anywhere_keeps_every_whole_record(
    records: list[Record], data: st.DataObject
) -> None:
    """The last segment is cut, zeroed or overwritten from any byte on, any other file is torn
    or gone, and the recorder is dead."""
    with written(records) as recording:
        last = len(recording.segments()) - 1
        places = in_segment(recording, last)
        segment = recording.directory / f"{last:06}.pcap"
        raw = segment.read_bytes()
        at = data.draw(st.integers(0, len(raw)), "torn at")
        how = data.draw(st.sampled_from(["cut", "zeros", "padding", "garbage after", "nothing"]))
        zeros = bytes(data.draw(st.integers(0, 5000)))
        if how == "cut":
            segment.write_bytes(raw[:at])
        elif how == "zeros":
            at = at // SECTOR * SECTOR
            segment.write_bytes(raw[:at] + bytes(len(raw) - at) + zeros)
        elif how == "padding":
            segment.write_bytes(raw + zeros)
        elif how == "garbage after":
            segment.write_bytes(raw + b"\xff" * data.draw(st.integers(1, 5000)))
        end = at if how in ("cut", "zeros") else len(raw)
        tear_others(recording, data)
        whole = [record for _, stop, record in places if stop <= max(end, 24)]
        kept = [*records[: len(records) - len(places)], *whole]
        report = recover_stream(recording.directory)
        assert report.outcome == "recovered"
        if how == "zeros":  # A record whose frame lost only its end, or nothing, is not told apart.
            got = len(read_back(recording.directory))
            assert len(kept) <= got <= len(kept) + 1
            if got > len(kept):
                kept.append(as_on_disk(records[len(kept)], segment))
        assert_agreeing(recording, kept)
        assert_settled(recording)


def as_on_disk(record: Record, segment: Path) -> Record:
    frame = segment.read_bytes()[-len(record.frame) :] if record.frame else b""
    return Record(record.ns, frame, record.new)


def tear_others(recording: Recording, data: st.DataObject) -> None:
    """Cuts, zeroes, overwrites or removes any of the files that can be made again."""
    for path in sorted(recording.directory.iterdir()):
        if path.suffix == ".pcap":
            continue
        raw = path.read_bytes()
        at = data.draw(st.integers(0, len(raw)), path.name)
        how = data.draw(st.sampled_from(["whole", "whole", "gone", "cut", "zeros", "ones"]))
        if how == "gone":
            path.unlink()
        elif how != "whole":
            byte = {"cut": b"", "zeros": b"\0", "ones": b"\xff"}[how]
            path.write_bytes(raw[:at] + byte * (len(raw) - at))


@settings(max_examples=150, deadline=None)
@given(records=histories(most=30), data=st.data())
def test_a_damaged_middle_keeps_what_is_before_it_and_destroys_nothing(
    records: list[Record], data: st.DataObject
) -> None:
    with written(records, data.draw(st.booleans())) as recording:
        stored = recording.stored()
        number = data.draw(st.integers(0, len(stored) - 1))
        item = stored[number]
        path = recording.directory / f"{item.segment:06}.pcap"
        raw = bytearray(path.read_bytes())
        raw[item.offset : item.offset + 16] = b"\xee" * 16
        path.write_bytes(raw)
        report = recover_stream(recording.directory, thorough=True)
        lost = [each for each in stored[number:] if each.segment == item.segment]
        kept = [each.record for each in stored if each not in lost]
        assert report.packets == len(kept)
        assert report.missing_packets == len(lost)
        (name,) = report.damaged
        assert (recording.directory / name).read_bytes() == bytes(raw[item.offset :]).rstrip(b"\0")
        assert [(ns, frame) for ns, frame, _ in read_back(recording.directory)] == [
            (record.ns, record.frame) for record in kept
        ]
        said = checkpoint.read(recording.directory / "checkpoint")
        assert said is not None
        assert said.lost_records[abi.Loss.DISK] == len(lost)
        with Index(contents(recording.directory)) as index:
            assert index.total.packets == len(kept)
        assert_settled(recording)


@settings(max_examples=60, deadline=None)
@given(records=histories(most=30), data=st.data())
def test_splits_and_ranges_agree_after_recovery(records: list[Record], data: st.DataObject) -> None:
    with written(records) as recording:
        for path in recording.directory.glob("*.index"):
            os.truncate(path, data.draw(st.integers(0, path.stat().st_size)))
        os.truncate(recording.directory / "000000.pcap", data.draw(st.integers(0, 5000)))
        recover_stream(recording.directory)
        whole = open_single(recording.root, recording.stream).file.read()
        for view in VIEWS:
            body = b""
            for row in open_splits(recording.root, recording.stream, view):
                part = open_range(recording.root, recording.stream, row.start_ns, row.stop_ns)
                assert part.length == row.size_bytes
                body += part.file.read()[24:]
            assert body == whole[24:]


# ---- one by one


def test_a_sound_stream_of_a_dead_recorder_is_ended_where_it_is(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(40, roll=9)).write()
    tags = [tag for _, _, tag in read_back(recording.directory)]
    report = recover_stream(recording.directory)
    assert report == Recovery(recording.stream, "recovered", 40, 24 + 40 * 77, 5)
    assert_agreeing(recording, list(recording.records))
    assert [tag for _, _, tag in read_back(recording.directory)] == tags
    words = stream_json.read(recording.directory / "stream.json")
    assert words is not None
    assert (words.name, words.zone, words.state) == ("cli_capture", "Asia/Tokyo", "recovered")
    assert words.stopped_ns == recording.records[-1].ns


def test_a_complete_stream_is_left_alone(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(40, roll=9)).write(complete=True)
    assert_settled(recording)


def test_a_recorder_that_ended_well_and_a_daemon_that_did_not_make_a_complete_stream(
    tmp_path: Path,
) -> None:
    recording = Recording(tmp_path, small(5)).write(complete=True)
    stream_json.write(recording.directory / "stream.json", recording.words("recording"))
    assert recover_stream(recording.directory).outcome == "recovered"
    assert read_stream(tmp_path, recording.stream).state == "complete"
    assert_settled(recording)


@pytest.mark.parametrize("name", ["000001.index", "000001.tags", "000001.pcap", "000002.tags"])
def test_a_complete_stream_with_a_torn_file_is_mended(tmp_path: Path, name: str) -> None:
    records = small(30, roll=10)
    recording = Recording(tmp_path, records).write(complete=True)
    path = recording.directory / name
    os.truncate(path, path.stat().st_size - 3)
    report = recover_stream(recording.directory)
    assert report.outcome == "recovered"
    assert report.notes
    kept = records if ".pcap" not in name else [*records[:19], *records[20:]]
    assert_agreeing(recording, kept)
    assert_settled(recording)


def test_records_beyond_the_last_report_are_kept(tmp_path: Path) -> None:
    records = small(20)
    recording = Recording(tmp_path, records[:12]).write()
    with (recording.directory / "000000.pcap").open("ab") as file:
        file.write(b"".join(record.raw for record in records[12:]) + bytes(900))
    report = recover_stream(recording.directory)
    assert (report.packets, report.missing_packets) == (20, 0)
    assert_agreeing(recording, records)
    unknown = [tag for _, _, tag in read_back(recording.directory)][12:]
    assert unknown == [bytes(8)] * 8


def test_a_segment_that_was_only_begun_is_removed(tmp_path: Path) -> None:
    records = small(20, roll=10)
    recording = Recording(tmp_path, records).write()
    (recording.directory / "000002.pcap").write_bytes(b"")
    (recording.directory / "000002.tags").write_bytes(b"")
    assert recover_stream(recording.directory).segments == 2
    assert_agreeing(recording, records)
    assert not (recording.directory / "000002.tags").exists()


def test_records_in_a_segment_the_checkpoint_does_not_know_yet_are_kept(tmp_path: Path) -> None:
    records = small(25, roll=10)
    recording = Recording(tmp_path, records[:20]).write()
    whole = Recording(tmp_path, records)
    (recording.directory / "000002.pcap").write_bytes(whole.segments()[2])
    assert recover_stream(recording.directory).packets == 25
    assert_agreeing(recording, records)


def test_without_anything_but_packets_the_words_come_from_the_name(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(30, roll=10)).write()
    for path in recording.directory.iterdir():
        if path.suffix != ".pcap":
            path.unlink()
    recover_stream(recording.directory)
    assert_agreeing(recording, list(recording.records))
    words = stream_json.read(recording.directory / "stream.json")
    assert words is not None
    assert (words.name, words.stream) == ("cli_capture", recording.stream)
    assert words.started_ns == BEGIN_NS
    assert "missing" in words.note


def test_a_stream_without_any_packet_becomes_an_empty_file(tmp_path: Path) -> None:
    directory = tmp_path / "streams" / "x_20260102_0304-2"
    directory.mkdir(parents=True)
    (directory / "stream.json").write_text("{")
    recover_stream(directory)
    assert (directory / "000000.pcap").read_bytes() == pcap.file_header()
    info = read_stream(tmp_path, directory.name)
    assert (info.name, info.packets, info.size_bytes) == ("x", 0, 24)
    assert info.started_ns == 1_767_323_040 * NS
    assert recover_stream(directory).outcome == "intact"


def test_losses_that_were_counted_stay_and_what_vanished_is_added(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(20)).write()
    said = recording.checkpoint(abi.RecorderState.RUNNING)
    said.generation, said.lost_records[abi.Loss.RING_FULL] = 7, 5
    (recording.directory / "checkpoint").write_bytes(
        bytes(abi.CHECKPOINT_SLOT) + checkpoint.slot_bytes(said)
    )
    os.truncate(recording.directory / "000000.pcap", 24 + 77 * 15 + 3)
    report = recover_stream(recording.directory)
    assert (report.packets, report.missing_packets) == (15, 5)
    found = checkpoint.read(recording.directory / "checkpoint")
    assert found is not None
    assert (found.generation, list(found.lost_records)) == (8, [5, 0, 5, 0])
    assert read_stream(tmp_path, recording.stream).lost == 10


def test_final_counters_learn_what_vanished_later(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(20)).write(complete=True)
    path = recording.directory / "stream.json"
    raw = json.loads(path.read_text())
    raw["counters"] = {"lost": {"ring-full": 1, "disk": 2}, "received_packets": 23}
    path.write_text(json.dumps(raw))
    os.truncate(recording.directory / "000000.pcap", 24 + 77 * 15)
    recover_stream(recording.directory)
    assert read_stream(tmp_path, recording.stream).lost == 8


def test_the_last_frame_may_end_in_zeros(tmp_path: Path) -> None:
    """Zeros alone are no tear: checkpoint and tags say that this record is the last."""
    records = [*small(5), Record(BEGIN_NS + 9 * NS, bytes(3000))]
    recording = Recording(tmp_path, records).write()
    with (recording.directory / "000000.pcap").open("ab") as file:
        file.write(bytes(800))
    recover_stream(recording.directory)
    assert_agreeing(recording, records)


@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("more_tags", [0, 8, 11])
def test_what_the_checkpoint_vouches_for_stays_whatever_tags_say(
    tmp_path: Path, complete: bool, more_tags: int
) -> None:
    records = [*small(5), Record(BEGIN_NS + 9 * NS, b"\xaa" + bytes(2999))]
    recording = Recording(tmp_path, records).write(complete=complete)
    with (recording.directory / "000000.tags").open("ab") as file:
        file.write(bytes(more_tags))
    report = recover_stream(recording.directory)
    assert (report.packets, report.missing_packets, report.damaged) == (6, 0, ())
    assert_agreeing(recording, records)


def test_a_frame_whose_end_never_reached_the_disk_is_set_aside(tmp_path: Path) -> None:
    records = [*small(5), Record(BEGIN_NS + 9 * NS, b"\xaa" * 3000), *small(0)]
    records.append(Record(BEGIN_NS + 10 * NS, b"\xbb" * 100))
    recording = Recording(tmp_path, records).write()
    path = recording.directory / "000000.pcap"
    raw = path.read_bytes()
    path.write_bytes(raw[:2048] + bytes(len(raw) - 2048))
    report = recover_stream(recording.directory)
    assert (report.packets, report.missing_packets) == (5, 2)
    assert report.damaged == ("000000.damaged",)
    aside = (recording.directory / "000000.damaged").read_bytes()
    assert aside == raw[24 + 5 * 77 : 2048]
    assert_agreeing(recording, records[:5])


def test_damage_of_a_second_time_gets_a_name_of_its_own(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(10)).write()
    for name in ("000000.damaged", "000000.damaged-2"):
        with (recording.directory / "000000.pcap").open("ab") as file:
            file.write(b"\xee" * 40)
        assert recover_stream(recording.directory).damaged == (name,)
        assert (recording.directory / name).read_bytes() == b"\xee" * 40
    assert_agreeing(recording, list(recording.records))


def test_a_lost_pcap_header_is_written_again(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(10)).write()
    path = recording.directory / "000000.pcap"
    path.write_bytes(bytes(24) + path.read_bytes()[24:])
    recover_stream(recording.directory)
    assert_agreeing(recording, list(recording.records))


@pytest.mark.parametrize("what", ["checkpoint", "000003.index", "stream.json", "none"])
def test_a_trimmed_stream_keeps_its_counts_and_its_grid(tmp_path: Path, what: str) -> None:
    records = small(50, roll=10)
    recording = Recording(tmp_path, records).write()
    before = list(open_splits(tmp_path, recording.stream, VIEWS[0]))
    for number in range(3):
        for suffix in ("pcap", "index", "tags"):
            (recording.directory / f"{number:06}.{suffix}").unlink()
    words = recording.words("recording")
    removed = {"segments": 3, "packets": 30, "bytes": 30 * 77}
    trimmed = {"trimmed": True, "original_first_ns": BEGIN_NS, "removed": removed}
    path = recording.directory / "stream.json"
    stream_json.write(path, words)
    path.write_text(json.dumps({**json.loads(path.read_text()), **trimmed}))
    (recording.directory / what).unlink(missing_ok=True)
    report = recover_stream(recording.directory)
    assert (report.packets, report.segments, report.missing_packets) == (20, 2, 0)
    entries = [
        list(ENTRY.iter_unpack(path.read_bytes()))
        for path in sorted(recording.directory.glob("*.index"))
    ]
    truth = recording.entries()[3:]
    if what == "000003.index":  # The time before the first packet that is left is not known.
        truth[0][0] = (truth[0][0][0], 0, *truth[0][0][2:])
    assert entries == truth
    rows = list(open_splits(tmp_path, recording.stream, VIEWS[0]))
    assert rows == before[-len(rows) :]
    info = read_stream(tmp_path, recording.stream)
    assert (info.packets, info.trimmed, info.first_ns) == (20, True, records[30].ns)
    assert_settled(recording)


def test_a_dry_run_says_the_same_and_does_nothing(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(30, roll=10)).write()
    os.truncate(recording.directory / "000002.index", 7)
    os.truncate(recording.directory / "000001.tags", 3)
    (recording.directory / "checkpoint").unlink()
    with (recording.directory / "000002.pcap").open("ab") as file:
        file.write(b"\xee" * 100)
    before = snapshot(recording.directory)
    planned = recover_stream(recording.directory, dry_run=True)
    assert snapshot(recording.directory) == before
    assert planned.outcome == "recovered"
    assert recover_stream(recording.directory) == planned


def test_a_recovery_that_was_interrupted_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before any step: the next one ends where an undisturbed one would have."""
    names = ("replace", "resize", "copy_out", "sync_directory")
    step = 0
    while True:
        recording = Recording(tmp_path / str(step), small(30, roll=10)).write()
        tear(recording)
        left = [step]
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(durable, name, stopping(getattr(durable, name), left))
            try:
                recover_stream(recording.directory)
                break
            except Unavailable:
                pass
        recover_stream(recording.directory)
        assert_agreeing(recording, small(30, roll=10)[:29])
        saved = (recording.directory / "000002.damaged").read_bytes()
        assert saved.startswith(b"\xee" * 16)
        assert_settled(recording)
        step += 1
    assert step > 6


def tear(recording: Recording) -> None:
    os.truncate(recording.directory / "000001.index", 7)
    os.truncate(recording.directory / "000002.tags", 11)
    (recording.directory / "checkpoint").write_bytes(b"\xff" * 16384)
    path = recording.directory / "000002.pcap"
    raw = bytearray(path.read_bytes())
    raw[-77:-61] = b"\xee" * 16
    path.write_bytes(raw + bytes(300))


def stopping(real: Callable[..., None], left: list[int]) -> Callable[..., None]:
    def step(*args: Any) -> None:
        if left[0] == 0:
            raise OSError("killed")
        left[0] -= 1
        real(*args)

    return step


# ---- who may, and where


def test_a_stream_under_a_recorder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = Recording(tmp_path / "store", small(5)).write()
    other = Recording(tmp_path / "store", small(5), "other_20150620_1128").write()
    command = ["fwdcap-recorder", "--pins", "/p", "--stream", str(recording.directory)]
    monkeypatch.setattr(alive, "_PROC", processes(tmp_path, command))
    monkeypatch.setattr(recover, "recorder_of", lambda path: alive.recorder_of(path, alive._PROC))
    before = snapshot(recording.directory)
    with pytest.raises(Conflict) as refusal:
        recover_stream(recording.directory)
    assert "4242" in str(refusal.value)
    reports = recover.recover(tmp_path / "store")
    assert [(report.stream, report.outcome) for report in reports] == [
        (recording.stream, "recording"),
        (other.stream, "recovered"),
    ]
    assert snapshot(recording.directory) == before


def processes(top: Path, command: list[str]) -> Path:
    """A /proc with one process of that command line, whose directory is `top`."""
    process = top / "proc" / "4242"
    process.mkdir(parents=True)
    (process / "cmdline").write_bytes(b"\0".join(os.fsencode(word) for word in command) + b"\0")
    (process / "cwd").symlink_to(top)
    (process / "root").symlink_to("/")
    (process.parent / "self").symlink_to("4242")
    (process.parent / "77").mkdir()
    return process.parent


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["--pins", "/p", "--stream", "{}"], True),
        (["--pins=/p", "--stream={}"], True),
        (["--pins", "/p", "--stream", "{}/../x"], True),
        (["--pins", "/p", "--stream", "x"], True),
        (["--stream", "{}"], False),
        (["--pins", "/p", "--stream", "{}2"], False),
        (["--pins", "/p", "{}"], False),
    ],
)
def test_a_recorder_is_known_by_its_command_line(
    tmp_path: Path, words: list[str], found: bool
) -> None:
    stream = tmp_path / "x"
    stream.mkdir()
    proc = processes(tmp_path, ["fwdcap-recorder", *(word.format(stream) for word in words)])
    assert alive.recorder_of(stream, proc) == (4242 if found else None)


def test_two_recoveries_at_once_are_one(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(5)).write()
    with recover._locked(recording.directory), pytest.raises(Conflict):
        recover_stream(recording.directory)
    assert recover_stream(recording.directory).outcome == "recovered"


def test_a_store_its_streams_and_one_of_them(tmp_path: Path) -> None:
    one = Recording(tmp_path, small(5), "a_20150620_1128").write()
    two = Recording(tmp_path, small(5), "b_20150620_1128").write()
    (tmp_path / "streams" / "nothing").mkdir()
    assert [each.outcome for each in recover.recover(one.directory)] == ["recovered"]
    assert [(each.stream, each.outcome) for each in recover.recover(tmp_path)] == [
        (one.stream, "intact"),
        (two.stream, "recovered"),
    ]
    assert len(recover.recover(tmp_path / "streams")) == 2
    for path in (tmp_path / "none", tmp_path / "streams" / "nothing", Path("/proc/self/fd")):
        with pytest.raises(NotFound):
            recover.recover(path)


def test_links_that_do_not_lead_to_the_archive_are_not_followed(tmp_path: Path) -> None:
    """The directory belongs to the recorder's user, recovery may run as root."""
    recording = Recording(tmp_path / "store", small(20, roll=10)).write()
    victims = []
    for name in ("000001.tags", "000000.index", "checkpoint", "000002.pcap", ".checkpoint.new"):
        victims.append(tmp_path / f"victim{name}")
        victims[-1].write_bytes(b"precious")
        (recording.directory / name).unlink(missing_ok=True)
        (recording.directory / name).symlink_to(victims[-1])
    with pytest.raises(Unavailable):
        recover_stream(recording.directory)
    assert [victim.read_bytes() for victim in victims] == [b"precious"] * len(victims)


def test_an_archived_segment_is_mended_where_it_is(tmp_path: Path) -> None:
    records = small(30, roll=10)
    recording = Recording(tmp_path / "store", records).write(complete=True)
    away = tmp_path / "large" / recording.stream
    away.mkdir(parents=True)
    (tmp_path / "store" / "archive").symlink_to(tmp_path / "large")
    for name in ("000000.pcap", "000000.index", "000000.tags"):
        shutil.move(recording.directory / name, away / name)
        (recording.directory / name).symlink_to(link_text(recording.stream, name))
    assert recover_stream(recording.directory).outcome == "intact"
    os.truncate(away / "000000.index", 5)
    os.truncate(away / "000000.tags", 5)
    recover_stream(recording.directory)
    assert_agreeing(recording, records)
    assert (recording.directory / "000000.index").is_symlink()
    (tmp_path / "large").rename(tmp_path / "unmounted")
    with pytest.raises(Unavailable) as refusal:
        recover_stream(recording.directory, thorough=True)
    assert refusal.value.code == "archive-away"


@pytest.mark.parametrize(
    ("number", "kind"),
    [(28, DiskFull), (122, DiskFull), (30, Forbidden), (13, Forbidden), (5, Unavailable)],
)
def test_a_disk_that_refuses_is_one_sentence_and_harms_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    recording = Recording(tmp_path, small(5)).write()

    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(durable, "replace", refuse)
    with pytest.raises(kind, match=recording.stream):
        recover_stream(recording.directory)
    (report,) = recover.recover(tmp_path)
    assert report.outcome == "failed"
    assert report.notes


def test_what_is_written_belongs_to_the_directorys_group(tmp_path: Path) -> None:
    recording = Recording(tmp_path, small(5)).write()
    (recording.directory / "000000.index").unlink()
    if os.geteuid() == 0:
        os.chown(recording.directory, 1234, 2345)
    recover_stream(recording.directory)
    owner = recording.directory.stat()
    for name in ("000000.index", "checkpoint"):
        found = (recording.directory / name).stat()
        assert (found.st_uid, found.st_gid) == (owner.st_uid, owner.st_gid)
        assert found.st_mode & 0o777 == 0o640


def test_an_intact_index_spares_the_walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the records after the last entry are looked at."""
    chance = random.Random(1)
    records = [Record(BEGIN_NS + n * 1000, chance.randbytes(1500)) for n in range(2000)]
    recording = Recording(tmp_path, records).write()
    walked = []
    scan = repair.examine.__globals__["scan"]

    def counted(fd: int, offset: int, end: int, *rest: Any) -> Any:
        walked.append(end - offset)
        return scan(fd, offset, end, *rest)

    monkeypatch.setitem(repair.examine.__globals__, "scan", counted)
    recover_stream(recording.directory)
    assert sum(walked) <= abi.INDEX_BYTES + 1516
    assert_agreeing(recording, records)
