"""The store's directories: who may enter them, and room for a new stream.

    <store>            0750 root:web       the web pages read everything below
    <store>/streams    0750 root:web
    <store>/streams/S  2750 recorder:web   its files belong to the web's group too

The recorder opens its directory before it gives up its privileges, so it needs
no way through the parents afterwards.
"""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from fwdcap.capture.accounts import Account, Accounts
from fwdcap.errors import DiskFull
from fwdcap.store import places

STORE_MODE = 0o750
STREAM_MODE = 0o2750
MIN_FREE_BYTES = 64 * 1024 * 1024  # less than this is a full disk: nothing is begun

_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Usage:
    """Bytes: of the whole store on disk, and of the file system it lies on."""

    used_bytes: int
    free_bytes: int
    total_bytes: int


def streams_directory(store: Path) -> Path:
    return store / "streams"


def prepare(store: Path, accounts: Accounts) -> None:
    """Make the store's directories and give them to the right users. Raises DiskFull."""
    try:
        store.mkdir(parents=True, exist_ok=True)
        streams_directory(store).mkdir(exist_ok=True)
        for directory in (store, streams_directory(store)):
            own(directory, 0, accounts.web.gid, STORE_MODE, accounts.web)
    except OSError as error:
        raise refusal(error, store) from error


def make_stream(store: Path, stream: str, accounts: Accounts) -> Path:
    """The new, empty directory of `stream`. Raises DiskFull."""
    directory = streams_directory(store) / stream
    try:
        if store.is_dir() and not directory.parent.exists():  # removed under our feet
            prepare(store, accounts)
        require_space(store)
        directory.mkdir(mode=0o700)
        own(directory, accounts.recorder.uid, accounts.web.gid, STREAM_MODE, accounts.recorder)
    except OSError as error:
        raise refusal(error, store) from error
    return directory


def own(path: Path, uid: int, gid: int, mode: int, account: Account) -> None:
    """Owner and mode in the order that keeps the mode's set-group bit. Raises OSError."""
    if account.switch:
        os.chown(path, uid, gid)
    path.chmod(mode)


def remove_stream(directory: Path) -> None:
    """Remove the directory of a capture that never began."""
    shutil.rmtree(directory, ignore_errors=True)


def names(store: Path) -> frozenset[str]:
    """The names that streams in the store have, those that are being deleted included."""
    try:
        found = os.listdir(streams_directory(store))
    except OSError:
        return frozenset()
    return frozenset(places.deleted_name(name) or name for name in found)


def require_space(store: Path) -> None:
    """Raises DiskFull where the file system of the store has no room for a capture."""
    free_bytes = shutil.disk_usage(store).free
    if free_bytes < MIN_FREE_BYTES:
        raise DiskFull(
            f"The disk of the store {store} is full: {free_bytes:,} bytes are free.",
            code="store-full",
            hint="Delete streams or give the store a larger disk.",
        )


def usage(store: Path) -> Usage:
    """What the store takes and what is left; zeros where it cannot be asked."""
    try:
        disk = shutil.disk_usage(store)
    except OSError:
        return Usage(0, 0, 0)
    files = (Path(at) / name for at, _, names in os.walk(store) for name in names)
    return Usage(sum(_blocks_bytes(file) for file in files), disk.free, disk.total)


def _blocks_bytes(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0  # deleted meanwhile


def shut_out(path: Path, account: Account) -> Path | None:
    """The first directory on the way to `path` that `account` may not pass; None: it may."""
    if account.uid == 0:
        return None
    for directory in [*reversed(path.parents), path]:
        try:
            status = directory.stat()
        except OSError:
            return None  # not there yet: nothing shuts anybody out
        if status.st_uid == account.uid:
            passable = status.st_mode & 0o100
        elif status.st_gid == account.gid:
            passable = status.st_mode & 0o010
        else:
            passable = status.st_mode & 0o001
        if not passable:
            return directory
    return None


def refusal(error: OSError, store: Path) -> DiskFull:
    """Why nothing can be written to the store, as a sentence."""
    if error.errno in _FULL:
        return DiskFull(
            f"The disk of the store {store} is full.",
            code="store-full",
            hint="Delete streams or give the store a larger disk.",
        )
    return DiskFull(
        f"The store {store} cannot be written: {error.strerror or error}.",
        code="store-not-writable",
        hint="Correct its permissions, or choose another place with [store] path.",
    )
