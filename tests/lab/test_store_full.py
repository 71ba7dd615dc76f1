"""Small disks that run full under traffic: forwarding does not notice, what is kept is whole.

A sequence-numbered flow fills a disk of its own several times over, with and
without retention, and one beside an archive that goes away and comes back.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from disks import disk, mount, unmount
from flow import Torrent
from machine import Machine
from product import frames_of, wait_until

from fwdcap.errors import Conflict, DiskFull, FwdcapError, Unavailable
from fwdcap.lab import Lab
from fwdcap.store.download import open_single

MB = 1_000_000
SIZE = 1400
RECORD_BYTES = 16 + 42 + SIZE
RATE = 10_000  # 14.6 MB/s to disk
SETTINGS = {"store.segment_bytes": str(8 * MB), "ring.bytes": str(256 << 20)}


@contextmanager
def appliance(lab_name: str, disks: dict[str, int], **settings: str) -> Iterator[Machine]:
    """An appliance whose directories of these names are disks of these sizes."""
    with Lab(lab_name) as lab, ExitStack() as stack:
        for name, size_bytes in disks.items():
            stack.enter_context(disk(lab.directory / name, size_bytes))
        machine = Machine(lab)
        wanted = {key.replace("__", "."): value for key, value in settings.items()}
        machine.run(modes=("inline",), settings={**SETTINGS, **wanted})
        try:
            yield machine
        finally:
            with suppress(FwdcapError):
                machine.appliance.client.capture_stop()
            machine.appliance.stop(signal.SIGTERM)


def flow(machine: Machine, seconds: float) -> Torrent:
    return Torrent(machine.lab, rate=RATE, seconds=seconds, size=SIZE)


def record(machine: Machine, name: str, seconds: float) -> str:
    """A whole capture; returns its stream."""
    machine.pages.start(name)
    with flow(machine, seconds) as torrent:
        assert torrent.finish().perfect
    machine.pages.stop()
    return machine.pages.streams()[0][0]


def numbers(machine: Machine, stream: str) -> list[int]:
    """The sequence numbers in a stream's download."""
    with machine.pages.open(f"/pcap/single?StreamName={stream}") as answer:
        return [int.from_bytes(frame[42:50], "big") for frame in frames_of(answer)]


def assert_listed_exactly(machine: Machine, stream: str) -> list[int]:
    """Sizes and counts in the listing are those of the download; returns its numbers."""
    row = next(row for row in machine.pages.streams() if row[0] == stream)
    found = numbers(machine, stream)
    with machine.pages.open(f"/pcap/single?StreamName={stream}") as answer:
        assert int(answer.headers["Content-Length"]) == row[1]
    assert row[1:] == (24 + len(found) * RECORD_BYTES, len(found))
    return found


def settled(machine: Machine) -> list[tuple[str, int, int]]:
    """The streams once retention, which looks every second, has nothing left to remove."""
    before = machine.pages.streams()
    while True:
        time.sleep(2.5)
        now = machine.pages.streams()
        if now == before:
            return now
        before = now


def codes(machine: Machine) -> list[str]:
    return [warning["code"] for warning in machine.appliance.client.status()["warnings"]]


def test_with_retention_the_oldest_go_and_nothing_is_lost(lab_name: str) -> None:
    with appliance(lab_name, {"store": 192 * MB}, store__min_free='"70MB"') as machine:
        old = [record(machine, name, 1.5) for name in ("old1", "old2")]
        machine.pages.start("long")
        seen: list[set[str]] = []
        with flow(machine, 25) as torrent:
            while torrent.running:
                seen.append({name for name, _, _ in machine.pages.streams()})
                time.sleep(0.3)
            result = torrent.finish()
        assert result.perfect, result
        machine.pages.stop()
        ((stream, _, _),) = settled(machine)  # what is still too much goes by segments
        assert not any(old[0] in names and old[1] not in names for names in seen)
        assert any(old[0] not in names and old[1] in names for names in seen)
        status = machine.appliance.client.status()["capture"]
        assert (status["lost_records"], status["emitted_records"]) == (0, result.sent)
        found = assert_listed_exactly(machine, stream)
        assert found == list(range(found[0], result.sent))
        assert found[0] > 0
        log = machine.appliance.log.read_text()
        assert f"Stream {old[0]} was deleted" in log
        assert f"The running stream {stream} lost its oldest" in log
        assert "store-full" not in codes(machine)
        first = record(machine, "next", 0.5)  # there is room for another at once
        assert numbers(machine, first) == list(range(RATE // 2))


def test_without_retention_the_capture_stops_and_says_so(lab_name: str) -> None:
    with appliance(lab_name, {"store": 160 * MB}) as machine:
        client = machine.appliance.client
        old = record(machine, "old", 1)
        machine.pages.start("full")
        with flow(machine, 20) as torrent:
            wait_until(lambda: not client.status()["capture"]["active"], "the end of it", 30)
            result = torrent.finish()
        assert result.perfect, result
        capture = client.status()["capture"]
        assert "No space left" in capture["message"]
        assert capture["lost"]["disk"] > 0
        assert "store-full" in codes(machine)
        wait_until(lambda: len(complete(machine)) == 2, "its last words")
        stream = machine.pages.streams()[0][0]
        found = assert_listed_exactly(machine, stream)
        assert found == list(range(len(found)))
        seen = capture["emitted_records"] + sum(
            count for reason, count in capture["lost"].items() if reason != "disk"
        )
        assert len(found) + capture["lost_records"] == seen
        assert assert_listed_exactly(machine, old) == list(range(RATE))
        for segment in sorted((machine.appliance.store / "streams" / stream).glob("*.pcap")):
            command = ["tcpdump", "-r", segment, "-w", "-"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        with pytest.raises(DiskFull, match="is full"):
            client.capture_start("more")
        client.stream_delete(stream)
        wait_until(lambda: "store-full" not in codes(machine), "room")
        new = record(machine, "new", 1)
        assert assert_listed_exactly(machine, new) == list(range(RATE))
        assert numbers(machine, old) == list(range(RATE))


def test_segments_move_to_an_archive_that_goes_and_comes_back(lab_name: str) -> None:
    disks = {"store": 160 * MB, "archive": 400 * MB}
    with appliance(
        lab_name,
        disks,
        store__archive=f'"{Lab(lab_name).directory}/archive"',
        store__archive_above='"25%"',
    ) as machine:
        client, archive = machine.appliance.client, machine.lab.directory / "archive"
        machine.pages.start("long")
        with flow(machine, 18) as torrent:
            with pytest.raises(Conflict, match="being recorded"):
                client.stream_delete(machine.pages.streams()[0][0])
            result = torrent.finish()
        assert result.perfect, result
        machine.pages.stop()
        ((stream, size, count),) = machine.pages.streams()
        assert size > disks["store"]
        assert client.status()["capture"]["lost_records"] == 0
        assert assert_listed_exactly(machine, stream) == list(range(result.sent))
        wait_until(lambda: at_rest(client), "the last move")
        assert client.status()["store"]["archive"]["used_bytes"] > size // 2

        unmount(archive)
        wait_until(lambda: "archive" in codes(machine), "the warning")
        assert machine.pages.streams() == [(stream, size, count)]
        # Not asked of the pages: they may have mounts of their own.
        with pytest.raises(Unavailable, match="in the archive, which cannot be read"):
            open_single(machine.appliance.store, stream)
        new = record(machine, "meanwhile", 1)
        assert numbers(machine, new) == list(range(RATE))
        assert os.listdir(archive) == []

        mount(archive)
        wait_until(lambda: "archive" not in codes(machine), "the archive")
        assert assert_listed_exactly(machine, stream) == list(range(result.sent))
        client.stream_delete(stream)
        wait_until(lambda: not (archive / stream).exists(), "its end in the archive")
        assert [name for name, _, _ in machine.pages.streams()] == [new]


def test_beneath_the_store_s_disk_nothing_is_recorded(lab_name: str) -> None:
    with appliance(lab_name, {}) as machine:
        client, store = machine.appliance.client, machine.appliance.store
        subprocess.run(["mount", "-t", "tmpfs", "other", store], check=True)
        try:
            wait_until(lambda: "store-away" in codes(machine), "the warning")
            with pytest.raises(Unavailable, match="on another disk than when the daemon began"):
                client.capture_start("x")
            assert not (store / "streams").exists()
        finally:
            subprocess.run(["umount", "-l", store], check=True)
        wait_until(lambda: "store-away" not in codes(machine), "the store")
        record(machine, "back", 0.5)
        assert client.status()["capture"]["lost_records"] == 0


def complete(machine: Machine) -> list[dict[str, Any]]:
    rows = machine.appliance.client.captures()["captures"]
    return [row for row in rows if row["state"] == "complete"]


def at_rest(client: Any) -> bool:
    """Has the archive stopped to grow?"""
    before = client.status()["store"]["archive"]["used_bytes"]
    time.sleep(2.5)
    return bool(client.status()["store"]["archive"]["used_bytes"] == before)
