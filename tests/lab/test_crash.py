"""Processes that die under traffic: forwarding never notices, the capture loses nothing.

A sequence-numbered flow of 20,000 packets a second shows on B every packet that
was not relayed, and in the download every record that is missing, doubled or
out of order, for each mode.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest
from flow import Result, Torrent
from machine import Machine
from product import wait_until

from fwdcap.lab import CAPTURE, Lab


@pytest.fixture
def machine(lab_name: str) -> Iterator[Machine]:
    with Lab(lab_name) as lab:
        found = Machine(lab)
        found.run()
        assert "2 received" in lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout
        yield found


def assert_all_arrived(result: Result) -> None:
    assert result.perfect, result


def test_fwdcapd_and_pages_killed_and_adopted(machine: Machine) -> None:
    machine.pages.start("crash")
    recorder = machine.recorder()
    with Torrent(machine.lab, rate=20_000, seconds=10) as flow:
        time.sleep(2)
        web = machine.web()
        os.kill(web, signal.SIGKILL)
        wait_until(lambda: machine.processes("webui") not in ([], [web]), "new pages")
        assert machine.pages.status()["capture_active"] == "true"
        machine.kill()
        assert flow.running
        assert_all_arrived(flow.finish())
    assert machine.recorder() == recorder
    log = machine.run().log.read_text()
    assert "Capture [crash] is still running and goes on" in log
    assert machine.recorder() == recorder
    assert machine.pages.status()["capture_name"] == "crash"
    machine.pages.stop()
    ((stream, _, _),) = machine.pages.streams()
    machine.assert_complete(stream, 200_000)


def test_adopted_under_traffic_and_the_recorder_killed(machine: Machine) -> None:
    """The program is replaced and the stream goes on, both without a gap."""
    machine.pages.start("swap")
    with Torrent(machine.lab, rate=20_000, seconds=6) as flow:
        time.sleep(0.5)
        machine.appliance.stop(signal.SIGTERM)
        machine.run()
        machine.kill_recorder()
        assert flow.running
        assert_all_arrived(flow.finish())
    machine.pages.stop()
    ((stream, _, count),) = machine.pages.streams()
    assert count == 3 * 120_000
    machine.assert_complete(stream, 120_000)


def test_fwdcapd_and_the_recorder_both_killed(machine: Machine) -> None:
    """Records wait in the ring until the next fwdcapd starts a recorder for them."""
    machine.pages.start("both")
    with Torrent(machine.lab, rate=5_000, seconds=4) as flow:
        time.sleep(1)
        machine.kill()
        os.kill(machine.recorder(), signal.SIGKILL)
        assert_all_arrived(flow.finish())
    assert machine.processes("fwdcap-recorder") == []
    machine.run()
    machine.recorder()
    machine.pages.stop()
    ((stream, _, _),) = machine.pages.streams()
    machine.assert_complete(stream, 20_000)


def test_a_supervisor_s_signal_leaves_the_capture_and_a_person_s_stops_it(
    machine: Machine,
) -> None:
    a = machine.lab.host("a")
    machine.pages.start("signals")
    recorder = machine.recorder()
    assert machine.appliance.stop(signal.SIGTERM) == 0
    assert "Capture [signals] goes on recording" in machine.appliance.log_tail()
    assert machine.recorder() == recorder
    assert "3 received" in a.run(f"ping -c 3 -i 0.05 {CAPTURE}").stdout
    machine.run()
    assert machine.pages.status()["capture_active"] == "true"
    assert machine.appliance.stop(signal.SIGINT) == 0
    assert "Successfully stopped capture [signals]" in machine.appliance.log_tail()
    assert machine.processes("fwdcap-recorder") == []
    assert "3 received" in a.run(f"ping -c 3 -i 0.05 {CAPTURE}").stdout
    machine.run()
    assert machine.pages.status()["capture_active"] == "false"
    ((_, _, count),) = machine.pages.streams()
    assert count == 3 * 2 * 3
