"""Minutes of traffic while processes are killed at random: every packet accounted for.

Only in `make test-long`. FWDCAP_SOAK_S sets its length, FWDCAP_SEED its chances.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from flow import Torrent
from machine import MODES, Machine
from product import Pages, wait_until

from fwdcap.lab import CAPTURE, Lab

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

SOAK_S = float(os.environ.get("FWDCAP_SOAK_S", "600"))
SEED = int(os.environ.get("FWDCAP_SEED", "0")) or random.randrange(1, 10**6)
RATE = 20_000
PAUSE_S = (1.0, 8.0)
_RING = {"ring.bytes": "auto"}


@pytest.fixture
def machine(lab_name: str) -> Iterator[Machine]:
    with Lab(lab_name) as lab:
        found = Machine(lab)
        found.run(settings=_RING)
        assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout
        yield found


class Killer:
    """Kills one process after another, each once it is there again."""

    def __init__(self, machine: Machine, chance: random.Random) -> None:
        self._machine = machine
        self._chance = chance
        self.victims: Counter[str] = Counter()

    def strike(self) -> None:
        names: dict[str, Callable[[], None]] = {
            "fwdcapd": self._daemon,
            "fwdcapd, politely": self._daemon_politely,
            "pages": lambda: self._process("webui"),
            "recorder": lambda: self._process("fwdcap-recorder"),
            "fwdcapd and recorder": self._both,
        }
        name = self._chance.choice(list(names))
        names[name]()
        self.victims[name] += 1

    def _daemon(self) -> None:
        self._machine.kill()
        time.sleep(self._chance.uniform(0, 2))
        self._machine.run(settings=_RING)

    def _daemon_politely(self) -> None:
        self._machine.appliance.stop(signal.SIGTERM)
        self._machine.run(settings=_RING)

    def _process(self, word: str) -> None:
        """One that is away already waits for its restart; there is nothing to kill."""
        for pid in self._machine.processes(word):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _both(self) -> None:
        self._machine.kill()
        self._process("fwdcap-recorder")
        self._machine.run(settings=_RING)


def test_random_kills(machine: Machine, record_property: Callable[[str, object], None]) -> None:
    killer = Killer(machine, chance := random.Random(SEED))
    print(f"FWDCAP_SEED={SEED}")
    machine.pages.start("soak")
    with Torrent(machine.lab, rate=RATE, seconds=SOAK_S) as flow:
        while flow.running:
            killer.strike()
            time.sleep(chance.uniform(*PAUSE_S))
        result = flow.finish()
    assert result.perfect, result
    settle(machine.pages)
    machine.pages.stop()
    ((stream, _, count),) = machine.pages.streams()
    lost = int(machine.pages.status()["packets_dropped"])
    found = machine.numbers(stream)
    assert sorted(found) == sorted(MODES)
    absent = sum(each.absent + result.sent - each.following for each in found.values())
    assert [each.wrong for each in found.values()] == [[]] * 3
    assert absent == lost, "packets that nothing explains"
    killed = ", ".join(f"{name} {times}" for name, times in sorted(killer.victims.items()))
    record_property(
        "result",
        f"{result.sent:,} packets in {result.seconds:.0f} s, all relayed; {count:,} records, "
        f"{lost:,} lost and counted, none missing otherwise, none twice, all in order; "
        f"killed: {killed} (seed {SEED})",
    )


def settle(pages: Pages) -> None:
    """The recorder may be away for the length of its last back-off."""
    wait_until(lambda: pages.status()["bytes_pending"] == "0", "the ring written out", 60)
