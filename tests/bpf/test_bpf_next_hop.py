"""Next hops from the kernel's own tables: looked up, cached, refreshed, kept when that fails.

In a network namespace of its own, which this thread enters and leaves; without
an attached interface the program looks up in the namespace of its caller.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from harness import Bench, pack_mac
from packets import (
    EGRESS,
    NEXT_MAC,
    SERVER,
    TO_SERVER,
    Entry,
    Setup,
    Sketch,
    route,
    tcp,
    text,
)

from fwdcap.abi import Reason

CLONE_NEWNET = 0x40000000
REFRESH_NS = 250_000_000  # objects.load_program sets it
MARGIN_NS = 200_000_000

CAP_MAC = "02:00:00:00:01:01"
MGMT_MAC = "02:00:00:00:02:01"
SERVER_MAC = "02:00:00:00:00:41"
MOVED_MAC = "02:00:00:00:00:42"
GATEWAY, GATEWAY_MAC = "10.0.0.1", "02:00:00:00:00:99"
PACKET = Sketch(tcp(text(1000)))


def ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True)


def neighbour(interface: str, address: str, mac: str) -> None:
    ip("neigh", "replace", address, "lladdr", mac, "dev", interface, "nud", "permanent")


def forwarding(interface: str, on: bool) -> None:
    Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding").write_text(f"{on:d}")


@pytest.fixture
def namespace() -> Iterator[None]:
    """A network namespace for this thread, gone with the test."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as outside:
        if libc.unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare")
        try:
            yield
        finally:
            libc.setns(outside.fileno(), CLONE_NEWNET)


@pytest.fixture
def cap(namespace: None) -> str:
    """The capture interface, up, with the egress address in one subnet with the server."""
    make_interface("cap0", CAP_MAC)
    ip("addr", "add", f"{EGRESS}/16", "dev", "cap0")
    neighbour("cap0", str(SERVER), SERVER_MAC)
    return "cap0"


def make_interface(name: str, mac: str) -> None:
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
    ip("link", "set", name, "address", mac, "up")
    ip("link", "set", f"{name}-peer", "up")
    forwarding(name, True)


def unresolved(bench: Bench, interface: str) -> Entry:
    """The rule towards the server in the map, its next hop never looked up."""
    entry = route(next_hop=None).entries[0]
    bench.install(Setup((entry,)))
    bench.put_rule(entry, ifindex=socket.if_nametoindex(interface))
    bench.reset()
    return entry


def sent_macs(bench: Bench, sketch: Sketch = PACKET) -> tuple[str, str] | None:
    """(to, from) of the frame that goes out for one from the client; None when it is dropped."""
    verdict, frame = bench.send(TO_SERVER.received(sketch))
    return (frame[:6].hex(":"), frame[6:12].hex(":")) if verdict == "tx" else None


def test_the_next_hop_is_looked_up_and_kept_in_the_rule(bench: Bench, cap: str) -> None:
    entry = unresolved(bench, cap)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    rule = bench.rule(entry)
    assert rule.next_hop_dmac == pack_mac(SERVER_MAC)
    assert rule.next_hop_smac == pack_mac(CAP_MAC)
    assert rule.next_hop_mtu == 1500
    assert bench.reasons() == {}
    forwarding(cap, False)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    assert bench.rule(entry).next_hop_checked_ns == rule.next_hop_checked_ns
    assert bench.reasons() == {}


def test_the_whole_frame_is_right_with_a_next_hop_just_found(bench: Bench, cap: str) -> None:
    unresolved(bench, cap)
    verdict, frame = bench.send(TO_SERVER.received(PACKET))
    assert verdict == "tx"
    assert frame == PACKET.wire(EGRESS, SERVER, (CAP_MAC, SERVER_MAC))


def test_a_moved_mac_is_seen_after_the_refresh_interval_and_not_before(
    bench: Bench, cap: str
) -> None:
    entry = unresolved(bench, cap)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    neighbour(cap, str(SERVER), MOVED_MAC)
    bench.age_next_hop(entry, REFRESH_NS - MARGIN_NS)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    bench.age_next_hop(entry, REFRESH_NS + MARGIN_NS)
    assert sent_macs(bench) == (MOVED_MAC, CAP_MAC)
    assert bench.reasons() == {}


def remove_neighbour(interface: str) -> None:
    ip("neigh", "del", str(SERVER), "dev", interface)


def switch_forwarding_off(interface: str) -> None:
    forwarding(interface, False)


def take_link_down(interface: str) -> None:
    ip("link", "set", interface, "down")


def remove_address(interface: str) -> None:
    ip("addr", "flush", "dev", interface)


def remove_interface(interface: str) -> None:
    ip("link", "del", interface)


def prohibit(interface: str) -> None:
    ip("route", "add", "blackhole", f"{SERVER}/32")


FAILURES = [
    remove_neighbour,
    switch_forwarding_off,
    take_link_down,
    remove_address,
    remove_interface,
    prohibit,
]


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_a_failed_refresh_keeps_the_last_good_next_hop_and_is_noted(
    bench: Bench, cap: str, fail: Callable[[str], None]
) -> None:
    entry = unresolved(bench, cap)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    fail(cap)
    bench.age_next_hop(entry, REFRESH_NS + MARGIN_NS)
    aged_ns = bench.rule(entry).next_hop_checked_ns
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    assert bench.reasons() == {Reason.NOTE_NEXT_HOP_STALE: 1}
    assert bench.rule(entry).next_hop_mtu == 1500
    assert bench.rule(entry).next_hop_checked_ns > aged_ns
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    assert bench.reasons() == {Reason.NOTE_NEXT_HOP_STALE: 1}, "asked again at once"


@pytest.mark.parametrize("fail", FAILURES, ids=lambda fail: fail.__name__)
def test_what_was_never_resolved_drops_until_it_is(
    bench: Bench, cap: str, fail: Callable[[str], None]
) -> None:
    entry = unresolved(bench, cap)
    fail(cap)
    assert sent_macs(bench) is None
    assert sent_macs(bench) is None
    assert bench.reasons() == {Reason.DROP_NO_NEXT_HOP: 2}
    assert bench.tally(entry).dropped == 2


def test_what_was_never_resolved_is_looked_up_with_every_packet(bench: Bench, cap: str) -> None:
    unresolved(bench, cap)
    remove_neighbour(cap)
    assert sent_macs(bench) is None
    neighbour(cap, str(SERVER), SERVER_MAC)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)


def test_a_refresh_after_a_flap_finds_the_new_mac(bench: Bench, cap: str) -> None:
    entry = unresolved(bench, cap)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    take_link_down(cap)
    bench.age_next_hop(entry, REFRESH_NS + MARGIN_NS)
    assert sent_macs(bench) == (SERVER_MAC, CAP_MAC)
    ip("link", "set", cap, "up")
    neighbour(cap, str(SERVER), MOVED_MAC)
    bench.age_next_hop(entry, REFRESH_NS + MARGIN_NS)
    assert sent_macs(bench) == (MOVED_MAC, CAP_MAC)


def test_a_server_behind_a_gateway_is_reached_by_it(bench: Bench, cap: str) -> None:
    ip("route", "add", f"{SERVER}/32", "via", GATEWAY, "dev", cap)
    neighbour(cap, GATEWAY, GATEWAY_MAC)
    unresolved(bench, cap)
    assert sent_macs(bench) == (GATEWAY_MAC, CAP_MAC)


def test_the_way_is_looked_up_with_the_egress_address_as_source(bench: Bench, cap: str) -> None:
    """A policy rule for that address decides; for others the way is barred."""
    ip("rule", "add", "pref", "10", "from", str(EGRESS), "lookup", "100")
    ip("rule", "add", "pref", "20", "unreachable")
    ip("route", "add", f"{SERVER}/32", "via", GATEWAY, "dev", cap, "table", "100", "onlink")
    neighbour(cap, GATEWAY, GATEWAY_MAC)
    unresolved(bench, cap)
    assert sent_macs(bench) == (GATEWAY_MAC, CAP_MAC)


@pytest.mark.parametrize("preferred", ["cap0", "mgmt0"])
@pytest.mark.parametrize("used", ["cap0", "mgmt0"])
def test_two_interfaces_in_one_subnet_are_not_confused(
    bench: Bench, cap: str, used: str, preferred: str
) -> None:
    """The rule's interface is used, whatever the main table prefers."""
    make_interface("mgmt0", MGMT_MAC)
    ip("addr", "add", "10.0.1.5/16", "dev", "mgmt0")
    neighbour("mgmt0", str(SERVER), MOVED_MAC)
    for name in ("cap0", "mgmt0"):
        ip("route", "del", "10.0.0.0/16", "dev", name)
        ip("route", "add", "10.0.0.0/16", "dev", name, "metric", f"{1 + (name != preferred)}")
    unresolved(bench, used)
    expected = (SERVER_MAC, CAP_MAC) if used == "cap0" else (MOVED_MAC, MGMT_MAC)
    assert sent_macs(bench) == expected


def test_a_way_by_another_interface_alone_is_no_way(bench: Bench, cap: str) -> None:
    make_interface("mgmt0", MGMT_MAC)
    ip("addr", "add", "10.0.1.5/16", "dev", "mgmt0")
    ip("addr", "flush", "dev", cap)
    neighbour("mgmt0", str(SERVER), MOVED_MAC)
    unresolved(bench, cap)
    assert sent_macs(bench) is None
    assert bench.reasons() == {Reason.DROP_NO_NEXT_HOP: 1}


@pytest.mark.parametrize(("mtu", "relayed"), [(1040, True), (1039, False)])
def test_the_interface_s_mtu_bounds_what_is_sent(
    bench: Bench, cap: str, mtu: int, relayed: bool
) -> None:
    ip("link", "set", cap, "mtu", str(mtu))
    unresolved(bench, cap)
    assert (sent_macs(bench) is not None) == relayed
    assert bench.reasons() == ({} if relayed else {Reason.DROP_TOO_BIG: 1})


def test_a_route_s_locked_mtu_bounds_what_is_sent(bench: Bench, cap: str) -> None:
    ip("route", "add", f"{SERVER}/32", "dev", cap, "mtu", "lock", "1000")
    entry = unresolved(bench, cap)
    assert sent_macs(bench) is None
    assert bench.rule(entry).next_hop_mtu == 1000
    assert bench.reasons() == {Reason.DROP_TOO_BIG: 1}


def test_no_look_up_for_what_is_dropped_anyway(bench: Bench, cap: str) -> None:
    entry = route(next_hop=None, enabled=False).entries[0]
    bench.install(Setup((entry,)))
    bench.put_rule(entry, ifindex=socket.if_nametoindex(cap))
    bench.reset()
    assert sent_macs(bench) is None
    assert bench.reasons() == {Reason.DROP_DISABLED: 1}
    assert bench.rule(entry).next_hop_dmac == 0


def test_a_next_hop_checked_by_another_cpu_a_moment_later_is_fresh(bench: Bench, cap: str) -> None:
    """Clocks of CPUs may differ by a tick: a time to come is no reason to look up."""
    entry = unresolved(bench, cap)
    known = replace(entry, next_hop=route().entries[0].next_hop)
    bench.put_rule(known, ifindex=socket.if_nametoindex(cap))
    bench.age_next_hop(known, -MARGIN_NS)
    assert sent_macs(bench) is not None
    assert bench.rule(known).next_hop_dmac == pack_mac(NEXT_MAC)


def test_the_thread_is_back_where_it_came_from(bench: Bench) -> None:
    assert os.path.samefile("/proc/thread-self/ns/net", "/proc/self/ns/net")
    assert "cap0" not in {name for _, name in socket.if_nameindex()}
