"""What independent witnesses saw, and what a frame says about itself.

tcpdump listens on the hosts' own interfaces, each way apart. Frames are taken
to pieces here by hand: neither the program's parser nor the recorder's reader
has a part in judging them.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal

from fwdcap.lab import CAPTURE, CLIENT, SERVER, Frame, Lab, Sniff, namespaces

ICMP, TCP, UDP = 1, 6, 17
CHECKSUM_AT = {TCP: 16, UDP: 6}
_TAG_TYPES = (b"\x81\x00", b"\x88\xa8")
_PATIENCE_S = 10.0
_STILL_S = 0.1


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def internet_sum(data: bytes) -> int:
    """The one's complement sum of 16-bit words (RFC 1071); 0xffff over a true checksum."""
    data += b"\0" * (len(data) % 2)
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Packet:
    """An IPv4 frame; offsets and lengths in bytes."""

    frame: bytes

    @property
    def at(self) -> int:
        """Where the IP header begins, behind the tags."""
        at = 14
        while self.frame[at - 2 : at] in _TAG_TYPES:
            at += 4
        return at

    @property
    def macs(self) -> tuple[bytes, bytes]:
        """From, to."""
        return self.frame[6:12], self.frame[:6]

    @property
    def addresses(self) -> tuple[IPv4Address, IPv4Address]:
        """From, to."""
        raw = self.frame[self.at + 12 : self.at + 20]
        return IPv4Address(raw[:4]), IPv4Address(raw[4:])

    @property
    def header(self) -> bytes:
        return self.frame[self.at : self.at + (self.frame[self.at] & 15) * 4]

    @property
    def payload(self) -> bytes:
        """Behind the IP header, without the padding of a short frame."""
        total = int.from_bytes(self.frame[self.at + 2 : self.at + 4], "big")
        return self.frame[self.at + len(self.header) : self.at + total]

    @property
    def protocol(self) -> int:
        return self.frame[self.at + 9]

    @property
    def identification(self) -> int:
        return int.from_bytes(self.frame[self.at + 4 : self.at + 6], "big")

    @property
    def fragment(self) -> tuple[int, bool]:
        """Offset of this fragment, and whether more follow."""
        word = int.from_bytes(self.frame[self.at + 6 : self.at + 8], "big")
        return (word & 0x1FFF) * 8, bool(word & 0x2000)

    def rewritten_bytes(self) -> set[int]:
        """Which bytes of the frame a change of addresses has to touch: they and checksums."""
        touched = {self.at + 10, self.at + 11, *range(self.at + 12, self.at + 20)}
        offset, _ = self.fragment
        place = CHECKSUM_AT.get(self.protocol, -1) - offset
        if 0 <= place < len(self.payload):
            first = self.at + len(self.header) + place
            if any(self.frame[first : first + 2]) or self.protocol == TCP:
                touched |= {first, first + 1}
        return touched

    def without(self, places: Iterable[int]) -> bytes:
        """The frame with those bytes blanked."""
        blank = bytearray(self.frame)
        for place in places:
            blank[place] = 0
        return bytes(blank)


def ip_checksum_is_true(packet: Packet) -> bool:
    return internet_sum(packet.header) == 0xFFFF


def l4_checksums_are_true(packets: Iterable[Packet]) -> bool:
    """Of every whole packet, fragments put together first; a UDP sum of zero is none."""
    return all(_l4_is_true(first, data) for first, data in whole(packets))


def whole(packets: Iterable[Packet]) -> Iterator[tuple[Packet, bytes]]:
    """Each packet's first fragment and its data; raises AssertionError where a part lacks."""
    parts: dict[tuple[object, ...], list[Packet]] = {}
    for packet in packets:
        if packet.fragment == (0, False):
            yield packet, packet.payload
        else:
            key = (*packet.addresses, packet.protocol, packet.identification)
            parts.setdefault(key, []).append(packet)
    for group in parts.values():
        ordered = sorted(group, key=lambda part: part.fragment[0])
        data = b""
        for part in ordered:
            assert part.fragment[0] == len(data), "a fragment is missing"
            data += part.payload
        assert not ordered[-1].fragment[1], "the last fragment is missing"
        yield ordered[0], data


def _l4_is_true(packet: Packet, data: bytes) -> bool:
    if packet.protocol == ICMP:
        return internet_sum(data) == 0xFFFF
    if packet.protocol not in CHECKSUM_AT or (packet.protocol == UDP and data[6:8] == b"\0\0"):
        return True
    source, destination = packet.addresses
    pseudo = source.packed + destination.packed + bytes([0, packet.protocol])
    return internet_sum(pseudo + len(data).to_bytes(2, "big") + data) == 0xFFFF


class Wires:
    """Everything but ARP on A's and B's own interfaces, for the length of a `with` block."""

    def __init__(self, lab: Lab) -> None:
        self._sniffs = self._a_out, self._a_in, self._b_out, self._b_in = (
            lab.host("a").sniff("", "not arp", "out"),
            lab.host("a").sniff("", "not arp", "in"),
            lab.host("b").sniff("", "not arp", "out"),
            lab.host("b").sniff("", "not arp", "in"),
        )

    def __enter__(self) -> Wires:
        with ExitStack() as stack, ThreadPoolExecutor() as pool:
            for begun in [pool.submit(sniff.__enter__) for sniff in self._sniffs]:
                stack.push(begun.result().__exit__)
            stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        with ThreadPoolExecutor() as pool:
            for ended in [pool.submit(sniff.__exit__, *error) for sniff in self._sniffs]:
                ended.result()

    def wait_for(self, to_server: int, to_client: int = 0) -> None:
        """Return when B saw so many frames arrive and A so many come back, and all is still."""
        self._b_in.wait_for(to_server, _PATIENCE_S)
        self._a_in.wait_for(to_client, _PATIENCE_S)
        before = -1
        while before != (before := self._seen()):
            time.sleep(_STILL_S)

    def _seen(self) -> int:
        return sum(len(sniff.frames) for sniff in self._sniffs)

    @property
    def to_server(self) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
        """What A sent to C, and what B received from C."""
        return between(self._a_out, CLIENT, CAPTURE), between(self._b_in, CAPTURE, SERVER)

    @property
    def to_client(self) -> tuple[tuple[Frame, ...], tuple[Frame, ...]]:
        """What B sent to C, and what A received from C."""
        return between(self._b_out, SERVER, CAPTURE), between(self._a_in, CAPTURE, CLIENT)


def between(sniff: Sniff, source: IPv4Address, destination: IPv4Address) -> tuple[Frame, ...]:
    """The frames with those addresses; raises AssertionError when there are any others."""
    strange = [
        frame.data.hex()
        for frame in sniff.frames
        if Packet(frame.data).addresses != (source, destination)
    ]
    assert not strange, f"frames that are not {source} → {destination}"
    return sniff.frames


@contextmanager
def port_sniff(
    lab: Lab, port: str, expression: str = "", direction: Literal["in", "out", "inout"] = "in"
) -> Iterator[Sniff]:
    """tcpdump on a bridge port: `in` is what left the host at the other end of the cable.

    XDP transmits below the host's own taps, so only the far end is a witness.
    """

    def popen(command: Any, **options: Any) -> subprocess.Popen[bytes]:
        words = namespaces.command(lab.bridge_namespace, command)
        return subprocess.Popen(words, **options)

    with Sniff(popen, port, expression, direction) as sniff:
        yield sniff
