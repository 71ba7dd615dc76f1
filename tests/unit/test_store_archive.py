"""Segments on their way to the archive: readable at every step, unchanged at the end."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from store_builder import StreamBuilder, packets

from fwdcap.errors import DiskFull, Unavailable
from fwdcap.store import archive as module
from fwdcap.store import places
from fwdcap.store.archive import MARK, MEMORY, Archive
from fwdcap.store.chapters import chapters
from fwdcap.store.download import open_range, open_single
from fwdcap.store.export import Export
from fwdcap.store.listing import open_splits
from fwdcap.store.stream import list_streams, read_stream
from fwdcap.store.survey import Survey
from fwdcap.store.views import view_named

pytestmark = pytest.mark.unit

# Whatever changes a file or a directory on the way.
CHANGES = ("mkdir", "open", "pwrite", "fsync", "fchmod", "utime", "rename", "symlink", "unlink")
NOW_NS = 1 << 62


def unpaced(_done_bytes: int) -> None:
    """As fast as it goes."""


class Rig:
    """A store with one stream of three segments, and an archive."""

    def __init__(self, root: Path, complete: bool = True) -> None:
        self.store, self.path = root / "store", root / "archive"
        self.path.mkdir()
        self.built = StreamBuilder(self.store)
        for number, part in enumerate(self.parts()):
            (self.built.roll() if number else self.built).add(part)
        if complete:
            self.built.complete()
        self.built.write()
        self.archive = Archive(self.store, self.path)
        self.archive.open()

    @staticmethod
    def parts() -> list[list[Any]]:
        every = packets(90)
        return [every[:30], every[30:60], every[60:]]

    @property
    def directory(self) -> Path:
        return self.built.directory

    def move(self, number: int) -> bool:
        return self.archive.move(self.built.stream, number, unpaced)

    def state(self) -> tuple[object, ...]:
        """All that a reader can see."""
        splits = list(open_splits(self.store, self.built.stream, view_named("split_1sec")))
        window = open_range(self.store, self.built.stream, splits[0].start_ns, splits[0].stop_ns)
        return (
            read_stream(self.store, self.built.stream),
            open_single(self.store, self.built.stream).file.read(),
            splits,
            window.file.read(),
        )

    def archived(self) -> list[str]:
        directory = self.path / self.built.stream
        return sorted(os.listdir(directory)) if directory.exists() else []


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_moving_changes_nothing_for_readers(rig: Rig) -> None:
    before = rig.state()
    tags = [(rig.directory / f"{n:06}.tags").read_bytes() for n in range(3)]
    for number in range(3):
        assert rig.move(number)
        assert rig.state() == before
    assert rig.archived() == [
        places.file_name(n, k) for n in range(3) for k in sorted(places.KINDS)
    ]
    links = [path for path in rig.directory.iterdir() if path.is_symlink()]
    assert len(links) == 9
    assert all(path.resolve().parent == rig.path / rig.built.stream for path in links)
    assert tags == [(rig.directory / f"{n:06}.tags").read_bytes() for n in range(3)]


def test_a_running_stream_grows_on_while_its_segments_move(tmp_path: Path) -> None:
    rig = Rig(tmp_path, complete=False)
    before = rig.state()
    assert rig.move(0)
    assert rig.move(1)
    assert rig.state() == before
    assert not (rig.directory / "000002.pcap").is_symlink()


def test_an_export_reads_the_archive(rig: Rig) -> None:
    rig.move(0)
    (chapter,) = chapters(rig.store, [rig.built.stream], Export())
    for part in chapter.ranges:
        assert (rig.store / "streams" / part.path).read_bytes()
        assert part.tags_path is not None
        assert (rig.store / "streams" / part.tags_path).read_bytes()


def test_copies_keep_mode_and_time_and_belong_to_the_group(rig: Rig) -> None:
    original = rig.directory / "000000.pcap"
    original.chmod(0o640)
    rig.directory.chmod(0o2750)
    said = original.stat()
    rig.move(0)
    copy = rig.path / rig.built.stream / "000000.pcap"
    assert (copy.stat().st_mode, copy.stat().st_mtime_ns) == (said.st_mode, said.st_mtime_ns)
    assert copy.stat().st_gid == said.st_gid
    assert copy.parent.stat().st_mode & 0o7777 == 0o2750


def test_moving_twice_is_moving_once(rig: Rig) -> None:
    before = rig.state()
    assert rig.move(0)
    assert rig.move(0)
    assert rig.state() == before


def test_a_download_under_way_goes_on(rig: Rig) -> None:
    whole = rig.built.single()
    file = open_single(rig.store, rig.built.stream).file
    begin = file.read(100)
    for number in range(3):
        rig.move(number)
    assert begin + file.read() == whole


# ---- crashes


def killed_at(call: int, work: Callable[[], object]) -> bool:
    """Does `work` in a process that is killed at the nth change of a file; False: it was not."""
    child = os.fork()
    if child == 0:  # what follows never returns
        left = [call]

        def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
            def counted(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), 9)
                return function(*args, **kwargs)

            return counted

        for name in CHANGES:
            setattr(os, name, deadly(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0


def test_killed_at_every_step_the_stream_is_readable_and_the_move_ends_well(
    tmp_path: Path,
) -> None:
    call, died = 0, True
    while died:
        root = tmp_path / str(call)
        root.mkdir()
        rig = Rig(root)
        before = rig.state()
        died = killed_at(call, lambda rig=rig: rig.move(1))  # type: ignore[misc]
        assert rig.state() == before
        fresh = Archive(rig.store, rig.path)
        fresh.open()
        fresh.sweep()
        assert rig.state() == before
        assert not [name for name in rig.archived() if name.startswith(".")]
        assert fresh.move(rig.built.stream, 1, unpaced)
        assert rig.state() == before
        assert (rig.directory / "000001.pcap").is_symlink()
        call += 1
        shutil.rmtree(root)
    assert call > 15  # every step was one


# ---- what goes wrong


def test_the_segment_is_kept_where_the_copy_is_not_what_was_written(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = rig.state()
    right = module._sum
    monkeypatch.setattr(module, "_sum", lambda fd, pace: (right(fd, pace)[0], 0))
    with pytest.raises(Unavailable, match="not what was written"):
        rig.move(0)
    assert rig.state() == before
    assert rig.archived() == []


def test_a_full_archive_is_said_and_leaves_nothing_behind(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = rig.state()
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(DiskFull, match="is full"):
        rig.move(0)
    assert rig.state() == before
    assert rig.archived() == []


def test_links_that_were_made_before_a_failure_keep_what_they_lead_to(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, right, made = rig.state(), os.symlink, []

    def last_one_fails(text: str, name: str, **of: Any) -> None:
        if len(made) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        made.append(name)
        right(text, name, **of)

    monkeypatch.setattr(os, "symlink", last_one_fails)
    with pytest.raises(OSError, match="No space"):
        rig.move(0)
    assert rig.state() == before
    assert rig.archived() == ["000000.index", "000000.tags"]
    monkeypatch.undo()
    assert rig.move(0)
    assert rig.state() == before


def test_a_segment_that_goes_away_meanwhile_leaves_no_link(rig: Rig) -> None:
    def trim(_done_bytes: int) -> None:
        for path in rig.directory.glob("000000.*"):
            path.unlink()

    assert not rig.archive.move(rig.built.stream, 0, trim)
    assert not list(rig.directory.glob("000000.*"))
    assert rig.archived() == []


def test_a_copy_can_be_broken_off(rig: Rig) -> None:
    class Enough(Exception):
        pass

    def enough(_done_bytes: int) -> None:
        raise Enough

    before = rig.state()
    with pytest.raises(Enough):
        rig.archive.move(rig.built.stream, 0, enough)
    assert rig.state() == before
    assert rig.archived() == []


def test_a_link_made_by_the_recorder_is_not_followed(rig: Rig) -> None:
    secret = rig.store / "secret"
    secret.write_text("of root")
    (rig.directory / "000000.pcap").unlink()
    (rig.directory / "000000.pcap").symlink_to(secret)
    assert not rig.move(0)
    assert rig.archived() == []


def test_a_stream_under_recovery_waits(rig: Rig) -> None:
    import fcntl

    fd = os.open(rig.directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert not rig.move(0)
    finally:
        os.close(fd)
    assert rig.move(0)


# ---- an archive that is away


def test_an_archive_that_is_away_is_said_by_whoever_needs_it(rig: Rig) -> None:
    before = read_stream(rig.store, rig.built.stream)
    rig.move(0)
    rig.path.rename(rig.path.with_name("elsewhere"))
    (info,) = list_streams(rig.store)
    assert (info.packets, info.size_bytes) == (before.packets, before.size_bytes)
    assert "in the archive, which cannot be read" in info.problem
    with pytest.raises(Unavailable, match="in the archive"):
        open_single(rig.store, rig.built.stream)
    with pytest.raises(Unavailable, match="in the archive"):
        open_splits(rig.store, rig.built.stream, view_named("split_1sec"))
    with pytest.raises(Unavailable, match="is away"):
        rig.archive.open()
    rig.path.with_name("elsewhere").rename(rig.path)
    assert rig.archive.open().total_bytes
    assert read_stream(rig.store, rig.built.stream) == before


def test_an_empty_mount_point_is_not_the_archive(rig: Rig) -> None:
    rig.move(0)
    rig.path.rename(rig.path.with_name("disk"))
    rig.path.mkdir()
    with pytest.raises(Unavailable, match="not the archive that this store's segments are in"):
        rig.archive.open()
    assert list(rig.path.iterdir()) == []


def test_an_archive_may_be_mounted_elsewhere(rig: Rig) -> None:
    rig.move(0)
    before_move = read_stream(rig.store, rig.built.stream)
    other = rig.path.with_name("other")
    rig.path.rename(other)
    Archive(rig.store, other).open()
    assert read_stream(rig.store, rig.built.stream) == before_move
    assert open_single(rig.store, rig.built.stream).file.read() == rig.built.single()


def test_a_missing_archive_is_not_made(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with pytest.raises(Unavailable, match="No such file"):
        Archive(tmp_path / "store", tmp_path / "nowhere").open()
    assert not (tmp_path / "nowhere").exists()
    assert not (tmp_path / "store" / MEMORY).exists()


def test_a_new_store_may_take_an_old_archive(rig: Rig, tmp_path: Path) -> None:
    another = tmp_path / "another"
    another.mkdir()
    Archive(another, rig.path).open()
    assert (another / MEMORY).read_text() == (rig.path / MARK).read_text()


def test_leftovers_are_swept_but_not_what_the_store_does_not_know(rig: Rig) -> None:
    rig.move(0)
    there = rig.path / rig.built.stream
    for name in (".000001.pcap.new", "000002.pcap"):  # torn, and whole without a link
        (there / name).write_bytes(b"x")
    lost = rig.path / "a_stream_of_another_life"
    lost.mkdir()
    (lost / "000000.pcap").write_bytes(b"x")
    before = rig.state()
    rig.archive.sweep()
    assert rig.archived() == [places.file_name(0, kind) for kind in sorted(places.KINDS)]
    assert (lost / "000000.pcap").exists()
    assert rig.state() == before


# ---- what it takes on disk


def test_the_survey_knows_what_lies_where(rig: Rig) -> None:
    survey = Survey(rig.store)
    (kept,) = survey.streams(None, True, NOW_NS)
    whole = kept.store_bytes - kept.other_bytes
    assert [piece.archive_bytes for piece in kept.pieces] == [0, 0, 0]
    assert all(piece.sealed for piece in kept.pieces)
    assert kept.ended_ns == read_stream(rig.store, rig.built.stream).stopped_ns
    rig.move(0)
    (kept,) = survey.streams(None, True, NOW_NS)
    assert kept.pieces[0].store_bytes == 0
    assert kept.archive_bytes + kept.store_bytes - kept.other_bytes == whole
    (kept,) = survey.streams(None, False, NOW_NS)
    assert (kept.away, kept.pieces[0].away, kept.archive_bytes) == (True, True, 0)
    (again,) = survey.streams(None, True, NOW_NS)
    assert not again.away
    assert again.archive_bytes == whole - again.store_bytes + again.other_bytes


def test_the_open_segment_of_a_running_stream_is_not_sealed(tmp_path: Path) -> None:
    rig = Rig(tmp_path, complete=False)
    survey = Survey(rig.store)
    (kept,) = survey.streams(rig.built.stream, False, NOW_NS)
    assert kept.ended_ns is None
    assert [piece.sealed for piece in kept.pieces] == [True, True, False]
    rig.built.roll().add(packets(10, start_ns=rig.built._last_ns + 1)).write()
    (kept,) = survey.streams(None, False, NOW_NS)  # its stream.json still says recording
    assert [piece.sealed for piece in kept.pieces] == [True, True, True, False]
    rig.built.complete().write()
    (kept,) = survey.streams(None, False, NOW_NS)
    assert all(piece.sealed for piece in kept.pieces)
    assert kept.ended_ns is not None
