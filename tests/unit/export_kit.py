"""Streams with packets worth filtering, and fwdcap-scan run on them from outside."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw
from store_builder import ROUTE, STARTED_NS, Packet, StreamBuilder

from fwdcap import abi
from fwdcap.store import pcap, stream_json
from fwdcap.store.export import PROGRAM, Export, open_export
from fwdcap.store.scanplan import Chapter, Range, encode

WEB = {**ROUTE, "id": 2, "name": "web", "modes": ["ingress", "inline", "egress"]}
ETHER = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
CLIENT, SERVER = "10.0.1.20", "10.0.2.41"


@dataclass(frozen=True)
class Record:
    """A record of an export as found in the file."""

    ns: int
    frame: bytes
    length: int


def traffic(count: int = 60) -> list[Packet]:
    """Frames of many kinds and lengths, a second and a nanosecond apart."""
    kinds = (
        ETHER / IP(src=CLIENT, dst=SERVER) / TCP(sport=40000, dport=80, flags="S"),
        ETHER / IP(src=SERVER, dst=CLIENT) / TCP(sport=80, dport=40000, flags="SA"),
        ETHER / IP(src=CLIENT, dst=SERVER) / UDP(sport=5353, dport=53) / Raw(b"name?"),
        ETHER / IP(src=CLIENT, dst="192.0.2.7") / ICMP() / Raw(bytes(700)),
        ETHER / Dot1Q(vlan=7) / IP(src=CLIENT, dst=SERVER) / TCP(dport=443) / Raw(bytes(33)),
        ETHER / IPv6(src="2001:db8::1", dst="2001:db8::2") / UDP(sport=1, dport=53),
        ETHER / ARP(psrc=CLIENT, pdst=SERVER),
        ETHER / IP(src=CLIENT, dst=SERVER, frag=100, proto=17) / Raw(bytes(40)),
    )
    frames = [bytes(kind) for kind in kinds]
    return [
        Packet(STARTED_NS + n * 1_000_000_001, frames[n % len(frames)] + bytes(n % 3))
        for n in range(count)
    ]


def stream(root: Path, sent: Sequence[Packet]) -> StreamBuilder:
    """A complete stream of them in three segments."""
    third = max(1, len(sent) // 3)
    built = StreamBuilder(root).add(sent[:third]).roll().add(sent[third : 2 * third])
    return built.roll().add(sent[2 * third :]).complete().write()


def tag(number: int) -> abi.Tag:
    """Route 1 inline, or route 2 in each of its modes in turn; ways and fates alternate."""
    routes = ((1, abi.Mode.INLINE), *((2, mode) for mode in abi.Mode))
    route_id, mode = routes[number % 4]
    direction = number // 4 % 2
    dropped = abi.RecordFlag.DROPPED if number % 10 == 9 else 0
    return abi.Tag(route_id=route_id, mode_direction=mode | direction << 4, flags=dropped)


def retag(built: StreamBuilder) -> None:
    """Gives the records of a stream the tags above, and the stream its second route."""
    number = 0
    for path in sorted(built.directory.glob("*.tags")):
        count = path.stat().st_size // 8
        path.write_bytes(b"".join(bytes(tag(number + n)) for n in range(count)))
        number += count
    words = replace(built.words(), routes=(ROUTE, WEB))
    stream_json.write(built.directory / stream_json.FILE, words)


def exported(root: Path, built: StreamBuilder, export: Export) -> bytes:
    with open_export(root, built.stream, export) as process:
        return b"".join(process)


def records(data: bytes) -> list[Record]:
    """What a nanosecond pcap holds, by a parser that is nobody else's."""
    found, at = [], 24
    assert data[:4] == struct.pack("=I", 0xA1B23C4D)
    while at < len(data):
        seconds, ns, caplen, length = struct.unpack_from("=IIII", data, at)
        frame = data[at + 16 : at + 16 + caplen]
        assert len(frame) == caplen
        found.append(Record(seconds * 10**9 + ns, frame, length))
        at += 16 + caplen
    return found


def as_records(sent: Sequence[Packet]) -> list[Record]:
    return [Record(each.ns, each.frame, each.length or len(each.frame)) for each in sent]


def scan(
    plan: bytes, *arguments: str, directory: Path, program: Path = PROGRAM
) -> subprocess.CompletedProcess[bytes]:
    """fwdcap-scan with that plan, from a shell's point of view."""
    return subprocess.run(
        [program, *arguments], input=plan, capture_output=True, cwd=directory, timeout=60
    )


def plan_of(directory: Path, segment: bytes, tags: bytes | None = None, times: int = 1) -> bytes:
    """Puts one segment on disk, whatever is in it, and plans to read all of it so often."""
    (directory / "0.pcap").write_bytes(segment)
    if tags is not None:
        (directory / "0.tags").write_bytes(tags)
    length = max(0, len(segment) - pcap.FILE_HEADER_BYTES)
    whole = Range("0.pcap", None if tags is None else "0.tags", pcap.FILE_HEADER_BYTES, length)
    return encode([Chapter("test", (whole,) * times)])
