"""The bodies that the control API answers with, from values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fwdcap import abi
from fwdcap.capture.counters import word
from fwdcap.capture.notice import Notice
from fwdcap.control.backend import Interface
from fwdcap.control.kernel import View
from fwdcap.control.recent import Seen
from fwdcap.routes.model import Route, RuleKey, expand, route_dict

Body = dict[str, Any]

_DROP = "drop-"
# A finished checksum looks like an unfinished one in one packet of 65,536.
_FOUR_TIMES_CHANCE = 65536 // 4


def datapath(view: View, link_since_ns: int) -> Body:
    """The `datapath` object of GET /status."""
    info = view.info
    up = info is not None and info.up
    return {
        "interface": view.interface,
        "state": view.state,
        "mode": view.mode,
        "why": view.why,
        "addresses": [str(address) for address in info.addresses] if info else [],
        "link": "up" if up else "down",
        "link_speed_mbit": info.speed_mbit if info else 0,
        "link_since_ns": link_since_ns if up else 0,
        "mtu": info.mtu if info else None,
        "driver": info.driver if info else None,
        "ring_used_bytes": view.ring_used_bytes,
        "ring_bytes": view.ring_bytes,
    }


def interface(info: Interface, view: View) -> Body:
    """One entry of GET /interfaces; `datapath` is the state of ours on it, None for none."""
    return {
        "name": info.name,
        "link": "up" if info.up else "down",
        "link_speed_mbit": info.speed_mbit,
        "mtu": info.mtu,
        "driver": info.driver,
        "addresses": [str(address) for address in info.addresses],
        "datapath": view.state if view.interface == info.name else None,
    }


def datapath_detail(view: View, link_since_ns: int) -> Body:
    """One entry of GET /datapath: the above, and what is inside."""
    return {
        **datapath(view, link_since_ns),
        "pins": str(view.pins) if view.pins else None,
        "rules": len(view.rules),
        "forwarding": forwarding(view),
    }


def attached(view: View) -> str:
    """The sentence for a data path that is attached."""
    why = f": {view.why.rstrip('.')}" if view.why else ""
    return f"attached to {view.interface} in {view.mode} mode{why}"


def forwarding(view: View) -> Body:
    """The `forwarding` object: what the data path did since it was attached."""
    reasons = {
        word(reason): count
        for reason, count in view.reasons.items()
        if reason is not abi.Reason.FORWARDED
    }
    return {
        "packets": sum(counters.forwarded_packets for counters in view.counters.values()),
        "bytes": sum(counters.forwarded_bytes for counters in view.counters.values()),
        "dropped": sum(count for name, count in reasons.items() if name.startswith(_DROP)),
        "reasons": reasons,
    }


def routes(table: Sequence[Route], ids: Mapping[str, int], view: View) -> list[Body]:
    """The `routes` list: each route with the counters of its two rules."""
    return [_route(route, ids[route.name], view) for route in table]


def _route(route: Route, route_id: int, view: View) -> Body:
    ways = {rule.direction: rule.key for rule in expand(route, route_id)}
    return {
        **route_dict(route, route_id),
        "to_server": _way(ways[abi.Direction.TO_SERVER], route_id, view),
        "to_client": _way(ways[abi.Direction.TO_CLIENT], route_id, view),
    }


def _way(key: RuleKey, route_id: int, view: View) -> Body:
    rule = view.rules.get(key)
    ours = rule is not None and rule.route_id == route_id
    found = view.counters.get(key) if ours else None
    counters = found if found is not None else abi.RuleCounters()
    return {
        "matched_packets": counters.matched_packets,
        "matched_bytes": counters.matched_bytes,
        "forwarded_packets": counters.forwarded_packets,
        "forwarded_bytes": counters.forwarded_bytes,
        "dropped_packets": counters.dropped_packets,
        "recorded_packets": _by_mode(list(counters.recorded_packets)),
        "lost_packets": _by_mode(list(counters.lost_packets)),
    }


def _by_mode(counts: Sequence[int]) -> dict[str, int]:
    return {word(mode): int(counts[place]) for place, mode in enumerate(abi.Mode)}


def about_senders(seen: Seen) -> Iterable[Notice]:
    """What the counters say about the senders' interfaces."""
    reasons, by_chance = seen.reasons, seen.matched // _FOUR_TIMES_CHANCE
    if reasons.get(abi.Reason.NOTE_UNFINISHED_CHECKSUM, 0) > 3 + by_chance:
        yield Notice(
            "unfinished-checksum",
            "Packets arrive with unfinished checksums, their receivers will throw them away.",
            "Switch checksum offload off where they are sent: `ethtool -K IFACE tx off`.",
        )
    if reasons.get(abi.Reason.DROP_SUPER_FRAME, 0):
        yield Notice(
            "super-frame",
            "Frames larger than the MTU arrive and are dropped.",
            "Switch segmentation offload off where they are sent: "
            "`ethtool -K IFACE tso off gso off`.",
        )


def about_next_hops(seen: Seen, interface: str | None) -> Iterable[Notice]:
    """What they say about the way to the routes' client and server."""
    if seen.reasons.get(abi.Reason.DROP_NO_NEXT_HOP, 0):
        name = interface or "IFACE"
        yield Notice(
            "no-next-hop",
            "Packets were dropped because their next hop never answered.",
            "See whether the routes' client and server can be reached: `ip neigh`; "
            f"if it is in another subnet, add a route through {name}: "
            f"`ip route add SUBNET via GATEWAY dev {name}`.",
        )
