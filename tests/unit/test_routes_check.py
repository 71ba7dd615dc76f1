"""Tables of routes that would not work on this machine, and the sentences that say so."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap.errors import Invalid
from fwdcap.routes.check import Facts, check
from fwdcap.routes.model import Mode, Route, expand

pytestmark = pytest.mark.unit


def ip(text: str) -> IPv4Address:
    return IPv4Address(text)


CAPTURE, EGRESS, MANAGEMENT = ip("10.0.1.166"), ip("10.0.1.167"), ip("10.0.1.165")
FACTS = Facts(
    interface="ens6",
    addresses=frozenset({CAPTURE, EGRESS}),
    own_addresses=frozenset({CAPTURE, EGRESS, MANAGEMENT, ip("127.0.0.1")}),
    gateways=frozenset({ip("10.0.1.1")}),
    resolvers=frozenset({ip("10.0.0.2")}),
    ssh_peers=frozenset({ip("10.9.9.9")}),
    broadcasts=frozenset({ip("10.0.1.255")}),
    time_sources=frozenset({ip("169.254.169.123")}),
)
ROUTE = Route("orders", ip("10.0.1.20"), CAPTURE, ip("10.0.2.41"), frozenset({Mode.INLINE}))


def other(**changes: object) -> Route:
    """A second route that has nothing in common with the first, but for the changes."""
    route = Route("reports", ip("10.0.1.21"), CAPTURE, ip("10.0.2.42"), frozenset())
    return replace(route, **changes)  # type: ignore[arg-type]


def refusal(*routes: Route, source: str = "") -> Invalid:
    with pytest.raises(Invalid) as raised:
        check(routes, FACTS, source)
    assert raised.value.message.endswith(".")
    assert raised.value.hint
    return raised.value


def test_good_tables_are_accepted_without_a_word() -> None:
    assert check([], FACTS) == ()
    assert (
        check(
            [ROUTE, other(), other(name="third", client=ip("10.0.1.22"), server=ip("8.8.8.8"))],
            FACTS,
        )
        == ()
    )


def test_sentences_begin_with_where_the_table_comes_from() -> None:
    bad = replace(ROUTE, server=ROUTE.client)
    assert refusal(bad).message.startswith("Route orders: client and server")
    assert refusal(bad, source="r.toml").message.startswith("r.toml: route orders: client")


def test_two_routes_of_one_name() -> None:
    error = refusal(ROUTE, other(name="orders"))
    assert error.code == "route-duplicate-name"
    assert "Route orders: another route has the same name" in error.message


def test_client_is_server() -> None:
    error = refusal(replace(ROUTE, server=ROUTE.client))
    assert error.code == "route-client-is-server"
    assert "client and server are both 10.0.1.20" in error.message


@pytest.mark.parametrize("key", ["client", "server"])
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize(
    ("address", "what"),
    [
        ("0.0.0.0", 'in 0.0.0.0/8 ("this network")'),
        ("0.255.255.255", 'in 0.0.0.0/8 ("this network")'),
        ("127.0.0.1", "a loopback address"),
        ("127.255.255.254", "a loopback address"),
        ("224.0.0.1", "a multicast address"),
        ("239.255.255.255", "a multicast address"),
        ("255.255.255.255", "a broadcast address"),
        ("10.0.1.255", "a broadcast address"),
    ],
)
def test_what_is_not_one_host_is_no_peer(key: str, enabled: bool, address: str, what: str) -> None:
    error = refusal(replace(ROUTE, enabled=enabled, **{key: ip(address)}))  # type: ignore[arg-type]
    assert error.code == "route-peer-not-a-host"
    assert error.message == f"Route orders: {key} {address} is {what}."


@pytest.mark.parametrize("address", ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255"])
def test_the_edges_of_what_may_be_a_peer(address: str) -> None:
    assert check([replace(ROUTE, server=ip(address))], FACTS) == ()


@pytest.mark.parametrize("address", [CAPTURE, EGRESS, MANAGEMENT])
def test_a_server_that_is_this_machine_would_loop(address: IPv4Address) -> None:
    error = refusal(replace(ROUTE, server=address))
    assert error.code == "route-loop"
    assert f"server {address} is an address of this machine" in error.message
    assert "loop" in error.message


@pytest.mark.parametrize("address", [CAPTURE, EGRESS, MANAGEMENT])
def test_a_client_that_is_this_machine(address: IPv4Address) -> None:
    error = refusal(replace(ROUTE, client=address))
    assert error.code == "route-client-is-ours"
    assert f"client {address} is an address of this machine." in error.message


@pytest.mark.parametrize("key", ["capture", "egress"])
def test_capture_and_egress_must_be_on_the_interface(key: str) -> None:
    error = refusal(replace(ROUTE, **{key: ip("10.0.1.99")}))  # type: ignore[arg-type]
    assert error.code == f"route-{key}-not-ours"
    assert error.message == f"Route orders: {key} 10.0.1.99 is not an address of ens6."
    assert "10.0.1.166, 10.0.1.167" in error.hint
    assert "ip address add 10.0.1.99/PREFIX dev ens6" in error.hint


def test_an_address_of_another_interface_is_told_apart() -> None:
    error = refusal(replace(ROUTE, capture=MANAGEMENT))
    assert error.message.endswith("is not an address of ens6, but of another interface here.")
    assert "Did you mean" not in error.hint
    known = replace(FACTS, places={MANAGEMENT: "ens5", ip("127.0.0.1"): "lo"})
    with pytest.raises(Invalid) as raised:
        check([replace(ROUTE, capture=MANAGEMENT)], known)
    assert raised.value.hint.endswith("dev ens6. Did you mean --interface ens5?")


def test_an_interface_without_addresses() -> None:
    with pytest.raises(Invalid, match="is not an address of ens6") as raised:
        check([ROUTE], Facts("ens6", frozenset(), frozenset()))
    assert "(none)" in raised.value.hint


def test_a_disabled_route_may_wait_for_its_address() -> None:
    assert check([replace(ROUTE, capture=ip("10.0.1.99"), enabled=False)], FACTS) == ()


def test_same_client_and_capture() -> None:
    error = refusal(ROUTE, other(client=ROUTE.client, egress=EGRESS), source="r.toml")
    assert error.code == "route-shared-key"
    assert error.message == (
        "r.toml: routes orders and reports have the same client 10.0.1.20 and capture 10.0.1.166."
    )
    assert error.hint == "Give one of them another capture address."


def test_same_server_and_egress() -> None:
    error = refusal(ROUTE, other(server=ROUTE.server))
    assert error.code == "route-shared-key"
    assert error.message == (
        "Routes orders and reports have the same server 10.0.2.41 and egress 10.0.1.166, "
        "so answers could go to either client."
    )
    assert "another egress address" in error.hint


@pytest.mark.parametrize("turn", [1, -1])
def test_the_client_of_one_is_the_server_of_the_other(turn: int) -> None:
    error = refusal(*[ROUTE, other(client=ROUTE.server)][::turn])
    assert error.code == "route-shared-key"
    assert "both match packets from 10.0.2.41 to 10.0.1.166" in error.message
    assert "(client and capture of reports, server and egress of orders)" in error.message
    assert error.hint == ("Give reports another capture address or orders another egress address.")


def test_names_keep_their_letters_in_the_sentence() -> None:
    error = refusal(replace(ROUTE, name="OrdersDB"), other(client=ROUTE.client))
    assert error.message.startswith("Routes OrdersDB and reports have")


def test_another_egress_address_is_the_way_out() -> None:
    assert check([ROUTE, other(server=ROUTE.server, egress=EGRESS)], FACTS) == ()


def test_a_disabled_route_shares_keys_with_anyone() -> None:
    assert check([ROUTE, other(server=ROUTE.server, enabled=False)], FACTS) == ()


@given(st.data())
def test_keys_of_accepted_tables_are_all_different(data: st.DataObject) -> None:
    peers = st.sampled_from([ip(f"10.0.2.{n}") for n in range(1, 5)])
    ours = st.sampled_from([CAPTURE, EGRESS])
    routes = [
        Route(f"r{number}", client, capture, server, frozenset(), egress)
        for number, (client, capture, server, egress) in enumerate(
            data.draw(st.lists(st.tuples(peers, ours, peers, ours), max_size=3))
        )
    ]
    keys = [rule.key for route in routes for rule in expand(route, 0)]
    fine = len(set(keys)) == len(keys) and all(route.client != route.server for route in routes)
    if fine:
        assert check(routes, FACTS) == ()
    else:
        with pytest.raises(Invalid) as raised:
            check(routes, FACTS)
        assert raised.value.code in ("route-shared-key", "route-client-is-server")


@pytest.mark.parametrize(
    ("peer", "code", "what"),
    [
        ("10.0.1.1", "peer-is-gateway", "the gateway"),
        ("10.0.0.2", "peer-is-resolver", "a name server"),
        ("169.254.169.123", "peer-is-time-source", "a time source"),
        ("10.9.9.9", "peer-is-ssh-source", "where an SSH session"),
    ],
)
@pytest.mark.parametrize("key", ["client", "server"])
def test_peers_this_machine_needs_itself_are_warned_about(
    key: str, peer: str, code: str, what: str
) -> None:
    route = replace(ROUTE, egress=EGRESS, **{key: ip(peer)})  # type: ignore[arg-type]
    (warning,) = check([other(), route], FACTS)
    ours = CAPTURE if key == "client" else EGRESS
    assert warning.code == code
    assert warning.message.startswith(f"Route orders: {key} {peer} is {what}")
    assert warning.message.endswith(f"takes all packets from it to {ours}.")
    assert str(ours) in warning.hint


def test_ten_thousand_routes_are_checked() -> None:
    peers = iter(IPv4Network("10.128.0.0/16"))
    routes = [Route(f"r{n}", next(peers), CAPTURE, next(peers), frozenset()) for n in range(10_000)]
    assert check(routes, FACTS) == ()
    assert (
        "routes r0 and last"
        in refusal(*routes, other(name="last", client=routes[0].client), source="x").message
    )
