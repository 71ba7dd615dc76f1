"""Every state between two tables of rules is a right one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.routes.model import Mode, Route, Rule, RuleKey, expand, expand_all
from fwdcap.routes.plan import Put, Remove, Step, plan

pytestmark = pytest.mark.unit

Table = Mapping[RuleKey, Rule]

PEERS = [IPv4Address(f"10.0.1.{n}") for n in range(1, 6)]
OURS = [IPv4Address(f"10.0.9.{n}") for n in range(1, 4)]
A, A2, B, B2 = PEERS[:4]
C, C2, C3 = OURS


def route(
    name: str, client: IPv4Address, capture: IPv4Address, server: IPv4Address, **more: object
) -> Route:
    return replace(Route(name, client, capture, server, frozenset({Mode.INLINE})), **more)  # type: ignore[arg-type]


def table(*routes: Route) -> dict[RuleKey, Rule]:
    """The rules of routes called r0 … r9, numbered by that digit."""
    return expand_all(routes, {route.name: int(route.name[1:]) for route in routes})


@st.composite
def route_tables(draw: st.DrawFn) -> tuple[Route, ...]:
    """Tables that check.py would accept: no two enabled routes share a key."""
    taken: set[RuleKey] = set()
    chosen: list[Route] = []
    for number in draw(st.lists(st.integers(0, 9), unique=True, max_size=7)):
        client, server = draw(st.lists(st.sampled_from(PEERS), unique=True, min_size=2, max_size=2))
        candidate = Route(
            name=f"r{number}",
            client=client,
            capture=draw(st.sampled_from(OURS)),
            server=server,
            modes=draw(st.frozensets(st.sampled_from(Mode))),
            egress=draw(st.none() | st.sampled_from(OURS)),
            enabled=draw(st.integers(0, 4)) > 0,
        )
        keys = {rule.key for rule in expand(candidate, number)}
        if candidate.enabled and keys & taken:
            continue
        taken |= keys if candidate.enabled else set()
        chosen.append(candidate)
    return tuple(chosen)


def states(have: Table, steps: Sequence[Step]) -> Iterator[dict[RuleKey, Rule]]:
    """The table as it is before the first step and after each."""
    state = dict(have)
    yield dict(state)
    for step in steps:
        if isinstance(step, Put):
            state[step.rule.key] = step.rule
        else:
            del state[step.key]
        yield dict(state)


def relayed(state: Table, source: IPv4Address, destination: IPv4Address) -> Rule | None:
    rule = state.get(RuleKey(0, source, destination))
    return None if rule is None or rule.action == abi.Action.DISABLED else rule


def assert_answers_come_back(state: Table) -> None:
    """What a client sends reaches a server whose answer comes back as from whom it wrote to."""
    for rule in state.values():
        there = relayed(state, rule.key.source, rule.key.destination)
        if there is None or there.direction == abi.Direction.TO_CLIENT:
            continue
        back = relayed(state, there.new_destination, there.new_source)
        assert back is not None
        assert (back.new_source, back.new_destination) == (rule.key.destination, rule.key.source)


pairs = given(route_tables(), route_tables())


@pairs
def test_the_steps_lead_to_the_table_wanted(old: Sequence[Route], new: Sequence[Route]) -> None:
    have, want = table(*old), table(*new)
    *_, last = states(have, plan(have, want).steps)
    assert last == want


@pairs
@example((route("r1", A, C, B),), (route("r1", A2, C, B),))
@example(
    (route("r1", A, C, B), route("r2", A2, C2, B2)),
    (route("r1", A, C, B2, egress=C2), route("r2", A2, C2, B, egress=C)),
)
@example((route("r1", A, C, B),), (route("r1", B, C, A),))
@example((route("r1", A, C, B),), (route("r1", A, C, B, enabled=False),))
def test_no_state_in_between_misroutes(old: Sequence[Route], new: Sequence[Route]) -> None:
    have, want = table(*old), table(*new)
    for state in states(have, plan(have, want).steps):
        assert_answers_come_back(state)


@pairs
def test_a_key_is_old_new_or_on_hold_and_never_missing_when_it_stays(
    old: Sequence[Route], new: Sequence[Route]
) -> None:
    have, want = table(*old), table(*new)
    for state in states(have, plan(have, want).steps):
        assert have.keys() & want.keys() <= state.keys()
        for key, rule in state.items():
            held = replace(have[key], action=abi.Action.DISABLED) if key in have else None
            assert rule in (have.get(key), want.get(key), held)


@pairs
def test_what_does_not_change_is_not_touched(old: Sequence[Route], new: Sequence[Route]) -> None:
    have, want = table(*old), table(*new)
    steps = plan(have, want).steps
    touched = {step.key for step in steps}
    assert touched == {key for key in have.keys() | want.keys() if have.get(key) != want.get(key)}
    assert {step.key for step in steps if isinstance(step, Remove)} == have.keys() - want.keys()


@given(route_tables(), st.data())
def test_changing_modes_is_one_put_in_place_for_each_rule(
    old: Sequence[Route], data: st.DataObject
) -> None:
    modes = st.frozensets(st.sampled_from(Mode))
    new = [replace(route, modes=data.draw(modes)) for route in old]
    have, want = table(*old), table(*new)
    steps = plan(have, want).steps
    assert all(isinstance(step, Put) and step.rule == want[step.key] for step in steps)
    assert len(steps) == sum(have[key] != want[key] for key in have)


@pairs
def test_a_plan_does_not_depend_on_the_order_of_the_tables(
    old: Sequence[Route], new: Sequence[Route]
) -> None:
    have, want = table(*old), table(*new)
    backwards = plan(dict(reversed(have.items())), dict(reversed(want.items())))
    assert backwards == plan(have, want)


def test_ways_back_come_first_and_go_last() -> None:
    there, back = (RuleKey(0, A, C), RuleKey(0, B, C))
    rules = table(route("r1", A, C, B))
    assert plan({}, rules).steps == (Put(rules[back]), Put(rules[there]))
    assert plan(rules, {}).steps == (Remove(there), Remove(back))


def test_a_new_server_is_reached_without_a_gap() -> None:
    have, want = table(route("r1", A, C, B)), table(route("r1", A, C, B2))
    assert plan(have, want).steps == (
        Put(want[RuleKey(0, B2, C)]),
        Put(want[RuleKey(0, A, C)]),
        Remove(RuleKey(0, B, C)),
    )


def test_a_client_goes_before_its_way_back_belongs_to_another() -> None:
    have, want = table(route("r1", A, C, B)), table(route("r1", A2, C, B))
    assert plan(have, want).steps == (
        Remove(RuleKey(0, A, C)),
        Put(want[RuleKey(0, B, C)]),
        Put(want[RuleKey(0, A2, C)]),
    )


def test_two_routes_that_exchange_servers_are_on_hold_meanwhile() -> None:
    have = table(route("r1", A, C, B), route("r2", A2, C2, B2))
    want = table(route("r1", A, C, B2, egress=C2), route("r2", A2, C2, B, egress=C))
    steps = plan(have, want).steps
    held = [step for step in steps if step.key in (RuleKey(0, A, C), RuleKey(0, A2, C2))]
    assert all(isinstance(step, Put) for step in steps)
    assert [step.rule.action for step in held if isinstance(step, Put)] == [
        abi.Action.DISABLED,
        abi.Action.DISABLED,
        abi.Action.TRANSMIT,
        abi.Action.TRANSMIT,
    ]


def test_routes_are_reported_by_name() -> None:
    have = table(route("r1", A, C, B), route("r2", A2, C2, B2), route("r4", PEERS[4], C3, B))
    want = table(
        route("r2", A2, C2, B2, modes=frozenset()),
        route("r3", PEERS[4], C, B2),
        route("r4", PEERS[4], C3, B),
    )
    made = plan(have, want, {1: "one", 2: "two", 3: "three", 4: "four"})
    assert (made.added, made.changed, made.removed) == (("three",), ("two",), ("one",))
    assert plan({}, want).added == ("route 2", "route 3", "route 4")


def test_nothing_to_do_is_no_step() -> None:
    rules = table(route("r1", A, C, B))
    made = plan(rules, dict(rules))
    assert (made.steps, made.added, made.changed, made.removed) == ((), (), (), ())
