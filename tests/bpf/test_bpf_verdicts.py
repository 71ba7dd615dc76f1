"""What is dropped, what is passed on, and that each says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from harness import Bench
from packets import (
    ALL_MODES,
    CAPTURE,
    CLIENT,
    CLIENT_MAC,
    OUR_MAC,
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
    no_operations,
    odd_rule,
    route,
    service_vlan,
    tcp,
    text,
    udp,
    vlan,
)
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import DHCP6_Reply
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6MLReport,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6Unknown,
    IPv6,
)
from scapy.layers.l2 import ARP, LLC, Dot3, Ether
from scapy.packet import Packet, Raw

from fwdcap.abi import MAX_RULES, Action, Mode, Reason, RecordFlag

Relayed = Callable[[bytes, Setup], Outcome]

PACKET = Sketch(tcp(text(1000)))
BROADCAST = "ff:ff:ff:ff:ff:ff"


def ethernet(payload: Packet, to: str = OUR_MAC) -> bytes:
    return bytes(Ether(src=CLIENT_MAC, dst=to) / payload)


# ---- matched, not forwarded ----

DROPPED: dict[str, tuple[Sketch, Setup, Reason]] = {
    "a disabled route": (PACKET, route(enabled=False), Reason.DROP_DISABLED),
    "a next hop that was never resolved": (PACKET, route(next_hop=None), Reason.DROP_NO_NEXT_HOP),
    "larger than the way to the next hop": (
        PACKET,
        route(next_hop=NextHop(mtu=1039)),
        Reason.DROP_TOO_BIG,
    ),
    "larger than the interface's MTU": (
        PACKET,
        route(next_hop=NextHop(mtu=1000), interface_mtu=1039),
        Reason.DROP_SUPER_FRAME,
    ),
    "as large as the interface's MTU, larger than the way": (
        PACKET,
        route(next_hop=NextHop(mtu=1039), interface_mtu=1040),
        Reason.DROP_TOO_BIG,
    ),
    "too big where the interface's MTU is not known": (
        PACKET,
        route(next_hop=NextHop(mtu=1039), interface_mtu=0),
        Reason.DROP_TOO_BIG,
    ),
    "a super-frame of three pages": (
        Sketch(tcp(text(12000))),
        route(),
        Reason.DROP_SUPER_FRAME,
    ),
    "TTL 1 on a route that decrements": (
        Sketch(tcp(text(1000)), ip={"ttl": 1}),
        route(ttl="decrement"),
        Reason.DROP_TTL,
    ),
    "TTL 0 on a route that decrements": (
        Sketch(tcp(text(1000)), ip={"ttl": 0}),
        route(ttl="decrement"),
        Reason.DROP_TTL,
    ),
    "disabled, and TTL 1, and too big": (
        Sketch(tcp(text(1000)), ip={"ttl": 1}),
        route(enabled=False, ttl="decrement", next_hop=NextHop(mtu=100)),
        Reason.DROP_DISABLED,
    ),
}


@pytest.mark.parametrize("way", [TO_SERVER, TO_CLIENT], ids=["to server", "to client"])
@pytest.mark.parametrize(("sketch", "setup", "reason"), DROPPED.values(), ids=DROPPED.keys())
def test_a_packet_of_a_route_is_dropped_and_its_copies_say_so(
    relayed: Relayed, sketch: Sketch, setup: Setup, reason: Reason, way: Way
) -> None:
    received, inline = way.received(sketch), way.inline(sketch)
    size = len(received)
    outcome = relayed(received, setup)
    assert outcome.verdict == "drop"
    assert outcome.reasons == {reason: 1}
    assert [(copy.mode, copy.frame, copy.flags) for copy in outcome.copies] == [
        (Mode.INGRESS, received, RecordFlag.DROPPED),
        (Mode.INLINE, inline, RecordFlag.DROPPED),
    ]
    assert outcome.tallies[way.direction] == Tally(1, size, dropped=1, recorded=(1, 1, 0))
    assert outcome.cpu == CpuNumbers(
        next_sequence=2, received=1, errors=1, emitted=2, emitted_bytes=2 * size
    )


@pytest.mark.parametrize(
    "action", [a for a in Action if a not in (Action.TRANSMIT, Action.DISABLED)]
)
def test_an_action_that_is_not_built_drops(relayed: Relayed, action: Action) -> None:
    outcome = relayed(TO_SERVER.received(PACKET), odd_rule(action))
    assert outcome.verdict == "drop"
    assert outcome.reasons == {Reason.DROP_UNSUPPORTED: 1}


def test_a_rule_without_counters_drops(relayed: Relayed) -> None:
    outcome = relayed(TO_SERVER.received(PACKET), odd_rule(Action.TRANSMIT, slot=MAX_RULES))
    assert outcome.verdict == "drop"
    assert outcome.reasons == {Reason.DROP_INTERNAL: 1}


def test_a_packet_as_large_as_the_way_allows_is_relayed(relayed: Relayed) -> None:
    """Tag and padding are no part of it."""
    sketch = Sketch(tcp(text(1000)), tags=(vlan(9),), size=1100)
    setup = route(next_hop=NextHop(mtu=1040), interface_mtu=1040)
    assert relayed(TO_SERVER.received(sketch), setup).verdict == "tx"


def test_drops_are_counted_as_errors_only_while_a_capture_runs(relayed: Relayed) -> None:
    outcome = relayed(TO_SERVER.received(PACKET), route(enabled=False, recording=False))
    assert outcome.tallies[0].dropped == 1
    assert (outcome.copies, outcome.cpu) == ((), CpuNumbers())


def test_a_route_without_modes_counts_its_errors_too(relayed: Relayed) -> None:
    outcome = relayed(TO_SERVER.received(PACKET), route((), enabled=False))
    assert outcome.cpu == CpuNumbers(errors=1)


@pytest.mark.parametrize("modes", [{Mode.EGRESS}, {Mode.INLINE}, {Mode.INGRESS, Mode.EGRESS}])
def test_what_is_dropped_has_no_egress_copy(relayed: Relayed, modes: set[Mode]) -> None:
    outcome = relayed(TO_SERVER.received(PACKET), route(modes, enabled=False))
    assert {copy.mode for copy in outcome.copies} == modes - {Mode.EGRESS}
    assert outcome.tallies[0].lost == (0, 0, 0)


# ---- not ours ----

PASSED: dict[str, tuple[bytes, Reason]] = {
    "IPv4 of no route": (
        ethernet(IP(src=str(STRANGER), dst=str(CAPTURE)) / tcp()),
        Reason.PASS_NO_ROUTE,
    ),
    "ARP request": (ethernet(ARP(pdst=str(CAPTURE)), BROADCAST), Reason.PASS_GROUP_ADDRESS),
    "ARP reply": (ethernet(ARP(op=2, pdst=str(CAPTURE))), Reason.PASS_NOT_IP),
    "IPv6": (ethernet(IPv6(dst="fd00::1") / ICMPv6EchoRequest()), Reason.PASS_NOT_IP),
    "802.3 with LLC": (
        bytes(Dot3(dst=OUR_MAC, src=CLIENT_MAC) / LLC() / text(40)),
        Reason.PASS_NOT_IP,
    ),
    "an EtherType nobody knows": (ethernet(Raw(text(46))), Reason.PASS_NOT_IP),
    "broadcast, with the addresses of a route": (
        PACKET.wire(CLIENT, CAPTURE, (CLIENT_MAC, BROADCAST)),
        Reason.PASS_GROUP_ADDRESS,
    ),
    "multicast, with the addresses of a route": (
        PACKET.wire(CLIENT, CAPTURE, (CLIENT_MAC, "01:00:5e:00:00:05")),
        Reason.PASS_GROUP_ADDRESS,
    ),
    "three tags": (
        Sketch(tcp(), tags=(service_vlan(1), vlan(2), vlan(3))).wire(CLIENT, CAPTURE),
        Reason.PASS_NOT_IP,
    ),
    "a tag and nothing behind it": (
        Sketch(tcp(), tags=(vlan(2),)).wire(CLIENT, CAPTURE)[:16],
        Reason.PASS_NOT_IP,
    ),
}


@pytest.mark.parametrize(("frame", "reason"), PASSED.values(), ids=PASSED.keys())
def test_what_is_not_ours_is_passed_on_untouched(
    relayed: Relayed, frame: bytes, reason: Reason
) -> None:
    outcome = relayed(frame, route())
    assert (outcome.verdict, outcome.frame) == ("pass", frame)
    assert outcome.reasons == {reason: 1}
    assert outcome.copies == ()
    assert outcome.cpu == CpuNumbers()


MALFORMED: dict[str, bytes] = {
    "version 5": Sketch(tcp(), ip={"version": 5}).wire(CLIENT, CAPTURE),
    "version 6 behind IPv4's EtherType": Sketch(tcp(), ip={"version": 6}).wire(CLIENT, CAPTURE),
    "IHL 0": Sketch(tcp(), ip={"ihl": 0}).wire(CLIENT, CAPTURE),
    "IHL 4": Sketch(tcp(), ip={"ihl": 4}).wire(CLIENT, CAPTURE),
    "total length 0, as segmentation offload leaves it": Sketch(tcp(), ip={"len": 0}).wire(
        CLIENT, CAPTURE
    ),
    "total length below the header's": Sketch(tcp(), ip={"len": 19}).wire(CLIENT, CAPTURE),
    "total length below a header with options": Sketch(
        tcp(), ip={"len": 23, "options": no_operations(1)}
    ).wire(CLIENT, CAPTURE),
    "total length one above the frame's": Sketch(tcp(text(6)), ip={"len": 47}).wire(
        CLIENT, CAPTURE
    ),
    "total length 65535": Sketch(tcp(), ip={"len": 65535}).wire(CLIENT, CAPTURE),
    "options that are not there": Sketch(Raw(b""), ip={"ihl": 6, "len": 20}).wire(CLIENT, CAPTURE),
    "tagged, cut by a byte": Sketch(tcp(), tags=(vlan(1),)).wire(CLIENT, CAPTURE)[:-1],
}


@pytest.mark.parametrize("frame", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_packet_is_left_to_the_kernel(relayed: Relayed, frame: bytes) -> None:
    outcome = relayed(frame, route())
    assert (outcome.verdict, outcome.frame) == ("pass", frame)
    assert outcome.reasons == {Reason.PASS_MALFORMED: 1}


@pytest.mark.parametrize(
    "sketch",
    [
        Sketch(tcp(text(30))),
        Sketch(udp(text(30)), tags=(vlan(7),)),
        Sketch(tcp(text(30)), tags=(service_vlan(8), vlan(7)), ip={"options": no_operations(5)}),
    ],
    ids=["plain", "tagged", "two tags and options"],
)
def test_a_frame_cut_anywhere_is_passed_on(relayed: Relayed, sketch: Sketch) -> None:
    """From 14 bytes, the least that BPF_PROG_TEST_RUN takes."""
    whole = TO_SERVER.received(sketch)
    for length in range(14, len(whole)):
        outcome = relayed(whole[:length], route())
        assert (outcome.verdict, outcome.frame) == ("pass", whole[:length])
        assert set(outcome.reasons) <= {Reason.PASS_NOT_IP, Reason.PASS_MALFORMED}
    assert relayed(whole, route()).verdict == "tx"


def test_an_ethernet_header_alone_is_the_least_there_is(bench: Bench) -> None:
    with pytest.raises(OSError, match="test run"):
        bench.send(bytes(13))


# ---- [interface] unmatched = "drop" ----


def dhcp_reply(to: str) -> bytes:
    answer = UDP(sport=67, dport=68) / BOOTP(op=2) / DHCP(options=[("message-type", "ack"), "end"])
    return ethernet(IP(src=str(STRANGER), dst="255.255.255.255") / answer, to)


def ipv6(payload: Packet, to: str = "33:33:00:00:00:01") -> bytes:
    return ethernet(IPv6(src="fe80::1", dst="fe80::2") / payload, to)


NEEDED: dict[str, bytes] = {
    "ARP request": PASSED["ARP request"][0],
    "ARP reply": PASSED["ARP reply"][0],
    "tagged ARP": bytes(Ether(src=CLIENT_MAC, dst=BROADCAST) / vlan(4) / ARP()),
    "DHCP, broadcast": dhcp_reply(BROADCAST),
    "DHCP, to us": dhcp_reply(OUR_MAC),
    "router solicitation": ipv6(ICMPv6ND_RS()),
    "router advertisement": ipv6(ICMPv6ND_RA()),
    "neighbour solicitation": ipv6(ICMPv6ND_NS()),
    "neighbour advertisement": ipv6(ICMPv6ND_NA(), OUR_MAC),
    "redirect": ipv6(ICMPv6ND_Redirect(), OUR_MAC),
    "DHCPv6": ipv6(UDP(sport=547, dport=546) / DHCP6_Reply(), OUR_MAC),
}

UNWANTED: dict[str, bytes] = {
    "SSH to the box": ethernet(IP(src=str(STRANGER), dst=str(CAPTURE)) / tcp(dport=22)),
    "ping to the box": ethernet(IP(src=str(STRANGER), dst=str(CAPTURE)) / ICMP()),
    "UDP from port 68": ethernet(IP(src=str(STRANGER), dst=str(CAPTURE)) / udp(sport=68, dport=67)),
    "TCP to port 68": ethernet(IP(src=str(STRANGER), dst=str(CAPTURE)) / tcp(dport=68)),
    "UDP cut before its ports": ethernet(IP(src=str(STRANGER), proto=17) / Raw(b"\0\0\0")),
    "IPv6 ping": ipv6(ICMPv6EchoRequest()),
    "multicast listener report": ipv6(ICMPv6MLReport()),
    "IPv6 TCP": ipv6(tcp()),
    "IPv6 UDP to another port": ipv6(UDP(sport=546, dport=547) / Raw(text(8))),
    "IPv6 cut behind its header": ipv6(Raw(b"")),
    "an EtherType nobody knows": ethernet(Raw(text(46))),
    "an Ethernet header alone": ethernet(Raw(b"")),
    "a tag and nothing behind it": PASSED["a tag and nothing behind it"][0],
    "three tags": PASSED["three tags"][0],
    "malformed": MALFORMED["IHL 4"],
    "broadcast": PASSED["broadcast, with the addresses of a route"][0],
}


@pytest.mark.parametrize("frame", NEEDED.values(), ids=NEEDED.keys())
def test_a_strict_interface_passes_what_it_needs_to_stay_up(relayed: Relayed, frame: bytes) -> None:
    assert relayed(frame, route(unmatched_drop=True)).verdict == "pass"


@pytest.mark.parametrize("frame", UNWANTED.values(), ids=UNWANTED.keys())
def test_a_strict_interface_drops_the_rest(relayed: Relayed, frame: bytes) -> None:
    outcome = relayed(frame, route(unmatched_drop=True))
    assert outcome.verdict == "drop"
    assert outcome.reasons == {Reason.DROP_UNMATCHED: 1}
    assert outcome.copies == ()


def test_of_icmpv6_a_strict_interface_passes_neighbour_discovery_alone(relayed: Relayed) -> None:
    """Types 133 to 137, RFC 4861."""
    passed = [
        number
        for number in range(256)
        if relayed(ipv6(ICMPv6Unknown(type=number)), route(unmatched_drop=True)).verdict == "pass"
    ]
    assert passed == [133, 134, 135, 136, 137]


def test_a_strict_interface_relays(relayed: Relayed) -> None:
    outcome = relayed(TO_SERVER.received(PACKET), route(ALL_MODES, unmatched_drop=True))
    assert (outcome.verdict, outcome.frame) == ("tx", TO_SERVER.sent(PACKET))
