"""What a cap allows, and what several streams of one capture leave of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwdcap import abi
from fwdcap.abi import EndReason
from fwdcap.capture import ending
from fwdcap.capture.caps import LEAST_BYTES, Caps, Used
from fwdcap.errors import Invalid
from fwdcap.store.stream_json import StreamJson

pytestmark = pytest.mark.unit

NS = 10**9


@pytest.mark.parametrize(
    "caps",
    [
        Caps(max_bytes=LEAST_BYTES - 1),
        Caps(max_bytes=0),
        Caps(max_bytes=2**63),
        Caps(max_packets=0),
        Caps(max_packets=-1),
        Caps(max_seconds=0),
        Caps(max_seconds=10**9 + 1),
    ],
)
def test_a_cap_that_holds_nothing_is_refused(caps: Caps) -> None:
    with pytest.raises(Invalid, match="cannot be used"):
        caps.checked()


def test_the_recorder_is_told_those_there_are() -> None:
    assert Caps().checked().arguments() == []
    assert Caps(10**10, None, 60).checked().arguments() == [
        *("--max-bytes", "10000000000"),
        *("--max-seconds", "60"),
    ]


@pytest.mark.parametrize(
    ("reason", "kind", "said"),
    [
        (EndReason.MAX_BYTES, "max-bytes", "10,000,000,000 bytes reached"),
        (EndReason.MAX_PACKETS, "max-packets", "5 packets reached"),
        (EndReason.MAX_SECONDS, "max-seconds", "3,600 seconds reached"),
    ],
)
def test_the_end_is_told_by_the_number(reason: EndReason, kind: str, said: str) -> None:
    end = ending.by_cap("x", Caps(10**10, 5, 3600), reason)
    assert (end.kind, end.message) == (kind, f"capture [x] ended: {said}")
    assert ending.is_cap(reason)
    assert not end.failed


@pytest.mark.parametrize("reason", [EndReason.NONE, EndReason.SIGNAL, EndReason.ROLL])
def test_other_ends_are_no_caps(reason: EndReason) -> None:
    assert not ending.is_cap(reason)


def test_a_stream_leaves_the_rest_to_the_next() -> None:
    report = abi.Checkpoint(packets=30, bytes=3000, begun_ns=5 * NS, ended_ns=7 * NS + 1)
    used = Used(10, 1000, NS).and_by(report)
    assert used == Used(40, 4000, 3 * NS + 1)
    assert Caps(10_000, 100, 10).left(used) == Caps(6000, 60, 7)  # a begun second counts
    assert Caps().left(used) == Caps()


def test_without_an_end_the_packets_tell_the_time() -> None:
    report = abi.Checkpoint(begun_ns=5 * NS, first_ns=50 * NS, last_ns=53 * NS)
    assert Used().and_by(report).ns == 3 * NS


@pytest.mark.parametrize(
    ("caps", "used", "reason"),
    [
        (Caps(), Used(10**9, 10**12, 10**18), None),
        (Caps(max_packets=10), Used(packets=9), None),
        (Caps(max_packets=10), Used(packets=10), EndReason.MAX_PACKETS),
        (Caps(max_bytes=1000), Used(bytes=1000 - LEAST_BYTES), None),
        (Caps(max_bytes=1000), Used(bytes=1001 - LEAST_BYTES), EndReason.MAX_BYTES),
        (Caps(max_seconds=10), Used(ns=10 * NS - 1), None),
        (Caps(max_seconds=10), Used(ns=10 * NS), EndReason.MAX_SECONDS),
    ],
)
def test_caps_that_are_used_up(caps: Caps, used: Used, reason: EndReason | None) -> None:
    assert caps.used_up(used) == reason


@given(st.integers(1, 10**6), st.lists(st.integers(0, 10**5), max_size=5))
def test_streams_of_one_capture_never_exceed_its_packets(most: int, taken: list[int]) -> None:
    caps, used = Caps(max_packets=most), Used()
    for packets in taken:
        if caps.used_up(used):
            break
        left = caps.left(used).max_packets
        assert left is not None
        assert left >= 1
        used = used.and_by(abi.Checkpoint(packets=min(packets, left)))
    assert used.packets <= most


def test_they_survive_stream_json() -> None:
    caps, used = Caps(10**10, 5, 60), Used(1, 2, 3)
    words = StreamJson(
        "x", "x_1", "recording", 1, max_bytes=10**10, max_packets=5, max_seconds=60,
        used=used.to_dict(),
    )  # fmt: skip
    assert (Caps.of(words), Used.of(words)) == (caps, used)
