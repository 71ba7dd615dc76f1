"""Fixtures of the bpf tier: the object built from its sources, loaded once, unpinned again."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import Bench
from oracle import predict
from packets import Outcome, Setup

from fwdcap.datapath import objects, pins

_OWN_NAME = re.compile(r"fwdcap-bpftest-(\d+)-\d+")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        item.add_marker(pytest.mark.bpf)
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def new_directory() -> Iterator[Callable[[], Path]]:
    """Names for directories of pins; what killed test runs left there goes first."""
    pins.mount_bpffs()
    for left in pins.BPFFS.iterdir():
        owner = _OWN_NAME.fullmatch(left.name)
        if owner and not Path("/proc", owner[1]).exists():
            shutil.rmtree(left)
    numbers = itertools.count()
    yield lambda: pins.BPFFS / f"fwdcap-bpftest-{os.getpid()}-{next(numbers)}"
    assert not list(pins.BPFFS.glob(f"fwdcap-bpftest-{os.getpid()}-*"))


@pytest.fixture(scope="module", autouse=True)
def one_cpu() -> Iterator[None]:
    """Counters are kept per CPU; other tiers get all CPUs back."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    yield
    os.sched_setaffinity(0, allowed)


@pytest.fixture(scope="session")
def bpf_object() -> Path:
    """The object file, as the sources are now."""
    native = objects.OBJECT.parent.parent
    subprocess.run(
        ["make", "-C", str(native), str(objects.OBJECT.relative_to(native))],
        check=True,
        capture_output=True,
    )
    return objects.OBJECT


@pytest.fixture(scope="session")
def bench(bpf_object: Path, new_directory: Callable[[], Path]) -> Iterator[Bench]:
    """The program as it is loaded by default."""
    with Bench(new_directory()) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def strict_bench(bpf_object: Path, new_directory: Callable[[], Path]) -> Iterator[Bench]:
    """The program with [interface] unmatched = "drop"."""
    with Bench(new_directory(), unmatched_drop=True) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def small_bench(bpf_object: Path, new_directory: Callable[[], Path]) -> Iterator[Bench]:
    """The program with a ring of one page."""
    with Bench(new_directory(), ring_bytes=4096) as loaded:
        yield loaded


@pytest.fixture(scope="session")
def relayed(bench: Bench, strict_bench: Bench) -> Callable[[bytes, Setup], Outcome]:
    """Run one frame, insist that the oracle agrees in everything, return the outcome."""

    def run(frame: bytes, setup: Setup) -> Outcome:
        chosen = strict_bench if setup.unmatched_drop else bench
        outcome = chosen.run(frame, setup)
        assert outcome == predict(frame, setup)
        return outcome

    return run
