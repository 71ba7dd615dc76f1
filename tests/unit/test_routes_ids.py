"""Numbers of routes are never given twice."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap.routes.ids import assign

pytestmark = pytest.mark.unit

names = st.lists(st.text("abcdef", min_size=1, max_size=2))


def test_numbers_begin_at_one_in_the_order_of_the_names() -> None:
    assert assign({}, ["b", "a"]) == {"b": 1, "a": 2}


def test_a_removed_route_keeps_its_number_and_gets_it_back() -> None:
    ids = assign(assign({}, ["a", "b"]), ["a", "c"])
    assert ids == {"a": 1, "b": 2, "c": 3}
    assert assign(ids, ["b"]) == ids


@given(st.lists(names))
def test_over_any_history_a_number_stands_for_one_name(history: list[list[str]]) -> None:
    known: dict[str, int] = {}
    for table in history:
        before = dict(known)
        known = assign(known, table)
        assert known.items() >= before.items()
        assert set(table) <= known.keys()
        assert len(set(known.values())) == len(known)
        new = known.keys() - before.keys()
        assert all(known[name] > max(before.values(), default=0) for name in new)
