"""What a file system can do for a recorder, by trying it on a small file."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

_BLOCK = 4096  # alignment that every disk of today is content with


@dataclass(frozen=True)
class Abilities:
    """`problem` says why nothing can be written at all; '' for nothing."""

    direct: bool = False
    allocate: bool = False
    problem: str = ""


def probe(directory: Path) -> Abilities:
    """Write one aligned block past the page cache and reserve space, then remove the file."""
    path = directory / f".fwdcap-probe-{secrets.token_hex(6)}"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        return Abilities(problem=error.strerror or str(error))
    try:
        return Abilities(direct=_direct(path), allocate=_allocate(handle))
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink()


def _direct(path: Path) -> bool:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        with mmap.mmap(-1, _BLOCK) as block:  # page-aligned memory
            return os.pwrite(handle, block, 0) == _BLOCK
    except OSError:
        return False
    finally:
        os.close(handle)


def _allocate(handle: int) -> bool:
    """By the system call itself: posix_fallocate writes zeros where there is none."""
    call = ctypes.CDLL(None, use_errno=True).fallocate64
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    done: int = call(handle, 0, 0, 16 * _BLOCK)
    return done == 0
