"""Management and capture interface in one subnet, as on a cloud instance.

The main routing table prefers mgmt0, which is what relayed packets and ARP
answers must not do: the cloud drops what leaves by the wrong interface.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from product import Pages, wait_until
from scapy.layers.l2 import ARP, Ether
from witness import mac, port_sniff

from fwdcap.lab import CAPTURE, CLIENT, MANAGEMENT, SERVER, STRANGER, Appliance, Frame, Lab

BROADCAST = "ff:ff:ff:ff:ff:ff"
PAIRS = {(CAPTURE, SERVER), (CAPTURE, CLIENT)}


@dataclass(frozen=True)
class Twin:
    lab: Lab
    appliance: Appliance

    def mac(self, interface: str) -> bytes:
        (found,) = (c.mac for c in self.lab.host("c").cables if c.interface == interface)
        return mac(found)


@pytest.fixture(scope="module", params=["native", "generic"])
def twin(request: pytest.FixtureRequest, lab_name: str) -> Iterator[Twin]:
    name = f"{lab_name}-{request.param[0]}"
    with Lab(name, xdp=request.param, extra={"d": str(STRANGER)}) as lab:
        routes = lab.host("c").run("ip route").stdout.splitlines()
        assert "dev mgmt0" in routes[0]
        appliance = lab.start_appliance()
        assert appliance.client.status()["datapath"]["mode"] == request.param
        yield Twin(lab, appliance)


def addresses(frame: Frame) -> tuple[IPv4Address, IPv4Address]:
    return IPv4Address(frame.data[26:30]), IPv4Address(frame.data[30:34])


def test_nothing_relayed_leaves_by_the_management_interface(twin: Twin) -> None:
    a, lab = twin.lab.host("a"), twin.lab
    with (
        port_sniff(lab, "c-cap0", "ip") as cap0,
        port_sniff(lab, "c-mgmt0") as mgmt0,
        Pages(twin.appliance).recording("twin") as taken,
    ):
        assert "50 received" in a.run(f"ping -c 50 -i 0.01 {CAPTURE}").stdout
        assert "5 received" in a.run(f"ping -c 5 -i 0.01 -s 4000 {CAPTURE}").stdout
        cap0.wait_for(2 * 50 + 2 * 5 * 3)
    assert [frame for frame in mgmt0.frames if frame.data[12:14] == b"\x08\x00"] == []
    assert {addresses(frame) for frame in cap0.frames} == PAIRS
    assert {frame.data[6:12] for frame in cap0.frames} == {twin.mac("cap0")}
    assert len(taken.records) == 3 * len(cap0.frames)


@pytest.mark.parametrize("asker", ["a", "b", "d"])
def test_arp_for_the_capture_address_is_answered_on_cap0_only(twin: Twin, asker: str) -> None:
    host = twin.lab.host(asker)
    for asked, interface in ((CAPTURE, "cap0"), (MANAGEMENT, "mgmt0")):
        question = Ether(src=host.mac, dst=BROADCAST) / ARP(
            op="who-has", hwsrc=host.mac, psrc=str(host.address), pdst=str(asked)
        )
        answers = f"arp[6:2] = 2 and arp src host {asked}"
        with host.sniff("", answers, "in") as seen:
            host.send_frames([bytes(question)] * 3)
            seen.wait_for(3)
        assert [frame.data[6:12] for frame in seen.frames] == [twin.mac(interface)] * 3
        assert {frame.data[22:28] for frame in seen.frames} == {twin.mac(interface)}


def test_its_own_questions_name_the_interface_they_leave_by(twin: Twin) -> None:
    """Else a peer would learn the capture address at the management MAC."""
    c = twin.lab.host("c")
    own = {"cap0": CAPTURE, "mgmt0": MANAGEMENT}
    with port_sniff(twin.lab, "c-cap0", "arp") as cap0, port_sniff(twin.lab, "c-mgmt0", "arp") as m:
        for source in own.values():
            c.run("ip neigh flush all")
            c.run(f"ping -c 1 -W 1 -I {source} {STRANGER}", check=False)
        wait_until(lambda: m.frames, "a question of the box on mgmt0")
        wait_until(lambda: cap0.frames, "a question for a next hop on cap0", 10)
    for interface, frames in (("cap0", cap0.frames), ("mgmt0", m.frames)):
        for frame in frames:
            assert frame.data[22:28] == frame.data[6:12] == twin.mac(interface)
            assert IPv4Address(frame.data[28:32]) == own[interface]


def test_the_management_address_stays_reachable(twin: Twin) -> None:
    """By its own interface, from hosts with and without a route."""
    for host in ("a", "d"):
        with port_sniff(twin.lab, "c-mgmt0", "icmp") as mgmt0:
            said = twin.lab.host(host).run(f"ping -c 3 -i 0.05 {MANAGEMENT}").stdout
            assert "3 received" in said
        assert len(mgmt0.frames) == 3
