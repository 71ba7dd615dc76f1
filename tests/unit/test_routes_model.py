"""A route and its two rules."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.routes.model import (
    Mode,
    Route,
    RuleKey,
    expand,
    expand_all,
    mode_bits,
    mode_names,
    route_dict,
)

pytestmark = pytest.mark.unit

A, B = IPv4Address("10.0.1.20"), IPv4Address("10.0.2.41")
C, E = IPv4Address("10.0.1.166"), IPv4Address("10.0.1.167")
ROUTE = Route("orders-db", A, C, B, frozenset({Mode.INLINE}))


def test_the_design_s_two_lines() -> None:
    to_server, to_client = expand(replace(ROUTE, egress=E), 7, interface=3)
    assert to_server.key == RuleKey(3, A, C)
    assert (to_server.new_source, to_server.new_destination) == (E, B)
    assert to_server.direction == abi.Direction.TO_SERVER
    assert to_client.key == RuleKey(3, B, E)
    assert (to_client.new_source, to_client.new_destination) == (C, A)
    assert to_client.direction == abi.Direction.TO_CLIENT
    for rule in (to_server, to_client):
        assert rule.route_id == 7
        assert rule.modes == 2
        assert rule.action == abi.Action.TRANSMIT
        assert rule.flags == 0


def test_egress_is_the_capture_address_unless_named() -> None:
    assert ROUTE.egress_address == C
    assert replace(ROUTE, egress=E).egress_address == E


def test_a_disabled_route_drops_both_ways() -> None:
    rules = expand(replace(ROUTE, enabled=False), 1)
    assert [rule.action for rule in rules] == [abi.Action.DISABLED] * 2


def test_ttl_decrement_is_a_flag_of_both_rules() -> None:
    rules = expand(replace(ROUTE, ttl="decrement"), 1)
    assert [rule.flags for rule in rules] == [abi.RuleFlag.TTL_DECREMENT] * 2


@given(st.frozensets(st.sampled_from(Mode)))
def test_modes_are_named_in_the_order_of_the_way_through(modes: frozenset[Mode]) -> None:
    names = mode_names(modes)
    assert names == [name for name in ("ingress", "inline", "egress") if name in names]
    assert {abi.Mode[name.upper()] for name in names} == modes
    assert mode_bits(modes) == sum(modes)


def test_json_form() -> None:
    route = replace(ROUTE, modes=frozenset(Mode), egress=E, enabled=False)
    assert json.loads(json.dumps(route_dict(route, 4))) == {
        "id": 4,
        "name": "orders-db",
        "enabled": False,
        "client": "10.0.1.20",
        "capture": "10.0.1.166",
        "server": "10.0.2.41",
        "egress": "10.0.1.167",
        "modes": ["ingress", "inline", "egress"],
        "ttl": "keep",
    }
    assert route_dict(ROUTE, 4)["egress"] == "10.0.1.166"


@pytest.mark.parametrize("turn", [1, -1])
def test_an_enabled_route_has_the_key_it_shares_with_a_disabled_one(turn: int) -> None:
    other = replace(ROUTE, name="other", client=IPv4Address("10.0.1.21"), enabled=False)
    table = expand_all([ROUTE, other][::turn], {"orders-db": 1, "other": 2})
    assert {key: rule.route_id for key, rule in table.items()} == {
        RuleKey(0, A, C): 1,
        RuleKey(0, B, C): 1,
        RuleKey(0, other.client, C): 2,
    }
    assert table[RuleKey(0, other.client, C)].action == abi.Action.DISABLED
