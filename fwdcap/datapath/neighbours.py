"""Next hops the kernel shall always know.

The program reads the neighbour table and cannot send ARP itself, so the next
hop of every rule is installed as a *managed* neighbour: the kernel resolves it
and keeps it resolved without traffic. *extern_learn* protects it from garbage
collection. A link that goes down deletes both kinds; `keep` puts them back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError

from fwdcap.datapath.rtnetlink import rtnetlink

_NTF_EXT_LEARNED = 0x10
_NTF_EXT_MANAGED = 1  # not among pyroute2's constants
_RTM_F_FIB_MATCH = 0x2000
_NUD_PERMANENT = 0x80
_AF_INET = 2


@dataclass(frozen=True)
class Way:
    """Where rules send: the look-up the program does as well."""

    source: IPv4Address
    destination: IPv4Address
    ifindex: int


def next_hops(ways: Iterable[Way]) -> dict[Way, IPv4Address]:
    """The neighbour each way leads over; without those that have no route."""
    with rtnetlink() as netlink:
        return {way: hop for way in set(ways) if (hop := _next_hop(netlink, way))}


def keep(ifindex: int, wanted: frozenset[IPv4Address]) -> list[IPv4Address]:
    """Install what is missing, release what is no longer wanted; returns what was missing."""
    if not ifindex:
        return []  # a dump for index 0 would be one of all interfaces
    with rtnetlink() as netlink:
        managed, permanent = _there(netlink, ifindex)
        missing = sorted(wanted - managed - permanent)
        for address in missing:
            netlink.neigh(
                "replace",
                dst=str(address),
                ifindex=ifindex,
                state=0,
                flags=_NTF_EXT_LEARNED,
                flags_ext=_NTF_EXT_MANAGED,
            )
        for address in managed - wanted:
            _release(netlink, ifindex, address)
    return missing


def _next_hop(netlink: pyroute2.IPRoute, way: Way) -> IPv4Address | None:
    try:
        answers = netlink.route(
            "get",
            dst=str(way.destination),
            src=str(way.source),
            oif=way.ifindex,
            flags=_RTM_F_FIB_MATCH,
        )
    except NetlinkError:
        return None
    for answer in answers:
        if gateway := answer.get_attr("RTA_GATEWAY"):
            return IPv4Address(gateway)
        return way.destination
    return None


def _there(netlink: pyroute2.IPRoute, ifindex: int) -> tuple[set[IPv4Address], set[IPv4Address]]:
    """What we manage, and what somebody set by hand, which is left alone."""
    managed, permanent = set(), set()
    for entry in netlink.get_neighbours(family=_AF_INET, ifindex=ifindex):
        address = IPv4Address(entry.get_attr("NDA_DST"))
        ours = (entry.get_attr("NDA_FLAGS_EXT") or 0) & _NTF_EXT_MANAGED
        if ours and entry["flags"] & _NTF_EXT_LEARNED:
            managed.add(address)
        elif entry["state"] & _NUD_PERMANENT:
            permanent.add(address)
    return managed, permanent


def _release(netlink: pyroute2.IPRoute, ifindex: int, address: IPv4Address) -> None:
    with contextlib.suppress(NetlinkError):  # gone already, with the link or by hand
        netlink.neigh("del", dst=str(address), ifindex=ifindex)
