"""Cables of the lab: veth pairs from hosts to a bridge, plain as copper.

A virtual interface likes to save work: it leaves checksums unfinished, hands
over frames of 64 KiB and carries VLAN tags beside the frame. On a wire none of
that exists, and a test that compares bytes must not meet it, so every offload
is switched off at both ends.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Interface
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.ethtool.ioctl import IoctlEthtool

import fwdcap.native
from fwdcap.datapath import libbpf
from fwdcap.errors import Unavailable
from fwdcap.lab import namespaces

BRIDGE = "br0"
PASS_OBJECT = Path(fwdcap.native.__file__).parent / "build" / "pass.bpf.o"

_OFFLOADS = (
    "rx-checksum",
    "rx-gro",
    "rx-udp-gro",
    "rx-vlan",
    "tx-checksum",
    "tx-generic-segmentation",
    "tx-gso",
    "tx-gre",
    "tx-ipxip",
    "tx-sctp",
    "tx-tcp",
    "tx-udp",
    "tx-vlan",
)


@dataclass(frozen=True)
class Cable:
    """A host's interface and the bridge port at the other end."""

    namespace: str
    interface: str
    address: IPv4Interface
    port: str
    pass_program: bool = False

    @property
    def mac(self) -> str:
        return mac_of(self.address)


def mac_of(address: IPv4Interface) -> str:
    """A locally administered MAC that shows the address it belongs to."""
    return ":".join(f"{octet:02x}" for octet in b"\x02\x00" + address.ip.packed)


def build(bridge_namespace: str, cables: tuple[Cable, ...], mtu: int) -> None:
    """Lay the cables, in their order, between namespaces that exist already."""
    namespaces.inside(bridge_namespace, lambda: _build_bridge(cables, mtu))
    for cable in cables:
        namespaces.inside(cable.namespace, partial(_bring_up_host_side, cable))
    with_program = [cable.port for cable in cables if cable.pass_program]
    if with_program:
        namespaces.inside(bridge_namespace, lambda: _attach_pass(with_program))


def cut(bridge_namespace: str) -> None:
    """Remove all cables; both ends of each are gone when this returns."""

    def delete_ports() -> None:
        with IPRoute() as ip:
            for link in ip.get_links():
                if link.get_attr("IFLA_IFNAME") != "lo":
                    ip.link("del", index=link["index"])

    namespaces.inside(bridge_namespace, delete_ports)


def features(interface: str) -> dict[str, bool]:
    """Which changeable features are on, of an interface in the caller's namespace."""
    with closing(IoctlEthtool(interface)) as ethtool:
        return {name: on for name, on, changeable, *_ in ethtool.get_features() if changeable}


def is_offload(feature: str) -> bool:
    return feature.startswith(_OFFLOADS)


def _build_bridge(cables: tuple[Cable, ...], mtu: int) -> None:
    with IPRoute() as ip:
        ip.link("add", ifname=BRIDGE, kind="bridge", br_stp_state=0, br_mcast_snooping=0)
        (bridge,) = ip.link_lookup(ifname=BRIDGE)
        for cable in cables:
            peer = {
                "ifname": cable.interface,
                "address": cable.mac,
                "mtu": mtu,
                "net_ns_fd": cable.namespace,
            }
            ip.link("add", ifname=cable.port, kind="veth", mtu=mtu, master=bridge, peer=peer)
            quieten(cable.port)
            ip.link("set", index=ip.link_lookup(ifname=cable.port)[0], state="up")
        ip.link("set", index=bridge, state="up")


def _bring_up_host_side(cable: Cable) -> None:
    quieten(cable.interface)
    with IPRoute() as ip:
        ip.link("set", index=ip.link_lookup(ifname="lo")[0], state="up")
        (index,) = ip.link_lookup(ifname=cable.interface)
        ip.link("set", index=index, state="up")
        ip.addr(
            "add",
            index=index,
            address=str(cable.address.ip),
            prefixlen=cable.address.network.prefixlen,
            broadcast=str(cable.address.network.broadcast_address),
        )


def _attach_pass(ports: list[str]) -> None:
    """By netlink, because a link would go when this process ends."""
    if not PASS_OBJECT.exists():
        raise Unavailable(
            f"The BPF object {PASS_OBJECT.name} is not built.",
            code="not-built",
            hint="Run `make build` first, or use a lab with xdp=generic.",
        )
    with closing(libbpf.open_object(PASS_OBJECT)) as loaded, IPRoute() as ip:
        loaded.load()
        program = loaded.program("fwdcap_pass")
        for port in ports:
            (index,) = ip.link_lookup(ifname=port)
            libbpf.attach_xdp_netlink(program, index, libbpf.XDP_FLAGS_DRV_MODE)
            quieten(port)  # attaching switched GRO on


def quieten(interface: str) -> None:
    """Switch every offload off, of an interface in the caller's namespace."""
    with closing(IoctlEthtool(interface)) as ethtool:
        wanted = ethtool.get_features()
        for name, on, changeable, *_ in list(wanted):
            if on and changeable and is_offload(name):
                wanted[name] = False
        ethtool.set_features(wanted)
    left = [name for name, on in features(interface).items() if on and is_offload(name)]
    if left:
        raise Unavailable(
            f"The offloads {', '.join(left)} of {interface} cannot be switched off.",
            code="offload-stays-on",
        )
