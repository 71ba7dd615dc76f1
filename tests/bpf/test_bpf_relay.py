"""What is relayed, byte by byte: the three stages of a packet, each built from scratch by scapy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from packets import (
    ALL_MODES,
    CAPTURE,
    CLIENT,
    CLIENT_MAC,
    MODE_SETS,
    NEXT_MAC,
    OUR_MAC,
    ROUTE_ID,
    SERVER,
    STRANGER,
    TO_CLIENT,
    TO_SERVER,
    CpuNumbers,
    NextHop,
    Outcome,
    Setup,
    Sketch,
    Tally,
    Way,
    dccp,
    no_operations,
    route,
    service_vlan,
    tcp,
    text,
    udp,
    udplite,
    vlan,
)
from scapy.layers.inet import ICMP
from scapy.layers.l2 import GRE
from scapy.layers.sctp import SCTP, SCTPChunkData
from scapy.packet import Packet, Raw

from fwdcap.abi import Mode, RecordFlag
from fwdcap.routes.model import RuleKey, mode_names

Relayed = Callable[[bytes, Setup], Outcome]

JUMBO = NextHop(mtu=65535)

RELAYED: dict[str, Sketch] = {
    "TCP": Sketch(tcp(text(100))),
    "TCP, odd length": Sketch(tcp(text(101))),
    "TCP SYN with options": Sketch(tcp(flags="S", options=[("MSS", 1460), ("WScale", 7)])),
    "TCP without data": Sketch(tcp(flags="A")),
    "UDP": Sketch(udp(text(100))),
    "UDP, odd length": Sketch(udp(text(33))),
    "UDP without data": Sketch(udp()),
    "UDP that has no checksum": Sketch(udp(text(10), chksum=0)),
    "UDP-Lite": Sketch(udplite(text(100))),
    "UDP-Lite that covers its header alone": Sketch(udplite(text(100), coverage=8)),
    "DCCP": Sketch(dccp(text(60))),
    "ICMP echo": Sketch(ICMP(id=1, seq=2) / Raw(text(56))),
    "SCTP": Sketch(SCTP(sport=1, dport=2) / SCTPChunkData(data=text(20)), ip={"proto": 132}),
    "GRE": Sketch(GRE() / Raw(text(40)), ip={"proto": 47}),
    "ESP": Sketch(Raw(text(40)), ip={"proto": 50}),
    "a protocol nobody knows": Sketch(Raw(text(40)), ip={"proto": 253}),
    "an IP header and nothing else": Sketch(Raw(b""), ip={"proto": 253}),
    "TCP, DF clear": Sketch(tcp(text(9)), ip={"flags": 0}),
    "TCP, reserved flag and DF": Sketch(tcp(text(9)), ip={"flags": 6}),
    "TCP, TOS and ECN": Sketch(tcp(text(9)), ip={"tos": 0xB9}),
    "TCP, id 0": Sketch(tcp(text(9)), ip={"id": 0}),
    "TCP, TTL 1": Sketch(tcp(text(9)), ip={"ttl": 1}),
    "TCP, TTL 255": Sketch(tcp(text(9)), ip={"ttl": 255}),
    "802.1Q": Sketch(tcp(text(30)), tags=(vlan(100),)),
    "802.1Q, priority tag": Sketch(udp(text(30)), tags=(vlan(0, priority=7),)),
    "802.1ad over 802.1Q": Sketch(tcp(text(30)), tags=(service_vlan(200), vlan(100))),
    "802.1Q twice": Sketch(udp(text(30)), tags=(vlan(4094), vlan(1))),
    "the longest headers there are": Sketch(
        tcp(text(900)), ip={"options": no_operations(10)}, tags=(service_vlan(2), vlan(1))
    ),
}


def modes_of(outcome: Outcome) -> list[Mode]:
    return [copy.mode for copy in outcome.copies]


@pytest.mark.parametrize("way", [TO_SERVER, TO_CLIENT], ids=["to server", "to client"])
@pytest.mark.parametrize("sketch", RELAYED.values(), ids=RELAYED.keys())
def test_a_packet_is_relayed_and_kept_in_three_stages(
    relayed: Relayed, sketch: Sketch, way: Way
) -> None:
    received, inline, sent = way.received(sketch), way.inline(sketch), way.sent(sketch)
    outcome = relayed(received, route())
    assert outcome.verdict == "tx"
    assert outcome.frame == sent
    assert modes_of(outcome) == [Mode.INGRESS, Mode.INLINE, Mode.EGRESS]
    assert [copy.frame for copy in outcome.copies] == [received, inline, sent]
    for copy in outcome.copies:
        assert copy.direction == way.direction
        assert (copy.len, copy.route_id, copy.flags) == (len(received), ROUTE_ID, 0)
        assert copy.l2_offset == 14 + 4 * len(sketch.tags)
    size = len(received)
    assert outcome.tallies[way.direction] == Tally(1, size, 1, size, recorded=(1, 1, 1))
    assert outcome.tallies[1 - way.direction] == Tally()
    assert outcome.reasons == {}
    assert outcome.cpu == CpuNumbers(next_sequence=3, received=1, emitted=3, emitted_bytes=3 * size)


@pytest.mark.parametrize("words", range(11), ids=lambda words: f"IHL {5 + words}")
@pytest.mark.parametrize("protocol", [tcp, udp, ICMP])
def test_options_of_the_ip_header_are_kept(
    relayed: Relayed, protocol: Callable[..., Packet], words: int
) -> None:
    sketch = Sketch(protocol() / Raw(text(50)), ip={"options": no_operations(words)})
    received = TO_SERVER.received(sketch)
    assert received[14] & 15 == 5 + words
    assert relayed(received, route()).frame == TO_SERVER.sent(sketch)


@pytest.mark.parametrize(
    "modes", MODE_SETS, ids=lambda modes: "+".join(mode_names(modes)) or "none"
)
def test_a_route_keeps_the_copies_it_asks_for(relayed: Relayed, modes: frozenset[Mode]) -> None:
    sketch = Sketch(udp(text(400)))
    stages = {
        Mode.INGRESS: TO_SERVER.received(sketch),
        Mode.INLINE: TO_SERVER.inline(sketch),
        Mode.EGRESS: TO_SERVER.sent(sketch),
    }
    outcome = relayed(TO_SERVER.received(sketch), route(modes))
    assert outcome.frame == stages[Mode.EGRESS]
    assert [(copy.mode, copy.frame) for copy in outcome.copies] == [
        (mode, stages[mode]) for mode in Mode if mode in modes
    ]
    assert outcome.tallies[0].recorded == tuple(int(mode in modes) for mode in Mode)
    assert outcome.cpu.received == int(bool(modes))
    assert [copy.sequence for copy in outcome.copies] == list(range(len(modes)))


@pytest.mark.parametrize(
    "size", [60, 61, 63, 64, 127, 128, 129, 200, 512, 1500, 1513, 1514, 3519, 3521, 9014, 65000]
)
def test_frames_of_every_size(relayed: Relayed, size: int) -> None:
    sketch = Sketch(udp(text(size - 14 - 20 - 8)))
    received = TO_SERVER.received(sketch)
    assert len(received) == size
    outcome = relayed(received, route(next_hop=JUMBO))
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert [copy.frame for copy in outcome.copies] == [
        received,
        TO_SERVER.inline(sketch),
        TO_SERVER.sent(sketch),
    ]


def test_the_largest_packet_is_relayed_whole_and_kept_up_to_what_can_be_copied(
    relayed: Relayed,
) -> None:
    sketch = Sketch(tcp(text(65535 - 40)), tags=(vlan(5),))
    outcome = relayed(TO_SERVER.received(sketch), route(next_hop=JUMBO))
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert [(copy.len, len(copy.frame)) for copy in outcome.copies] == [(65553, 65535)] * 3


@pytest.mark.parametrize("size", [60, 64, 200])
def test_padding_is_kept(relayed: Relayed, size: int) -> None:
    sketch = Sketch(udp(b"short"), size=size)
    outcome = relayed(TO_SERVER.received(sketch), route())
    assert outcome.frame == TO_SERVER.sent(sketch)
    assert [copy.len for copy in outcome.copies] == [size] * 3


def test_a_trailer_that_is_not_zero_is_kept(relayed: Relayed) -> None:
    sketch, trailer = Sketch(tcp(b"short")), b"\xde\xad\xbe"
    outcome = relayed(TO_SERVER.received(sketch) + trailer, route())
    assert outcome.frame == TO_SERVER.sent(sketch) + trailer


@pytest.mark.parametrize("ttl", [2, 3, 64, 255])
@pytest.mark.parametrize("protocol", [tcp, udp, ICMP])
def test_ttl_is_decremented_where_the_route_says_so(
    relayed: Relayed, protocol: Callable[..., Packet], ttl: int
) -> None:
    sketch = Sketch(protocol() / Raw(text(20)), ip={"ttl": ttl})
    outcome = relayed(TO_SERVER.received(sketch), route(ttl="decrement"))
    assert outcome.verdict == "tx"
    assert outcome.frame == TO_SERVER.sent(sketch, ttl=ttl - 1)
    inline = outcome.copies[1]
    assert (inline.mode, inline.frame) == (Mode.INLINE, TO_SERVER.inline(sketch))


def test_capture_and_egress_address_may_be_one(relayed: Relayed) -> None:
    """The usual route: the server sees the address that the client talks to."""
    sketch = Sketch(tcp(text(40)))
    received = sketch.wire(SERVER, CAPTURE)
    entry = route().entries[1]
    rule = replace(entry.rule, key=RuleKey(0, SERVER, CAPTURE))
    outcome = relayed(received, Setup((replace(entry, rule=rule),)))
    assert outcome.frame == sketch.wire(CAPTURE, CLIENT, (OUR_MAC, NEXT_MAC))


def test_mac_addresses_of_the_sender_show_in_ingress_and_inline_only(relayed: Relayed) -> None:
    outcome = relayed(TO_SERVER.received(Sketch(tcp())), route())
    macs = [(copy.frame[6:12].hex(":"), copy.frame[0:6].hex(":")) for copy in outcome.copies]
    assert macs == [(CLIENT_MAC, OUR_MAC), (CLIENT_MAC, OUR_MAC), (OUR_MAC, NEXT_MAC)]


@pytest.mark.parametrize(
    ("description", "source", "destination"),
    [
        ("a stranger to the capture address", STRANGER, CAPTURE),
        ("the client to a stranger", CLIENT, STRANGER),
        ("the client to the server past us", CLIENT, SERVER),
        ("the capture address to the client", CAPTURE, CLIENT),
        ("the server to the capture address, not the egress address", SERVER, CAPTURE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_pairs_of_addresses_are_none_of_our_business(
    relayed: Relayed, description: str, source: IPv4Address, destination: IPv4Address
) -> None:
    frame = Sketch(tcp(text(20))).wire(source, destination)
    outcome = relayed(frame, route())
    assert (outcome.verdict, outcome.frame) == ("pass", frame)
    assert outcome.copies == ()


def test_while_nothing_is_captured_frames_are_relayed_and_counted(relayed: Relayed) -> None:
    sketch = Sketch(tcp(text(40)))
    outcome = relayed(TO_SERVER.received(sketch), route(recording=False))
    assert (outcome.verdict, outcome.frame) == ("tx", TO_SERVER.sent(sketch))
    assert outcome.copies == ()
    assert outcome.tallies[0] == Tally(1, 94, 1, 94)
    assert outcome.cpu == CpuNumbers()


def test_every_route_counts_for_itself(relayed: Relayed) -> None:
    setup = route(ALL_MODES)
    there = relayed(TO_SERVER.received(Sketch(tcp())), setup)
    back = relayed(TO_CLIENT.received(Sketch(tcp())), setup)
    assert [tally.matched for tally in there.tallies] == [1, 0]
    assert [tally.matched for tally in back.tallies] == [0, 1]
    assert not any(copy.flags & RecordFlag.DROPPED for copy in (*there.copies, *back.copies))
