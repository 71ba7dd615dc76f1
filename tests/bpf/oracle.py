"""What the data path must do with one frame, said a second time and otherwise.

`predict` dissects with scapy, takes the rules as Python values, and computes
every checksum from scratch: a right one comes out right, a wrong one off by what
it was off by. It shares nothing with the C but the contract's enums. Assumes a
ring with room and next hops that need no look-up.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address

from packets import (
    MAX_COPY_BYTES,
    PROTO_DCCP,
    PROTO_UDPLITE,
    Copy,
    CpuNumbers,
    Entry,
    Outcome,
    Setup,
    Tally,
    add_error,
    l4_checksum,
    unfinished_checksum,
)
from scapy.layers.inet import IP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import checksum

from fwdcap import abi
from fwdcap.abi import Action, Mode, Reason, RecordFlag, RuleFlag

_TAG_TYPES = {0x8100, 0x88A8}
_CHECKSUM_AT: Mapping[int, int] = {
    socket.IPPROTO_TCP: 16,
    socket.IPPROTO_UDP: 6,
    PROTO_UDPLITE: 6,
    PROTO_DCCP: 6,
}
_ZERO_MEANS_NONE = {socket.IPPROTO_UDP, PROTO_UDPLITE}


@dataclass(frozen=True)
class Heard:
    """A frame as far as it could be made out; `reason` FORWARDED means IPv4, well-formed."""

    reason: Reason
    network_type: int = 0
    l2_offset: int = 0
    ip: IP | None = None


def hear(frame: bytes) -> Heard:
    offset, network_type = 14, Ether(frame[:14]).fields.get("type", 0)
    for _ in range(2):
        if network_type not in _TAG_TYPES:
            break
        if len(frame) < offset + 4:
            return Heard(Reason.PASS_NOT_IP)
        network_type = Dot1Q(frame[offset : offset + 4]).type
        offset += 4
    if frame[0] & 1:
        return Heard(Reason.PASS_GROUP_ADDRESS, network_type, offset)
    if network_type != 0x0800:
        return Heard(Reason.PASS_NOT_IP, network_type, offset)
    datagram = frame[offset:]
    if len(datagram) < 20:
        return Heard(Reason.PASS_MALFORMED, network_type, offset)
    ip = IP(datagram[:20])
    sound = ip.version == 4 and 20 <= 4 * ip.ihl <= ip.len <= len(datagram)
    return Heard(Reason.FORWARDED if sound else Reason.PASS_MALFORMED, network_type, offset, ip)


def predict(frame: bytes, setup: Setup) -> Outcome:
    heard = hear(frame)
    if heard.reason != Reason.FORWARDED or heard.ip is None:
        return _not_ours(frame, setup, heard)
    key = IPv4Address(heard.ip.src), IPv4Address(heard.ip.dst)
    for number, entry in enumerate(setup.entries):
        if key == (entry.rule.key.source, entry.rule.key.destination):
            return _matched(frame, setup, heard, number, entry)
    return _not_ours(frame, setup, replace(heard, reason=Reason.PASS_NO_ROUTE))


# ---- frames of no route ----


def _not_ours(frame: bytes, setup: Setup, heard: Heard) -> Outcome:
    nothing = tuple(Tally() for _ in setup.entries)
    if setup.unmatched_drop and not _is_needed(frame, heard):
        return Outcome("drop", None, tallies=nothing, reasons={Reason.DROP_UNMATCHED: 1})
    return Outcome("pass", frame, tallies=nothing, reasons={heard.reason: 1})


def _is_needed(frame: bytes, heard: Heard) -> bool:
    """ARP, DHCP to its client, neighbour discovery, DHCPv6 to its client."""
    data = frame[heard.l2_offset :]
    if heard.network_type == 0x0806:
        return True
    if heard.network_type == 0x0800 and len(data) >= 24:
        plain_udp = data[0] & 15 == 5 and data[9] == socket.IPPROTO_UDP
        return plain_udp and int.from_bytes(data[22:24], "big") == 68
    if heard.network_type == 0x86DD and len(data) >= 44:
        if data[6] == socket.IPPROTO_ICMPV6:
            return 133 <= data[40] <= 137
        return data[6] == socket.IPPROTO_UDP and int.from_bytes(data[42:44], "big") == 546
    return False


# ---- frames of a route ----


def _matched(frame: bytes, setup: Setup, heard: Heard, number: int, entry: Entry) -> Outcome:
    assert heard.ip is not None
    if entry.slot >= abi.MAX_RULES:
        return Outcome("drop", None, tallies=(Tally(),), reasons={Reason.DROP_INTERNAL: 1})
    rule = entry.rule
    reason = _obstacle(heard.ip, setup, entry)
    forwarded = reason == Reason.FORWARDED
    inline = _readdressed(frame, heard, rule.key.source, rule.new_destination)
    sent = _sent(frame, heard, entry) if forwarded else None
    copies = _copies(frame, inline, sent, setup, heard, entry) if setup.recording else ()
    recorded = tuple(sum(copy.mode == mode for copy in copies) for mode in Mode)
    tally = Tally(
        matched=1,
        matched_bytes=len(frame),
        forwarded=int(forwarded),
        forwarded_bytes=len(frame) * forwarded,
        dropped=int(not forwarded),
        recorded=(recorded[0], recorded[1], recorded[2]),
    )
    reasons = {} if forwarded else {reason: 1}
    if _is_unfinished(frame, heard):
        reasons[Reason.NOTE_UNFINISHED_CHECKSUM] = 1
    cpu = CpuNumbers(
        next_sequence=len(copies),
        received=int(bool(rule.modes)),
        errors=int(not forwarded),
        emitted=len(copies),
        emitted_bytes=sum(len(copy.frame) for copy in copies),
    )
    return Outcome(
        verdict="tx" if forwarded else "drop",
        frame=sent,
        copies=copies,
        tallies=tuple(tally if n == number else Tally() for n in range(len(setup.entries))),
        reasons=dict(sorted(reasons.items())),
        cpu=cpu if setup.recording else CpuNumbers(),
    )


def _obstacle(ip: IP, setup: Setup, entry: Entry) -> Reason:
    if entry.rule.action == Action.DISABLED:
        return Reason.DROP_DISABLED
    if entry.rule.action != Action.TRANSMIT:
        return Reason.DROP_UNSUPPORTED
    if entry.rule.flags & RuleFlag.TTL_DECREMENT and ip.ttl < 2:
        return Reason.DROP_TTL
    if not entry.next_hop:
        return Reason.DROP_NO_NEXT_HOP
    if ip.len <= entry.next_hop.mtu:
        return Reason.FORWARDED
    if setup.interface_mtu and ip.len > setup.interface_mtu:
        return Reason.DROP_SUPER_FRAME
    return Reason.DROP_TOO_BIG


def _sent(frame: bytes, heard: Heard, entry: Entry) -> bytes:
    assert heard.ip is not None
    assert entry.next_hop is not None
    rule = entry.rule
    fewer = 1 if rule.flags & RuleFlag.TTL_DECREMENT else 0
    ttl = heard.ip.ttl - fewer
    moved = _readdressed(frame, heard, rule.new_source, rule.new_destination, ttl)
    ether = Ether(dst=entry.next_hop.destination_mac, src=entry.next_hop.source_mac)
    return bytes(ether)[:12] + moved[12:]


def _readdressed(
    frame: bytes, heard: Heard, source: IPv4Address, destination: IPv4Address, ttl: int = -1
) -> bytes:
    """The frame with other addresses, its checksums as right or wrong as they were."""
    assert heard.ip is not None
    old = heard.ip
    new = old.copy()
    new.src, new.dst, new.ttl = str(source), str(destination), ttl if ttl >= 0 else old.ttl
    end = heard.l2_offset + 4 * old.ihl
    options = frame[heard.l2_offset + 20 : end]
    new.chksum = _carried(
        old.chksum, _header_checksum(old, options), _header_checksum(new, options)
    )
    head = frame[: heard.l2_offset] + bytes(new)[:20] + options
    rest = frame[end : heard.l2_offset + old.len]
    return head + _l4_readdressed(rest, old, new) + frame[heard.l2_offset + old.len :]


def _header_checksum(ip: IP, options: bytes) -> int:
    blank = ip.copy()
    blank.chksum = 0
    return int(checksum(bytes(blank)[:20] + options))


def _carried(field: int, right_before: int, right_after: int, zero: int = 0) -> int:
    """Right stays right, wrong stays wrong by the same amount."""
    return add_error(right_after, field - right_before, zero=zero)


def _checksum_place(data_length: int, ip: IP) -> int | None:
    """Where in this fragment's data the L4 checksum is, if it is there at all."""
    if ip.proto not in _CHECKSUM_AT:
        return None
    at = _CHECKSUM_AT[ip.proto] - 8 * ip.frag
    return at if 0 <= at <= data_length - 2 else None


def _l4_readdressed(data: bytes, old: IP, new: IP) -> bytes:
    at = _checksum_place(len(data), old)
    if at is None:
        return data
    field = int.from_bytes(data[at : at + 2], "big")
    zero_means_none = old.proto in _ZERO_MEANS_NONE
    if zero_means_none and not field:
        return data
    blank = data[:at] + b"\0\0" + data[at + 2 :]
    zero = 0xFFFF if zero_means_none else 0
    before, after = (l4_checksum(old.proto, ip, blank) or zero for ip in (old, new))
    return data[:at] + _carried(field, before, after, zero).to_bytes(2, "big") + data[at + 2 :]


def _is_unfinished(frame: bytes, heard: Heard) -> bool:
    ip = heard.ip
    assert ip is not None
    if ip.frag or ip.flags.MF:
        return False
    data = frame[heard.l2_offset + 4 * ip.ihl : heard.l2_offset + ip.len]
    at = _checksum_place(len(data), ip)
    bare = unfinished_checksum(ip.proto, ip.src, ip.dst, len(data))
    return at is not None and int.from_bytes(data[at : at + 2], "big") == bare


def _copies(
    received: bytes, inline: bytes, sent: bytes | None, setup: Setup, heard: Heard, entry: Entry
) -> tuple[Copy, ...]:
    stages = ((Mode.INGRESS, received), (Mode.INLINE, inline), (Mode.EGRESS, sent))
    kept = [(mode, data) for mode, data in stages if entry.rule.modes & mode and data is not None]
    snaplen = min(setup.snaplen or MAX_COPY_BYTES, MAX_COPY_BYTES)
    return tuple(
        Copy(
            sequence=number,
            mode=mode,
            direction=entry.rule.direction,
            route_id=entry.rule.route_id,
            len=len(received),
            frame=data[:snaplen],
            l2_offset=heard.l2_offset,
            flags=0 if sent is not None else RecordFlag.DROPPED,
        )
        for number, (mode, data) in enumerate(kept)
    )
