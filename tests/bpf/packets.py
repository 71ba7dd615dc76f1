"""Builders of frames and rules for the bpf tier, and the cast of addresses.

A `Sketch` is a packet without addresses. Written to the wire three times, from
scratch and by scapy, it gives the frame as received, as the inline copy shows it
and as it is sent; errors in its checksums are the same number each time. What
the program makes of the first must be the other two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from scapy.fields import ByteField, ShortField, XShortField
from scapy.layers.inet import IP, TCP, UDP, IPOption, fragment, in4_pseudoheader
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from fwdcap import abi
from fwdcap.routes.model import Mode, Route, Rule, RuleKey, expand

CLIENT = IPv4Address("10.0.1.20")
CAPTURE = IPv4Address("10.0.1.166")
EGRESS = IPv4Address("10.0.1.167")
SERVER = IPv4Address("10.0.2.41")
STRANGER = IPv4Address("198.51.100.7")

CLIENT_MAC = "02:00:00:00:00:0a"
OUR_MAC = "02:00:00:00:00:0c"
NEXT_MAC = "02:00:00:00:00:0e"

PROTO_DCCP = 33
PROTO_UDPLITE = 136
MAX_COPY_BYTES = 65535  # bpf_xdp_load_bytes refuses more
ALL_MODES = frozenset(Mode)
MODE_SETS = tuple(frozenset(mode for mode in Mode if bits & mode) for bits in range(8))


class UDPLite(Packet):
    """RFC 3828; `coverage` 0 is the whole datagram."""

    name = "UDP-Lite"
    fields_desc = (
        ShortField("sport", 7),
        ShortField("dport", 7),
        ShortField("coverage", 0),
        XShortField("chksum", None),
    )

    def post_build(self, header: bytes, payload: bytes) -> bytes:
        data = header + payload
        if self.chksum is None and self.underlayer:
            right = l4_checksum(PROTO_UDPLITE, self.underlayer, data, self.coverage)
            data = data[:6] + struct.pack("!H", right or 0xFFFF) + data[8:]
        return data


class DCCP(Packet):
    """The generic header of RFC 4340, 5.1, short sequence numbers, a DCCP-Data packet."""

    name = "DCCP"
    fields_desc = (
        ShortField("sport", 7),
        ShortField("dport", 7),
        ByteField("offset", 3),
        ByteField("coverage", 0),
        XShortField("chksum", None),
        ByteField("type", 4),
        ByteField("sequence_high", 0),
        ShortField("sequence_low", 1),
    )

    def post_build(self, header: bytes, payload: bytes) -> bytes:
        data = header + payload
        if self.chksum is None and self.underlayer:
            right = l4_checksum(PROTO_DCCP, self.underlayer, data)
            data = data[:6] + struct.pack("!H", right) + data[8:]
        return data


def l4_checksum(protocol: int, ip: IP, data: bytes, coverage: int = 0) -> int:
    """The sum over pseudo-header and data (its checksum field 0), as RFC 793 says."""
    plain = IP(src=ip.src, dst=ip.dst)
    covered = data[: coverage or len(data)]
    return int(checksum(in4_pseudoheader(protocol, plain, len(data)) + covered))


def unfinished_checksum(
    protocol: int, source: IPv4Address | str, destination: IPv4Address | str, length: int
) -> int:
    """What a sender with checksum offload leaves: the pseudo-header's bare sum."""
    plain = IP(src=str(source), dst=str(destination))
    return 0xFFFF ^ int(checksum(in4_pseudoheader(protocol, plain, length)))


def add_error(right: int, error: int, *, zero: int = 0) -> int:
    """A checksum that is off by `error` in one's complement; `zero` is how a zero is written."""
    return (right + error) % 0xFFFF or zero if error % 0xFFFF else right


@dataclass(frozen=True)
class Sketch:
    """An IPv4 packet but for its addresses.

    `ip` are scapy's fields of the IP header; `size` pads the frame, in bytes, as
    short Ethernet frames are; the errors are added to the right checksums.
    """

    l4: Packet
    ip: dict[str, Any] = field(default_factory=dict)
    tags: tuple[Packet, ...] = ()
    size: int = 0
    ip_error: int = 0
    l4_error: int = 0

    def packet(self, source: IPv4Address, destination: IPv4Address, **ip: Any) -> IP:
        fields = {"id": 0x2A2A, "flags": "DF", **self.ip, **ip}
        if isinstance(self.l4, UDPLite | DCCP):
            fields["proto"] = PROTO_UDPLITE if isinstance(self.l4, UDPLite) else PROTO_DCCP
        packet = IP(src=str(source), dst=str(destination), **fields) / self.l4.copy()
        return self._spoil(packet) if self.ip_error or self.l4_error else packet

    def _spoil(self, packet: IP) -> IP:
        built = bytes(packet)
        if self.ip_error:
            right = int.from_bytes(built[10:12], "big")
            packet.chksum = add_error(right, self.ip_error)
        if self.l4_error:
            at = 4 * (built[0] & 15) + (16 if TCP in packet else 6)
            right = int.from_bytes(built[at : at + 2], "big")
            packet.payload.chksum = add_error(
                right, self.l4_error, zero=0 if TCP in packet else 0xFFFF
            )
        return packet

    def wire(
        self,
        source: IPv4Address,
        destination: IPv4Address,
        macs: tuple[str, str] = (CLIENT_MAC, OUR_MAC),
        **ip: Any,
    ) -> bytes:
        """The frame; `macs` are (from, to)."""
        return framed(self.packet(source, destination, **ip), macs, self.tags, self.size)

    def fragments(
        self,
        source: IPv4Address,
        destination: IPv4Address,
        size: int,
        macs: tuple[str, str] = (CLIENT_MAC, OUR_MAC),
    ) -> list[bytes]:
        """The frames of the packet cut into fragments with `size` bytes of data each."""
        whole = self.packet(source, destination, flags=0)
        return [framed(part, macs, self.tags) for part in fragment(whole, fragsize=size)]


def framed(
    packet: Packet, macs: tuple[str, str], tags: Sequence[Packet] = (), size: int = 0
) -> bytes:
    frame = Ether(src=macs[0], dst=macs[1])
    for tag in tags:
        frame /= tag.copy()
    return bytes(frame / packet).ljust(size, b"\0")


def tcp(payload: bytes = b"", **fields: Any) -> TCP:
    return TCP(**{"sport": 40000, "dport": 443, "seq": 1000, "flags": "PA", **fields}) / Raw(
        payload
    )


def udp(payload: bytes = b"", **fields: Any) -> UDP:
    return UDP(**{"sport": 40000, "dport": 5000, **fields}) / Raw(payload)


def udplite(payload: bytes = b"", **fields: Any) -> UDPLite:
    return UDPLite(**fields) / Raw(payload)


def dccp(payload: bytes = b"", **fields: Any) -> DCCP:
    return DCCP(**fields) / Raw(payload)


def vlan(number: int, priority: int = 0) -> Dot1Q:
    return Dot1Q(vlan=number, prio=priority)


def service_vlan(number: int) -> Dot1AD:
    return Dot1AD(vlan=number)


def no_operations(words: int) -> list[IPOption]:
    """IP options that fill `words` times four bytes and mean nothing."""
    return [IPOption(b"\x01") for _ in range(4 * words)]


def text(length: int) -> bytes:
    """`length` bytes, no two neighbours alike, so that a shift shows."""
    return bytes(n * 7 + (n >> 8) & 0xFF for n in range(length))


def balanced(
    header: Callable[..., Packet], source: IPv4Address, destination: IPv4Address, total: int
) -> Packet:
    """A packet of two bytes whose checksum between these addresses computes to `total`."""
    built = bytes(Sketch(header(b"\0\0")).packet(source, destination))
    at = 20 + (16 if header is tcp else 6)
    now = int.from_bytes(built[at : at + 2], "big")
    return header(((now - total) % 0xFFFF).to_bytes(2, "big"))


def reassembled(frames: Iterable[bytes]) -> IP:
    """The IP packet that a receiver puts together from fragments, its header checksum right."""
    parts = sorted((IP(frame[14:]) for frame in frames), key=lambda part: part.frag)
    data = b"".join(bytes(part)[20 : part.len] for part in parts)
    first = parts[0]
    return IP(bytes(IP(src=first.src, dst=first.dst, proto=first.proto, id=first.id) / Raw(data)))


# ---- rules ----


@dataclass(frozen=True)
class Way:
    """One direction of the route: who sends to which address, and what becomes of both."""

    direction: abi.Direction
    source: IPv4Address
    destination: IPv4Address
    new_source: IPv4Address
    new_destination: IPv4Address

    def received(self, sketch: Sketch) -> bytes:
        return sketch.wire(self.source, self.destination)

    def inline(self, sketch: Sketch) -> bytes:
        return sketch.wire(self.source, self.new_destination)

    def sent(self, sketch: Sketch, **ip: Any) -> bytes:
        return sketch.wire(self.new_source, self.new_destination, (OUR_MAC, NEXT_MAC), **ip)


TO_SERVER = Way(abi.Direction.TO_SERVER, CLIENT, CAPTURE, EGRESS, SERVER)
TO_CLIENT = Way(abi.Direction.TO_CLIENT, SERVER, EGRESS, CAPTURE, CLIENT)


@dataclass(frozen=True)
class NextHop:
    """A rule's cached next hop; MAC addresses as text, MTU in bytes."""

    destination_mac: str = NEXT_MAC
    source_mac: str = OUR_MAC
    mtu: int = 1500


@dataclass(frozen=True)
class Entry:
    """A rule as it lies in the kernel's map; without a next hop nothing was ever resolved."""

    rule: Rule
    next_hop: NextHop | None = field(default_factory=NextHop)
    slot: int = 0


@dataclass(frozen=True)
class Setup:
    """What the program is told: rules, capture control and read-only settings."""

    entries: tuple[Entry, ...] = ()
    recording: bool = True
    snaplen: int = 0
    interface_mtu: int = 1500
    unmatched_drop: bool = False


ROUTE_ID = 7


def route(
    modes: Iterable[Mode] = ALL_MODES,
    *,
    next_hop: NextHop | None = NextHop(),
    enabled: bool = True,
    ttl: Any = "keep",
    **setup: Any,
) -> Setup:
    """The set-up with the one route CLIENT → CAPTURE, EGRESS → SERVER, both its rules."""
    rules = expand(
        Route("demo", CLIENT, CAPTURE, SERVER, frozenset(modes), EGRESS, enabled, ttl), ROUTE_ID
    )
    entries = tuple(Entry(rule, next_hop, slot) for slot, rule in enumerate(rules))
    return Setup(entries, **setup)


def odd_rule(action: abi.Action, slot: int = 0) -> Setup:
    """One rule from CLIENT to CAPTURE that fwdcapd would not write today."""
    rule = Rule(
        key=RuleKey(0, CLIENT, CAPTURE),
        new_source=EGRESS,
        new_destination=SERVER,
        route_id=ROUTE_ID,
        action=action,
        modes=sum(ALL_MODES),
        direction=abi.Direction.TO_SERVER,
        flags=0,
    )
    return Setup((Entry(rule, NextHop(), slot),))


# ---- what came out ----


@dataclass(frozen=True)
class Copy:
    """One record; `time_ns` and `cpu` are whatever they are."""

    sequence: int
    mode: abi.Mode
    direction: abi.Direction
    route_id: int
    len: int
    frame: bytes
    l2_offset: int
    flags: int = 0
    interface: int = 0
    link_type: int = abi.LINKTYPE_ETHERNET
    reserved: int = 0
    cpu: int = field(default=0, compare=False)
    time_ns: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Tally:
    """The counters of one rule; recorded and lost by mode: ingress, inline, egress."""

    matched: int = 0
    matched_bytes: int = 0
    forwarded: int = 0
    forwarded_bytes: int = 0
    dropped: int = 0
    recorded: tuple[int, int, int] = (0, 0, 0)
    lost: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class CpuNumbers:
    """struct fwdcap_cpu_state but for its times."""

    next_sequence: int = 0
    received: int = 0
    errors: int = 0
    emitted: int = 0
    emitted_bytes: int = 0
    lost: tuple[int, int, int, int] = (0, 0, 0, 0)


@dataclass(frozen=True)
class Outcome:
    """All that one frame brought about; `frame` is None where nothing goes on."""

    verdict: str
    frame: bytes | None
    copies: tuple[Copy, ...] = ()
    tallies: tuple[Tally, ...] = ()
    reasons: dict[abi.Reason, int] = field(default_factory=dict)
    cpu: CpuNumbers = CpuNumbers()
