"""Sizes and ages as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap.amounts import Size, age_ns, size
from fwdcap.errors import Invalid

pytestmark = pytest.mark.unit

NS = 10**9


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        (0, 0),
        (4096, 4096),
        ("4096", 4096),
        ("4_096", 4096),
        ("1kB", 1000),
        ("1 KB", 1000),
        ("500GB", 500 * 10**9),
        ("2tb", 2 * 10**12),
        ("1.5MiB", 3 << 19),
        ("0.1GB", 10**8),
        ("64 MiB ", 64 << 20),
        ("7B", 7),
    ],
)
def test_sizes(text: object, bytes_: int) -> None:
    assert size(text) == Size(bytes_)


@pytest.mark.parametrize(
    "text", ["", "GB", "-1", -1, True, None, 1.5, "1.5", "1e9", "5 parsecs", "10%", "9EB", "9999PB"]
)
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(Invalid, match="is no size") as refused:
        size(text)
    assert "500GB" in refused.value.hint


def test_a_share_is_a_size_where_it_may_be() -> None:
    assert size("12.5%", share=True).of(8000) == 1000
    assert size("1GB", share=True).of(8000) == 10**9
    with pytest.raises(Invalid, match="is no size"):
        size("100.1%", share=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("90m", 5400), ("36h", 129_600), ("7d", 604_800), ("2w", 1_209_600)],
)
def test_ages(text: str, seconds: int) -> None:
    assert age_ns(text) == seconds * NS
    assert age_ns(text.upper()) == seconds * NS


def test_an_age_may_have_parts() -> None:
    assert age_ns("1d 12h") == age_ns("1.5d") == age_ns("36h")


@pytest.mark.parametrize("text", [7, "7", "", "0d", "-1d", "d", "7y", None, "99999999w"])
def test_what_is_no_age(text: object) -> None:
    with pytest.raises(Invalid, match="is no age"):
        age_ns(text)


@given(st.integers(0, 10**12), st.sampled_from(["B", "KB", "MB", "KiB", "MiB"]))
def test_a_unit_multiplies_exactly(number: int, unit: str) -> None:
    assert size(f"{number}{unit}").bytes == number * size(f"1{unit}").bytes
