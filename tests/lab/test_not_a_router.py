"""The box relays what its routes say and is otherwise the host it was before.

Strangers get nothing relayed and nothing back, its own services answer as
before, and after a detach every setting that attaching changed is what it was.
"""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from product import Pages, wait_until
from pyroute2 import IPRoute
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw
from witness import port_sniff

from fwdcap.lab import (
    CAPTURE,
    CLIENT,
    MANAGEMENT,
    SERVER,
    STRANGER,
    Appliance,
    Frame,
    Lab,
)

SSH = 22
LAST = 0x7777


@dataclass(frozen=True)
class Box:
    """The appliance, and the stranger d beside A and B."""

    lab: Lab
    appliance: Appliance

    @property
    def mac(self) -> str:
        return self.lab.host("c").cables[-1].mac

    def reasons(self) -> dict[str, int]:
        found: dict[str, int] = self.appliance.client.status()["forwarding"]["reasons"]
        return found

    def send(self, host: str, *packets: Packet) -> None:
        """To the MAC of cap0, from that host's own."""
        ether = Ether(src=self.lab.host(host).mac, dst=self.mac)
        self.lab.host(host).send_frames([bytes(ether / packet) for packet in packets])

    def leaves(self, host: str, *packets: Packet) -> list[bytes]:
        """What the box sends by either cable, ARP aside, once it has seen these."""
        with (
            port_sniff(self.lab, "c-cap0", "not arp") as cap0,
            port_sniff(self.lab, "c-mgmt0", "not arp") as mgmt0,
        ):
            before = self.passed()
            self.send(host, *packets)
            wait_until(lambda: self.passed() >= before + len(packets), "frames at the box")
            self.send("d", IP(src=str(STRANGER), dst=str(CAPTURE)) / ICMP(id=LAST))
            wait_until(lambda: any(map(is_last, cap0.frames + mgmt0.frames)), "an answer")
        return [each.data for each in (*cap0.frames, *mgmt0.frames) if not is_last(each)]

    def passed(self) -> int:
        """Frames that no route took."""
        found = self.reasons()
        return (
            sum(n for name, n in found.items() if name.startswith("pass-"))
            + found["drop-unmatched"]
        )


def is_last(frame: Frame) -> bool:
    """The answer to the ping that comes after what is tested."""
    return frame.data[34:35] == b"\0" and frame.data[38:40] == LAST.to_bytes(2, "big")


def build(name: str, xdp: str = "native") -> Lab:
    return Lab(name, xdp=xdp, extra={"d": str(STRANGER)})  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["native", "generic"])
def box(request: pytest.FixtureRequest, lab_name: str) -> Iterator[Box]:
    with build(f"{lab_name}-{request.param[0]}", request.param) as lab:
        yield Box(lab, lab.start_appliance())


FOREIGN = [str(SERVER), str(CLIENT), "10.77.0.200", "192.0.2.1", "10.77.0.255", "224.0.0.9"]


class TestStranger:
    @pytest.mark.parametrize("destination", FOREIGN)
    def test_nothing_leaves_for_another_address(self, box: Box, destination: str) -> None:
        to = {"src": str(STRANGER), "dst": destination}
        left = box.leaves(
            "d",
            IP(**to) / UDP(sport=1, dport=2) / Raw(b"not relayed"),
            IP(**to) / TCP(sport=1, dport=9, flags="S"),
            IP(**to, ttl=1) / ICMP(),
        )
        assert left == []

    def test_a_management_address_answers_for_itself(self, box: Box) -> None:
        """As any Linux host does on any of its interfaces; it is not relayed."""
        packet = IP(src=str(STRANGER), dst=str(MANAGEMENT)) / ICMP(id=5)
        (answer,) = box.leaves("d", packet)
        assert (answer[26:30], answer[34]) == (MANAGEMENT.packed, 0)

    def test_nor_from_a_host_that_has_a_route(self, box: Box) -> None:
        packet = IP(src=str(CLIENT), dst=str(SERVER)) / UDP(dport=9) / Raw(b"x" * 20)
        assert box.leaves("a", packet) == []

    def test_nor_as_somebody_else_from_the_wrong_side(self, box: Box) -> None:
        packet = IP(src=str(STRANGER), dst=str(SERVER)) / UDP(dport=9) / Raw(b"x" * 20)
        assert box.leaves("a", packet) == []

    def test_source_routes_are_not_followed(self, box: Box) -> None:
        option = b"\x83\x07\x04" + SERVER.packed + b"\0"  # loose source route (RFC 791)
        packet = IP(src=str(STRANGER), dst=str(CAPTURE), options=[Raw(option)]) / ICMP(id=1)
        left = box.leaves("d", packet)
        assert [frame for frame in left if SERVER.packed == frame[30:34]] == []

    def test_the_boxes_own_ports_answer_it(self, box: Box) -> None:
        with box.lab.host("c").socket(kind=socket.SOCK_STREAM) as listener:
            listener.bind((str(CAPTURE), SSH))
            listener.listen()
            with box.lab.host("d").socket(kind=socket.SOCK_STREAM) as client:
                client.settimeout(5)
                client.connect((str(CAPTURE), SSH))
                accepted, peer = listener.accept()
                with accepted:
                    accepted.sendall(b"SSH-2.0")
                    assert client.recv(7) == b"SSH-2.0"
        assert peer[0] == str(STRANGER)

    def test_a_closed_port_is_refused_by_the_box(self, box: Box) -> None:
        with box.lab.host("d").socket(kind=socket.SOCK_STREAM) as client:
            client.settimeout(5)
            with pytest.raises(ConnectionRefusedError):
                client.connect((str(CAPTURE), 23))


def test_unmatched_drop_leaves_arp_and_routes(lab_name: str) -> None:
    with build(f"{lab_name}-u") as lab:
        strict = Box(lab, lab.start_appliance(settings={"interface.unmatched": "drop"}))
        a, d = lab.host("a"), lab.host("d")
        a.run("ip neigh flush all")
        d.run("ip neigh flush all")
        assert "3 received" in a.run(f"ping -c 3 -i 0.05 {CAPTURE}").stdout
        before = strict.reasons()["drop-unmatched"]
        assert " 0 received" in d.run(f"ping -c 2 -i 0.1 -W 1 {CAPTURE}", check=False).stdout
        assert f"{CAPTURE} dev eth0 lladdr {strict.mac}" in d.run("ip neigh").stdout
        assert strict.reasons()["drop-unmatched"] == before + 2

    def test_a_disabled_route_drops_without_an_answer(lab_name: str) -> None:
        """Passed on, the box's own stack would reset A's connections."""
        routes = f"""\
[[route]]
name = "off"
client = "{CLIENT}"
capture = "{CAPTURE}"
server = "{SERVER}"
modes = ["inline"]
enabled = false
"""
        with build(f"{lab_name}-o") as lab:
            box = Box(lab, lab.start_appliance(routes=routes))
            before = box.reasons()["drop-disabled"]
            with port_sniff(lab, "c-cap0", "not arp") as out:
                syn = IP(src=str(CLIENT), dst=str(CAPTURE)) / TCP(sport=1, dport=9, flags="S")
                back = IP(src=str(SERVER), dst=str(CAPTURE)) / TCP(sport=9, dport=1, flags="SA")
                box.send("a", syn)
                box.send("b", back)
                wait_until(lambda: box.reasons()["drop-disabled"] == before + 2, "both dropped")
            assert out.frames == ()


# ---- detach ----

UNUSUAL = {
    "conf/cap0/send_redirects": "1",
    "conf/cap0/arp_announce": "1",
    "conf/mgmt0/arp_ignore": "2",
    "neigh/cap0/base_reachable_time_ms": "12345",
    "neigh/cap0/ucast_solicit": "5",
    "neigh/cap0/retrans_time_ms": "777",
}


def settings_of(lab: Lab) -> dict[str, str]:
    """Every readable setting of IPv4, its interfaces and its neighbours, on c."""

    def read() -> dict[str, str]:
        found = {}
        root = Path("/proc/sys/net/ipv4")
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.stat().st_mode & 0o400:
                try:
                    found[str(path.relative_to(root))] = path.read_text()
                except OSError:
                    continue
        return found

    return lab.host("c").call(read)


def state_of(lab: Lab) -> dict[str, object]:
    """All that attaching touches, and everything beside it that it must not."""
    c = lab.host("c")

    def interfaces() -> list[tuple[object, ...]]:
        with IPRoute() as netlink:
            return [
                (
                    link.get_attr("IFLA_IFNAME"),
                    link["flags"],
                    link.get_attr("IFLA_MTU"),
                    link.get_attr("IFLA_PROMISCUITY"),
                    link.get_attr("IFLA_XDP").get_attr("IFLA_XDP_ATTACHED"),
                )
                for link in netlink.get_links()
            ]

    commands = (
        "ip rule",
        "ip route show table all",
        "ip neigh show nud permanent",
        "ip address",
        "ethtool -k cap0",
        "ethtool -k mgmt0",
        "ethtool -g cap0",
        "ethtool -l cap0",
    )
    said = {command: c.run(command, check=False).stdout.splitlines() for command in commands}
    managed = [line for line in c.run("ip -d neigh").stdout.splitlines() if "managed" in line]
    return {
        "settings": settings_of(lab),
        "interfaces": c.call(interfaces),
        "managed": managed,
        "pins": lab.pins(),
        "saved": lab.saved_settings(),
        **said,
    }


def detach(lab: Lab, appliance: Appliance, how: str) -> None:
    fwdcap = [sys.executable, "-m", "fwdcap", "--control", str(appliance.control)]
    if how == "after a crash":
        appliance.stop(signal.SIGKILL)
        lab.host("c").run([*fwdcap, "datapath", "detach"])
    else:
        said = lab.host("c").run([*fwdcap, "datapath", "detach"]).stdout
        assert "nothing is forwarded any more" in said


@pytest.mark.parametrize("how", ["by the daemon", "after a crash"])
@pytest.mark.parametrize("xdp", ["native", "generic"])
def test_detach_restores_everything(lab_name: str, xdp: str, how: str) -> None:
    with build(f"{lab_name}-{xdp[0]}{how[0]}", xdp) as lab:
        c = lab.host("c")
        for name, value in UNUSUAL.items():
            c.call(lambda name=name, value=value: write(name, value))
        c.run("ethtool -K cap0 gro on rxvlan on", check=False)
        c.run(f"ip neigh replace {STRANGER} lladdr 02:00:00:00:00:01 dev cap0 nud permanent")
        before = state_of(lab)
        appliance = lab.start_appliance()
        during = state_of(lab)
        assert during["ip rule"] != before["ip rule"]
        assert during["interfaces"] != before["interfaces"]
        assert during["ethtool -k cap0"] != before["ethtool -k cap0"]
        assert during["managed"]
        assert during["saved"]
        changed = {
            key
            for key, value in settings_of(lab).items()
            if value != before["settings"][key]  # type: ignore[index]
        }
        assert {"conf/cap0/forwarding", "neigh/cap0/base_reachable_time_ms"} <= changed
        lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}")
        detach(lab, appliance, how)
        after = state_of(lab)
        for part, value in before.items():
            assert after[part] == value, part
        said = lab.host("a").run(f"ping -c 1 -W 1 {CAPTURE}").stdout
        assert "1 received" in said  # by the box itself, as before


def write(name: str, value: str) -> None:
    Path("/proc/sys/net/ipv4", name).write_text(value)


def test_a_capture_is_stopped_by_detach_and_kept(lab_name: str) -> None:
    with build(f"{lab_name}-c") as lab:
        appliance = lab.start_appliance()
        pages = Pages(appliance)
        pages.start("kept")
        assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout
        detach(lab, appliance, "by the daemon")
        assert pages.status()["capture_active"] == "false"
        assert pages.streams()[0][2] == 2 * 2 * 3
