"""The data path through what interfaces and other people do to it.

Deleted and made again, renamed, its settings changed behind its back, killed in
the middle: each with the real objects in a network namespace.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pyroute2
import pytest
from pyroute2 import netns

from fwdcap.control.backend import real
from fwdcap.control.kernel import Kernel
from fwdcap.datapath import datapath, libbpf, pins, settings
from fwdcap.datapath.datapath import Datapath
from fwdcap.errors import Conflict
from fwdcap.lab import namespaces
from fwdcap.routes.model import Mode, Route, expand_all
from fwdcap.routes.plan import plan

RING_BYTES = 1 << 17
ROUTE = Route(
    name="r",
    client=IPv4Address("10.66.0.10"),
    capture=IPv4Address("10.66.0.1"),
    server=IPv4Address("10.66.0.20"),
    modes=frozenset({Mode.INLINE}),
)

Inside = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def inside() -> Iterator[Inside]:
    """Calls functions in a namespace of its own that has the interface x0."""
    name = f"fwdcap-dp-{os.getpid()}"
    netns.create(name)
    try:
        namespaces.inside(name, make_interface)
        yield lambda function: namespaces.inside(name, function)
        namespaces.inside(name, lambda: [datapath.clear_away(x) for x in ("x0", "y0")])
    finally:
        netns.remove(name)


def make_interface() -> None:
    with pyroute2.IPRoute() as netlink:
        netlink.link("add", ifname="x0", kind="veth", peer="x1")
        for name in ("x0", "x1"):
            netlink.link("set", ifname=name, state="up")
        index = netlink.link_lookup(ifname="x0")[0]
        netlink.addr("add", index=index, address="10.66.0.1", prefixlen=24)


def delete_interface() -> None:
    with pyroute2.IPRoute() as netlink:
        netlink.link("del", ifname="x0")


def rename_interface() -> None:
    with pyroute2.IPRoute() as netlink:
        netlink.link("set", index=netlink.link_lookup(ifname="x0")[0], ifname="y0")


def attach(name: str = "x0") -> Datapath:
    path = Datapath.attach(name, ring_bytes=RING_BYTES)
    path.apply(plan(path.rules(), expand_all([ROUTE], {"r": 1})))
    return path


def egress_interfaces(path: Datapath) -> set[int]:
    return {value.egress_ifindex for _, value in path._values()}


def strangers_rules() -> str:
    return subprocess.run(["ip", "rule"], capture_output=True, text=True, check=True).stdout


def forwarding(interface: str) -> str:
    return Path(f"/proc/sys/net/ipv4/conf/{interface}/forwarding").read_text().strip()


def test_an_interface_made_again_while_no_daemon_ran_gets_rules_that_leave_by_it(
    inside: Inside,
) -> None:
    def scene() -> None:
        attach().close()
        delete_interface()
        make_interface()
        path = attach()
        assert egress_interfaces(path) == {path.ifindex}
        path.detach()

    inside(scene)


def test_an_interface_that_comes_and_goes_never_ends_the_tick(inside: Inside) -> None:
    def scene() -> None:
        path = attach()
        for _ in range(5):
            delete_interface()
            assert path.tend() == []
            make_interface()
            assert path.tend() == ["Interface x0 is back; attached to it again."]
            assert egress_interfaces(path) == {path.ifindex}
        path.detach()

    inside(scene)


def test_what_is_written_after_a_removal_waits_for_running_programs(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel gives a gone rule's memory to the next one, whoever still reads it: 0016."""
    other = replace(
        ROUTE, name="s", client=IPv4Address("10.66.0.11"), server=IPv4Address("10.66.0.21")
    )
    tables = ([ROUTE], [other], [ROUTE, other], [ROUTE])

    def scene() -> list[list[str]]:
        path = Datapath.attach("x0", ring_bytes=RING_BYTES)
        calls = noted_calls(path, monkeypatch)
        seen = []
        for table in tables:
            calls.clear()
            path.apply(plan(path.rules(), expand_all(table, {"r": 1, "s": 2})))
            seen.append([call for call in calls if call.split()[1] in ("rules4", "rings")])
        path.detach()
        return seen

    first, exchanged, added, removed = inside(scene)
    assert first == ["put rules4", "put rules4"]  # no memory was freed: nothing to wait for
    assert exchanged.count("remove rules4") == 2
    assert added == ["put rings", "put rules4", "put rules4"]  # for the removals before it
    assert removed == ["remove rules4", "remove rules4"]
    for step, call in enumerate(exchanged):
        latest = exchanged[:step][::-1]
        if call == "put rules4" and "remove rules4" in latest:
            assert "put rings" in latest[: latest.index("remove rules4")]


def noted_calls(path: Datapath, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows with every write to a map, `put rules4`."""
    names = {opened.fd: name for name, opened in path._objects.maps.items()}
    put, remove = libbpf.Map.put, libbpf.Map.remove
    calls: list[str] = []

    def noted_put(self: libbpf.Map, key: bytes, value: bytes) -> None:
        calls.append(f"put {names[self.fd]}")
        put(self, key, value)

    def noted_remove(self: libbpf.Map, key: bytes) -> bool:
        calls.append(f"remove {names[self.fd]}")
        return remove(self, key)

    monkeypatch.setattr(libbpf.Map, "put", noted_put)
    monkeypatch.setattr(libbpf.Map, "remove", noted_remove)
    return calls


def test_a_renamed_interface_keeps_its_data_path_and_is_no_router(inside: Inside) -> None:
    def scene() -> None:
        path = attach()
        rename_interface()
        assert path.tend() == ["Interface x0 is called y0 now; name it so in [interface] name."]
        assert (path.interface, path.pins) == ("y0", pins.generation_directory("y0"))
        assert "iif y0 blackhole" in strangers_rules()
        assert "x0" not in strangers_rules()
        assert path.detach() == []
        assert forwarding("y0") == "0"
        assert "blackhole" not in strangers_rules()

    inside(scene)


def test_a_daemon_adopts_what_was_attached_under_another_name(inside: Inside) -> None:
    def scene() -> None:
        path = attach()
        before = path.ifindex
        path.close()
        rename_interface()
        path = attach("y0")
        assert path.ifindex == before
        assert pins.pinned_interfaces() == ["y0"]
        assert path.detach() == []
        assert forwarding("y0") == "0"

    inside(scene)


def test_what_others_change_is_put_back(inside: Inside) -> None:
    def scene() -> None:
        path = attach()
        subprocess.run(["ip", "rule", "del", "priority", "5"], check=True)
        Path("/proc/sys/net/ipv4/conf/x0/forwarding").write_text("0")
        assert path.tend() == [
            "The rule that keeps x0 from routing was gone; it is back.",
            "Somebody changed net/ipv4/conf/x0/forwarding; it is 1 again.",
        ]
        assert path.tend() == []
        assert "iif x0 blackhole" in strangers_rules()
        path.detach()
        assert forwarding("x0") == "0"

    inside(scene)


def test_what_a_detach_cut_short_left_can_be_cleared_away(inside: Inside) -> None:
    def scene() -> None:
        attach().close()
        (pins.generation_directory("x0") / "link").unlink()
        assert Datapath.open("x0") is None
        assert datapath.clear_away("x0") == []
        assert forwarding("x0") == "0"
        assert not settings.left_behind("x0")
        assert datapath.clear_away("x0") is None

    inside(scene)


def test_a_second_daemon_is_refused_before_it_touches_anything(
    inside: Inside, tmp_path: Path
) -> None:
    from fwdcap.config import load

    def scene() -> None:
        options = {"interface.name": "x0", "ring.bytes": str(RING_BYTES)}
        first, second = (Kernel(load(None, options), real()) for _ in range(2))
        first.attach("x0")
        before = attached_program()
        with pytest.raises(Conflict, match="Another fwdcap daemon has interface x0"):
            second.attach("x0")
        assert attached_program() == before
        first.detach()
        first.close()

    inside(scene)


def attached_program() -> int:
    from fwdcap.datapath import links

    with pyroute2.IPRoute() as netlink:
        index = netlink.link_lookup(ifname="x0")[0]
    attached = links.xdp_info(index)
    assert attached
    return attached.program_id


def test_a_mode_that_cannot_be_had_now_is_said(inside: Inside) -> None:
    def scene() -> None:
        attach().close()
        path = Datapath.attach("x0", xdp="generic", ring_bytes=RING_BYTES)
        said = path.tend()
        assert said == [
            "x0 stays attached in native mode; generic mode will be used after "
            "`fwdcap datapath detach`."
        ]
        path.detach()

    inside(scene)
