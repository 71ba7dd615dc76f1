"""The testbed itself: what a test may rely on, and that nothing of it stays."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from fwdcap.datapath import libbpf, pins
from fwdcap.errors import Invalid, NotFound, Unavailable
from fwdcap.lab import CAPTURE, CLIENT, MANAGEMENT, SERVER, STRANGER, Lab, namespaces, wiring
from fwdcap.lab.processes import end

BROADCAST = b"\xff" * 6
LOCAL_EXPERIMENTAL = b"\x88\xb5"  # an EtherType nobody else sends (IEEE 802)


@pytest.fixture
def second_lab(lab_name: str) -> Iterator[Lab]:
    """A lab of another shape beside the module's own."""
    with Lab(f"{lab_name}-2", mgmt=False, xdp="generic", extra={"d": str(STRANGER)}) as built:
        yield built


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(source: str, payload: bytes, destination: bytes = BROADCAST) -> bytes:
    return destination + mac(source) + LOCAL_EXPERIMENTAL + payload


def all_features(lab: Lab) -> dict[str, dict[str, bool]]:
    """Changeable features of every interface: host sides and bridge ports."""
    found = {}
    for host in lab.hosts:
        for cable in host.cables:
            host_side = partial(wiring.features, cable.interface)
            found[f"{host.name}/{cable.interface}"] = host.call(host_side)
            bridge_side = partial(wiring.features, cable.port)
            found[cable.port] = namespaces.inside(lab.bridge_namespace, bridge_side)
    return found


def xdp_of(lab: Lab, port: str) -> tuple[str, int] | None:
    """(mode, program id) of what is attached to a bridge port."""

    def ask() -> tuple[str, int] | None:
        with IPRoute() as ip:
            (link,) = ip.get_links(ifname=port)
            xdp = link.get_attr("IFLA_XDP")
            mode = xdp.get_attr("IFLA_XDP_ATTACHED") if xdp else None
            return (str(mode), xdp.get_attr("IFLA_XDP_PROG_ID")) if mode else None

    return namespaces.inside(lab.bridge_namespace, ask)


def mtus() -> set[int]:
    """Of all interfaces but the loopback, in the caller's namespace."""
    with IPRoute() as ip:
        links = [link for link in ip.get_links() if link.get_attr("IFLA_IFNAME") != "lo"]
    return {link.get_attr("IFLA_MTU") for link in links}


class TestTopology:
    def test_a_pings_b(self, lab: Lab) -> None:
        said = lab.host("a").run(f"ping -c 3 -i 0.01 {SERVER}").stdout
        assert "3 received" in said
        assert "ttl=64" in said

    def test_a_reaches_the_appliance(self, lab: Lab) -> None:
        for address in (CAPTURE, MANAGEMENT):
            assert "1 received" in lab.host("a").run(f"ping -c 1 {address}").stdout

    def test_arp_names_the_mac_that_shows_the_address(self, lab: Lab) -> None:
        a, b = lab.host("a"), lab.host("b")
        a.run("ip neigh flush all")
        a.run(f"ping -c 1 {SERVER}")
        assert f"{SERVER} dev eth0 lladdr 02:00:0a:4d:00:14" in a.run("ip neigh").stdout
        assert b.mac == "02:00:0a:4d:00:14"

    def test_the_main_table_prefers_the_management_interface(self, lab: Lab) -> None:
        routes = lab.host("c").run("ip route").stdout.splitlines()
        assert [line.split()[2] for line in routes] == ["mgmt0", "cap0"]
        assert f"dev mgmt0 src {MANAGEMENT}" in lab.host("c").run(f"ip route get {CLIENT}").stdout

    def test_no_offload_is_on_anywhere(self, lab: Lab) -> None:
        on = {
            (interface, name)
            for interface, features in all_features(lab).items()
            for name, is_on in features.items()
            if is_on
        }
        assert len(all_features(lab)) == 8
        assert {name for _, name in on} <= {
            "highdma",
            "tx-scatter-gather",
            "tx-scatter-gather-fraglist",
        }

    def test_the_mtu_is_1500_at_both_ends(self, lab: Lab) -> None:
        for namespace in lab.namespaces:
            assert namespaces.inside(namespace, mtus) == {1500}

    def test_only_the_peer_of_cap0_runs_a_program(self, lab: Lab) -> None:
        assert {
            port: xdp_of(lab, port) is not None for port in ("a", "b", "c-mgmt0", "c-cap0")
        } == {
            "a": False,
            "b": False,
            "c-mgmt0": False,
            "c-cap0": True,
        }
        attached = xdp_of(lab, "c-cap0")
        assert attached is not None
        assert attached[0] in ("xdp", "1")  # XDP_ATTACHED_DRV, native

    def test_nobody_routes(self, lab: Lab) -> None:
        for host in lab.hosts:
            assert host.run("cat /proc/sys/net/ipv4/ip_forward").stdout == "0\n"

    def test_it_is_quiet(self, lab: Lab) -> None:
        with lab.host("b").sniff() as sniff:
            time.sleep(0.5)
        assert sniff.frames == ()


class TestWitness:
    def test_frames_arrive_byte_for_byte(self, lab: Lab) -> None:
        a, b = lab.host("a"), lab.host("b")
        sent = [frame(a.mac, bytes([size % 251]) * size, mac(b.mac)) for size in range(46, 1501)]
        with b.sniff(direction="in") as sniff:
            a.send_frames(sent)
            sniff.wait_for(len(sent))
        assert [seen.data for seen in sniff.frames] == sent
        times = [seen.time_ns for seen in sniff.frames]
        assert times == sorted(times)
        assert abs(times[0] - time.time_ns()) < 60_000_000_000

    def test_a_vlan_tag_stays_in_the_frame(self, lab: Lab) -> None:
        a, b = lab.host("a"), lab.host("b")
        tagged = mac(b.mac) + mac(a.mac) + b"\x81\x00\x00\x2a" + LOCAL_EXPERIMENTAL + b"x" * 46
        with b.sniff(direction="in") as sniff:
            a.send_frames([tagged])
            sniff.wait_for(1)
        assert [seen.data for seen in sniff.frames] == [tagged]

    def test_an_expression_selects(self, lab: Lab) -> None:
        a = lab.host("a")
        with lab.host("b").sniff(expression="ether proto 0x88b6") as sniff:
            a.send_frames([frame(a.mac, b"not this" * 8)])
        assert sniff.frames == ()

    def test_a_bad_expression_says_so(self, lab: Lab) -> None:
        with pytest.raises(TimeoutError, match="syntax error"), lab.host("b").sniff(expression="("):
            pytest.fail("never listening")

    def test_tcp_has_true_checksums_and_no_super_frames(self, lab: Lab) -> None:
        a, b = lab.host("a"), lab.host("b")
        with ExitStack() as stack:
            listener = stack.enter_context(b.socket(socket.AF_INET, socket.SOCK_STREAM))
            listener.bind((str(SERVER), 9000))
            listener.listen()
            sniff = stack.enter_context(b.sniff(direction="in"))
            client = stack.enter_context(a.socket(socket.AF_INET, socket.SOCK_STREAM))
            client.connect((str(SERVER), 9000))
            server = stack.enter_context(listener.accept()[0])
            client.sendall(b"x" * 50_000)
            assert len(server.recv(50_000, socket.MSG_WAITALL)) == 50_000
        segments = [seen.data for seen in sniff.frames if seen.data[12:14] == b"\x08\x00"]
        assert max(map(len, segments)) == 1514
        assert all(tcp_checksum_is_true(segment) for segment in segments)


class TestCommands:
    def test_a_failed_command_shows_what_it_said(self, lab: Lab) -> None:
        with pytest.raises(subprocess.CalledProcessError) as caught:
            lab.host("a").run("ip link show nowhere")
        assert 'Device "nowhere" does not exist.' in "".join(caught.value.__notes__)

    def test_a_socket_belongs_to_its_host(self, lab: Lab) -> None:
        with lab.host("a").socket() as asked:
            asked.bind((str(CLIENT), 0))
        with lab.host("b").socket() as refused, pytest.raises(OSError, match="Cannot assign"):
            refused.bind((str(CLIENT), 0))

    def test_bpffs_is_the_same_on_every_host(self, lab: Lab) -> None:
        outside = Path("/sys/fs/bpf").stat()
        inside = lab.host("c").run("stat -c '%d %i' /sys/fs/bpf").stdout.split()
        assert inside == [str(outside.st_dev), str(outside.st_ino)]

    def test_an_unknown_host_is_named(self, lab: Lab) -> None:
        with pytest.raises(NotFound, match=r"no host z .* a, b, c"):
            lab.host("z")


class TestLife:
    def test_up_again_keeps_what_stands(self, lab: Lab) -> None:
        before = namespaces.cookie(lab.bridge_namespace)
        assert Lab(lab.name).up().hosts == lab.hosts
        assert namespaces.cookie(lab.bridge_namespace) == before

    def test_up_in_another_shape_builds_anew(self, second_lab: Lab) -> None:
        before = namespaces.cookie(second_lab.bridge_namespace)
        rebuilt = Lab(second_lab.name).up()
        assert namespaces.cookie(rebuilt.bridge_namespace) != before
        assert [host.name for host in rebuilt.hosts] == ["a", "b", "c"]
        assert not namespaces.exists(f"fwdcap-{second_lab.name}-d")

    def test_open_finds_the_shape(self, second_lab: Lab) -> None:
        assert Lab.open(second_lab.name).topology == second_lab.topology
        with pytest.raises(NotFound, match="no lab nowhere"):
            Lab.open("nowhere")

    def test_the_other_shape(self, second_lab: Lab) -> None:
        assert [cable.interface for cable in second_lab.host("c").cables] == ["cap0"]
        assert xdp_of(second_lab, "c-cap0") is None
        assert "1 received" in second_lab.host("d").run(f"ping -c 1 {SERVER}").stdout

    def test_labs_do_not_hear_each_other(self, lab: Lab, second_lab: Lab) -> None:
        with second_lab.host("b").sniff(expression="ether proto 0x88b5") as sniff:
            lab.host("a").send_frames([frame(lab.host("a").mac, b"x" * 46)])
        assert sniff.frames == ()

    def test_down_leaves_nothing(self, lab_name: str) -> None:
        lab = Lab(f"{lab_name}-3").up()
        inside = lab.namespaces
        lingering = lab.host("b").popen(["sleep", "1000"])
        lab.down()
        assert lingering.wait(1) != 0
        assert not [name for name in inside if namespaces.exists(name)]
        assert not lab.directory.exists()
        assert lab.name not in Lab.names()
        assert namespaces.processes(inside) == []
        lab.down()  # a second time finds nothing to do

    def test_down_removes_its_own_pins_only(self, lab_name: str) -> None:
        root = Path("/sys/fs/bpf/fwdcap")
        other = root / f"{lab_name}@1"
        with Lab(f"{lab_name}-6") as lab:
            own = root / f"cap0@{namespaces.cookie(lab.host('c').namespace)}" / "g1"
            for directory in (own, other):
                directory.mkdir(parents=True)
                pinned = libbpf.create_map(libbpf.MAP_TYPE_ARRAY, "test", 4, 4, 1)
                pinned.pin(directory / "map")
                pinned.close()
            assert lab.pins() == [own.parent]
        try:
            assert not own.parent.exists()
            assert (other / "map").exists()
        finally:
            pins.remove(other)

    def test_down_after_half_a_build(self, lab_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise Unavailable("no cable", code="test")

        monkeypatch.setattr(wiring, "build", fail)
        lab = Lab(f"{lab_name}-4")
        with pytest.raises(Unavailable, match="no cable"):
            lab.up()
        assert lab.name not in Lab.names()
        assert not lab.directory.exists()

    def test_building_takes_less_than_a_second(self, lab_name: str) -> None:
        took_s = []
        for _ in range(3):
            began = time.monotonic()
            with Lab(f"{lab_name}-5"):
                took_s.append(time.monotonic() - began)
        assert min(took_s) < 1

    @pytest.mark.parametrize("name", ["", "A", "a/b", "-a", "x" * 41])
    def test_a_bad_name_is_refused(self, name: str) -> None:
        with pytest.raises(Invalid, match="lab name"):
            Lab(name)

    @pytest.mark.parametrize("host", ["a", "net", "D", "d-1", ""])
    def test_a_bad_host_name_is_refused(self, host: str) -> None:
        with pytest.raises(Invalid, match="host name"):
            Lab("x", extra={host: str(STRANGER)})


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    deaf = subprocess.Popen(
        ["/bin/sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"],
        stdout=subprocess.PIPE,
    )
    assert deaf.stdout is not None
    with deaf.stdout:
        assert deaf.stdout.readline() == b"ready\n"
        end(lambda: [deaf.pid] if deaf.poll() is None else [], polite_s=0.1)
    assert deaf.returncode == -9


def tcp_checksum_is_true(packet: bytes) -> bool:
    """RFC 9293 3.1: the sum over pseudo header and segment is all ones."""
    length = int.from_bytes(packet[16:18], "big")
    header_bytes = (packet[14] & 15) * 4
    segment = packet[14 + header_bytes : 14 + length]
    pseudo = packet[26:34] + b"\x00\x06" + len(segment).to_bytes(2, "big")
    data = pseudo + segment + b"\x00" * (len(segment) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total == 0xFFFF
