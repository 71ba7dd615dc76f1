"""The recorder's report: how far a stream is safely on disk.

The file holds two slots, written in turn; a slot that is being written fails
its checksum, so a reader without a lock always finds the other one whole.
"""

from __future__ import annotations

import ctypes
import zlib
from pathlib import Path

from fwdcap import abi

FILE = "checkpoint"


def read(path: Path) -> abi.Checkpoint | None:
    """The valid slot with the higher generation; None where there is none."""
    try:
        with path.open("rb") as file:
            raw = file.read(2 * abi.CHECKPOINT_SLOT)
    except OSError:
        return None
    slots = (raw[at : at + abi.CHECKPOINT_SLOT] for at in (0, abi.CHECKPOINT_SLOT))
    valid = [found for slot in slots if (found := _parse(slot)) is not None]
    return max(valid, key=lambda found: found.generation, default=None)


def slot_bytes(value: abi.Checkpoint) -> bytes:
    """One slot of the file: `value` with magic, generation of the contract and checksum set."""
    value.magic, value.abi, value.crc32 = abi.CHECKPOINT_MAGIC, abi.ABI, 0
    rest = bytes(abi.CHECKPOINT_SLOT - ctypes.sizeof(abi.Checkpoint))
    value.crc32 = zlib.crc32(bytes(value) + rest)
    return bytes(value) + rest


def _parse(slot: bytes) -> abi.Checkpoint | None:
    if len(slot) < abi.CHECKPOINT_SLOT:
        return None
    value = abi.Checkpoint.from_buffer_copy(slot)
    if value.magic != abi.CHECKPOINT_MAGIC or value.abi != abi.ABI:
        return None
    claimed, value.crc32 = value.crc32, 0
    if zlib.crc32(bytes(value) + slot[ctypes.sizeof(abi.Checkpoint) :]) != claimed:
        return None
    value.crc32 = claimed
    return value
