"""Rules between routes' values and the bytes of the kernel's maps."""

from __future__ import annotations

import ctypes
import socket
import struct
from ipaddress import IPv4Address

from fwdcap import abi
from fwdcap.routes.model import Rule, RuleKey

_COUNTER_FIELDS = ctypes.sizeof(abi.RuleCounters) // 8


def encode_key(key: RuleKey) -> bytes:
    return struct.pack("=I4s4s", key.interface, key.source.packed, key.destination.packed)


def decode_key(raw: bytes) -> RuleKey:
    interface, source, destination = struct.unpack("=I4s4s", raw)
    return RuleKey(interface, IPv4Address(source), IPv4Address(destination))


def encode_rule(rule: Rule, slot: int, egress_ifindex: int, old: abi.Rule | None) -> bytes:
    """The map value; takes the next hop over from `old` where it still holds."""
    value = abi.Rule(
        route_id=rule.route_id,
        slot=slot,
        egress_ifindex=egress_ifindex,
        action=rule.action,
        modes=rule.modes,
        direction=rule.direction,
        flags=rule.flags,
    )
    ctypes.memmove(value.new_saddr_be, rule.new_source.packed, 4)
    ctypes.memmove(value.new_daddr_be, rule.new_destination.packed, 4)
    if old and _same_way(old, value):
        value.next_hop_checked_ns = old.next_hop_checked_ns
        value.next_hop_dmac = old.next_hop_dmac
        value.next_hop_smac = old.next_hop_smac
        value.next_hop_mtu = old.next_hop_mtu
    return bytes(value)


def _same_way(a: abi.Rule, b: abi.Rule) -> bool:
    return (
        a.egress_ifindex == b.egress_ifindex
        and bytes(a.new_saddr_be) == bytes(b.new_saddr_be)
        and bytes(a.new_daddr_be) == bytes(b.new_daddr_be)
    )


def decode_rule(key: RuleKey, value: abi.Rule) -> Rule:
    return Rule(
        key=key,
        new_source=IPv4Address(bytes(value.new_saddr_be)[:4]),
        new_destination=IPv4Address(bytes(value.new_daddr_be)[:4]),
        route_id=value.route_id,
        action=abi.Action(value.action),
        modes=value.modes,
        direction=abi.Direction(value.direction),
        flags=value.flags,
    )


def sum_counters(per_cpu: list[bytes]) -> abi.RuleCounters:
    """All CPUs' counters of one rule, added up."""
    layout = struct.Struct(f"={_COUNTER_FIELDS}Q")
    sums = [sum(column) for column in zip(*(layout.unpack(raw) for raw in per_cpu), strict=True)]
    return abi.RuleCounters.from_buffer_copy(layout.pack(*sums))


def format_mac(packed: int) -> str:
    """A MAC address as the program caches it, in the usual notation."""
    return packed.to_bytes(8, "little")[:6].hex(":")


def interface_index(name: str) -> int:
    """0 when there is no such interface."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0
