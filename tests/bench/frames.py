"""The one frame the benchmark sends, built by scapy."""

from __future__ import annotations

from ipaddress import IPv4Address

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

_HEADERS_BYTES = 14 + 20 + 8


def udp_frame(
    frame_bytes: int, source_mac: str, destination_mac: str, source: IPv4Address, to: IPv4Address
) -> bytes:
    """A UDP datagram in a frame of `frame_bytes`, without FCS; checksums are right."""
    packet = (
        Ether(src=source_mac, dst=destination_mac)
        / IP(src=str(source), dst=str(to))
        / UDP(sport=4000, dport=5000)
        / bytes(frame_bytes - _HEADERS_BYTES)
    )
    return bytes(packet)
