"""Rows of the schedule as people write them, and what is said about mistakes."""

from __future__ import annotations

from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap.capture import rows
from fwdcap.capture.rows import Row
from fwdcap.errors import Invalid

pytestmark = pytest.mark.unit

OFFICE: dict[str, Any] = {"name": "office", "days": ["mon"], "start": "08:00", "stop": "18:00"}


def test_a_row_of_weekdays() -> None:
    (row,) = rows.parse_rows([OFFICE | {"days": ["mon", "wed"], "stop": "18:30:15"}])
    assert row == Row("office", days=frozenset({0, 2}), start=time(8), stop=time(18, 30, 15))


def test_a_row_that_is_always_on() -> None:
    (row,) = rows.parse_rows([{"name": "all", "always": True, "enabled": False}])
    assert row == Row("all", always=True, enabled=False)
    assert row.to_dict() == {"name": "all", "enabled": False, "always": True}


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("mon", {0}),
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("sat,sun", {5, 6}),
        ("fri-mon", {4, 5, 6, 0}),
        ("mon-wed, sun", {0, 1, 2, 6}),
        ("Daily", set(range(7))),
        (["mon", "tue-wed"], {0, 1, 2}),
    ],
)
def test_days_may_be_spans(text: object, days: set[int]) -> None:
    assert rows.parse_days(text, "x") == days


@pytest.mark.parametrize(
    ("days", "text"),
    [({0, 1, 2, 3, 4}, "mon-fri"), ({5, 6}, "sat, sun"), ({0, 2, 3, 4, 6}, "mon, wed-fri, sun")],
)
def test_days_are_shown_short(days: set[int], text: str) -> None:
    assert rows.days_text(days) == text


@given(st.frozensets(st.integers(0, 6), min_size=1))
def test_days_as_shown_are_read_again(days: frozenset[int]) -> None:
    assert rows.parse_days(rows.days_text(days), "x") == days


def test_midnight_has_two_names() -> None:
    assert rows.parse_time("24:00", "x") == rows.parse_time("00:00", "x") == time()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": None}, "row 1 has no name"),
        ({"name": "a/b"}, "row 1: The capture's name 'a/b' cannot be used"),
        ({"colour": "red"}, "unknown key colour"),
        ({"days": []}, r"\[office\]: days are missing or unknown"),
        ({"days": ["monday"]}, r"\[office\]: days are missing or unknown"),
        ({"days": 3}, "days are missing or unknown"),
        ({"days": [3]}, "days are missing or unknown"),
        ({"days": "mon-"}, "days are missing or unknown"),
        ({"start": "8:00"}, r"\[office\]: start is '8:00'"),
        ({"start": "08:60"}, "start is '08:60'"),
        ({"stop": None}, "stop is missing"),
        ({"stop": 1800}, "stop is 1800"),
        ({"enabled": "yes"}, "enabled is 'yes'"),
        ({"enabled": 1}, "enabled is 1"),
        ({"always": True}, "is 24/7 and has days"),
    ],
)
def test_mistakes_name_row_and_key(change: dict[str, Any], said: str) -> None:
    with pytest.raises(Invalid, match=said) as caught:
        rows.parse_rows([OFFICE | change])
    assert caught.value.hint


@pytest.mark.parametrize("raw", ["x", 3, None, {"name": "x"}])
def test_what_is_no_list_is_refused(raw: object) -> None:
    with pytest.raises(Invalid, match="no list of rows"):
        rows.parse_rows(raw)


def test_a_row_must_be_a_table() -> None:
    with pytest.raises(Invalid, match="row 2 is not a table"):
        rows.parse_rows([OFFICE, "mon"])


def test_two_rows_may_not_share_a_name() -> None:
    with pytest.raises(Invalid, match="two rows called office"):
        rows.parse_rows([OFFICE, OFFICE])


def test_there_are_not_endless_rows() -> None:
    many = [OFFICE | {"name": f"r{at}"} for at in range(rows.MAX_ROWS + 1)]
    with pytest.raises(Invalid, match="257 rows"):
        rows.parse_rows(many)


times = st.builds(time, st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
weekly = st.builds(
    Row,
    name=st.just("x"),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    start=times,
    stop=times,
    enabled=st.booleans(),
)


@given(weekly | st.builds(Row, name=st.just("x"), always=st.just(True), enabled=st.booleans()))
def test_a_row_is_read_as_it_was_written(row: Row) -> None:
    assert rows.parse_rows([row.to_dict()]) == (row,)
