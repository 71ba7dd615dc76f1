"""An independent witness on a wire: tcpdump, and a reader for what it wrote.

Neither shares code with the parts under test. A witness that missed a frame is
none, so a drop in tcpdump itself is an error here.
"""

from __future__ import annotations

import re
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

_HEADER_BYTES = 24
_RECORD = struct.Struct("=IIII")
_MAGIC_NS = 0xA1B23C4D
_MAGIC_US = 0xA1B2C3D4
_SETTLE_S = 0.1
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class Frame:
    """One frame as a wire carried it, and when (UTC, nanoseconds)."""

    time_ns: int
    data: bytes


def read_pcap(path: Path) -> tuple[Frame, ...]:
    """The whole frames of a pcap file in this machine's byte order.

    A record that is still being written is left out. Raises ValueError for
    anything but pcap, or when a frame was cut.
    """
    raw = path.read_bytes()
    if len(raw) < _HEADER_BYTES:
        return ()
    magic = int.from_bytes(raw[:4], "little")
    if magic not in (_MAGIC_NS, _MAGIC_US):
        raise ValueError(f"{path} is no pcap file: it starts with {raw[:4].hex()}")
    unit_ns = 1 if magic == _MAGIC_NS else 1000
    frames = []
    at = _HEADER_BYTES
    while at + _RECORD.size <= len(raw):
        seconds, fraction, captured, wire = _RECORD.unpack_from(raw, at)
        at += _RECORD.size
        if at + captured > len(raw):
            break
        if captured != wire:
            raise ValueError(f"{path}: a frame of {wire} bytes was cut to {captured}")
        time_ns = seconds * 1_000_000_000 + fraction * unit_ns
        frames.append(Frame(time_ns, raw[at : at + captured]))
        at += captured
    return tuple(frames)


class Sniff:
    """tcpdump on one interface for the length of a `with` block.

    It is listening when the block begins; `frames` is complete when it ended.
    """

    def __init__(
        self,
        popen: Callable[..., subprocess.Popen[bytes]],
        interface: str,
        expression: str = "",
        direction: Literal["in", "out", "inout"] = "inout",
    ) -> None:
        self._popen = popen
        # -w - and not a file name: tcpdump gives up root before it opens files.
        self._command: Sequence[str] = [
            *("tcpdump", "-i", interface, "-n", "-p", "-U", "-w", "-", "-Q", direction),
            *("--immediate-mode", "--time-stamp-precision=nano", "-B", "16384"),
            *([expression] if expression else []),
        ]
        self._frames: tuple[Frame, ...] | None = None

    def __enter__(self) -> Sniff:
        self._directory = tempfile.TemporaryDirectory(prefix="fwdcap-sniff-")
        self._path = Path(self._directory.name) / "frames.pcap"
        self._messages = Path(self._directory.name) / "messages"
        with self._path.open("wb") as out, self._messages.open("wb") as messages:
            self._process = self._popen(self._command, stdout=out, stderr=messages)
        try:
            self._wait(lambda: "listening on" in self._messages.read_text())
        except BaseException:
            self._process.kill()
            self._process.wait()
            self._directory.cleanup()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._directory:
            try:
                self._settle()
                self._process.send_signal(signal.SIGINT)
                self._process.wait(_PATIENCE_S)
            finally:
                self._process.kill()
                self._process.wait()
            self._frames = read_pcap(self._path)
            dropped = re.search(r"(\d+) packets? dropped by kernel", self._messages.read_text())
        if value is None and (dropped is None or int(dropped[1])):
            raise RuntimeError(f"tcpdump missed frames: {dropped and dropped[0]}")

    @property
    def frames(self) -> tuple[Frame, ...]:
        """What was on the wire; so far, while the block still runs."""
        return read_pcap(self._path) if self._frames is None else self._frames

    def wait_for(self, count: int, timeout_s: float = _PATIENCE_S) -> None:
        """Return when `count` frames were seen; raises TimeoutError."""
        self._wait(lambda: len(self.frames) >= count, timeout_s)

    def _settle(self) -> None:
        """Wait until nothing was written for a moment: packets may be under way."""
        deadline = time.monotonic() + _PATIENCE_S
        size = -1
        while size != self._path.stat().st_size and time.monotonic() < deadline:
            size = self._path.stat().st_size
            time.sleep(_SETTLE_S)

    def _wait(self, condition: Callable[[], bool], timeout_s: float = _PATIENCE_S) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._messages.read_text().strip()
                raise TimeoutError(f"{' '.join(self._command)}: {said or 'no answer'}")
            time.sleep(0.005)
