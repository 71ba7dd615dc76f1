"""Changing the files of a stream so that a power cut leaves the old or the new.

What is written here belongs to whom the stream's directory belongs to and is
readable for its group, as the recorder's own files are. The directory belongs
to a user who may less than we may, so no link is followed but those that lead
to the archive.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from fwdcap.store import places

_COPY_BYTES = 4 << 20


def replace(path: Path, content: bytes) -> None:
    """Writes the file anew; on return its content is on disk. Raises OSError."""
    path = real(path)
    temporary = path.with_name(places.unfinished(path.name))
    fd = _create(temporary)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def copy_out(source: Path, offset: int, length: int, target: Path) -> None:
    """Copies bytes of a file into a new one; on return they are on disk. Raises OSError."""
    temporary = target.with_name(places.unfinished(target.name))
    fd = _create(temporary)
    try:
        with source.open("rb") as read, os.fdopen(fd, "wb") as write:
            read.seek(offset)
            while length > 0 and (piece := read.read(min(length, _COPY_BYTES))):
                write.write(piece)
                length -= len(piece)
            write.flush()
            os.fsync(write.fileno())
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def resize(path: Path, length: int, header: bytes = b"") -> None:
    """Cuts the file, or lets it grow by zeros, and writes its first bytes if they are given."""
    path = real(path)
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags) if path.exists() else _create(path)
    try:
        if header:
            os.pwrite(fd, header, 0)
        os.ftruncate(fd, length)
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_directory(directory: Path) -> None:
    """Puts names that changed on disk."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def real(path: Path) -> Path:
    """The file itself, in the archive if it moved there; raises OSError for any other link."""
    if not path.is_symlink():
        return path
    if places.is_archived(path.parent, path.name):
        return path.resolve(strict=True)
    raise OSError(errno.ELOOP, "a link that does not lead to the archive")


def _create(path: Path) -> int:
    path.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    fd = os.open(path, flags, 0o640)
    owner = path.parent.stat()
    with suppress(PermissionError):
        os.fchown(fd, owner.st_uid, owner.st_gid)
    os.fchmod(fd, 0o640)
    return fd
