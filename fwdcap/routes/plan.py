"""From the rules that are in the kernel to those that should be, in ordered steps.

Traffic flows while the steps are carried out, one at a time, so every state in
between must be a right one. Two promises, tested for all of them:

1. A key is always in its old state, its new state, or (only where 2 needs it)
   on hold: its old rule, with the action that drops.
2. A rule that sends to a server is never there without its way back: the rule
   that turns the server's answer into capture → client. The other way round is
   harmless, since nobody answers what was never sent.

Therefore, in this order: what would lose its way back is taken out of the way,
ways back are put, ways there are put, and what is no longer wanted is removed,
ways there first. A change that keeps the addresses (modes, say) is one put in
place for each rule: no packet ever finds the key missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from fwdcap import abi
from fwdcap.routes.model import Rule, RuleKey

Table = Mapping[RuleKey, Rule]


@dataclass(frozen=True)
class Put:
    """Write this rule, whether or not its key is there already."""

    rule: Rule

    @property
    def key(self) -> RuleKey:
        return self.rule.key


@dataclass(frozen=True)
class Remove:
    """Remove the rule of this key."""

    key: RuleKey


Step = Put | Remove


@dataclass(frozen=True)
class Plan:
    """Steps to carry out in order, and the names of the routes they concern."""

    steps: tuple[Step, ...]
    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


def plan(have: Table, want: Table, names: Mapping[int, str] | None = None) -> Plan:
    """The steps from `have` (as it is in the kernel) to `want` (a checked table).

    `names` gives the names of routes by their id; a route it does not know is
    called "route 7". Takes time linear in the number of rules.
    """
    added, changed, removed = _difference(have, want)
    called = names or {}

    def by_name(ids: Iterable[int]) -> tuple[str, ...]:
        return tuple(sorted(called.get(id_, f"route {id_}") for id_ in ids))

    return Plan(tuple(_steps(have, want)), by_name(added), by_name(changed), by_name(removed))


def way_back(rule: Rule) -> RuleKey:
    """The key that answers to what this rule sends will have."""
    return RuleKey(rule.key.interface, rule.new_destination, rule.new_source)


def has_way_back(rule: Rule, table: Table) -> bool:
    """Whether the table turns answers to what this rule sends into answers to its sender."""
    back = table.get(way_back(rule))
    return (
        back is not None
        and back.action != abi.Action.DISABLED
        and back.new_source == rule.key.destination
        and back.new_destination == rule.key.source
    )


def sends_to_server(rule: Rule) -> bool:
    """Whether packets reach a server by this rule, so that it needs a way back."""
    return rule.direction == abi.Direction.TO_SERVER and rule.action != abi.Action.DISABLED


def _steps(have: Table, want: Table) -> Iterator[Step]:
    state = dict(have)
    for step in _all_steps(have, want):
        if isinstance(step, Remove):
            if state.pop(step.key, None) is not None:
                yield step
        elif state.get(step.key) != step.rule:
            state[step.key] = step.rule
            yield step


def _all_steps(have: Table, want: Table) -> Iterator[Step]:
    """The steps in order, with some that change nothing any more."""
    olds = sorted(have.values(), key=lambda rule: rule.key.order)
    news = sorted(want.values(), key=lambda rule: rule.key.order)
    yield from (_withdraw(rule, want) for rule in olds if _loses_way_back(rule, want))
    yield from (Put(rule) for rule in news if not sends_to_server(rule))
    yield from (Put(rule) for rule in news if sends_to_server(rule))
    gone = [rule for rule in olds if rule.key not in want]
    yield from (Remove(rule.key) for rule in gone if sends_to_server(rule))
    yield from (Remove(rule.key) for rule in gone if not sends_to_server(rule))


def _loses_way_back(rule: Rule, want: Table) -> bool:
    """Whether another route will have the key of this rule's way back.

    One that is merely removed is no trouble: it stays until the very end.
    """
    return sends_to_server(rule) and way_back(rule) in want and not has_way_back(rule, want)


def _withdraw(rule: Rule, want: Table) -> Step:
    """Takes a rule out of the way: for good where it can be, else it drops for a moment."""
    wanted = want.get(rule.key)
    if wanted is None:
        return Remove(rule.key)
    if not sends_to_server(wanted):
        return Put(wanted)
    return Put(replace(rule, action=abi.Action.DISABLED))


def _difference(have: Table, want: Table) -> tuple[set[int], set[int], set[int]]:
    """Ids of the routes that are added, changed and removed."""
    old = {rule.route_id for rule in have.values()}
    new = {rule.route_id for rule in want.values()}
    touched = {
        rule.route_id
        for key in have.keys() | want.keys()
        if have.get(key) != want.get(key)
        for rule in (have.get(key), want.get(key))
        if rule is not None
    }
    return new - old, old & new & touched, old - new
