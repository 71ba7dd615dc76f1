"""Fixtures of the lab tier: a testbed of its own for each module, and no leftovers."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwdcap.lab import Appliance, Lab

_OWN_NAME = re.compile(r"test(\d+)-.*")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if not item.path.is_relative_to(here):
            continue
        item.add_marker(pytest.mark.lab)
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session", autouse=True)
def no_leftovers() -> Iterator[None]:
    """Labs of test runs that were killed go first; of this one, none may stay."""
    if os.geteuid() != 0:
        yield
        return
    for name in Lab.names():
        owner = _OWN_NAME.fullmatch(name)
        if owner and not Path("/proc", owner[1]).exists():
            Lab(name).down()
    yield
    stayed = [name for name in Lab.names() if name.startswith(f"test{os.getpid()}-")]
    for name in stayed:
        Lab(name).down()
    assert not stayed


@pytest.fixture(scope="module")
def lab_name(request: pytest.FixtureRequest) -> str:
    """Unique among test runs and modules, also for a test that builds its own lab."""
    module = re.sub("[^a-z0-9]+", "-", request.path.stem.removeprefix("test_"))
    return f"test{os.getpid()}-{module}"[:36].rstrip("-")


@pytest.fixture(scope="module")
def lab(lab_name: str) -> Iterator[Lab]:
    """Hosts a and b and the appliance c with two interfaces; nothing runs in it yet."""
    with Lab(lab_name) as built:
        yield built


@pytest.fixture(scope="module")
def appliance(lab: Lab) -> Appliance:
    """`fwdcap run` on c, forwarding, with the route demo in all modes; ends with the lab."""
    return lab.start_appliance()
