"""Routes and rules as values.

A route is what a user writes: machine A (client) talks to an address of ours
(capture), and we relay to machine B (server) from another or the same address of
ours (egress). A rule is one direction of it as the kernel knows it:

    client A → capture C   becomes   egress E → server B
    server B → egress  E   becomes   capture C → client A

Every route has exactly these two rules, so that the way back can never be
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Literal, TypeAlias

from fwdcap import abi

Mode: TypeAlias = abi.Mode
Ttl = Literal["keep", "decrement"]


@dataclass(frozen=True)
class Route:
    """One [[route]] of routes.toml; `egress` is None where the file names none."""

    name: str
    client: IPv4Address
    capture: IPv4Address
    server: IPv4Address
    modes: frozenset[Mode]
    egress: IPv4Address | None = None
    enabled: bool = True
    ttl: Ttl = "keep"

    @property
    def egress_address(self) -> IPv4Address:
        """The address of ours that the server sees."""
        return self.egress or self.capture


@dataclass(frozen=True)
class RuleKey:
    """What a rule matches; `interface` is the slot of the capture interface."""

    interface: int
    source: IPv4Address
    destination: IPv4Address

    @property
    def order(self) -> tuple[int, int, int]:
        """Sorts keys; cheaper than comparing address objects."""
        return self.interface, int(self.source), int(self.destination)


@dataclass(frozen=True)
class Rule:
    """One direction of a route; `modes` and `flags` are or-ed bits of abi's enums."""

    key: RuleKey
    new_source: IPv4Address
    new_destination: IPv4Address
    route_id: int
    action: abi.Action
    modes: int
    direction: abi.Direction
    flags: int


def expand(route: Route, route_id: int, interface: int = 0) -> tuple[Rule, Rule]:
    """The two rules of a route: to the server, to the client.

    A disabled route has rules too: they drop, because packets passed on would be
    answered with resets by our own stack.
    """
    action = abi.Action.TRANSMIT if route.enabled else abi.Action.DISABLED
    modes = mode_bits(route.modes)
    flags = int(abi.RuleFlag.TTL_DECREMENT) if route.ttl == "decrement" else 0
    capture, egress = route.capture, route.egress_address
    to_server = Rule(
        key=RuleKey(interface, route.client, capture),
        new_source=egress,
        new_destination=route.server,
        route_id=route_id,
        action=action,
        modes=modes,
        direction=abi.Direction.TO_SERVER,
        flags=flags,
    )
    to_client = Rule(
        key=RuleKey(interface, route.server, egress),
        new_source=capture,
        new_destination=route.client,
        route_id=route_id,
        action=action,
        modes=modes,
        direction=abi.Direction.TO_CLIENT,
        flags=flags,
    )
    return to_server, to_client


def expand_all(
    routes: Sequence[Route], ids: Mapping[str, int], interface: int = 0
) -> dict[RuleKey, Rule]:
    """The rules of a checked table of routes.

    Enabled routes never share a key (check.py sees to that); where a disabled
    one shares a key with an enabled one, the enabled one has it.
    """
    table: dict[RuleKey, Rule] = {}
    for route in sorted(routes, key=lambda route: route.enabled):
        for rule in expand(route, ids[route.name], interface):
            table[rule.key] = rule
    return table


def mode_bits(modes: Iterable[Mode]) -> int:
    """A set of modes as the kernel keeps it."""
    return sum(set(modes))


def mode_names(modes: Iterable[Mode]) -> list[str]:
    """Modes as users write them, in the order ingress, inline, egress."""
    return [mode.name.lower() for mode in sorted(set(modes))]


def route_dict(route: Route, route_id: int) -> dict[str, object]:
    """A route as JSON knows it; egress is always the address in use."""
    return {
        "id": route_id,
        "name": route.name,
        "enabled": route.enabled,
        "client": str(route.client),
        "capture": str(route.capture),
        "server": str(route.server),
        "egress": str(route.egress_address),
        "modes": mode_names(route.modes),
        "ttl": route.ttl,
    }
