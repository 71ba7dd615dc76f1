"""Sequence-numbered UDP from A to B through the bump, and what of it arrived.

`Trickle` is a slow flow inside this process that notes when each number came.
`Torrent` is a fast one between two processes of its own:

    python flow.py send ADDRESS PORT RATE SECONDS BYTES    numbers 0, 1, 2 …
    python flow.py receive ADDRESS PORT                    until SIGTERM

Each prints a line of JSON at its end.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from fwdcap.lab import CAPTURE, SERVER, Lab

PORT = 6000
_NUMBER = struct.Struct("!Q")
_BUFFER_BYTES = 1 << 28
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_SO_MEMINFO = 55
_BURST_S = 0.0005
_LONGEST_BURST = 64  # a veth queue holds 256 frames
_QUIET_S = 0.3


class Trickle:
    """A flow of some hundred packets a second for the length of a `with` block."""

    def __init__(self, lab: Lab, rate: float = 500) -> None:
        self._lab = lab
        self._pause_s = 1 / rate
        self._over = threading.Event()
        self.sent: list[float] = []
        self.arrived: dict[int, float] = {}

    def __enter__(self) -> Trickle:
        self._receiver = self._lab.host("b").socket()
        self._receiver.bind((str(SERVER), PORT))
        self._receiver.settimeout(0.1)
        self._sender = self._lab.host("a").socket()
        self._threads = [threading.Thread(target=each) for each in (self._receive, self._send)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self._receiver.close()
        self._sender.close()

    def resumes_after(self, moment_s: float, timeout_s: float) -> float:
        """Seconds from that moment (time.monotonic) to the arrival of a packet sent later."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            arrived = list(self.arrived.items())
            later = [at_s for number, at_s in arrived if self.sent[number] >= moment_s]
            if later:
                return min(later) - moment_s
            time.sleep(0.01)
        raise TimeoutError(f"nothing arrives {timeout_s:.0f} s after that")

    def _send(self) -> None:
        while not self._over.wait(self._pause_s):
            self.sent.append(time.monotonic())
            self._sender.sendto(_NUMBER.pack(len(self.sent) - 1), (str(CAPTURE), PORT))

    def _receive(self) -> None:
        while not self._over.is_set():
            try:
                data = self._receiver.recv(64)
            except TimeoutError:
                continue
            self.arrived[_NUMBER.unpack(data)[0]] = time.monotonic()


@dataclass(frozen=True)
class Result:
    """What became of a torrent; `missing` are the first numbers that did not come."""

    sent: int
    seconds: float
    received: int
    missing: list[int]
    doubled: int
    disordered: int
    socket_drops: int

    @property
    def perfect(self) -> bool:
        return (self.received, self.missing, self.doubled, self.disordered) == (
            self.sent,
            [],
            0,
            0,
        )


class Torrent:
    """A fast flow between two processes for the length of a `with` block, or until it ends."""

    def __init__(
        self, lab: Lab, *, rate: int = 20_000, seconds: float = 10, size: int = 100
    ) -> None:
        self._lab = lab
        self._arguments = [str(rate), str(seconds), str(size)]
        self._patience_s = 3 * seconds + 20

    def __enter__(self) -> Torrent:
        me = [sys.executable, str(Path(__file__))]
        self._receiver = self._lab.host("b").popen(
            [*me, "receive", str(SERVER), str(PORT)], stdout=subprocess.PIPE
        )
        assert self._receiver.stdout is not None
        assert self._receiver.stdout.readline() == b"ready\n"
        self._sender = self._lab.host("a").popen(
            [*me, "send", str(CAPTURE), str(PORT), *self._arguments], stdout=subprocess.PIPE
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in (self._sender, self._receiver):
            process.kill()
            process.communicate()

    @property
    def running(self) -> bool:
        return self._sender.poll() is None

    def finish(self) -> Result:
        """Wait for the sender's end and for the last of it to arrive."""
        said, _ = self._sender.communicate(timeout=self._patience_s)
        self._receiver.send_signal(signal.SIGTERM)
        counted, _ = self._receiver.communicate(timeout=self._patience_s)
        sent = json.loads(said)
        heard = json.loads(counted)
        missing = [*heard.pop("missing"), *range(heard.pop("next"), sent["sent"])][:20]
        return Result(**sent, **heard, missing=missing)


@dataclass
class Numbers:
    """The sequence numbers of one mode in a download, judged as they come."""

    following: int = 0
    absent: int = 0
    wrong: list[int] = field(default_factory=list)  # doubled or out of order

    def take(self, number: int) -> None:
        if number < self.following:
            self.wrong.append(number)
            return
        self.absent += number - self.following
        self.following = number + 1


def numbers_in(frames: Iterable[memoryview], tags: bytes) -> dict[int, Numbers]:
    """The numbers of a download by mode and direction, as its tags have them."""
    found: dict[int, Numbers] = {}
    kinds = iter(tags[6::8])  # struct fwdcap_tag
    for frame, kind in zip(frames, kinds, strict=True):
        if frame[23] == socket.IPPROTO_UDP:
            number = int.from_bytes(frame[42:50], "big")
            found.setdefault(kind, Numbers()).take(number)
    return found


def send(address: str, port: int, rate: int, seconds: float, size: int) -> None:
    """Numbered datagrams of `size` bytes, in small bursts so that no queue is ever long.

    From one CPU: when a sender moves, its last packets may be behind on the old one.
    """
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    count, number = round(rate * seconds), 0
    filler = bytes(size - _NUMBER.size)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.connect((address, port))
        began_s = time.monotonic()
        while number < count:
            due = min(count, int((time.monotonic() - began_s) * rate), number + _LONGEST_BURST)
            while number < due:
                out.send(_NUMBER.pack(number) + filler)
                number += 1
            time.sleep(_BURST_S)
        took_s = time.monotonic() - began_s
    print(json.dumps({"sent": count, "seconds": round(took_s, 2)}))


def receive(address: str, port: int) -> None:
    """Count what arrives until SIGTERM, and then until it is quiet."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    numbers = array("Q")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as into:
        into.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        into.bind((address, port))
        into.setblocking(False)
        print("ready", flush=True)
        while select.select([into], [], [], _QUIET_S)[0] or not over.is_set():
            try:
                while True:
                    numbers.append(_NUMBER.unpack_from(into.recv(2048))[0])
            except BlockingIOError:
                continue
        drops = struct.unpack("9I", into.getsockopt(socket.SOL_SOCKET, _SO_MEMINFO, 36))[8]
    print(json.dumps({**_judged(numbers), "socket_drops": drops}))


def _judged(numbers: array[int]) -> dict[str, object]:
    following = max(numbers, default=-1) + 1
    seen = bytearray(following)
    doubled = disordered = before = 0
    for number in numbers:
        doubled += seen[number]
        seen[number] = 1
        disordered += number < before
        before = number
    gaps = (at for at in range(following) if not seen[at])
    missing = list(itertools.islice(gaps, 20)) if 0 in seen else []
    return {
        "received": len(numbers),
        "next": following,
        "missing": missing,
        "doubled": doubled,
        "disordered": disordered,
    }


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["send", address, port, rate, seconds, size]:
            send(address, int(port), int(rate), float(seconds), int(size))
        case ["receive", address, port]:
            receive(address, int(port))
        case _:
            sys.exit(__doc__)
