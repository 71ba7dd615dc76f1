"""Streams on disk: listed whole, and as far as possible where something is missing."""

from __future__ import annotations

import ctypes
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from store_builder import SECOND_NS, STARTED_NS, StreamBuilder, example, packets

from fwdcap import abi
from fwdcap.errors import Invalid, NotFound
from fwdcap.store import checkpoint, names, stream_json, times
from fwdcap.store.stream import list_streams, read_stream
from fwdcap.store.stream_json import StreamJson

pytestmark = pytest.mark.unit


def test_complete_stream_is_read_from_words_and_checkpoint(tmp_path: Path) -> None:
    built = example(tmp_path)
    info = read_stream(tmp_path, built.stream)
    assert (info.name, info.state, info.packets) == ("cli_capture", "complete", 100)
    assert info.size_bytes == len(built.single())
    assert (info.first_ns, info.last_ns) == (STARTED_NS, STARTED_NS + 99 * 1_000_000)
    assert info.routes[0]["name"] == "orders-db"
    assert info.problem == ""


def test_running_stream_has_its_committed_size_not_the_files(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(10)).write(tail=bytes(1 << 20))
    info = read_stream(tmp_path, built.stream)
    assert info.state == "recording"
    assert info.size_bytes == 24 + built.checkpoint().bytes
    assert (tmp_path / "streams" / built.stream / "000000.pcap").stat().st_size > 1 << 20


def test_empty_stream_is_24_bytes_without_first_packet(tmp_path: Path) -> None:
    info = read_stream(tmp_path, StreamBuilder(tmp_path).complete().write().stream)
    assert (info.size_bytes, info.packets, info.first_ns, info.last_ns) == (24, 0, None, None)


def test_newest_first(tmp_path: Path) -> None:
    for minute in (3, 1, 2):
        stream = f"s_20150620_112{minute}"
        started_ns = STARTED_NS + minute * 60 * SECOND_NS
        StreamBuilder(tmp_path, stream, "s", started_ns).complete().write()
    assert [info.stream[-1] for info in list_streams(tmp_path)] == ["3", "2", "1"]


def test_a_store_without_streams_is_an_empty_list(tmp_path: Path) -> None:
    assert list_streams(tmp_path) == []
    (tmp_path / "streams").mkdir()
    assert list_streams(tmp_path) == []


def test_what_is_not_a_stream_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "streams" / "empty").mkdir(parents=True)
    (tmp_path / "streams" / ".hidden").mkdir()
    (tmp_path / "streams" / "with blank").mkdir()
    (tmp_path / "streams" / "file").write_text("")
    assert list_streams(tmp_path) == []
    with pytest.raises(NotFound):
        read_stream(tmp_path, "empty")


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"format": 2}', '{"format": 1}', "\0" * 90])
def test_missing_or_torn_words_leave_the_numbers(tmp_path: Path, text: str | None) -> None:
    built = example(tmp_path)
    words = built.directory / "stream.json"
    words.unlink() if text is None else words.write_text(text)
    (info,) = list_streams(tmp_path)
    assert (info.stream, info.state, info.packets) == (built.stream, "complete", 100)
    assert info.started_ns == STARTED_NS
    assert "stream.json" in info.problem


def test_missing_checkpoint_is_counted_from_the_packets(tmp_path: Path) -> None:
    built = example(tmp_path)
    (built.directory / "checkpoint").unlink()
    (info,) = list_streams(tmp_path)
    assert (info.packets, info.size_bytes) == (100, len(built.single()))
    assert (info.first_ns, info.last_ns) == (STARTED_NS, STARTED_NS + 99 * 1_000_000)
    assert "checkpoint" in info.problem


@pytest.mark.parametrize(
    "tail", [bytes(4096), b"\xff" * 4096, b"\x01" * 20, packets(1)[0].record[:40]]
)
def test_without_checkpoint_a_tail_that_is_no_record_is_left_out(
    tmp_path: Path, tail: bytes
) -> None:
    built = StreamBuilder(tmp_path).add(packets(20)).write(tail)
    (built.directory / "checkpoint").write_bytes(b"torn")
    info = read_stream(tmp_path, built.stream)
    assert (info.packets, info.size_bytes) == (20, len(built.single()))


@pytest.mark.parametrize("index", [None, b"", b"\xff" * 400, b"\0" * 7])
def test_without_checkpoint_and_index_every_record_is_counted(
    tmp_path: Path, index: bytes | None
) -> None:
    built = StreamBuilder(tmp_path).add(packets(9000)).roll().add(packets(5)).write()
    (built.directory / "checkpoint").unlink()
    for path in built.directory.glob("*.index"):
        path.unlink() if index is None else path.write_bytes(index)
    info = read_stream(tmp_path, built.stream)
    assert (info.packets, info.size_bytes) == (9005, len(built.single()))


def test_index_shortens_the_count_without_changing_it(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(9000)).write()
    entries = (built.directory / "000000.index").stat().st_size // ctypes.sizeof(abi.IndexEntry)
    (built.directory / "checkpoint").unlink()
    assert entries == 3
    assert read_stream(tmp_path, built.stream).packets == 9000


def test_segment_shorter_than_its_checkpoint_says_counts_what_is_there(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(10)).write()
    path = built.directory / "000000.pcap"
    path.write_bytes(path.read_bytes()[:100])
    assert read_stream(tmp_path, built.stream).size_bytes == 100


def test_losses_are_the_recorders_until_the_final_count_is_written(tmp_path: Path) -> None:
    running = StreamBuilder(tmp_path, lost=7).add(packets(1)).write()
    assert read_stream(tmp_path, running.stream).lost == 7
    running.lost = 9
    running.complete().write()
    assert read_stream(tmp_path, running.stream).lost == 9


@pytest.mark.parametrize(
    "stream",
    ["", ".", "..", "../x", "a/b", "a\0b", "a%2eb", "ä", "x" * 10_000, ".hidden", "a\n", "a b"],
)
def test_names_that_cannot_be_streams_are_not_found(tmp_path: Path, stream: str) -> None:
    with pytest.raises(NotFound) as refusal:
        read_stream(tmp_path, stream)
    assert str(refusal.value).isascii() or "…" in str(refusal.value)
    assert len(str(refusal.value)) < 200
    assert str(tmp_path) not in str(refusal.value)


@given(st.text())
def test_check_name_lets_through_only_what_the_contract_names(name: str) -> None:
    allowed = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")
    good = 1 <= len(name) <= 128 and set(name) <= allowed and not name.startswith(".")
    try:
        assert names.check_name(name) == name
        assert good
    except Invalid:
        assert not good


def test_stream_name_is_local_and_numbered_where_taken() -> None:
    first = names.stream_name("cli_capture", STARTED_NS, "Asia/Tokyo", ())
    assert first == "cli_capture_20150620_2028"
    assert names.stream_name("cli_capture", STARTED_NS, "Asia/Tokyo", {first}) == f"{first}-2"
    assert names.stream_name("x", STARTED_NS, "UTC", {"x_20150620_1128", "x_20150620_1128-2"}) == (
        "x_20150620_1128-3"
    )
    with pytest.raises(Invalid):
        names.stream_name("../x", STARTED_NS, "UTC", ())


def test_words_survive_the_disk_and_unknown_keys_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "stream.json"
    value = StreamJson("x", "x_1", "recording", STARTED_NS, routes=({"id": 1},))
    stream_json.write(path, value)
    assert stream_json.read(path) == value
    path.write_text(json.dumps({**json.loads(path.read_text()), "later": True, "snaplen": None}))
    assert stream_json.read(path) == value
    assert [entry.name for entry in tmp_path.iterdir()] == ["stream.json"]


@given(
    st.dictionaries(
        st.sampled_from(["format", "name", "stream", "state", "started_ns", "routes", "counters"]),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
    )
)
def test_parse_never_raises(raw: dict[str, object]) -> None:
    value = stream_json.parse(raw)
    assert value is None or value.lost == 0


@pytest.mark.parametrize("key", ["started_ns", "stopped_ns", "first_loss_ns", "original_first_ns"])
@pytest.mark.parametrize("time_ns", [10**30, 300_000_000_000 * SECOND_NS, -1, 2**63, 1e30])
def test_a_time_that_no_calendar_has_is_not_believed(
    tmp_path: Path, key: str, time_ns: float
) -> None:
    built = example(tmp_path)
    path = built.directory / "stream.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: time_ns}))
    assert stream_json.read(path) is None
    (info,) = list_streams(tmp_path)
    assert (info.started_ns, info.packets) == (STARTED_NS, 100)
    assert info.problem.startswith("Its stream.json is missing or damaged")


def test_a_loss_at_no_time_is_not_believed() -> None:
    raw = {"format": 1, "name": "x", "stream": "x_1", "state": "complete", "started_ns": STARTED_NS}
    loss = {"ring": 0, "reason": "disk", "records": 1, "first_ns": 1, "last_ns": 2}
    assert stream_json.parse({**raw, "losses": [loss]}) is not None
    assert stream_json.parse({**raw, "losses": [{**loss, "last_ns": 10**30}]}) is None


def test_checkpoint_takes_the_newer_of_two_valid_slots(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    older = checkpoint.slot_bytes(abi.Checkpoint(generation=4, packets=10))
    newer = checkpoint.slot_bytes(abi.Checkpoint(generation=5, packets=11))
    path.write_bytes(older + newer)
    found = checkpoint.read(path)
    assert found is not None
    assert found.packets == 11
    path.write_bytes(older + newer[:60] + older[60:])
    torn = checkpoint.read(path)
    assert torn is not None
    assert torn.packets == 10


@pytest.mark.parametrize("raw", [b"", b"x" * 100, bytes(16384), b"\xff" * 16384])
def test_checkpoint_that_is_none(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "checkpoint").write_bytes(raw)
    assert checkpoint.read(tmp_path / "checkpoint") is None
    assert checkpoint.read(tmp_path / "missing") is None


def test_times_are_those_of_the_zone_whatever_the_locale() -> None:
    assert times.asctime(STARTED_NS, times.zone_of("Asia/Tokyo")) == "Sat Jun 20 20:28:56 2015"
    assert times.asctime(STARTED_NS, times.zone_of("UTC")) == "Sat Jun 20 11:28:56 2015"
    assert times.asctime(0, times.zone_of("UTC")) == "Thu Jan  1 00:00:00 1970"
    assert times.days_hours_minutes(3 * 3600 + 36 * 60 + 59) == "0D 3H 36M"
    assert times.days_hours_minutes(-5) == "0D 0H 0M"
    with pytest.raises(Invalid):
        times.zone_of("../../etc/passwd")
