"""What retention chooses, and how a stream reads that it has trimmed."""

from __future__ import annotations

import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_recording import BEGIN_NS, NS, Record, Recording, histories

from fwdcap.capture.leaving import Leaving
from fwdcap.store import checkpoint, pcap, stream_json
from fwdcap.store.download import open_range, open_single
from fwdcap.store.listing import open_splits
from fwdcap.store.retention import (
    Action,
    Delete,
    Kept,
    Limits,
    Move,
    Piece,
    Trim,
    choose,
    to_archive,
)
from fwdcap.store.segments import contents
from fwdcap.store.stream import list_streams, read_stream
from fwdcap.store.views import VIEWS

pytestmark = pytest.mark.unit

NOW_NS = 1_000 * 86_400 * NS


def pieces(*sizes: int, running: bool = False) -> tuple[Piece, ...]:
    return tuple(
        Piece(number, size, sealed=not running or number < len(sizes) - 1)
        for number, size in enumerate(sizes)
    )


def kept(name: str, ended_ns: int | None, *sizes: int) -> Kept:
    return Kept(name, (ended_ns or NOW_NS) - NS, ended_ns, pieces(*sizes, running=ended_ns is None))


# ---- examples


def test_without_limits_nothing_goes() -> None:
    assert choose([kept("a", 1, 10**12)], Limits(), 0, NOW_NS) == ()


def test_the_oldest_go_until_the_limit_holds() -> None:
    streams = [kept("c", 30, 50), kept("a", 10, 50), kept("b", 20, 50)]
    assert choose(streams, Limits(max_bytes=100), 0, NOW_NS) == (Delete("a"),)
    assert choose(streams, Limits(max_bytes=99), 0, NOW_NS) == (Delete("a"), Delete("b"))


def test_the_running_stream_is_trimmed_only_when_no_other_is_left() -> None:
    streams = [kept("run", None, 50, 50, 50), kept("a", 10, 50)]
    assert choose(streams, Limits(max_bytes=150), 0, NOW_NS) == (Delete("a"),)
    assert choose(streams, Limits(max_bytes=100), 0, NOW_NS) == (Delete("a"), Trim("run", 0))
    # The open segment stays, whatever the limit.
    assert choose(streams, Limits(max_bytes=1), 0, NOW_NS) == (Delete("a"), Trim("run", 1))


def test_the_last_stream_of_all_is_trimmed_when_it_is_complete_too() -> None:
    streams = [kept("b", 20, 50, 50, 50), kept("a", 10, 50)]
    assert choose(streams, Limits(max_bytes=150), 0, NOW_NS) == (Delete("a"),)
    assert choose(streams, Limits(max_bytes=100), 0, NOW_NS) == (Delete("a"), Trim("b", 0))
    assert choose(streams, Limits(min_free_bytes=51), 0, NOW_NS) == (Delete("a"), Trim("b", 0))
    assert choose(streams, Limits(max_bytes=50), 0, NOW_NS) == (Delete("a"), Trim("b", 1))
    # Nothing less will do.
    assert choose(streams, Limits(max_bytes=49), 0, NOW_NS) == (Delete("a"), Delete("b"))
    old = Limits(max_bytes=100, max_age_ns=NOW_NS - 21)
    assert choose(streams, old, 0, NOW_NS) == (Delete("a"), Delete("b"))


def test_beside_a_running_stream_the_last_complete_one_goes_whole() -> None:
    streams = [kept("run", None, 50), kept("a", 10, 50, 50, 50)]
    assert choose(streams, Limits(max_bytes=150), 0, NOW_NS) == (Delete("a"),)


def test_age_counts_from_the_end_of_a_stream() -> None:
    day = 86_400 * NS
    streams = [kept("old", NOW_NS - 8 * day, 1), kept("new", NOW_NS - 6 * day, 1)]
    assert choose(streams, Limits(max_age_ns=7 * day), 0, NOW_NS) == (Delete("old"),)
    running = replace(kept("run", None, 1, 1), started_ns=NOW_NS - 30 * day)
    assert choose([running], Limits(max_age_ns=day), 0, NOW_NS) == ()


def test_free_space_is_made_by_what_is_in_the_store() -> None:
    archived = Kept("a", 0, 10, (Piece(0, 0, 500),))
    streams = [archived, kept("b", 20, 50)]
    limits = Limits(min_free_bytes=40)
    assert choose(streams, limits, 0, NOW_NS, archive_free_bytes=0) == (Delete("b"),)


def test_with_an_archive_moving_comes_before_deleting() -> None:
    streams = [kept("a", 10, 50), kept("b", 20, 50)]
    limits = Limits(min_free_bytes=40, archive_above_bytes=1000)
    assert choose(streams, limits, 20, NOW_NS, archive_free_bytes=100) == ()
    assert to_archive(streams, limits, 20) == (Move("a", 0, 50),)
    # Moving is too slow: half of it is used up.
    assert choose(streams, limits, 19, NOW_NS, archive_free_bytes=100) == (Delete("a"),)
    # There is no archive now.
    assert choose(streams, limits, 20, NOW_NS) == (Delete("a"),)


def test_the_archive_has_room_of_its_own_to_keep() -> None:
    streams = [Kept("a", 0, 10, (Piece(0, 0, 500),)), kept("b", 20, 50)]
    limits = Limits(archive_min_free_bytes=100)
    assert choose(streams, limits, 0, NOW_NS, archive_free_bytes=99) == (Delete("a"),)


def test_what_is_away_is_left_alone() -> None:
    away = Kept("a", 0, 10, (Piece(0, 0, 0, away=True), Piece(1, 50)))
    limits = Limits(max_bytes=10, max_age_ns=1)
    assert choose([away, kept("b", 20, 50)], limits, 0, NOW_NS) == (Delete("b"),)
    running = Kept(
        "run", 0, None, (Piece(0, 0, 0, away=True), Piece(1, 50), Piece(2, 5, sealed=False))
    )
    assert choose([running], limits, 0, NOW_NS) == ()


def test_archived_segments_do_not_go_for_room_in_the_store() -> None:
    running = Kept("run", 0, None, (Piece(0, 0, 50), Piece(1, 50), Piece(2, 5, sealed=False)))
    assert choose([running], Limits(min_free_bytes=40), 0, NOW_NS) == ()
    assert choose([running], Limits(max_bytes=60), 0, NOW_NS) == (Trim("run", 0),)


def test_the_oldest_sealed_segments_move_first() -> None:
    streams = [kept("run", None, 10, 10, 10), kept("a", 10, 10, 10)]
    limits = Limits(archive_above_bytes=15)
    assert to_archive(streams, limits, 0) == (
        Move("a", 0, 10),
        Move("a", 1, 10),
        Move("run", 0, 10),
        Move("run", 1, 10),
    )
    assert to_archive(streams, replace(limits, archive_above_bytes=50), 0) == ()
    assert to_archive(streams, Limits(), 0) == ()


# ---- properties


@st.composite
def stores(draw: st.DrawFn, archives: bool = False) -> list[Kept]:
    found = []
    for number in range(draw(st.integers(0, 6))):
        running = draw(st.booleans()) if number == 0 else False
        sizes = draw(st.lists(st.integers(0, 100), min_size=1, max_size=5))
        moved = draw(st.integers(0, len(sizes))) if archives else 0
        away = archives and draw(st.integers(0, 9)) == 0
        found.append(
            Kept(
                stream=f"s{number}",
                started_ns=number,
                ended_ns=None if running else draw(st.integers(1, 50)),
                pieces=tuple(
                    Piece(
                        n,
                        0 if n < moved else size,
                        size if n < moved and not away else 0,
                        sealed=not running or n < len(sizes) - 1,
                        away=away and n < moved,
                    )
                    for n, size in enumerate(sizes)
                ),
                other_bytes=draw(st.integers(0, 3)),
            )
        )
    return draw(st.permutations(found))


LIMITS = st.builds(
    Limits,
    max_bytes=st.none() | st.integers(0, 600),
    max_age_ns=st.none() | st.integers(0, 60),
    min_free_bytes=st.none() | st.integers(0, 600),
    archive_min_free_bytes=st.none() | st.integers(0, 600),
    archive_above_bytes=st.none() | st.integers(0, 600),
)
NOW = 60


def after(streams: list[Kept], actions: tuple[Action, ...]) -> list[Kept]:
    """The store when these have been carried out."""
    deleted = {action.stream for action in actions if isinstance(action, Delete)}
    last = {action.stream: action.last for action in actions if isinstance(action, Trim)}
    return [
        replace(
            stream,
            pieces=tuple(p for p in stream.pieces if p.number > last.get(stream.stream, -1)),
        )
        for stream in streams
        if stream.stream not in deleted
    ]


def freed(streams: list[Kept], left: list[Kept]) -> int:
    return sum(s.store_bytes for s in streams) - sum(s.store_bytes for s in left)


@given(stores(), LIMITS, st.integers(0, 600))
def test_no_newer_stream_goes_while_an_older_one_is_there(
    streams: list[Kept], limits: Limits, free: int
) -> None:
    left = after(streams, choose(streams, limits, free, NOW))
    gone = [s for s in streams if s.ended_ns is not None and s not in left]
    stays = [s for s in left if s.ended_ns is not None]
    oldest = min((s.ended_ns or 0 for s in stays), default=NOW)
    # Empty streams free nothing and may stay where only room is wanted.
    if all(s.store_bytes for s in streams):
        assert all((s.ended_ns or 0) <= oldest for s in gone)


@given(stores(archives=True), LIMITS, st.integers(0, 600), st.none() | st.integers(0, 600))
def test_the_open_segment_and_what_is_away_stay(
    streams: list[Kept], limits: Limits, free: int, there: int | None
) -> None:
    left = after(streams, choose(streams, limits, free, NOW, there))
    for stream in streams:
        now = next((s for s in left if s.stream == stream.stream), None)
        if stream.ended_ns is None or stream.away:
            assert now is not None
            stays = [p for p in stream.pieces if not p.sealed or p.away]
            assert [p for p in now.pieces if not p.sealed or p.away] == stays
            numbers = [p.number for p in now.pieces]  # no hole in the middle
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@given(stores(), LIMITS, st.integers(0, 600))
def test_no_more_goes_than_has_to(streams: list[Kept], limits: Limits, free: int) -> None:
    """Without the last thing that was deleted for room a limit would not hold."""
    limits = replace(limits, max_age_ns=None)
    actions = choose(streams, limits, free, NOW)
    if not actions:
        return
    last = actions[-1]
    if isinstance(last, Trim) and last.last > 0:
        one_less: tuple[Action, ...] = (*actions[:-1], replace(last, last=last.last - 1))
    else:
        one_less = actions[:-1]
    left = after(streams, one_less)
    used = sum(s.store_bytes for s in left)
    over = limits.max_bytes is not None and used > limits.max_bytes
    short = (limits.min_free_bytes or 0) > free + freed(streams, left)
    assert over or short


@given(stores(), LIMITS, st.integers(0, 600))
def test_afterwards_the_limits_hold_or_only_open_segments_are_left(
    streams: list[Kept], limits: Limits, free: int
) -> None:
    left = after(streams, choose(streams, limits, free, NOW))
    used = sum(s.store_bytes for s in left)
    over = limits.max_bytes is not None and used > limits.max_bytes
    short = (limits.min_free_bytes or 0) > free + freed(streams, left)
    if over:
        assert all(s.ended_ns is None and len(s.pieces) == 1 for s in left)
    if short:
        complete = [s for s in left if s.ended_ns is not None]
        assert all(s.store_bytes == 0 for s in complete)
    if limits.max_age_ns is not None:
        assert all(NOW - s.ended_ns <= limits.max_age_ns for s in left if s.ended_ns is not None)


@given(stores(archives=True), LIMITS, st.integers(0, 600))
def test_moving_is_of_sealed_segments_and_no_more_than_needed(
    streams: list[Kept], limits: Limits, free: int
) -> None:
    moves = to_archive(streams, limits, free)
    found = {(s.stream, p.number): p for s in streams for p in s.pieces}
    assert all(found[move.stream, move.number].sealed for move in moves)
    if moves:
        before = sum(s.store_bytes for s in streams) - sum(m.bytes for m in moves[:-1])
        roomy = free + sum(m.bytes for m in moves[:-1])
        above = limits.archive_above_bytes
        assert above is not None
        assert before > above or roomy < (limits.min_free_bytes or 0)


# ---- reading what was trimmed


def trimmed(recording: Recording, first: int) -> None:
    """Takes the segments before `first` away, as retention does."""
    for number in range(first):
        for kind in ("pcap", "index", "tags"):
            (recording.directory / f"{number:06}.{kind}").unlink()


def note(recording: Recording, first: int) -> None:
    """Has stream.json say so, as housekeeping does."""
    gone = [item for item in recording.stored() if item.segment < first]
    words = stream_json.read(recording.directory / stream_json.FILE)
    assert words is not None
    removed = {
        "segments": first,
        "packets": len(gone),
        "bytes": sum(len(item.record.raw) for item in gone),
    }
    words = replace(words, trimmed=True, original_first_ns=recording.records[0].ns, removed=removed)
    stream_json.write(recording.directory / stream_json.FILE, words)
    assert stream_json.read(recording.directory / stream_json.FILE) == words


def left_of(recording: Recording, first: int) -> list[Record]:
    return [item.record for item in recording.stored() if item.segment >= first]


@settings(max_examples=60, deadline=None)
@given(
    histories(),
    st.data(),
    st.sampled_from(VIEWS),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_a_trimmed_stream_is_exact(
    records: list[Record], data: st.DataObject, view: object, torn: bool, bare: bool, done: bool
) -> None:
    """Counts, sizes, splits and downloads of what is left, with and without its index."""
    with tempfile.TemporaryDirectory() as root:
        recording = Recording(Path(root), records).write(complete=done)
        last = recording.stored()[-1].segment
        first = data.draw(st.integers(0, last))
        before = list(open_splits(Path(root), recording.stream, view))  # type: ignore[arg-type]
        trimmed(recording, first)
        if bare:  # the index of the first kept segment is gone as well
            (recording.directory / f"{first:06}.index").unlink()
        if torn:  # then stream.json has to know
            (recording.directory / checkpoint.FILE).unlink()
            note(recording, first)
        left = left_of(recording, first)
        body = b"".join(record.raw for record in left)
        info = read_stream(Path(root), recording.stream)
        assert info.packets == len(left)
        assert (info.first_ns, info.last_ns) == (left[0].ns, left[-1].ns)
        assert info.size_bytes == 24 + len(body)
        assert info.trimmed == (first > 0)
        single = open_single(Path(root), recording.stream)
        assert single.file.read() == pcap.file_header() + body
        rows = list(open_splits(Path(root), recording.stream, view))  # type: ignore[arg-type]
        assert sum(row.packets for row in rows) == len(left)
        for row in rows:
            part = open_range(Path(root), recording.stream, row.start_ns, row.stop_ns)
            assert part.length == row.size_bytes
        # Boundaries are where they were.
        assert {row.start_ns for row in rows[1:]} <= {row.start_ns for row in before}
        assert rows[0].start_ns == left[0].ns


def test_what_is_being_deleted_is_not_listed(tmp_path: Path) -> None:
    recording = Recording(tmp_path, [Record(BEGIN_NS, b"x")]).write(complete=True)
    shutil.move(recording.directory, recording.directory.with_name(f".{recording.stream}.deleting"))
    assert list_streams(tmp_path) == []


def test_a_segment_that_is_a_link_elsewhere_is_not_read(tmp_path: Path) -> None:
    """The recorder's user may write there: a link of its making leads nobody astray."""
    recording = Recording(tmp_path, [Record(BEGIN_NS, b"x")]).write(complete=True)
    secret = tmp_path / "secret"
    segment = recording.directory / "000000.pcap"
    segment.rename(secret)
    segment.symlink_to(secret)
    assert contents(recording.directory).segments == ()


def test_readers_are_exact_while_segments_go(tmp_path: Path) -> None:
    """The beginning is taken away again and again while others look: never a wrong number."""
    frames = [Record(BEGIN_NS + n * NS // 4, bytes(400), new=n % 5 == 0) for n in range(500)]
    recording = Recording(tmp_path, frames).write()
    leaving = Leaving(tmp_path)

    def trim() -> None:
        for last in range(98):
            leaving.hide_segments(recording.stream, last)
            leaving.sweep(0, archive=False)

    thread = threading.Thread(target=trim)
    thread.start()
    while thread.is_alive():
        info = read_stream(tmp_path, recording.stream)
        assert info.size_bytes == 24 + info.packets * 416
        rows = list(open_splits(tmp_path, recording.stream, VIEWS[4]))
        assert all(row.size_bytes == 24 + row.packets * 416 for row in rows)
        assert open_single(tmp_path, recording.stream).length % 416 == 24
        end = open_range(tmp_path, recording.stream, frames[-3].ns, frames[-1].ns + 1)
        assert end.length == 24 + 3 * 416
    assert read_stream(tmp_path, recording.stream).packets == 10
