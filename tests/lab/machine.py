"""An appliance through all its lives: killed, run again, and what it then has recorded."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flow import Numbers, numbers_in
from product import Pages, frames_of, wait_until

from fwdcap.abi import Direction, Mode
from fwdcap.lab import Appliance, Lab, namespaces

MODES = [int(mode) | Direction.TO_SERVER << 4 for mode in Mode]


@dataclass
class Machine:
    """The appliance of one lab through all its lives."""

    lab: Lab
    lives: list[Appliance] = field(default_factory=list)

    @property
    def appliance(self) -> Appliance:
        return self.lives[-1]

    @property
    def pages(self) -> Pages:
        return Pages(self.appliance)

    def run(self, **options: Any) -> Appliance:
        """`fwdcap run`, again where one was before."""
        self.lives.append(self.lab.start_appliance(**options))
        return self.appliance

    def kill(self) -> None:
        """kill -9 of fwdcapd."""
        self.appliance.stop(signal.SIGKILL)

    def processes(self, word: str) -> list[int]:
        """Process ids on c with that word on their command line."""
        return [
            pid
            for pid in namespaces.processes([self.lab.host("c").namespace])
            if word in command_line(pid)
        ]

    def web(self) -> int:
        (pid,) = self.processes("webui")
        return pid

    def recorder(self) -> int:
        (pid,) = self.processes("fwdcap-recorder")
        return pid

    def kill_recorder(self) -> int:
        """kill -9, and wait for the one that takes its place; returns its process id."""
        old = self.recorder()
        os.kill(old, signal.SIGKILL)
        wait_until(lambda: self.processes("fwdcap-recorder") not in ([], [old]), "a new recorder")
        return self.recorder()

    def assert_complete(self, stream: str, sent: int) -> None:
        """Every number once in each mode and in order, and the capture says so itself."""
        found = self.numbers(stream)
        assert found == dict.fromkeys(MODES, Numbers(following=sent))
        status = self.pages.status()
        assert status["packets_dropped"] == "0"
        assert status["capture_packets"] == status["packets_captured"]

    def numbers(self, stream: str) -> dict[int, Numbers]:
        """What its download says of the flow, by mode."""
        directory = self.appliance.store / "streams" / stream
        tags = b"".join(path.read_bytes() for path in sorted(directory.glob("*.tags")))
        with self.pages.open(f"/pcap/single?StreamName={stream}") as answer:
            return numbers_in(frames_of(answer), tags)


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""
