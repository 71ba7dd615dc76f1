"""What is measured: fwdcap as its user runs it, and kernel NAT with tcpdump."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fwdcap.control.client import Client
from tests.bench.wire import CAPTURE, CLIENT, FAR, SERVER, Generator, Wire

# The generator and the device's data path share the first core, everything that
# records runs on the second.
RECORDING_CPU = 1
_READY_S = 30.0
_FILL_S = 0.5


@dataclass(frozen=True)
class Trial:
    """What one run of the generator came to; rates are frames a second."""

    offered: float
    sent: int
    forwarded: int
    recorded: int
    lost: int
    seconds: float

    @property
    def dropped(self) -> int:
        return max(0, self.sent - self.forwarded)

    @property
    def clean(self) -> bool:
        return not self.lost and not self.dropped

    @property
    def forwarded_rate(self) -> float:
        return self.forwarded / self.seconds

    @property
    def recorded_rate(self) -> float:
        return self.recorded / self.seconds


class Device(Protocol):
    def trial(self, generator: Generator, seconds: float, rate: float) -> Trial: ...


@dataclass
class Recording:
    """A capture of a trial; counts are records, 0 until it has ended."""

    stream: str
    records: int = 0
    lost: int = 0


class Fwdcap:
    """`fwdcap run` with one route in the device's namespace."""

    def __init__(
        self,
        wire: Wire,
        directory: Path,
        modes: Iterable[str],
        *,
        capture: bool,
        ring_bytes: int,
        freeze: bool = False,
    ) -> None:
        self._wire = wire
        self.capture = capture  # whether a trial records
        self._freeze = freeze
        self._store = directory / "store"
        modes_text = ", ".join(f'"{mode}"' for mode in modes)
        (directory / "routes.toml").write_text(
            f'[[route]]\nname = "bench"\nclient = "{CLIENT}"\ncapture = "{CAPTURE}"\n'
            f'server = "{SERVER}"\nmodes = [{modes_text}]\n'
        )
        self._socket = directory / "control.sock"
        self._log = directory / "fwdcap.log"
        with self._log.open("w") as log:
            self._process = wire.in_box(
                *["taskset", "-c", str(RECORDING_CPU), sys.executable, "-m", "fwdcap", "run"],
                *["--interface", FAR, "--xdp", "native", "--listen", "127.0.0.1:0"],
                *["--routes", str(directory / "routes.toml"), "--store", str(self._store)],
                *["--control", str(self._socket)],
                *(["--set", f"ring.bytes={ring_bytes}"] if ring_bytes else []),
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "FWDCAP_ADMIN_PASSWORD": "bench"},
            )
        self._client = Client(self._socket)
        self._wait_ready()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self._client.status()["datapath"]["state"] == "forwarding":
                    return
            except Exception:  # not yet listening
                time.sleep(0.2)
        raise RuntimeError(f"fwdcap did not start:\n{self._log.read_text()}")

    def trial(self, generator: Generator, seconds: float, rate: float) -> Trial:
        generator.sink_by_xdp()
        if not self.capture:
            return self._run(generator, seconds, rate)
        with (
            self.recording() as recording,
            self._frozen(generator) if self._freeze else contextlib.nullcontext(),
        ):
            trial = self._run(generator, seconds, rate)
        return Trial(
            trial.offered,
            trial.sent,
            trial.forwarded,
            recording.records,
            recording.lost,
            trial.seconds,
        )

    @contextlib.contextmanager
    def recording(self) -> Iterator[Recording]:
        """A capture as long as the block lasts; its counts are there afterwards."""
        recording = Recording(self._client.capture_start("bench")["stream"])
        try:
            yield recording
        finally:
            self._client.capture_stop()
        capture = self._client.status()["capture"]
        recording.records = capture["committed_records"]
        recording.lost = capture["lost_records"]
        shutil.rmtree(self._store / "streams" / recording.stream)

    @property
    def url(self) -> str:
        """Of the pages, in the device's namespace."""
        found = re.search(r"^pages +(\S+)", self._log.read_text(), re.M)
        assert found is not None
        return found[1]

    @contextlib.contextmanager
    def _frozen(self, generator: Generator) -> Iterator[None]:
        """The recorder stopped and its ring full; for less time than the watchdog waits."""
        recorder = self._recorder()
        os.kill(recorder, signal.SIGSTOP)
        try:
            generator.send(_FILL_S)
            yield
        finally:
            os.kill(recorder, signal.SIGCONT)

    def _recorder(self) -> int:
        """The recorder's command line names its store."""
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode(errors="replace").split("\0")
                if "fwdcap-recorder" in words[0] and str(self._store) in "\0".join(words):
                    return int(path.parent.name)
        raise RuntimeError("no recorder runs")

    def _run(self, generator: Generator, seconds: float, rate: float) -> Trial:
        before = generator.sunk_frames()
        sent = generator.send(seconds, rate)
        time.sleep(0.05)
        forwarded = generator.sunk_frames() - before
        return Trial(rate or sent.rate, sent.frames, forwarded, 0, 0, sent.seconds)

    def close(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(30)
        self._wire.run_in_box(
            sys.executable, "-m", "fwdcap", "--control", str(self._socket), "datapath", "detach"
        )


_NAT = f"""
table ip bench {{
  chain pre {{ type nat hook prerouting priority dstnat;
    ip saddr {CLIENT} ip daddr {CAPTURE} dnat to {SERVER}; }}
  chain post {{ type nat hook postrouting priority srcnat;
    ip saddr {CLIENT} ip daddr {SERVER} snat to {CAPTURE}; }}
}}
"""


class KernelNat:
    """nftables NAT in the device's namespace, with tcpdump on the interface if told to."""

    def __init__(self, wire: Wire, directory: Path, *, capture: bool) -> None:
        self._wire = wire
        self._capture = capture
        self._file = directory / "tcpdump.pcap"
        wire.run_in_box("sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        wire.run_in_box("sh", "-c", f"echo 0 > /proc/sys/net/ipv4/conf/{FAR}/send_redirects")
        # NAPI on the device's end, without which redirected frames are refused.
        wire.run_in_box("ethtool", "-K", FAR, "gro", "on")
        wire.run_in_box("nft", "-f", "-", text=_NAT)

    def trial(self, generator: Generator, seconds: float, rate: float) -> Trial:
        generator.sink_by_xdp()
        dump = self._start_tcpdump() if self._capture else None
        before = generator.sunk_frames()
        sent = generator.send(seconds, rate)
        time.sleep(0.05)
        forwarded = generator.sunk_frames() - before
        recorded, lost = _stop_tcpdump(dump) if dump else (0, 0)
        self._file.unlink(missing_ok=True)
        return Trial(rate or sent.rate, sent.frames, forwarded, recorded, lost, sent.seconds)

    def _start_tcpdump(self) -> subprocess.Popen[str]:
        process = self._wire.in_box(
            *["taskset", "-c", str(RECORDING_CPU), "tcpdump", "-i", FAR, "-Q", "in", "-n"],
            *["-s", "0", "-B", "65536", "--time-stamp-precision=nano", "-w", str(self._file)],
            *["-Z", "root", "udp"],
            stderr=subprocess.PIPE,
        )
        assert process.stderr
        while "listening" not in (process.stderr.readline() or "listening"):
            pass
        return process

    def close(self) -> None:
        self._wire.run_in_box("nft", "delete", "table", "ip", "bench")
        self._wire.run_in_box("ethtool", "-K", FAR, "gro", "off")


def _stop_tcpdump(process: subprocess.Popen[str]) -> tuple[int, int]:
    """(recorded, lost) as tcpdump itself counts them."""
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    text = process.communicate(timeout=60)[1]
    recorded = re.search(r"(\d+) packets captured", text)
    lost = re.search(r"(\d+) packets dropped by kernel", text)
    if not recorded or not lost:
        raise RuntimeError(f"tcpdump said: {text}")
    return int(recorded[1]), int(lost[1])
