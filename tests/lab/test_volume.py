"""Much at once: a flood of pings and a large TCP transfer under capture in all modes.

The download is read as it comes: every ping is in it once for each mode and way,
and the transfer, put together again from its inline records alone, is byte for
byte what A sent and B received.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from product import Pages, frames_of, read_tags

from fwdcap.abi import Direction, Mode
from fwdcap.lab import CAPTURE, CLIENT, SERVER, Lab

PORT = 9000
PINGS = 10_000
TRANSFER = str(Path(__file__).with_name("transfer.py"))
_ICMP, _TCP, _SYN = 1, 6, 2

# By addresses alone, as any reader would tell them apart.
STAGES = {
    CLIENT.packed + CAPTURE.packed: (Mode.INGRESS, Direction.TO_SERVER),
    CLIENT.packed + SERVER.packed: (Mode.INLINE, Direction.TO_SERVER),
    CAPTURE.packed + SERVER.packed: (Mode.EGRESS, Direction.TO_SERVER),
    SERVER.packed + CAPTURE.packed: (Mode.INGRESS, Direction.TO_CLIENT),
    SERVER.packed + CLIENT.packed: (Mode.INLINE, Direction.TO_CLIENT),
    CAPTURE.packed + CLIENT.packed: (Mode.EGRESS, Direction.TO_CLIENT),
}
INLINE = CLIENT.packed + SERVER.packed


@dataclass
class Reassembly:
    """A TCP byte stream from its segments: in any order, some more than once."""

    first: int | None = None
    length: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)
    _early: dict[int, bytes] = field(default_factory=dict)

    def take(self, segment: memoryview) -> None:
        sequence = int.from_bytes(segment[4:8], "big")
        if segment[13] & _SYN:
            self.first = sequence + 1
            return
        assert self.first is not None, "data before the connection"
        data = segment[(segment[12] >> 4) * 4 :]
        at = (sequence - self.first) & 0xFFFFFFFF
        if at == self.length and data:
            self._append(data)
        elif self.length < at < 1 << 31:
            self._early.setdefault(at, bytes(data))

    def _append(self, data: memoryview | bytes) -> None:
        self._digest.update(data)
        self.length += len(data)
        following = self._early.pop(self.length, None)
        if following:
            self._append(following)

    @property
    def sha256(self) -> str:
        return str(self._digest.hexdigest())


@dataclass
class Contents:
    """What a download holds."""

    records: Counter[tuple[Mode, Direction]] = field(default_factory=Counter)
    pings: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    stages: bytearray = field(default_factory=bytearray)
    tcp: Reassembly = field(default_factory=Reassembly)

    def take(self, frame: memoryview) -> None:
        addresses = bytes(frame[26:34])
        mode, direction = STAGES[addresses]
        self.records[mode, direction] += 1
        self.stages.append(mode | direction << 4)
        if frame[23] == _ICMP:
            self.pings[int.from_bytes(frame[40:42], "big"), addresses] += 1
        elif addresses == INLINE and frame[23] == _TCP:
            total = int.from_bytes(frame[16:18], "big")
            self.tcp.take(frame[34 : 14 + total])


def transfer(lab: Lab, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """What each end says of it."""
    receive = [sys.executable, TRANSFER, "receive", str(SERVER), str(PORT)]
    with lab.host("b").popen(receive, stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        assert receiver.stdout.readline() == b"ready\n"
        send = [sys.executable, TRANSFER, "send", str(CAPTURE), str(PORT), str(count), "7"]
        sent = lab.host("a").run(send, timeout_s=90).stdout
        received, _ = receiver.communicate(timeout=20)
    return json.loads(sent), json.loads(received)


@pytest.mark.parametrize(
    ("xdp", "count"), [("native", 500_000_000), ("generic", 100_000_000)], ids=["native", "generic"]
)
def test_pings_and_a_transfer(lab_name: str, xdp: str, count: int) -> None:
    with Lab(f"{lab_name}-{xdp[0]}", xdp=xdp) as lab:  # type: ignore[arg-type]
        # The size of ring that a machine of its own would have.
        appliance = lab.start_appliance(settings={"ring.bytes": "auto"})
        pages = Pages(appliance)
        pages.start("volume")
        said = lab.host("a").run(f"ping -f -q -c {PINGS} {CAPTURE}").stdout
        sent, received = transfer(lab, count)
        pages.stop()
        assert f"{PINGS} packets transmitted, {PINGS} received, 0% packet loss" in said
        assert sent == received

        ((stream, size, packets),) = pages.streams()
        contents = Contents()
        with pages.open(f"/pcap/single?StreamName={stream}") as answer:
            assert int(answer.headers["Content-Length"]) == size
            for frame in frames_of(answer):
                contents.take(frame)
        assert (contents.tcp.length, contents.tcp.sha256) == (count, sent["sha256"])
        assert contents.pings == {
            (number & 0xFFFF, stage): 1 for number in range(1, PINGS + 1) for stage in STAGES
        }
        tags = read_tags(appliance.store / "streams" / stream)
        assert bytes(contents.stages) == bytes(tag.mode_direction for tag in tags)
        assert_counts(appliance.client.status(), pages.status(), contents, packets)


def assert_counts(
    status: dict[str, Any], lines: dict[str, str], contents: Contents, packets: int
) -> None:
    """Every count of the product agrees with what was downloaded."""
    capture, (route,) = status["capture"], status["routes"]
    assert "unfinished-checksum" not in {warning["code"] for warning in status["warnings"]}
    assert capture["lost_records"] == 0
    assert capture["lost"] == dict.fromkeys(("ring-full", "copy", "disk", "unknown"), 0)
    records = sum(contents.records.values())
    assert packets == records == capture["emitted_records"] == capture["committed_records"]
    assert capture["received_packets"] * 3 == records
    assert lines["packets_captured"] == lines["capture_packets"] == str(records)
    assert lines["packets_dropped"] == lines["packets_errors"] == lines["bytes_pending"] == "0"
    for direction, name in ((Direction.TO_SERVER, "to_server"), (Direction.TO_CLIENT, "to_client")):
        way = route[name]
        assert way["matched_packets"] == way["forwarded_packets"]
        for mode in Mode:
            assert way["recorded_packets"][mode.name.lower()] == contents.records[mode, direction]
            assert contents.records[mode, direction] == way["matched_packets"]
