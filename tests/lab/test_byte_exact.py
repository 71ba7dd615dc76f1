"""Byte-exact: every record against what tcpdump saw on A's and on B's own interface.

Ingress is the frame its sender put on the wire, egress the frame its receiver
got, inline the sender's frame but for the addresses and the checksums, which are
true. All traffic that passes during a test is compared, both ways of it.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from product import Pages, Record, Recording, wait_until
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption, fragment
from scapy.layers.l2 import Dot1Q, Ether
from scapy.packet import Packet as Layers
from scapy.packet import Padding, Raw
from witness import Packet, Wires, ip_checksum_is_true, l4_checksums_are_true, mac, whole

from fwdcap.abi import Direction, Mode
from fwdcap.lab import CAPTURE, CLIENT, SERVER, Frame, Lab

PORT = 5000
CLOCKS_NS = 5_000_000  # the recorder's UTC against tcpdump's

# Where packets grow from one buffer size to the next, and both ends.
EDGES = {42, 43, 59, 60, 61, 63, 64, 65, 127, 128, 129, 130, 255, 256, 257, 511, 512, 513}
EDGES |= {1023, 1024, 1025, 1279, 1280, 1281, 1512, 1513, 1514}
LENGTHS = sorted({*range(64, 1515, 29), *EDGES})

# Which addresses the copy of each stage carries.
ADDRESSES = {
    (Direction.TO_SERVER, Mode.INGRESS): (CLIENT, CAPTURE),
    (Direction.TO_SERVER, Mode.INLINE): (CLIENT, SERVER),
    (Direction.TO_SERVER, Mode.EGRESS): (CAPTURE, SERVER),
    (Direction.TO_CLIENT, Mode.INGRESS): (SERVER, CAPTURE),
    (Direction.TO_CLIENT, Mode.INLINE): (SERVER, CLIENT),
    (Direction.TO_CLIENT, Mode.EGRESS): (CAPTURE, CLIENT),
}


@dataclass(frozen=True)
class Way:
    """One direction of a finished exchange: both wires, and the three copies."""

    sent: tuple[Frame, ...]
    received: tuple[Frame, ...]
    taken: Recording
    direction: Direction

    def copies(self, mode: Mode) -> list[bytes]:
        return self.taken.frames(mode, self.direction)


@dataclass(frozen=True)
class Bump:
    """A lab with a running appliance whose one route records in all modes."""

    lab: Lab
    pages: Pages

    def exchange(
        self, act: Callable[[], object], to_server: int, to_client: int = 0
    ) -> tuple[Way, Way]:
        """Do it under capture and four witnesses; asserts that all of it is exact."""
        with Wires(self.lab) as wires, self.pages.recording("exact") as taken:
            act()
            wires.wait_for(to_server, to_client)
        ways = (
            Way(*wires.to_server, taken, Direction.TO_SERVER),
            Way(*wires.to_client, taken, Direction.TO_CLIENT),
        )
        assert len(ways[0].received) >= to_server
        assert len(ways[1].received) >= to_client
        for record in taken.records:
            assert_its_tag_is_true(record)
        for way in ways:
            self.assert_exact(way)
        assert len(taken.records) == 3 * sum(len(way.sent) for way in ways)
        return ways

    def assert_exact(self, way: Way) -> None:
        assert way.copies(Mode.INGRESS) == [frame.data for frame in way.sent]
        assert way.copies(Mode.EGRESS) == [frame.data for frame in way.received]
        inline = [Packet(frame) for frame in way.copies(Mode.INLINE)]
        sent = [Packet(frame.data) for frame in way.sent]
        for before, after in zip(sent, inline, strict=True):
            places = before.rewritten_bytes()
            assert after.without(places) == before.without(places)
            assert ip_checksum_is_true(after)
        assert l4_checksums_are_true(inline)
        self.assert_sent_on(way)
        assert_times(way)

    def assert_sent_on(self, way: Way) -> None:
        """From C's MAC to the peer's, checksums true, nothing else changed."""
        peer = self.lab.host("b" if way.direction is Direction.TO_SERVER else "a")
        cable = self.lab.host("c").cables[-1]
        received = [Packet(frame.data) for frame in way.received]
        for frame, after in zip(way.sent, received, strict=True):
            before = Packet(frame.data)
            assert after.macs == (mac(cable.mac), mac(peer.mac))
            places = before.rewritten_bytes() | set(range(12))
            assert after.without(places) == before.without(places)
            assert ip_checksum_is_true(after)
        assert l4_checksums_are_true(received)

    def send(self, *packets: Layers) -> tuple[Way, Way]:
        """A puts these on the wire as they are, below Ethernet from A to C."""
        frames = [self.frame(packet) for packet in packets]
        ways = self.exchange(lambda: self.lab.host("a").send_frames(frames), len(frames))
        assert [frame.data for frame in ways[0].sent] == frames
        return ways

    def frame(self, packet: Layers) -> bytes:
        return bytes(
            Ether(src=self.lab.host("a").mac, dst=self.lab.host("c").cables[-1].mac) / packet
        )


def assert_its_tag_is_true(record: Record) -> None:
    assert Packet(record.frame).addresses == ADDRESSES[record.direction, record.mode]
    assert record.route_id == 1


def assert_times(way: Way) -> None:
    """All copies of a packet have one time, that at which it passed."""
    times = way.taken.times(Mode.INGRESS, way.direction)
    assert way.taken.times(Mode.INLINE, way.direction) == times
    assert way.taken.times(Mode.EGRESS, way.direction) == times
    for sent, time_ns, received in zip(way.sent, times, way.received, strict=True):
        assert sent.time_ns - CLOCKS_NS < time_ns < received.time_ns + CLOCKS_NS


@pytest.fixture(scope="module", params=["native", "generic"])
def bump(request: pytest.FixtureRequest, lab_name: str) -> Iterator[Bump]:
    with Lab(f"{lab_name}-{request.param[0]}", xdp=request.param) as lab:
        appliance = lab.start_appliance()
        assert appliance.client.status()["datapath"]["mode"] == request.param
        wait_until(
            lambda: (
                "1 received" in lab.host("a").run(f"ping -c 1 -W 1 {CAPTURE}", check=False).stdout
            ),
            "a ping through the bump",
        )
        yield Bump(lab, Pages(appliance))


@pytest.fixture(autouse=True)
def one_cpu() -> Iterator[None]:
    """Frames of one sender keep their order only while it stays on its CPU."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.fixture
def silent_server(bump: Bump) -> Iterator[socket.socket]:
    """A UDP socket on B, so that B's kernel has nothing to complain about."""
    with bump.lab.host("b").socket() as service:
        service.bind((str(SERVER), PORT))
        service.settimeout(5)
        yield service


def ip(**fields: object) -> IP:
    return IP(
        **{"src": str(CLIENT), "dst": str(CAPTURE), "id": next(_ids), "flags": "DF", **fields}
    )


_ids = itertools.count(1)


def text(length: int) -> bytes:
    """No two neighbours alike, so that a shift shows."""
    return bytes(n * 7 + (n >> 8) & 0xFF for n in range(length))


def filled(length: int, *layers: Layers) -> Layers:
    """A packet whose frame is `length` bytes long, padded where it is shorter by itself."""
    packet = layers[0]
    for layer in layers[1:]:
        packet /= layer
    room = length - 14 - len(packet)
    return packet / Raw(text(room)) if room > 0 else packet


def udp(length: int, **fields: object) -> Layers:
    return filled(length, ip(), UDP(**{"sport": 40000, "dport": PORT, **fields}))


class TestRawFrames:
    def test_udp_of_every_length(self, bump: Bump, silent_server: socket.socket) -> None:
        ways = bump.send(*(udp(length) for length in LENGTHS))
        assert [len(frame.data) for frame in ways[0].received] == LENGTHS

    def test_udp_without_a_checksum_stays_without(
        self, bump: Bump, silent_server: socket.socket
    ) -> None:
        way, _ = bump.send(*(udp(length, chksum=0) for length in LENGTHS))
        for frame in way.received:
            assert Packet(frame.data).payload[6:8] == b"\0\0"

    def test_tcp_of_every_length_and_the_resets_that_answer(self, bump: Bump) -> None:
        sizes = [length for length in LENGTHS if length >= 54]
        _, back = bump.send(
            *(
                filled(length, ip(), TCP(sport=40000, dport=9, seq=length, ack=1, flags="PA"))
                for length in sizes
            )
        )
        assert len(back.sent) == len(sizes)

    def test_pings_of_every_length_and_their_answers(self, bump: Bump) -> None:
        _, back = bump.send(*(filled(length, ip(), ICMP(id=7, seq=length)) for length in LENGTHS))
        assert len(back.received) == len(LENGTHS)

    def test_short_frames_keep_their_padding(
        self, bump: Bump, silent_server: socket.socket
    ) -> None:
        padding = b"\xa5" * 18  # not zero, as some drivers leave it
        way, _ = bump.send(udp(42) / Padding(padding))
        assert way.received[0].data.endswith(padding)

    @pytest.mark.parametrize("words", [1, 5, 10])
    def test_ip_options(self, bump: Bump, silent_server: socket.socket, words: int) -> None:
        options = [IPOption(b"\x01") for _ in range(4 * words)]
        header = ip(options=options)
        packets = [
            filled(200, header, UDP(sport=40000, dport=PORT)),
            filled(1514, ip(options=options), UDP(sport=40000, dport=PORT)),
            filled(200, ip(options=options), ICMP(id=8, seq=1)),
            filled(200, ip(options=options), TCP(sport=40000, dport=9, flags="PA")),
        ]
        way, _ = bump.send(*packets)
        assert all(len(Packet(frame.data).header) == 20 + 4 * words for frame in way.received)

    def test_other_protocols_without_ports(self, bump: Bump) -> None:
        bump.send(
            *(
                filled(length, ip(proto=protocol))
                for protocol in (47, 50, 132)
                for length in (64, 900)
            )
        )

    def test_tagged_frames_keep_their_tag(self, bump: Bump) -> None:
        tags = (Dot1Q(vlan=42, prio=5), Dot1Q(vlan=1), Dot1Q(vlan=4094))
        way, _ = bump.send(
            *(
                filled(length, tag.copy(), ip(), UDP(sport=40000, dport=PORT))
                for tag in tags
                for length in (64, 700, 1518)
            )
        )
        assert [frame.data[12:16] for frame in way.received] == [
            frame.data[12:16] for frame in way.sent
        ]
        assert {frame.data[12:14] for frame in way.received} == {b"\x81\x00"}


class TestFragments:
    @pytest.mark.parametrize("first", [UDP(sport=40000, dport=PORT), TCP(dport=9), ICMP(id=9)])
    @pytest.mark.parametrize("order", ["in order", "last first"])
    def test_hand_made(
        self, bump: Bump, silent_server: socket.socket, first: Layers, order: str
    ) -> None:
        parts = fragment(ip(flags=0) / first.copy() / Raw(text(3000)), fragsize=1000)
        way, _ = bump.send(*(parts if order == "in order" else reversed(parts)))
        assert len(list(whole(Packet(frame.data) for frame in way.received))) == 1

    def test_a_tcp_checksum_in_the_second_fragment(self, bump: Bump) -> None:
        parts = fragment(ip(flags=0) / TCP(dport=9, seq=5) / Raw(text(60)), fragsize=8)
        assert len(parts) == 10
        bump.send(*parts)

    def test_4000_bytes_from_a_real_socket_and_back(
        self, bump: Bump, silent_server: socket.socket
    ) -> None:
        data = text(4000)

        def talk() -> None:
            with bump.lab.host("a").socket() as client:
                client.settimeout(5)
                client.connect((str(CAPTURE), PORT))
                client.send(data)
                arrived, sender = silent_server.recvfrom(65535)
                assert (arrived, sender[0]) == (data, str(CAPTURE))
                silent_server.sendto(arrived[::-1], sender)
                assert client.recv(65535) == data[::-1]

        there, back = bump.exchange(talk, 3, 3)
        assert [len(way.sent) for way in (there, back)] == [3, 3]


class TestRealSockets:
    def test_a_tcp_connection_both_ways(self, bump: Bump) -> None:
        up, down = text(70_000), text(90_000)[::-1]

        def talk() -> None:
            with bump.lab.host("b").socket(kind=socket.SOCK_STREAM) as listener:
                listener.bind((str(SERVER), 9000))
                listener.listen()
                with bump.lab.host("a").socket(kind=socket.SOCK_STREAM) as client:
                    client.connect((str(CAPTURE), 9000))
                    server, peer = listener.accept()
                    with server:
                        assert peer[0] == str(CAPTURE)
                        client.sendall(up)
                        assert server.recv(len(up), socket.MSG_WAITALL) == up
                        server.sendall(down)
                        assert client.recv(len(down), socket.MSG_WAITALL) == down

        there, back = bump.exchange(talk, 50, 60)
        assert max(len(frame.data) for frame in (*there.sent, *back.sent)) == 1514

    def test_pings_show_the_ttl_of_b(self, bump: Bump) -> None:
        said = []

        def talk() -> None:
            for size in (0, 8, 56, 1472, 4000):
                command = f"ping -c 1 -W 2 -s {size} {CAPTURE}"
                said.append(bump.lab.host("a").run(command).stdout)

        bump.exchange(talk, 4 + 3, 4 + 3)
        assert all("ttl=64" in each for each in said)


def test_what_a_route_asks_for_and_no_copy_more(lab_name: str) -> None:
    with Lab(f"{lab_name}-m", mgmt=False) as lab:
        for modes in (["inline"], ["ingress", "egress"], []):
            appliance = lab.start_appliance(modes=modes)
            with Pages(appliance).recording("modes") as taken:
                assert "3 received" in lab.host("a").run(f"ping -c 3 -i 0.01 {CAPTURE}").stdout
            found = {(each.mode, each.direction) for each in taken.records}
            assert found == {(Mode[mode.upper()], way) for mode in modes for way in Direction}
            assert len(taken.records) == 6 * len(modes)
            appliance.stop()
