"""Sequence-numbered UDP from A to B through the bump, and what of it arrived.

`Trickle` is a slow flow inside this process that notes when each number came.
`Torrent` is a fast one between two processes of its own:

    python flow.py send ADDRESS PORT RATE SECONDS BYTES    numbers 0, 1, 2 …
    python flow.py receive ADDRESS PORT                    until SIGTERM

Each prints a line of JSON at its end.
"""

from __future__ import annotations

import json
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from array import array
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fwdcap.lab import CAPTURE, SERVER, Lab

PORT = 6000
_NUMBER = struct.Struct("!Q")
_BUFFER_BYTES = 1 << 28
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_BURST_S = 0.0005
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
