"""Refuses tables of routes that would not work on this machine.

The facts about the machine are an argument, so that every refusal can be tried
without one. Each refusal is one sentence that names the route, the key and the
way out; the first found is raised. What works but may surprise its user (a route
takes *all* packets between a peer and the capture address, SSH included) comes
back as warnings.

Of a disabled route only what is wrong everywhere is refused: one whose address
has left the interface may stay in the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from fwdcap import abi
from fwdcap.errors import Invalid
from fwdcap.routes.model import Route, RuleKey, expand

_BROADCAST = IPv4Address("255.255.255.255")
_NEVER_PEERS = (
    (IPv4Network("0.0.0.0/8"), 'in 0.0.0.0/8 ("this network")'),
    (IPv4Network("127.0.0.0/8"), "a loopback address"),
    (IPv4Network("224.0.0.0/4"), "a multicast address"),
)


@dataclass(frozen=True)
class Facts:
    """What the machine's network looks like; own addresses are those of all interfaces.

    `places` says which interface an address of our own is on, as far as known.
    """

    interface: str
    addresses: frozenset[IPv4Address]
    own_addresses: frozenset[IPv4Address]
    gateways: frozenset[IPv4Address] = frozenset()
    resolvers: frozenset[IPv4Address] = frozenset()
    ssh_peers: frozenset[IPv4Address] = frozenset()
    broadcasts: frozenset[IPv4Address] = frozenset()
    time_sources: frozenset[IPv4Address] = frozenset()
    places: Mapping[IPv4Address, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Warning_:
    """Something that works but may surprise; the same three parts as an error."""

    code: str
    message: str
    hint: str


def check(routes: Sequence[Route], facts: Facts, source: str = "") -> tuple[Warning_, ...]:
    """Warnings about a table of routes; raises Invalid at the first that is refused.

    `source` is where the table comes from (a file name) and begins each sentence.
    """
    _check_names(routes, source)
    for route in routes:
        where = _where(route, source)
        _check_peers(route, facts, where)
        if route.enabled:
            _check_own(route, facts, where)
    _check_keys([route for route in routes if route.enabled], source)
    return tuple(warning for route in routes for warning in _warnings(route, facts, source))


def _where(route: Route, source: str) -> str:
    return f"{source}: route {route.name}" if source else f"Route {route.name}"


def _check_names(routes: Iterable[Route], source: str) -> None:
    seen: set[str] = set()
    for route in routes:
        if route.name in seen:
            raise Invalid(
                f"{_where(route, source)}: another route has the same name.",
                code="route-duplicate-name",
                hint="Give one of them another name.",
            )
        seen.add(route.name)


def _check_peers(route: Route, facts: Facts, where: str) -> None:
    """What no client or server can be, on any machine; broadcasts as far as known."""
    if route.client == route.server:
        raise Invalid(
            f"{where}: client and server are both {route.client}.",
            code="route-client-is-server",
            hint="Name machine A as client and machine B as server.",
        )
    for key, address in (("client", route.client), ("server", route.server)):
        what = _never_a_peer(address, facts)
        if what:
            raise Invalid(
                f"{where}: {key} {address} is {what}.",
                code="route-peer-not-a-host",
                hint=f"Give the address of one machine as {key}.",
            )


def _never_a_peer(address: IPv4Address, facts: Facts) -> str:
    if address == _BROADCAST or address in facts.broadcasts:
        return "a broadcast address"
    return next((what for network, what in _NEVER_PEERS if address in network), "")


def _check_own(route: Route, facts: Facts, where: str) -> None:
    """Which addresses must be ours, and which must not."""
    ours = facts.own_addresses | facts.addresses
    if route.server in ours:
        raise Invalid(
            f"{where}: server {route.server} is an address of this machine, "
            "so its packets would loop back here.",
            code="route-loop",
            hint="Give the address of machine B as server.",
        )
    if route.client in ours:
        raise Invalid(
            f"{where}: client {route.client} is an address of this machine.",
            code="route-client-is-ours",
            hint="Give the address of machine A as client; "
            "traffic of this machine itself is not relayed.",
        )
    for key, address in (("capture", route.capture), ("egress", route.egress_address)):
        if address not in facts.addresses:
            raise _not_on_interface(key, address, facts, where)


def _not_on_interface(key: str, address: IPv4Address, facts: Facts, where: str) -> Invalid:
    listed = ", ".join(map(str, sorted(facts.addresses))) or "none"
    elsewhere = ", but of another interface here" if address in facts.own_addresses else ""
    return Invalid(
        f"{where}: {key} {address} is not an address of {facts.interface}{elsewhere}.",
        code=f"route-{key}-not-ours",
        hint=f"Use one of its addresses ({listed}) "
        f"or add this one to it: ip address add {address}/PREFIX dev {facts.interface}."
        f"{_did_you_mean(facts.places.get(address))}",
    )


def _did_you_mean(interface: str | None) -> str:
    return f" Did you mean --interface {interface}?" if interface not in (None, "lo") else ""


def _check_keys(routes: Sequence[Route], source: str) -> None:
    """No two routes may match the same packets, in whichever direction."""
    taken: dict[RuleKey, tuple[Route, abi.Direction]] = {}
    for route in routes:
        for rule in expand(route, 0):
            other = taken.setdefault(rule.key, (route, rule.direction))
            if other[0] is not route:
                raise _shared_key(rule.key, other, (route, rule.direction), source)


def _shared_key(
    key: RuleKey,
    first: tuple[Route, abi.Direction],
    second: tuple[Route, abi.Direction],
    source: str,
) -> Invalid:
    begin = f"{source}: routes" if source else "Routes"
    names = f"{first[0].name} and {second[0].name}"
    to_server = abi.Direction.TO_SERVER
    if first[1] == second[1] == to_server:
        why = f"have the same client {key.source} and capture {key.destination}"
        hint = "Give one of them another capture address."
    elif first[1] == second[1]:
        why = (
            f"have the same server {key.source} and egress {key.destination}, "
            "so answers could go to either client"
        )
        hint = "Give one of them another egress address (egress = …)."
    else:
        ahead, back = (first[0], second[0]) if first[1] == to_server else (second[0], first[0])
        why = (
            f"both match packets from {key.source} to {key.destination} "
            f"(client and capture of {ahead.name}, server and egress of {back.name})"
        )
        hint = f"Give {ahead.name} another capture address or {back.name} another egress address."
    return Invalid(f"{begin} {names} {why}.", code="route-shared-key", hint=hint)


def _warnings(route: Route, facts: Facts, source: str) -> Iterator[Warning_]:
    kinds = (
        ("peer-is-gateway", facts.gateways, "the gateway of this machine"),
        ("peer-is-resolver", facts.resolvers, "a name server of this machine"),
        ("peer-is-time-source", facts.time_sources, "a time source of this machine"),
        ("peer-is-ssh-source", facts.ssh_peers, "where an SSH session to this machine comes from"),
    )
    ends = (("client", route.client, route.capture), ("server", route.server, route.egress_address))
    for key, peer, ours in ends:
        for code, peers, what in kinds:
            if peer in peers:
                yield Warning_(
                    code,
                    f"{_where(route, source)}: {key} {peer} is {what}, and the route takes all "
                    f"packets from it to {ours}.",
                    f"This machine no longer talks to {peer} from {ours}; "
                    "make sure it has another address for that.",
                )
