"""Checksums: right stays right, wrong stays wrong by the same amount, zero means none."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import IPv4Address

import pytest
from harness import Bench
from packets import (
    CAPTURE,
    CLIENT,
    EGRESS,
    NEXT_MAC,
    OUR_MAC,
    PROTO_UDPLITE,
    SERVER,
    TO_SERVER,
    Outcome,
    Setup,
    Sketch,
    balanced,
    dccp,
    l4_checksum,
    no_operations,
    reassembled,
    route,
    tcp,
    text,
    udp,
    udplite,
    unfinished_checksum,
    vlan,
)
from scapy.layers.inet import IP, TCP, UDP, in4_pseudoheader
from scapy.packet import Packet, Raw
from scapy.utils import checksum

from fwdcap.abi import Reason

Relayed = Callable[[bytes, Setup], Outcome]

UDP_CHECKSUM = slice(14 + 20 + 6, 14 + 20 + 8)


def assert_right(frame: bytes) -> None:
    """A receiver's test: rebuilt from scratch by scapy, nothing changes."""
    packet = IP(frame[14:])
    again = packet.copy()
    del again.chksum
    if TCP in again:
        del again[TCP].chksum
    elif UDP in again:
        del again[UDP].chksum
    assert bytes(again) == bytes(packet)


@pytest.mark.parametrize("protocol", [tcp, udp])
@pytest.mark.parametrize("length", [0, 1, 2, 3, 1459, 1460])
def test_a_right_checksum_is_right_at_every_stage(
    relayed: Relayed, protocol: Callable[..., Packet], length: int
) -> None:
    outcome = relayed(TO_SERVER.received(Sketch(protocol(text(length)))), route())
    for copy in outcome.copies:
        assert_right(copy.frame)


@pytest.mark.parametrize("error", [1, 0x1234, 0x8000, 0xFFFE])
@pytest.mark.parametrize("protocol", [tcp, udp, udplite, dccp])
def test_a_wrong_l4_checksum_stays_wrong_by_as_much(
    relayed: Relayed, protocol: Callable[..., Packet], error: int
) -> None:
    sketch = Sketch(protocol(text(40)), l4_error=error)
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.verdict == "tx"
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert outcome.copies[1].frame == TO_SERVER.inline(sketch)
    assert outcome.frame != TO_SERVER.sent(Sketch(protocol(text(40))))


@pytest.mark.parametrize("ttl", ["keep", "decrement"])
@pytest.mark.parametrize("error", [1, 0x1234, 0x8000, 0xFFFE])
def test_a_wrong_header_checksum_stays_wrong_by_as_much(
    relayed: Relayed, error: int, ttl: str
) -> None:
    sketch = Sketch(tcp(text(40)), ip_error=error)
    outcome = relayed(TO_SERVER.received(sketch), route(ttl=ttl))
    assert outcome.verdict == "tx"
    assert outcome.frame == TO_SERVER.sent(sketch, ttl=63 if ttl == "decrement" else 64)


@pytest.mark.parametrize("protocol", [udp, udplite])
def test_a_datagram_without_checksum_gets_none(
    relayed: Relayed, protocol: Callable[..., Packet]
) -> None:
    """For UDP-Lite (RFC 3828) zero is illegal, and so it stays."""
    received = TO_SERVER.received(Sketch(protocol(text(10), chksum=0)))
    outcome = relayed(received, route())
    for copy in outcome.copies:
        assert copy.frame[UDP_CHECKSUM] == b"\0\0"


@pytest.mark.parametrize(
    ("stage", "source", "destination"),
    [(1, CLIENT, SERVER), (2, EGRESS, SERVER)],
    ids=["inline", "egress"],
)
def test_a_sum_that_computes_to_zero_is_sent_as_ffff(
    relayed: Relayed, stage: int, source: IPv4Address, destination: IPv4Address
) -> None:
    """RFC 768; and what follows from there is right again."""
    sketch = Sketch(balanced(udp, source, destination, 0))
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.copies[stage].frame[UDP_CHECKSUM] == b"\xff\xff"
    assert outcome.frame == TO_SERVER.sent(sketch)
    for copy in outcome.copies:
        assert_right(copy.frame)


def test_a_sum_of_ffff_that_came_in_is_not_no_checksum(relayed: Relayed) -> None:
    sketch = Sketch(balanced(udp, CLIENT, CAPTURE, 0))
    received = TO_SERVER.received(sketch)
    assert received[UDP_CHECKSUM] == b"\xff\xff"
    outcome = relayed(received, route())
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert_right(outcome.frame)


def test_a_udplite_sum_that_computes_to_zero_is_sent_as_ffff(relayed: Relayed) -> None:
    """RFC 3828, 3.1: a receiver refuses zero."""
    sketch = Sketch(balanced(udplite, EGRESS, SERVER, 0))
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert outcome.frame is not None
    assert outcome.frame[UDP_CHECKSUM] == b"\xff\xff"


def test_a_tcp_sum_that_computes_to_zero_stays_zero(relayed: Relayed) -> None:
    """Only UDP gives zero a meaning."""
    sketch = Sketch(balanced(tcp, EGRESS, SERVER, 0))
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert outcome.frame is not None
    assert outcome.frame[14 + 20 + 16 : 14 + 20 + 18] == b"\0\0"


def test_every_value_that_a_checksum_can_have(bench: Bench) -> None:
    """All 65,536, so that every carry happens: the receiver's sum is zero each time."""
    bench.install(route(recording=False))
    frame = bytearray(TO_SERVER.received(Sketch(udp(b"\0\0"))))
    pseudo_in, pseudo_out = (
        in4_pseudoheader(17, IP(src=str(source), dst=str(destination)), 10)
        for source, destination in ((CLIENT, CAPTURE), (EGRESS, SERVER))
    )
    for word in range(1 << 16):
        frame[18:20] = frame[42:44] = word.to_bytes(2, "big")
        frame[24:26] = frame[40:42] = b"\0\0"
        frame[24:26] = checksum(bytes(frame[14:34])).to_bytes(2, "big")
        frame[40:42] = (checksum(pseudo_in + frame[34:44]) or 0xFFFF).to_bytes(2, "big")
        verdict, out = bench.send(bytes(frame))
        assert verdict == "tx"
        assert checksum(out[14:34]) == 0, f"header, {word:#06x}"
        assert out[24:26] != b"\xff\xff", "zero of a header is written as zero"
        assert checksum(pseudo_out + out[34:44]) == 0, f"UDP, {word:#06x}"
        assert out[40:42] != b"\0\0", "no checksum at all"


# ---- senders that leave the checksum to hardware ----


@pytest.mark.parametrize("tags", [(), (vlan(3),)], ids=["untagged", "tagged"])
@pytest.mark.parametrize("options", [0, 5], ids=["no options", "options"])
@pytest.mark.parametrize(
    ("protocol", "number"),
    [(tcp, socket.IPPROTO_TCP), (udp, socket.IPPROTO_UDP), (udplite, PROTO_UDPLITE)],
)
def test_an_unfinished_checksum_is_noted_and_relayed(
    relayed: Relayed,
    protocol: Callable[..., Packet],
    number: int,
    options: int,
    tags: tuple[Packet, ...],
) -> None:
    ip = {"options": no_operations(options)}
    length = len(bytes(protocol(text(30))))
    bare = unfinished_checksum(number, CLIENT, CAPTURE, length)
    sketch = Sketch(protocol(text(30), chksum=bare), ip=ip, tags=tags)
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.verdict == "tx"
    assert outcome.reasons == {Reason.NOTE_UNFINISHED_CHECKSUM: 1}


def test_an_unfinished_checksum_is_noted_also_on_what_is_dropped(relayed: Relayed) -> None:
    bare = unfinished_checksum(socket.IPPROTO_TCP, CLIENT, CAPTURE, 50)
    received = TO_SERVER.received(Sketch(tcp(text(30), chksum=bare)))
    outcome = relayed(received, route(enabled=False))
    assert outcome.reasons == {Reason.DROP_DISABLED: 1, Reason.NOTE_UNFINISHED_CHECKSUM: 1}


def test_a_fragment_is_never_called_unfinished(relayed: Relayed) -> None:
    bare = unfinished_checksum(socket.IPPROTO_UDP, CLIENT, CAPTURE, 48)
    sketch = Sketch(udp(text(40), chksum=bare), ip={"flags": "MF"})
    assert relayed(TO_SERVER.received(sketch), route()).reasons == {}


# ---- fragments ----


@pytest.mark.parametrize("size", [8, 16, 24, 80, 1480], ids=lambda size: f"{size} bytes each")
@pytest.mark.parametrize("protocol", [tcp, udp, udplite])
def test_fragments_are_relayed_so_that_the_whole_is_right(
    relayed: Relayed, protocol: Callable[..., Packet], size: int
) -> None:
    """Cut to 8 or 16 bytes, TCP's checksum lies in the third or second fragment."""
    sketch = Sketch(protocol(text(max(100, 2 * size + 5))))
    received = sketch.fragments(CLIENT, CAPTURE, size)
    assert len(received) > 2
    sent = sketch.fragments(EGRESS, SERVER, size, (OUR_MAC, NEXT_MAC))
    outcomes = [relayed(frame, route()) for frame in received]
    assert [outcome.frame for outcome in outcomes] == sent
    for stage, source in ((1, CLIENT), (2, EGRESS)):
        whole = reassembled(outcome.copies[stage].frame for outcome in outcomes)
        assert bytes(whole)[20:] == bytes(sketch.packet(source, SERVER))[20:]
        if protocol is not udplite:
            assert_right(bytes(14) + bytes(whole))


@pytest.mark.parametrize("options", [1, 10])
def test_tiny_fragments_with_options(relayed: Relayed, options: int) -> None:
    data = bytes(Sketch(tcp(text(12))).packet(CLIENT, CAPTURE))[20:]
    right = bytes(Sketch(tcp(text(12))).packet(EGRESS, SERVER))[20:]
    for part in range(4):
        ip = {"options": no_operations(options), "flags": "MF", "frag": part, "proto": 6}
        piece = slice(8 * part, 8 * part + 8)
        outcome = relayed(TO_SERVER.received(Sketch(Raw(data[piece]), ip=ip)), route())
        assert outcome.frame == TO_SERVER.sent(Sketch(Raw(right[piece]), ip=ip))


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7, 8, 15, 16, 17])
@pytest.mark.parametrize("protocol", [6, 17])
def test_a_header_too_short_for_its_checksum_gets_addresses_only(
    relayed: Relayed, protocol: int, length: int
) -> None:
    data = bytes(Sketch(tcp() if protocol == 6 else udp(text(12))).packet(CLIENT, CAPTURE))[20:]
    sketch = Sketch(Raw(data[:length]), ip={"proto": protocol})
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.verdict == "tx"
    if length < (18 if protocol == 6 else 8):
        assert outcome.frame == TO_SERVER.sent(sketch)


def test_what_looks_like_a_checksum_in_a_later_fragment_is_data(relayed: Relayed) -> None:
    for protocol, first in ((17, 1), (6, 3)):
        for part in range(first, first + 3):
            ip = {"frag": part, "proto": protocol, "flags": "MF"}
            sketch = Sketch(Raw(text(64)), ip=ip)
            outcome = relayed(TO_SERVER.received(sketch), route())
            assert outcome.frame == TO_SERVER.sent(sketch)


def test_the_oracle_sums_as_scapy_builds() -> None:
    """Two ways to the same number: the oracle's, and scapy's own when it builds a packet."""
    for protocol, number, at in ((tcp, 6, 16), (udp, 17, 6)):
        packet = Sketch(protocol(text(41))).packet(CLIENT, CAPTURE)
        data = bytes(packet)[20:]
        blank = data[:at] + b"\0\0" + data[at + 2 :]
        assert l4_checksum(number, packet, blank) == int.from_bytes(data[at : at + 2], "big")
