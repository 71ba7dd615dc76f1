"""Captures that end, roll, hang and are scheduled, with the real product under traffic.

A sequence-numbered flow shows which records a stream has: a cap has to be exact
to the record, a roll may neither miss nor double one, and a recorder that was
stopped in its tracks has to be replaced before anything is lost.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from disks import disk
from flow import Torrent
from machine import Machine
from product import frames_of, wait_until

from fwdcap.lab import CAPTURE, Lab

RATE = 20_000
MB = 1_000_000
INLINE = ("inline",)


@pytest.fixture
def machine(lab_name: str) -> Iterator[Machine]:
    with Lab(lab_name) as lab:
        yield Machine(lab)


def run(machine: Machine, **options: Any) -> Machine:
    """`fwdcap run` that keeps inline copies, its next hops known."""
    machine.run(modes=INLINE, **options)
    assert "2 received" in machine.lab.host("a").run(f"ping -c 2 -i 0.05 {CAPTURE}").stdout
    return machine


def words(machine: Machine, stream: str) -> dict[str, Any]:
    path = machine.appliance.store / "streams" / stream / "stream.json"
    read: dict[str, Any] = json.loads(path.read_text())
    return read


def capture(machine: Machine) -> dict[str, Any]:
    """The `capture` object of status."""
    found: dict[str, Any] = machine.appliance.client.status()["capture"]
    return found


def streams(machine: Machine) -> list[dict[str, Any]]:
    """All captures, oldest first."""
    return list(reversed(machine.appliance.client.captures()["captures"]))


def payloads(machine: Machine, stream: str) -> array[int]:
    """The flow's sequence numbers, one for each record of the stream, in its order."""
    with machine.pages.open(f"/pcap/single?StreamName={stream}") as answer:
        return array(
            "Q",
            (
                int.from_bytes(frame[42:50], "big")
                for frame in frames_of(answer)
                if frame[23] == socket.IPPROTO_UDP
            ),
        )


def assert_adds_up(found: dict[str, Any], packets: int) -> None:
    """seen = recorded + lost for that stream.json, with one record a packet."""
    counters = found["counters"]
    lost = sum(counters["lost"].values())
    assert counters["emitted_records"] == packets
    assert counters["received_packets"] == packets + lost
    assert sum(episode["records"] for episode in found["losses"]) == lost


# ---- caps


def test_a_capture_ends_at_its_packets_exactly(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    client.capture_start("capped", max_packets=12_345)
    with Torrent(machine.lab, rate=RATE, seconds=3) as flow:
        wait_until(lambda: not capture(machine)["active"], "the cap is reached")
        assert flow.finish().perfect
    status = capture(machine)
    assert status["message"] == "capture [capped] ended: 12,345 packets reached"
    assert (status["committed_records"], status["lost_records"]) == (12_345, 0)
    assert (status["emitted_records"], status["received_packets"]) == (12_345, 12_345)
    (found,) = streams(machine)
    assert (found["packets"], found["ended"], found["state"]) == (12_345, "max-packets", "complete")
    assert payloads(machine, found["stream"]) == array("Q", range(12_345))
    assert_adds_up(words(machine, found["stream"]), 12_345)
    assert machine.processes("fwdcap-recorder") == []


def test_a_capture_ends_at_its_bytes_and_never_above(machine: Machine) -> None:
    run(machine)
    query = "StreamName=bytes&MaxBytes=1MB"
    assert b'"Status":true' in machine.pages.get(f"/sysmaster/capture_start?{query}")
    with Torrent(machine.lab, rate=RATE, seconds=2) as flow:
        wait_until(lambda: not capture(machine)["active"], "the cap is reached")
        assert flow.finish().perfect
    assert capture(machine)["message"] == "capture [bytes] ended: 1,000,000 bytes reached"
    (found,) = streams(machine)
    record = 16 + 14 + 20 + 8 + 100
    assert 1_000_000 - record < found["size_bytes"] <= 1_000_000
    assert_adds_up(words(machine, found["stream"]), found["packets"])


def test_a_capture_ends_after_its_seconds_without_a_packet(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    client.capture_start("brief", max_seconds=2)
    wait_until(lambda: not capture(machine)["active"], "its time is over", 6)
    (found,) = streams(machine)
    assert capture(machine)["message"] == "capture [brief] ended: 2 seconds reached"
    assert abs(found["stopped_ns"] - found["started_ns"] - 2 * 10**9) < 300_000_000


def test_a_cap_holds_while_no_daemon_runs(machine: Machine) -> None:
    run(machine)
    machine.appliance.client.capture_start("alone", max_packets=5_000)
    machine.kill()
    with Torrent(machine.lab, rate=RATE, seconds=1) as flow:
        assert flow.finish().perfect
    wait_until(lambda: machine.processes("fwdcap-recorder") == [], "the recorder has ended")
    log = machine.run(modes=INLINE).log.read_text()
    assert "capture [alone] ended: 5,000 packets reached" in log
    (found,) = streams(machine)
    assert (found["packets"], found["ended"]) == (5_000, "max-packets")
    assert payloads(machine, found["stream"]) == array("Q", range(5_000))


# ---- rolling


def test_streams_roll_under_traffic_and_nothing_is_lost(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    client.capture_start("day")
    with Torrent(machine.lab, rate=RATE, seconds=6) as flow:
        for _ in range(3):
            time.sleep(1.2)
            assert "goes on in" in client.capture_roll()["message"]
        assert flow.finish().perfect
    client.capture_stop()
    found = streams(machine)
    assert [each["ended"] for each in found] == ["rolled"] * 3 + ["stopped"]
    for one, following in itertools.pairwise(found):
        assert one["continued_by"] == following["stream"]
        assert following["continues"] == one["stream"]
        assert one["stopped_ns"] == following["started_ns"]
    numbers = [payloads(machine, each["stream"]) for each in found]
    assert all(len(each) for each in numbers)
    assert sum(numbers, array("Q")) == array("Q", range(6 * RATE))
    for each in found:
        assert_adds_up(words(machine, each["stream"]), each["packets"])
    assert sum(each["packets"] for each in found) == 6 * RATE


def test_a_roll_that_the_daemon_did_not_live_to_see_is_completed(machine: Machine) -> None:
    run(machine)
    machine.appliance.client.capture_start("mid")
    recorder = machine.recorder()
    with Torrent(machine.lab, rate=RATE, seconds=4) as flow:
        time.sleep(1)
        machine.kill()
        os.kill(recorder, signal.SIGUSR1)
        wait_until(lambda: machine.processes("fwdcap-recorder") == [], "the stream has ended")
        time.sleep(0.5)
        log = machine.run(modes=INLINE).log.read_text()
        assert flow.finish().perfect
    assert "Capture [mid] goes on in" in log
    machine.appliance.client.capture_stop()
    first, second = streams(machine)
    assert (first["continued_by"], second["continues"]) == (second["stream"], first["stream"])
    numbers = payloads(machine, first["stream"]) + payloads(machine, second["stream"])
    assert numbers == array("Q", range(4 * RATE))


# ---- the watchdog


def test_a_recorder_that_hangs_is_reported_and_replaced(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    client.capture_start("hang")
    recorder = machine.recorder()
    with Torrent(machine.lab, rate=RATE, seconds=9) as flow:
        time.sleep(1)
        os.kill(recorder, signal.SIGSTOP)
        reported_s = wait_until(lambda: capture(machine)["message"], "it is reported", 7)
        codes = [warning["code"] for warning in client.status()["warnings"]]
        wait_until(
            lambda: machine.processes("fwdcap-recorder") not in ([], [recorder]), "a new one", 4
        )
        assert flow.finish().perfect
    assert reported_s < 5
    assert "recorder-trouble" in codes
    assert "hung and was started again" in machine.appliance.log.read_text()
    client.capture_stop()
    (found,) = streams(machine)
    assert found["lost"] == 0
    assert payloads(machine, found["stream"]) == array("Q", range(9 * RATE))


# ---- losses


def test_losses_have_their_ring_their_reason_and_their_time(machine: Machine) -> None:
    """The daemon is away, so nobody replaces the recorder before the ring is full."""
    run(machine, settings={"ring.bytes": "1048576"})
    client = machine.appliance.client
    client.capture_start("lossy")
    recorder = machine.recorder()
    with Torrent(machine.lab, rate=RATE, seconds=5) as flow:
        time.sleep(1)
        os.kill(recorder, signal.SIGSTOP)
        stopped_ns = time.time_ns()
        time.sleep(1.5)
        os.kill(recorder, signal.SIGCONT)
        resumed_ns = time.time_ns()
        assert flow.finish().perfect
    stopped = client.capture_stop()
    (found,) = streams(machine)
    told = words(machine, found["stream"])
    lost = stopped["summary"]["lost_records"]
    assert lost > RATE // 2
    assert found["packets"] + lost == 5 * RATE
    assert {(each["ring"], each["reason"]) for each in told["losses"]} == {(0, "ring-full")}
    assert stopped_ns < told["losses"][0]["first_ns"] < stopped_ns + 10**9
    assert resumed_ns - 10**9 < told["losses"][-1]["last_ns"] < resumed_ns + 10**9
    assert sum(each["records"] for each in told["losses"]) == lost
    assert told["counters"]["lost"]["ring-full"] == lost
    (row,) = [each for each in told["counters"]["interfaces"] if each["recorded"]]
    assert (row["mode"], row["recorded"], row["lost"]) == ("inline", found["packets"], lost)
    comments = shark(export(machine, found["stream"]), "frame.comment")
    said = [comment for comment in comments if comment]
    assert len(said) == len(told["losses"])
    assert all("ring-full" in comment for comment in said)
    # The dissector of the file itself wants a small one: without a packet.
    nothing = export(machine, found["stream"], "&FilterTCP=true")
    counts = [f"pcapng.options.option.data.interface.{what}" for what in ("received", "dropped")]
    as_blocks = ("-X", "read_format:MIME Files Format")
    assert shark(nothing, *counts, options=as_blocks) == [f"{5 * RATE}\t{lost}"]


def export(machine: Machine, stream: str, more: str = "") -> Path:
    """The stream as the pages export it to pcapng."""
    path = machine.lab.directory / "exported.pcapng"
    with machine.pages.open(f"/pcap/single?StreamName={stream}&Format=pcapng{more}") as answer:
        path.write_bytes(answer.read())
    return path


def shark(path: Path, *fields: str, options: Sequence[str] = ()) -> list[str]:
    """The lines of tshark with these fields."""
    wanted = itertools.chain.from_iterable(("-e", field) for field in fields)
    command = ["tshark", "-r", str(path), *options, "-T", "fields", *wanted]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


# ---- the schedule


def test_a_row_starts_and_stops_by_the_clock(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    start, stop = _seconds_from_now(3), _seconds_from_now(7)
    row = {
        "name": "soon",
        "days": "daily",
        "start": f"{start:%H:%M:%S}",
        "stop": f"{stop:%H:%M:%S}",
    }
    client.schedule_put([row], 0)
    with Torrent(machine.lab, rate=1_000, seconds=9) as flow:
        wait_until(lambda: capture(machine)["active"], "it has begun", 6)
        assert capture(machine)["schedule"] == "soon"
        wait_until(lambda: not capture(machine)["active"], "it has ended", 8)
        assert flow.finish().perfect
    (found,) = streams(machine)
    assert (found["name"], found["ended"], found["state"]) == ("soon", "schedule", "complete")
    assert abs(found["started_ns"] - start.timestamp() * 1e9) < 300_000_000
    assert abs(found["stopped_ns"] - stop.timestamp() * 1e9) < 1_000_000_000
    assert 3_000 < found["packets"] < 5_000


def test_a_missed_start_happens_late_and_stop_holds_over_a_restart(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    machine.pages.start("manual")
    start, stop = _seconds_from_now(-60), _seconds_from_now(3600)
    row = {"name": "late", "days": "daily", "start": f"{start:%H:%M}", "stop": f"{stop:%H:%M}"}
    client.schedule_put([row])
    wait_until(lambda: _codes(machine) == ["schedule-waiting"], "it says that it waits", 4)
    machine.pages.stop()
    wait_until(lambda: capture(machine)["name"] == "late", "it begins when the other ends", 4)
    machine.appliance.stop(signal.SIGINT)  # ends the capture, but is not its STOP
    run(machine)
    wait_until(lambda: capture(machine)["active"], "it goes on after a restart", 4)
    log = machine.appliance.log.read_text()
    assert "Scheduled capture [late] is due and waits for [manual] to end." in log
    assert "Scheduled capture [late] began late, it was due at" in log
    machine.pages.stop()
    machine.appliance.stop(signal.SIGTERM)
    run(machine)
    time.sleep(2.5)
    assert not capture(machine)["active"]
    assert machine.appliance.client.schedule()["rows"][0]["state"] == "stopped"


def test_a_24_7_capture_rolls_at_its_time(machine: Machine) -> None:
    at = _seconds_from_now(6)
    run(machine, settings={"capture.roll": f"{at:%H:%M:%S}"})
    machine.appliance.client.schedule_put([{"name": "all", "always": True}])
    wait_until(lambda: capture(machine)["active"], "it has begun", 4)
    with Torrent(machine.lab, rate=RATE, seconds=7) as flow:
        wait_until(lambda: len(streams(machine)) == 2, "it has rolled", 10)
        assert flow.finish().perfect
    machine.appliance.client.schedule_put([])
    wait_until(lambda: not capture(machine)["active"], "it ends with its row", 4)
    first, second = streams(machine)
    assert abs(second["started_ns"] - at.timestamp() * 1e9) < 300_000_000
    numbers = payloads(machine, first["stream"]) + payloads(machine, second["stream"])
    assert numbers == array("Q", range(7 * RATE))


# ---- disks


def test_a_removed_directory_ends_the_capture_and_its_row_goes_on(machine: Machine) -> None:
    run(machine)
    client = machine.appliance.client
    client.schedule_put([{"name": "all", "always": True}])
    wait_until(lambda: capture(machine)["active"], "it has begun", 4)
    with Torrent(machine.lab, rate=1_000, seconds=16) as flow:
        gone = machine.appliance.store / "streams"
        gone.rename(machine.lab.directory / "elsewhere")
        wait_until(lambda: not capture(machine)["active"], "its end is seen", 4)
        assert "was removed" in capture(machine)["message"]
        assert "schedule-failed" in _codes(machine)
        wait_until(lambda: capture(machine)["active"], "it is recorded again", 16)
        assert flow.finish().perfect
    assert "schedule-failed" not in _codes(machine)
    (found,) = streams(machine)
    assert found["state"] == "recording"


def test_a_row_whose_disk_ran_full_records_again_once_there_is_room(machine: Machine) -> None:
    """Nobody restarts anything; forwarding does not notice."""
    with disk(machine.lab.directory / "store", 160 * MB) as store:
        run(machine, settings={"store.segment_bytes": str(8 * MB)})
        machine.appliance.client.schedule_put([{"name": "all", "always": True}])
        wait_until(lambda: capture(machine)["active"], "it has begun", 4)
        with Torrent(machine.lab, rate=2_000, seconds=36, size=1400) as flow:
            with (store / "filler").open("wb") as filler, suppress(OSError):
                while True:
                    filler.write(bytes(MB))
            wait_until(lambda: not capture(machine)["active"], "its end", 20)
            failed = streams(machine)[0]["stream"]
            assert "No space left" in capture(machine)["message"]
            wait_until(lambda: "schedule-failed" in _codes(machine), "that it is said", 4)
            (store / "filler").unlink()
            wait_until(lambda: capture(machine)["active"], "that it records again", 30)
            assert flow.finish().perfect
        machine.appliance.client.schedule_put([])
        wait_until(lambda: not capture(machine)["active"], "it ends with its row", 4)
        told = [words(machine, each["stream"]) for each in streams(machine)]
        assert [each["ended"] for each in told] == ["disk", "schedule"]
        first = payloads(machine, failed)
        assert first == array("Q", range(len(first)))
        machine.appliance.stop(signal.SIGINT)


def _seconds_from_now(seconds: int) -> datetime:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)


def _codes(machine: Machine) -> list[str]:
    return [
        warning["code"]
        for warning in machine.appliance.client.status()["warnings"]
        if warning["code"].startswith("schedule")
    ]
