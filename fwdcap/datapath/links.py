"""What rtnetlink says about interfaces, addresses and the programs on them.

pyroute2's sockets belong to the thread that opened them, so each call opens its
own: about a millisecond, at most once a second.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path

import pyroute2

from fwdcap.datapath.rtnetlink import rtnetlink
from fwdcap.routes.check import Facts

# As pyroute2 names the values of IFLA_XDP_ATTACHED.
_XDP_MODES = {"xdp": "native", "xdpgeneric": "generic", "xdpoffload": "offloaded"}
# <linux/sockios.h>, <linux/ethtool.h>
_SIOCETHTOOL = 0x8946
_ETHTOOL_GSET = 1
_ETHTOOL_GDRVINFO = 3


@dataclass(frozen=True)
class InterfaceInfo:
    """An interface as the kernel has it now."""

    name: str
    ifindex: int
    up: bool
    mtu: int
    mac: str
    driver: str | None
    speed_mbit: int
    addresses: tuple[IPv4Interface, ...]


@dataclass(frozen=True)
class XdpInfo:
    """The XDP program of an interface: how it is attached, and its id."""

    mode: str
    program_id: int


def interface_info(name: str) -> InterfaceInfo | None:
    """None when there is no such interface, or no longer."""
    try:
        return _interface_info(name)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise


def _interface_info(name: str) -> InterfaceInfo | None:
    with rtnetlink() as netlink:
        found = netlink.link_lookup(ifname=name)
        if not found:
            return None
        link = netlink.get_links(found[0])[0]
        return InterfaceInfo(
            name=name,
            ifindex=found[0],
            up=link.get_attr("IFLA_OPERSTATE") in ("UP", "UNKNOWN") and bool(link["flags"] & 1),
            mtu=link.get_attr("IFLA_MTU"),
            mac=link.get_attr("IFLA_ADDRESS") or "",
            driver=_driver(name),
            speed_mbit=_speed(name),
            addresses=_addresses(netlink, found[0]),
        )


def interface_name(ifindex: int) -> str:
    """The present name of an interface, '' when it is gone."""
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""


def interface_names() -> list[str]:
    """All interfaces but loopback."""
    with rtnetlink() as netlink:
        links = netlink.get_links()
        return [link.get_attr("IFLA_IFNAME") for link in links if not link["flags"] & 8]


def xdp_info(ifindex: int) -> XdpInfo | None:
    """What is attached to the interface, None for nothing."""
    try:
        with rtnetlink() as netlink:
            xdp = netlink.get_links(ifindex)[0].get_attr("IFLA_XDP")
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    if xdp is None:
        return None
    attached = xdp.get_attr("IFLA_XDP_ATTACHED")
    if not attached:
        return None
    program_id = next(
        (
            value
            for name in ("PROG_ID", "DRV_PROG_ID", "SKB_PROG_ID", "HW_PROG_ID")
            if (value := xdp.get_attr(f"IFLA_XDP_{name}"))
        ),
        0,
    )
    return XdpInfo(_XDP_MODES.get(attached, str(attached)), program_id)


def interfaces_beside(name: str) -> list[str]:
    """Other interfaces with an address in a subnet of this one."""
    with rtnetlink() as netlink:
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
        by_name: dict[str, list[IPv4Interface]] = {}
        for message in netlink.get_addr(family=2):
            address = IPv4Interface(f"{message.get_attr('IFA_LOCAL')}/{message['prefixlen']}")
            by_name.setdefault(names.get(message["index"], ""), []).append(address)
    subnets = [address.network for address in by_name.get(name, [])]
    return sorted(
        other
        for other, addresses in by_name.items()
        if other not in (name, "lo", "")
        and any(address.ip in subnet for address in addresses for subnet in subnets)
    )


def facts(interface: str) -> Facts:
    """What the check of routes has to know about this machine."""
    with rtnetlink() as netlink:
        found = netlink.link_lookup(ifname=interface)
        own = _addresses(netlink, None)
        names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in netlink.get_links()}
        places = {
            IPv4Address(message.get_attr("IFA_LOCAL")): names.get(message["index"], "")
            for message in netlink.get_addr(family=2)
        }
        mine = _addresses(netlink, found[0]) if found else ()
        gateways = {
            IPv4Address(gateway)
            for route in netlink.get_routes(family=2)
            if (gateway := route.get_attr("RTA_GATEWAY"))
        }
    return Facts(
        interface=interface,
        addresses=frozenset(address.ip for address in mine),
        own_addresses=frozenset(address.ip for address in own),
        gateways=frozenset(gateways),
        resolvers=frozenset(_resolvers()),
        ssh_peers=frozenset(_ssh_peers()),
        broadcasts=frozenset(
            address.network.broadcast_address for address in own if address.network.prefixlen < 31
        ),
        places={address: name for address, name in places.items() if name},
    )


def _addresses(netlink: pyroute2.IPRoute, ifindex: int | None) -> tuple[IPv4Interface, ...]:
    messages = (
        netlink.get_addr(family=2) if ifindex is None else netlink.get_addr(family=2, index=ifindex)
    )
    return tuple(
        IPv4Interface(f"{message.get_attr('IFA_LOCAL')}/{message['prefixlen']}")
        for message in messages
    )


def _ethtool(name: str, request: bytearray) -> bytearray | None:
    """One SIOCETHTOOL call; None where the driver does not answer it.

    The ioctl and not sysfs, because /sys shows the interfaces of the namespace
    it was mounted in.
    """
    buffer = (ctypes.c_char * len(request)).from_buffer(request)
    ifreq = struct.pack("16sP", name.encode(), ctypes.addressof(buffer)).ljust(40, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        try:
            fcntl.ioctl(handle, _SIOCETHTOOL, ifreq)
        except OSError:
            return None
    return request


def _driver(name: str) -> str | None:
    answer = _ethtool(name, bytearray(struct.pack("=I192x", _ETHTOOL_GDRVINFO)))
    return answer[4:36].split(b"\0")[0].decode() or None if answer else None


def _speed(name: str) -> int:
    """Mbit/s, 0 where the driver does not say (struct ethtool_cmd)."""
    answer = _ethtool(name, bytearray(struct.pack("=I40x", _ETHTOOL_GSET)))
    if not answer:
        return 0
    low, high = struct.unpack_from("=H", answer, 12)[0], struct.unpack_from("=H", answer, 28)[0]
    speed: int = high << 16 | low
    return 0 if speed in (0xFFFF, 0xFFFFFFFF) else speed


def _resolvers() -> set[IPv4Address]:
    try:
        lines = Path("/etc/resolv.conf").read_text().splitlines()
    except OSError:
        return set()
    words = [line.split() for line in lines]
    return {
        address
        for word in words
        if len(word) > 1 and word[0] == "nameserver" and (address := _ipv4(word[1]))
    }


def _ssh_peers() -> set[IPv4Address]:
    client = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    address = _ipv4(client)
    return {address} if address else set()


def _ipv4(text: str) -> IPv4Address | None:
    try:
        return IPv4Address(text)
    except ValueError:
        return None
