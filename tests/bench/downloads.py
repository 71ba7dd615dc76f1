"""What downloads cost, and whom they keep waiting: `python -m tests.bench.downloads`.

Writes a stream of several segments and the index of a terabyte, serves them as
`fwdcap run` does (its own process, a stand-in for fwdcapd behind a socket), and
measures over loopback:

- one download from memory against nginx with sendfile, and over TLS against
  nginx's own static file over TLS, by turns; the best of each counts;
- /sysmaster/status alone, and while four downloads read from a cold cache;
- the memory of 50 downloads whose clients read nothing;
- /plain/split of a day in seconds.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import multiprocessing
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import waitress
from flask import Flask, jsonify
from werkzeug.security import generate_password_hash

from fwdcap import abi
from fwdcap.store import checkpoint, pcap, stream_json
from fwdcap.store.stream_json import StreamJson
from tests.bench import fronts, listing
from tests.bench.fronts import wait_until

STREAM = "large_20260101_0000"
PASSWORD = "bench"
FRAME_BYTES = 1500
LOGIN = {"Authorization": "Basic " + base64.b64encode(f"fwdcap:{PASSWORD}".encode()).decode()}
STATUS = "/sysmaster/status"
SINGLE = f"/pcap/single?StreamName={STREAM}"
IDLE = 50
ROUNDS = 3
CONTROL = "control.sock"
COLD = 4


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(dir=options.directory, prefix="fwdcap-downloads-") as top:
        store = Path(top)
        os.chmod(store, 0o755)
        size = write_stream(store, options.segments, int(options.gigabytes * 1e9))
        listing.write_terabyte(store)
        users = {"users": {"fwdcap": {"hash": generate_password_hash(PASSWORD), "role": "admin"}}}
        (store / "users.json").write_text(json.dumps(users))
        with serving(store) as (port, pid):
            get(port, STATUS)  # logs in
            print(f"{options.segments} segments, {size / 1e9:.1f} GB, {os.cpu_count()} CPUs")
            one_download(store, port, size)
            print(f"status alone: {latencies(port, options.seconds)}")
            with downloading(store, port):
                print(f"status beside {COLD} cold downloads: {latencies(port, options.seconds)}")
            for stream in (STREAM, listing.STREAM):
                idle_memory(port, pid, stream)
            day_of_seconds(port)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.downloads", description=__doc__)
    parser.add_argument("--directory", default="/var/tmp", help="where the streams are written")
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--segments", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each latency")
    return parser.parse_args()


# ---- the store


def write_stream(root: Path, segments: int, size: int) -> int:
    """A stream of full frames, a microsecond apart; returns the size of its download."""
    directory = root / "streams" / STREAM
    directory.mkdir(parents=True)
    start_ns, number, before = listing.STARTED_NS, 0, 0
    for segment in range(segments):
        stem = directory / f"{segment:06}"
        index = bytearray()
        with stem.with_suffix(".pcap").open("wb") as file:
            file.write(pcap.file_header())
            while file.tell() < size // segments:
                ns = start_ns + number * 1000
                previous_ns = ns - 1000 if number else 0
                index += struct.pack("=5Q", ns, previous_ns, file.tell(), number, before)
                block, count = _block(ns)
                file.write(block)
                number, before = number + count, before + len(block)
            length = file.tell()
        stem.with_suffix(".index").write_bytes(index)
    last = abi.Checkpoint(
        generation=1,
        state=abi.RecorderState.COMPLETE,
        segment=segments - 1,
        segment_bytes=length,
        segment_index=len(index) // 40,
        packets=number,
        bytes=before,
        first_ns=start_ns,
        last_ns=start_ns + (number - 1) * 1000,
    )
    slots = bytes(abi.CHECKPOINT_SLOT) + checkpoint.slot_bytes(last)
    (directory / checkpoint.FILE).write_bytes(slots)
    words = StreamJson("large", STREAM, "complete", start_ns, last.last_ns)
    stream_json.write(directory / stream_json.FILE, words)
    return pcap.FILE_HEADER_BYTES + before


def _block(ns: int) -> tuple[bytes, int]:
    """One index interval of records from `ns` on, and how many they are."""
    count = abi.INDEX_BYTES // (16 + FRAME_BYTES) + 1
    frame = bytes(FRAME_BYTES)
    heads = (pcap.record_header(ns + n * 1000, FRAME_BYTES, FRAME_BYTES) for n in range(count))
    return b"".join(head + frame for head in heads), count


# ---- the server


@contextlib.contextmanager
def serving(store: Path) -> Iterator[tuple[int, int]]:
    """The web process over that store: its port and its id."""
    with (
        daemon(store) as control,
        socket.create_server(("127.0.0.1", 0), backlog=128) as listening,
        pages(store, control, listening) as web,
    ):
        yield listening.getsockname()[1], web.pid


@contextlib.contextmanager
def serving_tls(store: Path) -> Iterator[int]:
    """Another one behind nginx, beside that: the port of https."""
    with (
        fronts.before_pages(store) as (listening, port),
        pages(store, store / CONTROL, listening, "--clear", "none", "--behind-nginx"),
    ):
        yield port


@contextlib.contextmanager
def daemon(store: Path) -> Iterator[Path]:
    """A stand-in for fwdcapd: its control socket."""
    control = store / CONTROL
    process = multiprocessing.get_context("spawn").Process(target=_daemon, args=(str(control),))
    process.start()
    try:
        wait_until(control.exists)
        yield control
    finally:
        process.terminate()
        process.join()


@contextlib.contextmanager
def pages(
    store: Path, control: Path, listening: socket.socket, *more: str
) -> Iterator[subprocess.Popen[bytes]]:
    fd = listening.fileno()
    command = [sys.executable, "-m", "webui", "--store", str(store), "--control", str(control)]
    web = subprocess.Popen([*command, "--listen", f"fd:{fd}", *more], pass_fds=(fd,))
    try:
        yield web
    finally:
        web.terminate()
        web.wait()


def _daemon(path: str) -> None:
    """What fwdcapd would answer, at no cost."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
    from web_fakes import idle_status

    app, now = Flask("fwdcapd"), idle_status()
    app.add_url_rule("/status", view_func=lambda: jsonify(now))
    waitress.serve(app, unix_socket=path, _quiet=True)


def get(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=LOGIN)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {body[:200]!r}")
    return body


# ---- what is measured


def one_download(store: Path, port: int, size: int) -> None:
    ours = f"http://127.0.0.1:{port}{SINGLE}"
    if fronts.program() is None:
        print(f"download: {best([ours])[ours]}; nginx is not installed, nothing to compare with")
        return
    whole = store / "whole.pcap"
    whole.write_bytes(b"")
    os.truncate(whole, size)
    with fronts.static(store, tls=False) as root:
        compare("download", ours, f"{root}whole.pcap")
    with fronts.static(store, tls=True) as root, serving_tls(store) as secure:
        compare("over TLS", f"https://127.0.0.1:{secure}{SINGLE}", f"{root}whole.pcap")
    whole.unlink()


def compare(what: str, ours: str, static: str) -> None:
    """Both by turns; the best of each counts."""
    found = best([ours, static])
    share = found[ours].rate / found[static].rate
    print(f"{what}: {found[ours]}")
    print(f"{what}, nginx's static file of that size: {found[static]}")
    print(f"{what}: {share:.2f} of nginx")


@dataclass(frozen=True)
class Transfer:
    """Bytes a second, and seconds until the first byte."""

    rate: float
    first_s: float

    def __str__(self) -> str:
        return f"{self.rate / 1e9:.2f} GB/s, first byte {self.first_s * 1e3:.1f} ms"


def best(urls: list[str]) -> dict[str, Transfer]:
    """The fastest transfer of each URL."""
    for url in urls:
        _curl(url)  # into memory
    found: dict[str, Transfer] = {}
    for url in urls * ROUNDS:
        one = _curl(url)
        before = found.get(url, one)
        found[url] = Transfer(max(one.rate, before.rate), min(one.first_s, before.first_s))
    return found


def _curl(url: str) -> Transfer:
    said = "%{speed_download} %{time_starttransfer} %{http_code}"
    command = ["curl", "-sk", "-u", f"fwdcap:{PASSWORD}", "-o", "/dev/null", "-w", said, url]
    speed, first, code = subprocess.check_output(command, text=True).split()
    if code != "200":
        raise RuntimeError(f"{url}: {code}")
    return Transfer(float(speed), float(first))


def latencies(port: int, seconds: float) -> str:
    """Requests one after the other, each on a connection of its own."""
    took: list[float] = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begin = time.perf_counter()
        get(port, STATUS)
        took.append((time.perf_counter() - begin) * 1e3)
    cuts = statistics.quantiles(took, n=100)
    return (
        f"{len(took) / seconds:.0f} requests/s, median {cuts[49]:.1f} ms, "
        f"p99 {cuts[98]:.1f} ms, worst {max(took):.1f} ms"
    )


@contextlib.contextmanager
def downloading(store: Path, port: int) -> Iterator[None]:
    """Downloads one after the other on each of some connections, never from memory."""
    directory, enough = store / "streams" / STREAM, Event()

    def forget() -> None:
        while not enough.wait(0.2):
            listing.drop_from_cache(directory)

    listing.drop_from_cache(directory)
    script = 'while :; do curl -s -u "$1" -o /dev/null "$2" || exit; done'
    url = f"http://127.0.0.1:{port}{SINGLE}"
    command = ["setsid", "sh", "-c", script, "sh", f"fwdcap:{PASSWORD}", url]
    clients = [subprocess.Popen(command) for _ in range(COLD)]
    forgetting = Thread(target=forget)
    forgetting.start()
    try:
        yield
    finally:
        enough.set()
        for client in clients:
            os.killpg(client.pid, 15)
            client.wait()
        forgetting.join()


def idle_memory(port: int, pid: int, stream: str) -> None:
    before = resident_bytes(pid)
    asking = []
    for _ in range(IDLE):
        connection = socket.create_connection(("127.0.0.1", port))
        head = f"GET /pcap/single?StreamName={stream} HTTP/1.1\r\nHost: x\r\n"
        login = f"Authorization: {LOGIN['Authorization']}\r\n\r\n"
        connection.sendall((head + login).encode())
        connection.recv(1)
        asking.append(connection)
    time.sleep(1)
    each = (resident_bytes(pid) - before) / IDLE
    for connection in asking:
        connection.close()
    print(f"{IDLE} idle downloads of {stream}: {each / 1024:.0f} KiB each")


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def day_of_seconds(port: int) -> None:
    begin = time.perf_counter()
    text = get(port, f"/plain/split?StreamName={listing.STREAM}&StreamView=split_1sec")
    took = (time.perf_counter() - begin) * 1e3
    print(f"/plain/split: {text.count(b'ULL&')} rows, {len(text) / 1e6:.1f} MB in {took:.0f} ms")


if __name__ == "__main__":
    sys.exit(main())
