"""The benchmark's wire: a generator and a sink at one end, the device at the other.

Two network namespaces and one veth pair. Frames are made by BPF_PROG_TEST_RUN
with live frames and redirected into the pair; what the device sends back meets
an XDP program that counts it, or an nftables rule that does (for frames that
come from the kernel's stack, converting them for XDP would cost the rival).
"""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path

import pyroute2
from pyroute2 import netns

from fwdcap.datapath import libbpf
from tests.bench.frames import udp_frame

OBJECT = Path(__file__).parents[2] / "fwdcap" / "native" / "build" / "bench.bpf.o"
CLIENT = IPv4Address("10.77.0.10")
SERVER = IPv4Address("10.77.0.20")
CAPTURE = IPv4Address("10.77.0.100")
NEAR = "gen0"
FAR = "cap0"
BURST_S = 0.002
_BATCH = 64


@dataclass(frozen=True)
class Sent:
    """One run of the generator."""

    frames: int
    seconds: float

    @property
    def rate(self) -> float:
        return self.frames / self.seconds


class Wire:
    """Namespaces `bench-<pid>-gen` and `-box`; this thread moves into the first."""

    def __init__(self) -> None:
        self.near_namespace = f"fwdcap-bench-{os.getpid()}-gen"
        self.box_namespace = f"fwdcap-bench-{os.getpid()}-box"
        for name in (self.near_namespace, self.box_namespace):
            netns.create(name)
            _quieten(name)
        with pyroute2.IPRoute(netns=self.near_namespace) as near:
            near.link(
                "add",
                ifname=NEAR,
                kind="veth",
                peer={"ifname": FAR, "net_ns_fd": self.box_namespace},
            )
            self.near_index = near.link_lookup(ifname=NEAR)[0]
            self.near_mac = near.get_links(self.near_index)[0].get_attr("IFLA_ADDRESS")
            for name in ("lo", NEAR):
                near.link("set", ifname=name, state="up")
        with pyroute2.IPRoute(netns=self.box_namespace) as box:
            index = box.link_lookup(ifname=FAR)[0]
            self.far_mac = box.get_links(index)[0].get_attr("IFLA_ADDRESS")
            box.addr("add", index=index, address=str(CAPTURE), prefixlen=24)
            for name in ("lo", FAR):
                box.link("set", ifname=name, state="up")
            for peer in (CLIENT, SERVER):
                box.neigh("replace", dst=str(peer), ifindex=index, lladdr=self.near_mac, state=0x80)
        netns.setns(self.near_namespace)

    def close(self) -> None:
        for name in (self.near_namespace, self.box_namespace):
            with contextlib.suppress(OSError):
                netns.remove(name)

    def in_box(self, *command: str, **options: object) -> subprocess.Popen[str]:
        """Start a command in the device's namespace."""
        enter = ["nsenter", f"--net=/run/netns/{self.box_namespace}"]
        return subprocess.Popen([*enter, *command], text=True, **options)  # type: ignore[call-overload, no-any-return]

    def run_in_box(self, *command: str, text: str | None = None) -> str:
        enter = ["nsenter", f"--net=/run/netns/{self.box_namespace}"]
        return subprocess.run(
            [*enter, *command], text=True, input=text, check=True, capture_output=True
        ).stdout

    @contextlib.contextmanager
    def generator(self, frame_bytes: int) -> Iterator[Generator]:
        frame = udp_frame(frame_bytes, self.near_mac, self.far_mac, CLIENT, CAPTURE)
        generator = Generator(frame, self.near_index)
        try:
            yield generator
        finally:
            generator.close()


class Generator:
    """Sends one frame again and again; counts what the XDP sink gets back."""

    def __init__(self, frame: bytes, ifindex: int) -> None:
        self._frame = frame
        self._ifindex = ifindex
        self._object = libbpf.open_object(OBJECT)
        self._object.set_rodata(struct.pack("=48sII", frame[:48], ifindex, 0))
        self._object.load()
        self._program = self._object.program("generate")
        self._sunk = self._object.map("sunk")

    def sink_by_xdp(self) -> None:
        libbpf.attach_xdp_netlink(
            self._object.program("sink"), self._ifindex, libbpf.XDP_FLAGS_DRV_MODE
        )

    def sunk_frames(self) -> int:
        return sum(int.from_bytes(raw, "little") for raw in self._sunk.per_cpu(bytes(4)))

    def send(self, seconds: float, rate: float = 0.0) -> Sent:
        """As many frames as fit in `seconds`, or `rate` frames a second in short bursts."""
        start = time.monotonic()
        sent = 0
        while (elapsed := time.monotonic() - start) < seconds:
            if not rate:
                sent += self._burst(100_000)
                continue
            due = int((elapsed + BURST_S) * rate) - sent
            if due > 0:
                sent += self._burst(due)
            ahead = start + sent / rate - time.monotonic()
            if ahead > BURST_S:
                time.sleep(ahead - BURST_S / 2)
        return Sent(sent, time.monotonic() - start)

    def _burst(self, frames: int) -> int:
        self._program.test_run(self._frame, repeat=frames, live=True, batch=_BATCH)
        return frames

    def close(self) -> None:
        libbpf.detach_xdp_netlink(self._ifindex)
        self._sunk.close()
        self._object.close()


def _quieten(namespace: str) -> None:
    """No IPv6 chatter: every frame the sink counts shall be one of ours."""
    enter = ["nsenter", f"--net=/run/netns/{namespace}", "sh", "-c"]
    for scope in ("all", "default"):
        path = f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"
        subprocess.run([*enter, f"test ! -e {path} || echo 1 > {path}"], check=True)


def pin_to_cpu(cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
