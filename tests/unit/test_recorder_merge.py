"""The recorder's merge alone: in which order records leave, and how long they are held back."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwdcap.native import generate_abi

pytestmark = pytest.mark.unit

NATIVE = generate_abi.HEADER.parent
DRIVER = Path(__file__).parent / "merge_driver.c"
MS = 1_000_000
HOLD_BACK = 2 * MS
BLOCKED = 50 * MS
NOW = 1000 * MS


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("merge") / "driver"
    sources = [DRIVER, NATIVE / "recorder" / "merge.c"]
    flags = ["-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined", f"-I{NATIVE}"]
    subprocess.run(["cc", *flags, "-o", program, *sources], check=True)
    return program


def drive(driver: Path, *lines: str) -> list[str]:
    text = "".join(f"{line}\n" for line in lines)
    ran = subprocess.run([driver], input=text, capture_output=True, text=True, check=True)
    return [line.strip() for line in ran.stdout.splitlines()]


Arrivals = list[tuple[int, int]]


@settings(max_examples=60, deadline=None)
@given(
    rings=st.integers(1, 5),
    arrivals=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), max_size=60),
    until=st.integers(0, 45),
)
def test_what_leaves_is_sorted_by_time_then_cpu_then_arrival(
    driver: Path, rings: int, arrivals: Arrivals, until: int
) -> None:
    newest: dict[int, int] = {}
    model: list[tuple[int, int, int]] = []
    lines = [f"r {rings}"]
    for label, (cpu, time) in enumerate(arrivals):
        lines.append(f"i {cpu % rings} {cpu} {time} {label}")
        newest[cpu] = max(newest.get(cpu, 0), time)  # a CPU's records keep their order
        model.append((newest[cpu], cpu, label))
    model.sort()
    early = [label for time, _, label in model if time < until]
    late = [label for time, _, label in model if time >= until]
    held = {ring: [n for n in late if arrivals[n][0] % rings == ring] for ring in range(rings)}
    lowest = [f"{min(held[ring], default=-1)}" for ring in range(rings)]
    out = drive(driver, *lines, f"o {until}", *(f"l {ring}" for ring in range(rings)), "o 100")
    assert out == [" ".join(map(str, early)), *lowest, " ".join(map(str, late))]


def horizon(driver: Path, rings: int, *events: str) -> int:
    return int(drive(driver, f"r {rings}", *events, "h")[0])


def test_nothing_leaves_before_every_ring_was_looked_at(driver: Path) -> None:
    assert horizon(driver, 2, f"e 0 {NOW} 0") == 0


def test_empty_rings_hold_up_nobody(driver: Path) -> None:
    events = [f"e {ring} {NOW} 0" for ring in range(64)]
    assert horizon(driver, 64, *events) == NOW - HOLD_BACK


def test_the_ring_that_is_furthest_behind_decides(driver: Path) -> None:
    behind = NOW - 30 * MS
    events = [f"i 0 0 {NOW} 0", f"i 1 1 {behind} 0", f"e 2 {NOW} 0"]
    assert horizon(driver, 3, *events) == behind - HOLD_BACK


def test_a_blocked_ring_is_waited_for_but_not_for_ever(driver: Path) -> None:
    seen = [f"i 0 0 {NOW} 0", f"e 1 {NOW} 0"]
    soon, later = NOW + 20 * MS, NOW + 80 * MS
    others = f"e 0 {soon} 0"
    assert horizon(driver, 2, *seen, others, f"e 1 {soon} 1") == NOW - HOLD_BACK
    others = f"e 0 {later} 0"
    assert horizon(driver, 2, *seen, others, f"e 1 {later} 1") == later - BLOCKED - HOLD_BACK


def test_of_a_crowd_within_the_hold_back_the_oldest_go(driver: Path) -> None:
    crowd = [f"i 0 0 {NOW + number} {number}" for number in range(32768)]
    events = [*crowd, f"e 1 {NOW} 0"]
    assert horizon(driver, 1, *crowd[:-256]) == NOW + 32768 - 257 - HOLD_BACK
    assert horizon(driver, 1, *crowd) == NOW + 256
    assert horizon(driver, 2, *events) == NOW - HOLD_BACK  # the other ring may have older ones
