"""Next hops that flap, move, are set by hand, or are not there yet.

The bounds are those that fwdcap/datapath/settings.py and docs/architecture.md
state. A flow from A to B, with B silent, runs all the time: nothing but the
kernel's own questions can tell the box where B has gone.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from flow import Trickle
from product import wait_until
from witness import mac, port_sniff

from fwdcap.lab import CLIENT, SERVER, Appliance, Lab, namespaces

MOVED_S = 11  # ten, and up to a second for the tick and this machine
FLAPPED_S = 1
APPEARED_S = 8  # the kernel asks for a managed neighbour again every five seconds
PUT_BACK_S = 3  # fwdcapd looks every second
DOWN_S = 0.3


@dataclass(frozen=True)
class Hops:
    lab: Lab
    appliance: Appliance

    def neighbours(self) -> dict[str, str]:
        """On cap0 by address, as `ip neigh` prints them."""
        lines = self.lab.host("c").run("ip -d neigh show dev cap0").stdout.splitlines()
        return {line.split()[0]: line for line in lines}

    def managed(self) -> set[str]:
        return {address for address, line in self.neighbours().items() if "managed" in line}

    def flap(self, where: str) -> float:
        """Take the link of cap0 down and up, at our end or the other; returns when it came up."""
        for state in ("down", "up"):
            if where == "our end":
                self.lab.host("c").run(f"ip link set cap0 {state}")
            else:
                self._far_end(state)
            moment_s = time.monotonic()
            if state == "down":
                time.sleep(DOWN_S)
        return moment_s

    def move_server(self, address: str) -> float:
        """Give B another MAC address behind everybody's back; returns when."""
        self.lab.host("b").run(f"ip link set eth0 address {address}")
        return time.monotonic()

    def _far_end(self, state: str) -> None:
        words = namespaces.command(
            self.lab.bridge_namespace, ["ip", "link", "set", "c-cap0", state]
        )
        subprocess.run(words, check=True)


@contextmanager
def hops(name: str, xdp: str) -> Iterator[Hops]:
    with Lab(name, xdp=xdp) as lab:  # type: ignore[arg-type]
        found = Hops(lab, lab.start_appliance())
        wait_until(lambda: found.managed() == {str(CLIENT), str(SERVER)}, "managed neighbours")
        yield found


@pytest.mark.parametrize("xdp", ["native", "generic"])
def test_a_flapping_link(lab_name: str, xdp: str) -> None:
    """Forwarding resumes with the link, with fwdcapd and without; neighbours are put back."""
    with hops(f"{lab_name}-f{xdp[0]}", xdp) as box, Trickle(box.lab) as flow:
        flow.resumes_after(time.monotonic(), 5)
        for where in ("our end", "the other end"):
            moment_s = box.flap(where)
            assert flow.resumes_after(moment_s, FLAPPED_S) < FLAPPED_S
            wait_until(lambda: len(box.managed()) == 2, "neighbours put back", PUT_BACK_S)
        box.appliance.stop(signal.SIGKILL)
        for where in ("our end", "the other end"):
            moment_s = box.flap(where)
            assert flow.resumes_after(moment_s, FLAPPED_S) < FLAPPED_S


def test_a_mac_address_that_moves(lab_name: str) -> None:
    """Noticed within the stated bound: also after a flap, and with fwdcapd killed."""
    with hops(f"{lab_name}-m", "native") as box, Trickle(box.lab) as flow:
        flow.resumes_after(time.monotonic(), 5)
        with box.lab.host("b").sniff("", "arp", "out") as spoken:
            moment_s = box.move_server("02:00:00:00:0b:01")
            assert flow.resumes_after(moment_s, MOVED_S) < MOVED_S
        # B did no more than answer: the box asked.
        assert {frame.data[20:22] for frame in spoken.frames} == {b"\0\x02"}
        box.flap("our end")
        wait_until(lambda: len(box.managed()) == 2, "neighbours put back", PUT_BACK_S)
        box.appliance.stop(signal.SIGKILL)
        moment_s = box.move_server("02:00:00:00:0b:02")
        assert flow.resumes_after(moment_s, MOVED_S) < MOVED_S


def test_a_neighbour_set_by_hand_is_left_alone(lab_name: str) -> None:
    by_hand = "02:00:00:00:0b:03"
    with Lab(f"{lab_name}-h") as lab:
        c = lab.host("c")
        c.run(f"ip neigh replace {SERVER} lladdr {by_hand} dev cap0 nud permanent")
        box = Hops(lab, lab.start_appliance())
        wait_until(lambda: box.managed() == {str(CLIENT)}, "the other one managed")
        for _ in range(2):
            with port_sniff(lab, "c-cap0", f"udp and dst {SERVER}") as out, Trickle(lab) as flow:
                out.wait_for(20)
            assert {frame.data[:6] for frame in out.frames} == {mac(by_hand)}
            assert not flow.arrived
            time.sleep(1.1)  # a tick of fwdcapd
        assert box.neighbours()[str(SERVER)] == f"{SERVER} lladdr {by_hand} PERMANENT "
        c.run(f"ip neigh del {SERVER} dev cap0")
        with Trickle(lab) as flow:
            assert flow.resumes_after(time.monotonic(), PUT_BACK_S) < PUT_BACK_S


def test_a_server_that_is_not_there_yet(lab_name: str) -> None:
    """Its packets are counted as dropped for that reason, then flow when it comes."""
    with Lab(f"{lab_name}-n") as lab:
        b = lab.host("b")
        b.run("ip link set eth0 down")
        appliance = lab.start_appliance()

        def dropped() -> int:
            return int(appliance.client.status()["forwarding"]["reasons"]["drop-no-next-hop"])

        with Trickle(lab) as flow:
            wait_until(lambda: dropped() > 100, "drops for want of a next hop")
            assert not flow.arrived
            (route,) = appliance.client.status()["routes"]
            assert route["to_server"]["forwarded_packets"] == 0
            b.run("ip link set eth0 up")
            moment_s = time.monotonic()
            assert flow.resumes_after(moment_s, APPEARED_S) < APPEARED_S
            before = dropped()
            time.sleep(0.5)
            assert dropped() == before
