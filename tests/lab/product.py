"""The appliance as a script uses it: over HTTP with a password, and what it downloads.

A download is read by the lab's own pcap reader, the tags (which stage, which
way) by the contract's struct: the store's reader is not its own witness.
"""

from __future__ import annotations

import base64
import ctypes
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fwdcap import abi
from fwdcap.abi import Direction, Mode
from fwdcap.lab import Appliance, read_pcap

PATIENCE_S = 20.0
_TIMEOUT_S = 60.0
_CHUNK_BYTES = 1 << 22


def wait_until(condition: Callable[[], object], what: str, timeout_s: float = PATIENCE_S) -> float:
    """Return after how many seconds it holds; raises TimeoutError naming `what`."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > timeout_s:
            raise TimeoutError(f"not within {timeout_s:.0f} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - began


class Refused(Exception):
    """An answer of 400 or above."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text


@dataclass(frozen=True)
class Record:
    """One record of a download, and its tag."""

    time_ns: int
    frame: bytes
    mode: Mode
    direction: Direction
    route_id: int


@dataclass
class Recording:
    """A finished capture; filled when the `with` block ends."""

    stream: str = ""
    records: tuple[Record, ...] = ()
    status: dict[str, str] = field(default_factory=dict)

    def frames(self, mode: Mode, direction: Direction) -> list[bytes]:
        return [each.frame for each in self._of(mode, direction)]

    def times(self, mode: Mode, direction: Direction) -> list[int]:
        return [each.time_ns for each in self._of(mode, direction)]

    def _of(self, mode: Mode, direction: Direction) -> list[Record]:
        return [each for each in self.records if (each.mode, each.direction) == (mode, direction)]


class Pages:
    """/sysmaster, /plain and /pcap of a running appliance."""

    def __init__(self, appliance: Appliance) -> None:
        self._appliance = appliance
        login = f"{appliance.user}:{appliance.password}".encode()
        self._headers = {"Authorization": f"Basic {base64.b64encode(login).decode()}"}

    def open(self, path: str) -> Any:
        """The answer as a file. Raises Refused."""
        request = urllib.request.Request(self._appliance.url + path, headers=self._headers)
        try:
            return urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, error.read().decode()) from None

    def get(self, path: str) -> bytes:
        with self.open(path) as answer:
            return bytes(answer.read())

    def start(self, name: str) -> str:
        """Start a capture; returns the sentence that says so."""
        answer = json.loads(self.get(f"/sysmaster/capture_start?StreamName={name}"))
        assert answer["Status"] is True
        return str(answer["Str"])

    def stop(self) -> str:
        answer = json.loads(self.get("/sysmaster/capture_stop"))
        assert answer["Status"] is True
        return str(answer["Str"])

    def status(self) -> dict[str, str]:
        """The lines of /sysmaster/status."""
        lines = self.get("/sysmaster/status").decode().splitlines()
        return dict(line.split(", ", 1) for line in lines)

    def streams(self) -> list[tuple[str, int, int]]:
        """Name, size in bytes and packet count of each stream, newest first."""
        rows = [line.split(",") for line in self.get("/plain/list").decode().splitlines()[1:]]
        return [(row[0].strip(), int(row[1]), int(row[2])) for row in rows]

    def download(self, stream: str, to: Path) -> Path:
        with self.open(f"/pcap/single?StreamName={stream}") as answer, to.open("wb") as file:
            while chunk := answer.read(1 << 20):
                file.write(chunk)
        return to

    def records(self, stream: str, directory: Path) -> tuple[Record, ...]:
        """Every record of the stream with its tag; `directory` holds the download."""
        frames = read_pcap(self.download(stream, directory / "download.pcap"))
        tags = read_tags(self._appliance.store / "streams" / stream)
        assert len(frames) == len(tags)
        return tuple(
            Record(
                frame.time_ns,
                frame.data,
                Mode(tag.mode_direction & 15),
                Direction(tag.mode_direction >> 4),
                tag.route_id,
            )
            for frame, tag in zip(frames, tags, strict=True)
        )

    @contextmanager
    def recording(self, name: str) -> Iterator[Recording]:
        """Capture what happens in the block, then download it; asserts that nothing was lost."""
        taken = Recording()
        self.start(name)
        try:
            yield taken
        except BaseException:
            self.stop()
            raise
        self.stop()
        (taken.stream, size, count), *_ = self.streams()
        taken.status = self.status()
        taken.records = self.records(taken.stream, self._appliance.directory)
        assert (self._appliance.directory / "download.pcap").stat().st_size == size
        assert len(taken.records) == count
        assert taken.status["packets_dropped"] == "0"


def frames_of(answer: Any) -> Iterator[memoryview]:
    """The frames of a download that is still coming in, however large it is."""
    assert len(answer.read(24)) == 24
    rest = b""
    while chunk := answer.read(_CHUNK_BYTES):
        raw, at = memoryview(rest + chunk), 0
        while at + 16 <= len(raw):
            length = int.from_bytes(raw[at + 8 : at + 12], sys.byteorder)
            if at + 16 + length > len(raw):
                break
            yield raw[at + 16 : at + 16 + length]
            at += 16 + length
        rest = bytes(raw[at:])
    assert rest == b""


def read_tags(directory: Path) -> list[abi.Tag]:
    """All tags of a stream, its segments in order."""
    raw = b"".join(path.read_bytes() for path in sorted(directory.glob("*.tags")))
    count, rest = divmod(len(raw), ctypes.sizeof(abi.Tag))
    assert rest == 0
    return list((abi.Tag * count).from_buffer_copy(raw))
