"""Fixtures of the daemon's tests, named by each of their modules in pytest_plugins."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from capture_rig import Rig
from control_fakes import Clock, FakeMachine, service

from fwdcap.capture import recorder
from fwdcap.control.service import Service

Make = Callable[..., Service]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    rig.end()


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    machine = FakeMachine(tmp_path)
    machine.plug("cap0")
    return machine


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make(tmp_path: Path, machine: FakeMachine, clock: Clock) -> Iterator[Make]:
    """Daemons one after the other; what they left recording is ended with the test."""
    made: list[Service] = []

    def one(**of: object) -> Service:
        for earlier in made:
            earlier.close()
        made.append(service(tmp_path, machine, clock, **of))
        return made[-1]

    yield one
    for last in made:
        last.close()
    for directory in (tmp_path / "store" / "streams").glob("*"):
        found = recorder.find(directory)
        if found:
            found.send(signal.SIGKILL)
            found.close()
