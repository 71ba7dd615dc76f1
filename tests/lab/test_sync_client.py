"""The appliance as the vendor's sync client uses it, with the real product behind it.

That client shells out to curl without -L, asks for `//plain/list` because it puts
its own slash in front of what the appliance gave it, splits rows at commas,
compares modes stripped but hands fields on as they came, and follows a running
capture by fetching every split but the last, which still grows.
"""

from __future__ import annotations

import gzip
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from product import Pages, wait_until

from fwdcap.abi import Mode
from fwdcap.lab import CAPTURE, CLIENT, SERVER, Appliance, Lab, read_pcap

CURLS = {
    "today": (),
    "http-1.0": ("--http1.0",),
    "keep-alive": ("--http1.1", "--keepalive-time", "5"),
}


class SyncClient:
    """What of the vendor's script touches the appliance."""

    def __init__(self, appliance: Appliance, options: tuple[str, ...] = ()) -> None:
        self._appliance = appliance
        self._options = options

    def curl(self, url: str, *more: str) -> bytes:
        """`http://HOST/` and the field in front of it as it came; no redirects, nothing encoded."""
        login = f"{self._appliance.user}:{self._appliance.password}"
        whole = f"{self._appliance.url}/{url}"
        command = ["curl", "-s", "-f", "-u", login, *self._options, *more, whole]
        return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout

    def latest(self) -> str:
        """The stream with the latest TSStart."""
        rows = [row.split(",") for row in self.curl("/plain/list").decode().splitlines()]
        streams = [row for row in rows if len(row) >= 8 and row[0].strip() != "Filename"]
        streams.sort(key=lambda row: int(row[6]), reverse=True)
        return streams[0][0].strip()

    def splits(self, stream: str, mode: str) -> list[list[str]]:
        """Name, size, packets and URL of each split, by way of the view's own link."""
        views = [row.split(",") for row in self.rows(f"/plain/view?StreamName={stream}")]
        (link,) = [row[1] for row in views if len(row) == 2 and row[0].strip() == mode]
        found = [row.split(",") for row in self.rows(link)]
        return [row for row in found if len(row) == 4 and row[0].strip() != "Name"]

    def rows(self, url: str) -> list[str]:
        return self.curl(url).decode().splitlines()


@contextmanager
def traffic(lab: Lab) -> Iterator[None]:
    """Pings from a to the capture address, twenty a second, as long as the block runs."""
    with lab.host("a").popen(["ping", "-i", "0.05", "-q", str(CAPTURE)]) as ping:
        try:
            yield
        finally:
            ping.terminate()
            ping.wait(10)


@pytest.mark.parametrize("kind", CURLS)
def test_follows_a_running_capture_split_by_split(
    lab: Lab, appliance: Appliance, tmp_path: Path, kind: str
) -> None:
    client, pages = SyncClient(appliance, CURLS[kind]), Pages(appliance)
    pages.start(f"follow-{kind}")
    fetched: dict[str, bytes] = {}
    with traffic(lab):
        stream = wait_for_stream(client, f"follow-{kind}")
        end = time.monotonic() + 30
        while len(fetched) < 4 and time.monotonic() < end:
            for name, size, packets, url in client.splits(stream, "split_1sec")[:-1]:
                if name not in fetched:
                    fetched[name] = client.curl(url)
                    assert len(fetched[name]) == int(size)
                    assert int(packets) > 0
            time.sleep(0.3)
    pages.stop()
    assert len(fetched) >= 4
    for name, size, _, url in client.splits(stream, "split_1sec"):
        fetched.setdefault(name, client.curl(url))
        assert len(fetched[name]) == int(size)
    single = client.curl(f"/pcap/single?StreamName={stream}&")
    joined = b"".join(fetched[name][24:] for name in sorted(fetched))
    assert single[:24] + joined == single
    assert sorted(fetched) == list(fetched)


def wait_for_stream(client: SyncClient, name: str) -> str:
    wait_until(lambda: client.latest().startswith(name), f"{name} is the latest stream")
    return client.latest()


@pytest.fixture(scope="module")
def recorded(lab: Lab, appliance: Appliance) -> str:
    """A finished capture of some seconds of pings."""
    pages = Pages(appliance)
    pages.start("done")
    with traffic(lab):
        time.sleep(2.5)
    pages.stop()
    return str(pages.streams()[0][0])


def test_compressed_filtered_splits_are_the_pings_of_one_stage(
    appliance: Appliance, recorded: str, tmp_path: Path
) -> None:
    """What the client appends to a split's URL: Compression and a filter."""
    client, frames = SyncClient(appliance), 0
    for _, _, _, url in client.splits(recorded, "split_1sec"):
        query = f"{url}&FilterIPSrc={CLIENT}&FilterIPDst={SERVER}&FilterICMP=true&Compression=fast&"
        path = tmp_path / "split.pcap"
        path.write_bytes(gzip.decompress(client.curl(query)))
        found = read_pcap(path)
        addresses = {each.data[26:34] for each in found}
        assert addresses <= {CLIENT.packed + SERVER.packed}
        frames += len(found)
    whole = Pages(appliance).records(recorded, tmp_path)
    wanted = [r for r in whole if r.mode is Mode.INLINE and r.frame[26:30] == CLIENT.packed]
    assert frames == len(wanted) > 10


def test_single_with_times_and_a_download_that_is_resumed(
    appliance: Appliance, recorded: str, tmp_path: Path
) -> None:
    client, target = SyncClient(appliance), tmp_path / "x.pcap"
    whole = client.curl(f"/pcap/single?StreamName={recorded}&")
    target.write_bytes(whole[:1000])
    client.curl(f"/pcap/single?StreamName={recorded}&", "-C", "-", "-o", str(target))
    assert target.read_bytes() == whole
    rows = client.splits(recorded, "split_1sec")
    first, last = (row[3].split("Start=")[1].split("ULL")[0] for row in (rows[0], rows[-1]))
    span = client.curl(f"/pcap/splittime?StreamName={recorded}&Start={first}ULL&Stop={last}ULL&")
    across = client.curl(f"/pcap/timerange?TSBegin={first}&TSEnd={last}")
    assert span == across
    assert len(span) == 24 + sum(int(row[1]) - 24 for row in rows[:-1])


def test_tcpdump_reads_what_is_piped_to_it(appliance: Appliance, recorded: str) -> None:
    query = f"/pcap/single?StreamName={recorded}&FilterBPF=icmp%5B0%5D%20==%208"
    piped = SyncClient(appliance).curl(query)
    said = subprocess.run(
        ["tcpdump", "-nn", "--nano", "-r", "-"], input=piped, capture_output=True, check=True
    ).stdout.decode()
    assert said.count("ICMP echo request") == len(said.splitlines()) > 10


def test_delete_and_what_is_being_recorded(appliance: Appliance) -> None:
    client, pages = SyncClient(appliance), Pages(appliance)
    pages.start("gone")
    (stream, *_), *_ = pages.streams()
    with pytest.raises(subprocess.CalledProcessError):
        client.curl(f"/pcap/del?StreamName={stream}")
    pages.stop()
    assert client.curl(f"/pcap/del?StreamName={stream}&rand=1530498848939065088&")
    assert stream not in [name for name, *_ in pages.streams()]
    assert not (appliance.store / "streams" / stream).exists()
