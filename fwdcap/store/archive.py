"""The archive: a second, larger place for segments that are sealed.

A segment moves by copy, fsync, comparison, rename in the archive, and a link
that takes the original's place by rename: killed at any point, each of its
files can be read in the store, as the original or as a link to a whole copy.
Copies are paced and leave nothing in the page cache, so that the recorder and
its readers do not notice.

A mount point whose disk is missing looks like an empty archive. So store and
archive know each other by a number in a file on either side, and without it
nothing is written there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import uuid
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fwdcap.errors import DiskFull, FwdcapError, Unavailable
from fwdcap.store import places

MARK = ".fwdcap-archive"
MEMORY = "archive.id"
_CHUNK_BYTES = 1 << 20
_SYNC_BYTES = 16 << 20  # no more dirty pages than this
_FULL = (errno.ENOSPC, errno.EDQUOT)

Pace = Callable[[int], None]


@dataclass(frozen=True)
class Space:
    """Of the archive's file system, in bytes; `apart`: it is not the store's."""

    free_bytes: int
    total_bytes: int
    apart: bool


class Archive:
    """The archive of one store. Methods raise OSError where the disk under them fails.

    `commit` is held while a segment's files are replaced by links: who holds it
    may take files of a stream away.
    """

    def __init__(self, store: Path, path: Path, commit: threading.Lock | None = None) -> None:
        self.path = path
        self._commit = commit or threading.Lock()
        self._store = store

    def open(self) -> Space:
        """Make sure that it is there and this store's; raises Unavailable with the reason."""
        try:
            here, there = self._store.stat(), self.path.stat()
            if not stat.S_ISDIR(there.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            self._recognise()
            self._link()
            space = os.statvfs(self.path)
        except OSError as error:
            raise self._away(f"it cannot be used: {error.strerror or error}") from error
        unit = space.f_frsize
        apart = here.st_dev != there.st_dev
        return Space(space.f_bavail * unit, space.f_blocks * unit, apart)

    def move(self, stream: str, number: int, pace: Pace) -> bool:
        """Move that segment; False where it went away meanwhile.

        `pace` is called with the bytes of every piece copied; what it raises
        ends the copy. Raises DiskFull where the archive is full, Unavailable
        where a copy is not what was written.
        """
        directory = self._store / "streams" / stream
        with _opened(directory) as source, self._prepared(stream, source) as target:
            if not _alone(source) or not _regular(source, places.file_name(number, "pcap")):
                return places.is_archived(directory, places.file_name(number, "pcap"), source)
            return self._move(source, target, stream, number, pace)

    def _move(self, source: int, target: int, stream: str, number: int, pace: Pace) -> bool:
        copied: dict[str, os.stat_result] = {}
        try:
            for kind in places.KINDS:
                name = places.file_name(number, kind)
                if _regular(source, name):
                    copied[name] = self._copy(source, target, name, pace)
            os.fsync(target)
            with self._commit:
                return _replace(source, stream, copied)
        finally:
            for name in copied:
                if not places.is_archived(self._store / "streams" / stream, name, source):
                    self.remove(stream, name)

    def remove(self, stream: str, name: str) -> None:
        """Remove the copy of a file that the store no longer leads to."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / stream / name).unlink()

    def remove_stream(self, stream: str) -> None:
        """Remove all of a stream that the store no longer has."""
        directory = self.path / stream
        try:
            names = os.listdir(directory)
        except FileNotFoundError:
            return
        for name in names:
            self.remove(stream, name)
        with contextlib.suppress(FileNotFoundError):
            directory.rmdir()

    def sweep(self) -> None:
        """Remove copies that never took their place; nothing may be moving.

        Of a stream that the store does not know nothing is touched.
        """
        for stream in os.listdir(self.path):
            directory = self._store / "streams" / stream
            if stream.startswith(".") or not directory.is_dir():
                continue
            here = [found for name in os.listdir(directory) if (found := places.segment_of(name))]
            first = min((number for number, _ in here), default=None)
            for name in os.listdir(self.path / stream):
                if places.is_unfinished(name) or _redundant(directory, name, first):
                    self.remove(stream, name)

    def full(self) -> DiskFull:
        """The refusal of whoever finds that it is full."""
        return DiskFull(
            f"The archive {self.path} is full.",
            code="archive-full",
            hint="Give it a larger disk, or set [store] max_bytes or min_free.",
        )

    # ---- knowing each other

    def _recognise(self) -> None:
        mark, memory = self.path / MARK, self._store / MEMORY
        said = mark.read_text().strip() if mark.exists() else ""
        known = memory.read_text().strip() if memory.exists() else ""
        if known and said == known:
            return
        if known:
            raise self._away(
                "it is not the archive that this store's segments are in",
                f"Mount that one there; to begin another, remove {memory}.",
            )
        if not said:
            said = uuid.uuid4().hex
            _write_text(mark, said)
        _write_text(memory, said)

    def _link(self) -> None:
        """Let the store's link lead here."""
        link = self._store / places.ARCHIVE
        if link.is_symlink() and os.readlink(link) == str(self.path):
            return
        new = self._store / places.unfinished(places.ARCHIVE)
        new.unlink(missing_ok=True)
        new.symlink_to(self.path)
        new.rename(link)

    def _away(self, why: str, hint: str = "") -> Unavailable:
        return Unavailable(
            f"The archive {self.path} is away: {why}.",
            code="archive-away",
            hint=hint or "Mount it; until then segments stay in the store.",
        )

    # ---- moving

    @contextlib.contextmanager
    def _prepared(self, stream: str, source: int) -> Iterator[int]:
        """The stream's directory in the archive, made as the one in the store."""
        directory = self.path / stream
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            pass
        except OSError as error:
            raise self._trouble(error) from error
        else:
            _adopt(directory, os.fstat(source))
            with _opened(self.path) as parent:
                os.fsync(parent)
        with _opened(directory) as target:
            yield target

    def _copy(self, source: int, target: int, name: str, pace: Pace) -> os.stat_result:
        """Copy a file into the archive and compare it; returns what it was."""
        # Whoever writes there meets hostile bytes: a link of its own is not followed.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        original = os.open(name, flags, dir_fd=source)
        new = places.unfinished(name)
        try:
            found = os.fstat(original)
            self._write_copy(original, found, target, new, pace)
            os.rename(new, name, src_dir_fd=target, dst_dir_fd=target)
        except BaseException as error:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=target)
            if isinstance(error, OSError):
                raise self._trouble(error) from error
            raise
        finally:
            os.close(original)
        return found

    def _write_copy(
        self, original: int, found: os.stat_result, target: int, new: str, pace: Pace
    ) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        copy = os.open(new, flags, 0o600, dir_fd=target)
        try:
            written = _pour(original, copy, pace)
            os.fchmod(copy, stat.S_IMODE(found.st_mode))
            if os.geteuid() == 0:
                os.fchown(copy, -1, found.st_gid)
            os.utime(copy, ns=(found.st_atime_ns, found.st_mtime_ns))
            os.fsync(copy)
            os.posix_fadvise(copy, 0, 0, os.POSIX_FADV_DONTNEED)
            if written != _sum(copy, pace) or written[0] != found.st_size:
                raise Unavailable(
                    f"A copy in the archive {self.path} is not what was written.",
                    code="archive-differs",
                    hint="Look at its disk; the original is kept.",
                )
        finally:
            os.close(copy)

    def _trouble(self, error: OSError) -> FwdcapError:
        if error.errno in _FULL:
            return self.full()
        return self._away(f"it cannot be written: {error.strerror or error}")


def _redundant(directory: Path, name: str, first: int | None) -> bool:
    """Is that the copy of a file whose original is still there, or of one that was trimmed?"""
    segment = places.segment_of(name)
    if segment is None or places.is_archived(directory, name):
        return False
    trimmed = first is not None and segment[0] < first
    return trimmed or (directory / name).is_file()


def _alone(source: int) -> bool:
    """Keep recovery, which locks a stream's directory, out while `source` is open."""
    try:
        fcntl.flock(source, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _regular(source: int, name: str) -> bool:
    """Is there a file of that name, and neither a link nor something else?"""
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=source, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _replace(source: int, stream: str, copied: dict[str, os.stat_result]) -> bool:
    """Put links in the places of originals that are still the ones that were copied."""
    for name, found in copied.items():
        try:
            now = os.stat(name, dir_fd=source, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if (now.st_dev, now.st_ino, now.st_size) != (found.st_dev, found.st_ino, found.st_size):
            return False
    for name in copied:
        new = places.unfinished(name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new, dir_fd=source)
        os.symlink(places.link_text(stream, name), new, dir_fd=source)
        os.rename(new, name, src_dir_fd=source, dst_dir_fd=source)
    os.fsync(source)
    return True


def _pour(original: int, copy: int, pace: Pace) -> tuple[int, int]:
    """Copy all; returns its size and checksum."""
    size = checksum = unsynced = 0
    while chunk := os.pread(original, _CHUNK_BYTES, size):
        written = 0
        while written < len(chunk):
            written += os.pwrite(copy, memoryview(chunk)[written:], size + written)
        checksum = zlib.crc32(chunk, checksum)
        size += len(chunk)
        unsynced += len(chunk)
        if unsynced >= _SYNC_BYTES:
            os.fdatasync(copy)
            _forget(copy, size - unsynced, unsynced)
            _forget(original, size - unsynced, unsynced)
            unsynced = 0
        pace(len(chunk))
    _forget(original, 0, 0)
    return size, checksum


def _sum(fd: int, pace: Pace) -> tuple[int, int]:
    """Size and checksum as they are on the disk."""
    size = checksum = 0
    while chunk := os.pread(fd, _CHUNK_BYTES, size):
        checksum = zlib.crc32(chunk, checksum)
        _forget(fd, size, len(chunk))
        size += len(chunk)
        pace(len(chunk))
    return size, checksum


def _forget(fd: int, offset: int, length: int) -> None:
    os.posix_fadvise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def _adopt(directory: Path, like: os.stat_result) -> None:
    """Group and mode of another directory; its owner, the recorder, has no business here."""
    if os.geteuid() == 0:
        os.chown(directory, -1, like.st_gid)
    directory.chmod(stat.S_IMODE(like.st_mode))


def _write_text(path: Path, text: str) -> None:
    """A small file, whole or not at all."""
    new = path.with_name(places.unfinished(path.name))
    with new.open("w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


@contextlib.contextmanager
def _opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)
