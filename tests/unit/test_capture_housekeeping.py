"""The store kept within its limits: what goes, what moves, what is said."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import pytest
from control_fakes import OURSELVES, eventually
from store_builder import STARTED_NS, StreamBuilder, packets

from fwdcap.amounts import Size
from fwdcap.capture import background, folder
from fwdcap.capture.background import Throttle, Worker
from fwdcap.capture.board import Board
from fwdcap.capture.housekeeping import Housekeeping
from fwdcap.capture.leaving import Leaving
from fwdcap.capture.rules import Rules
from fwdcap.errors import Conflict, NotFound, Unavailable
from fwdcap.store import places, stream_json
from fwdcap.store.archive import Archive, Space
from fwdcap.store.download import open_single
from fwdcap.store.retention import Limits
from fwdcap.store.stream import list_streams, read_stream

pytestmark = pytest.mark.unit

GIB = 1 << 30
NOW_NS = STARTED_NS + 10**15
HOURS_NS = 3600 * 10**9


class Disk(NamedTuple):
    total: int
    used: int
    free: int


@dataclass
class Captures:
    """Which stream runs; writes its stream.json as a session does."""

    store: Path
    stream: str | None = None
    trimmed: list[str] = field(default_factory=list)

    def note_trimmed(
        self, stream: str, original_first_ns: int | None, removed: Mapping[str, int]
    ) -> None:
        path = self.store / "streams" / stream / stream_json.FILE
        words = stream_json.read(path)
        assert words is not None
        words = replace(
            words, trimmed=True, original_first_ns=original_first_ns, removed=dict(removed)
        )
        stream_json.write(path, words)
        self.trimmed.append(stream)


class Rig:
    """A store on a disk of any size, and its housekeeping, whose rounds the test calls."""

    def __init__(self, root: Path) -> None:
        self.store, self.archive = root / "store", root / "archive"
        (self.store / "streams").mkdir(parents=True)
        self.captures = Captures(self.store)
        self.now_ns = NOW_NS
        self.free = 100 * GIB
        self.house = self.daemon()

    def daemon(self, **rules: object) -> Housekeeping:
        """Another one, the earlier being gone."""
        self.house = Housekeeping(
            self.store,
            Rules(**{"segment_bytes": 10**6, **rules}),  # type: ignore[arg-type]
            self.captures,
            OURSELVES,
            utc_ns=lambda: self.now_ns,
            disk=lambda _: Disk(100 * GIB, 0, self.free),
        )
        return self.house

    def stream(self, number: int, segments: int = 3, running: bool = False) -> StreamBuilder:
        built = StreamBuilder(self.store, f"s{number}", "s", STARTED_NS + number * HOURS_NS)
        for part in range(segments):
            begin_ns = built.started_ns + part * 10**9
            (built.roll() if part else built).add(packets(100, 400, begin_ns))
        if running:
            self.captures.stream = built.stream
        else:
            built.complete()
        return built.write()

    def names(self) -> list[str]:
        return sorted(info.stream for info in list_streams(self.store))

    def hidden(self) -> list[str]:
        return [name for name in os.listdir(self.store / "streams") if name.startswith(".")]

    def used(self) -> int:
        return folder.usage(self.store / "streams").used_bytes

    def codes(self) -> list[str]:
        return [notice.code for notice in self.house.notices()]


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


# ---- deleting


def test_without_limits_nothing_goes(rig: Rig) -> None:
    rig.stream(1)
    rig.free = 0
    rig.house.keep()
    assert rig.names() == ["s1"]
    assert rig.codes() == ["store-full"]


def test_the_oldest_go_until_the_limit_holds(rig: Rig) -> None:
    for number in (1, 2, 3):
        rig.stream(number)
    rig.daemon(max_bytes=Size(rig.used() * 2 // 3 + 4096)).keep()
    assert rig.names() == ["s2", "s3"]
    assert rig.hidden() == [places.deleting("s1")]
    assert os.listdir(rig.store / "streams" / rig.hidden()[0]) == []


def test_streams_that_are_too_old_go(rig: Rig) -> None:
    rig.stream(1)
    rig.stream(100)
    rig.now_ns = STARTED_NS + 110 * HOURS_NS
    rig.daemon(max_age_ns=48 * HOURS_NS).keep()
    assert rig.names() == ["s100"]
    (line,) = rig.house.tick()
    assert line.startswith("Stream s1 was deleted")


def test_a_disk_that_runs_full_is_kept_free(rig: Rig) -> None:
    rig.stream(1)
    rig.stream(2)
    rig.daemon(min_free=Size(percent=10.0))
    rig.free = 10 * GIB
    rig.house.keep()
    assert rig.names() == ["s1", "s2"]
    rig.free = 10 * GIB - 1
    rig.house.keep()
    assert rig.names() == ["s2"]


def test_where_other_limits_are_set_a_full_disk_is_kept_free_too(rig: Rig) -> None:
    rig.stream(1)
    rig.daemon(max_bytes=Size(percent=100.0))
    rig.free = 0
    rig.house.keep()
    assert rig.names() == []


def test_the_running_stream_loses_its_oldest_segments_last(rig: Rig) -> None:
    old, running = rig.stream(1), rig.stream(2, segments=4, running=True)
    whole = read_stream(rig.store, "s2")
    rig.daemon(max_bytes=Size(rig.used() // 2)).keep()
    assert rig.names() == ["s2"]
    info = read_stream(rig.store, "s2")
    gone = (whole.packets - info.packets) // 100
    assert 0 < gone < 4
    assert info.trimmed
    assert info.size_bytes == whole.size_bytes - gone * 100 * 416
    assert info.first_ns == running.started_ns + gone * 10**9
    body = open_single(rig.store, "s2").file.read()
    assert len(body) == info.size_bytes
    words = stream_json.read(running.directory / stream_json.FILE)
    assert words is not None
    assert (words.trimmed, words.original_first_ns) == (True, running.started_ns)
    assert words.removed == {
        "segments": gone,
        "packets": gone * 100,
        "bytes": gone * 100 * 416,
    }
    assert not old.directory.exists()
    left = sorted(os.listdir(running.directory))
    assert not [name for name in left if name.startswith(".")]
    assert not [name for name in left if name.startswith("000000")]


def test_the_last_complete_stream_loses_only_what_it_must(rig: Rig) -> None:
    rig.stream(1)
    last = rig.stream(2, segments=4)
    rig.daemon(max_bytes=Size(_bytes(last.directory) - 1)).keep()
    assert rig.names() == ["s2"]
    info = read_stream(rig.store, "s2")
    assert (info.packets, info.trimmed) == (300, True)
    words = stream_json.read(last.directory / stream_json.FILE)
    assert words is not None
    assert words.removed == {"segments": 1, "packets": 100, "bytes": 100 * 416}
    assert words.original_first_ns == last.started_ns
    deleted, trimmed = rig.house.tick()
    assert deleted.startswith("Stream s1 was deleted")
    assert trimmed.startswith("The last stream s2 lost its oldest segment,")
    rig.house.keep()
    assert read_stream(rig.store, "s2").packets == 300


def _bytes(directory: Path) -> int:
    return sum(os.lstat(path).st_blocks * 512 for path in directory.iterdir())


def test_stream_json_is_mended_where_a_crash_came_before_it(rig: Rig) -> None:
    running = rig.stream(1, segments=4, running=True)
    for kind in places.KINDS:
        (running.directory / places.file_name(0, kind)).unlink()
    rig.house.keep()
    rig.house.keep()
    assert rig.captures.trimmed == ["s1"]
    words = stream_json.read(running.directory / stream_json.FILE)
    assert words is not None
    assert words.removed["packets"] == 100


def test_the_segment_being_written_stays_and_that_is_said(rig: Rig) -> None:
    rig.stream(1, segments=1, running=True)
    rig.daemon(max_bytes=Size(1)).keep()
    assert rig.names() == ["s1"]
    assert rig.codes() == ["store-above-limit"]
    rig.daemon(max_bytes=Size(GIB)).keep()
    assert rig.codes() == []


def test_a_stream_that_is_about_to_begin_is_left_alone(rig: Rig) -> None:
    (rig.store / "streams" / "new").mkdir()
    rig.daemon(max_bytes=Size(1), max_age_ns=1).keep()
    assert (rig.store / "streams" / "new").is_dir()


# ---- deleting as asked


def test_a_stream_is_deleted_as_asked(rig: Rig) -> None:
    open_whole = rig.stream(1).single()
    file = open_single(rig.store, "s1").file
    begun = file.read(30)
    rig.house.delete("s1")
    assert rig.names() == []
    rig.house.keep()
    # What was open goes on; what was not ends the transfer.
    begun += file.read(30_000)
    assert open_whole.startswith(begun)
    with pytest.raises(FileNotFoundError):
        file.read()
    with pytest.raises(NotFound):
        rig.house.delete("s1")


@pytest.mark.parametrize("name", ["nope", "../streams/s1", ".s1.deleting", ""])
def test_what_is_not_there_cannot_be_deleted(rig: Rig, name: str) -> None:
    rig.stream(1)
    with pytest.raises(NotFound):
        rig.house.delete(name)
    assert rig.names() == ["s1"]


def test_the_running_stream_cannot_be_deleted(rig: Rig) -> None:
    rig.stream(1, running=True)
    with pytest.raises(Conflict, match="being recorded"):
        rig.house.delete("s1")


def test_a_name_is_not_given_again_while_a_download_may_still_mean_the_old_stream(
    rig: Rig,
) -> None:
    rig.stream(1)
    rig.house.delete("s1")
    rig.house.keep()
    assert folder.names(rig.store) == {"s1"}
    rig.now_ns = (rig.store / "streams" / rig.hidden()[0]).stat().st_mtime_ns + 4 * HOURS_NS
    rig.house.keep()
    assert folder.names(rig.store) == frozenset()


def test_what_a_crash_left_half_deleted_is_removed_at_the_start(rig: Rig) -> None:
    built, running = rig.stream(1), rig.stream(2, running=True)
    built.directory.rename(built.directory.with_name(places.deleting("s1")))
    hidden = running.directory / places.deleting("000000.pcap")
    hidden.write_bytes(b"x")
    rig.daemon().keep()
    assert not hidden.exists()
    assert os.listdir(rig.store / "streams" / places.deleting("s1")) == []
    assert rig.names() == ["s2"]


def test_a_store_that_cannot_be_tended_is_said(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.stream(1)
    rig.daemon(max_bytes=Size(1))

    def refuse(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Leaving, "hide_stream", refuse)
    rig.house.keep()
    assert rig.codes() == ["store-unkept"]
    assert rig.house.tick() == [f"The store {rig.store} cannot be tended: Input/output error."]
    with pytest.raises(Unavailable, match="cannot be deleted: Input/output error"):
        rig.house.delete("s1")
    monkeypatch.undo()
    rig.house.keep()
    assert rig.codes() == []


# ---- the archive


def archiving(rig: Rig, **rules: object) -> Housekeeping:
    rig.archive.mkdir(exist_ok=True)
    house = rig.daemon(archive=rig.archive, **rules)
    house.porter.carry()
    return house


def test_old_segments_move_beyond_the_mark(rig: Rig) -> None:
    rig.stream(1)
    rig.stream(2)
    bodies = {name: open_single(rig.store, name).file.read() for name in rig.names()}
    house = archiving(rig, archive_above=Size(rig.used() * 2 // 3))
    house.keep()
    house.porter.carry()
    house.keep()
    assert sorted(path.name for path in rig.archive.iterdir() if path.is_dir()) == ["s1"]
    assert {name: open_single(rig.store, name).file.read() for name in rig.names()} == bodies
    archive = house.archive()
    assert archive is not None
    assert (archive["there"], archive["path"]) == (True, str(rig.archive))
    assert archive["used_bytes"] > 3 * 41_600
    assert "archive-same-disk" in rig.codes()


def test_a_running_stream_moves_but_for_its_open_segment(rig: Rig) -> None:
    built = rig.stream(1, segments=4, running=True)
    house = archiving(rig, archive_above=Size(0))
    house.keep()
    house.porter.carry()
    links = [path.name for path in sorted(built.directory.glob("*.pcap")) if path.is_symlink()]
    assert links == ["000000.pcap", "000001.pcap", "000002.pcap"]


def test_limits_count_both_places_and_deleting_reaches_both(rig: Rig) -> None:
    rig.stream(1)
    rig.stream(2)
    used = rig.used()
    house = archiving(rig, archive_above=Size(0), max_bytes=Size(used))
    house.keep()
    house.porter.carry()
    house.keep()
    assert rig.names() == ["s1", "s2"]
    house = archiving(rig, archive_above=Size(0), max_bytes=Size(used * 2 // 3))
    house.keep()
    assert rig.names() == ["s2"]
    house.porter.carry()
    assert sorted(path.name for path in rig.archive.iterdir() if path.is_dir()) == ["s2"]
    assert os.listdir(rig.store / "streams" / places.deleting("s1")) == []


def test_a_running_stream_is_trimmed_in_the_archive(rig: Rig) -> None:
    built = rig.stream(1, segments=4, running=True)
    used = rig.used()
    house = archiving(rig, archive_above=Size(0), max_bytes=Size(used))
    house.keep()
    house.porter.carry()
    house = archiving(rig, archive_above=Size(0), max_bytes=Size(used // 2))
    house.keep()
    info = read_stream(rig.store, "s1")
    assert info.trimmed
    assert len(open_single(rig.store, "s1").file.read()) == info.size_bytes
    house.porter.carry()
    there = {name[:6] for name in os.listdir(rig.archive / "s1")}
    here = {path.name[:6] for path in built.directory.glob("*.pcap") if path.is_symlink()}
    assert there == here
    assert not [name for name in os.listdir(built.directory) if name.startswith(".")]


def test_an_archive_that_goes_away_is_said_and_nothing_of_it_is_deleted(rig: Rig) -> None:
    rig.stream(1)
    house = archiving(rig, archive_above=Size(0), max_bytes=Size(GIB))
    house.keep()
    house.porter.carry()
    rig.archive.rename(rig.archive.with_name("unmounted"))
    house = rig.daemon(archive=rig.archive, max_bytes=Size(1))
    house.porter.carry()
    house.keep()
    assert "archive" in rig.codes()
    assert "is away" in str(house.notices())
    assert rig.names() == ["s1"]
    archive = house.archive()
    assert archive is not None
    assert not archive["there"]
    rig.archive.with_name("unmounted").rename(rig.archive)
    house.porter.carry()
    house.keep()
    assert "archive" not in rig.codes()
    assert rig.names() == []


def test_a_stream_deleted_while_its_archive_is_away_goes_there_later(rig: Rig) -> None:
    rig.stream(1)
    house = archiving(rig, archive_above=Size(0))
    house.keep()
    house.porter.carry()
    rig.archive.rename(rig.archive.with_name("unmounted"))
    house = rig.daemon(archive=rig.archive)
    house.delete("s1")
    house.keep()
    house.porter.carry()
    assert rig.names() == []
    rig.now_ns = 1 << 62
    house.keep()
    assert rig.hidden()  # its name is not free before the archive is clear
    rig.archive.with_name("unmounted").rename(rig.archive)
    house.porter.carry()
    assert not (rig.archive / "s1").exists()
    house.keep()
    assert rig.hidden() == []


def test_a_full_archive_is_said_and_tried_again_later(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.stream(1)
    house = archiving(rig, archive_above=Size(0))
    monkeypatch.setattr(Archive, "open", lambda self: Space(10, GIB, True))
    house.keep()
    house.porter.carry()
    assert f"The archive {rig.archive} is full." in [note.message for note in house.notices()]
    assert os.listdir(rig.archive) == [".fwdcap-archive"]
    assert rig.names() == ["s1"]


def test_an_archive_of_earlier_settings_is_still_cleared(rig: Rig) -> None:
    rig.stream(1)
    house = archiving(rig, archive_above=Size(0))
    house.keep()
    house.porter.carry()
    house = rig.daemon(max_bytes=Size(1))  # [store] archive is no longer set
    house.porter.carry()
    house.keep()
    house.porter.carry()
    assert rig.names() == []
    assert not (rig.archive / "s1").exists()


# ---- the rules


@pytest.mark.parametrize(
    ("rules", "space", "limits"),
    [
        (Rules(), None, Limits()),
        (Rules(max_age_ns=5), None, Limits(max_age_ns=5, min_free_bytes=10**9)),
        (
            Rules(max_bytes=Size(percent=50.0), segment_bytes=1),
            Space(0, 300 * 10**9, True),
            Limits(max_bytes=200 * 10**9, min_free_bytes=2 * folder.MIN_FREE_BYTES),
        ),
        (
            Rules(min_free=Size(percent=10.0), archive=Path("/a")),
            Space(0, 300 * 10**9, True),
            Limits(None, None, 10 * 10**9, 30 * 10**9, 50 * 10**9),
        ),
        (Rules(min_free=Size(1)), None, Limits(None, None, folder.MIN_FREE_BYTES, 1)),
        (Rules(min_free=Size(0)), None, Limits(archive_min_free_bytes=0)),
        (Rules(archive=Path("/a")), None, Limits()),
    ],
)
def test_rules_become_limits(rules: Rules, space: Space | None, limits: Limits) -> None:
    assert rules.limits(100 * 10**9, space) == limits


# ---- workers


def test_a_worker_works_when_poked_and_survives_what_goes_wrong() -> None:
    done: list[int] = []

    def work() -> None:
        done.append(len(done))
        if len(done) == 1:
            raise RuntimeError("once")

    worker = Worker("test", work, idle=True)
    worker.start()
    for count in (1, 2):
        worker.poke()
        eventually(lambda count=count: len(done) >= count)  # type: ignore[misc]
    worker.stop(5)
    worker.poke()
    assert done == [0, 1]


def test_the_porter_steps_back() -> None:
    found: list[tuple[int, int]] = []

    def look() -> None:
        background.step_back()
        number = background._IOPRIO_SET[os.uname().machine] + 1
        priority = background.ctypes.CDLL(None).syscall(number, 1, 0)
        found.append((priority, os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(3 << 13, 10)]


def test_a_throttle_keeps_to_its_rate() -> None:
    now, slept = [0.0], []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    throttle = Throttle(100.0, monotonic_s=lambda: now[0], sleep=sleep)
    for _ in range(10):
        throttle(10)
    assert sum(slept) == pytest.approx(1.0)
    now[0] += 100  # idle time is not saved up
    throttle(10)
    assert sum(slept) == pytest.approx(1.1)


def test_a_board_says_a_thing_once_until_it_is_over() -> None:
    board = Board()
    for _ in range(3):
        board.say("x", "It is so.", "Do this.")
    assert board.take_lines() == ["It is so."]
    assert [notice.hint for notice in board.notices()] == ["Do this."]
    board.withdraw("x")
    assert board.notices() == ()
    board.say("x", "It is so.")
    assert board.take_lines() == ["It is so."]


def test_threads_do_it_by_themselves(rig: Rig) -> None:
    rig.stream(1)
    rig.archive.mkdir()
    rig.stream(2)
    house = rig.daemon(archive=rig.archive, archive_above=Size(0))
    house.start()
    eventually(lambda: (house.tick(), (rig.archive / "s2" / "000002.pcap").exists())[1])
    house.delete("s1")
    eventually(lambda: (house.tick(), not (rig.archive / "s1").exists())[1])
    house.close()
    assert rig.names() == ["s2"]
