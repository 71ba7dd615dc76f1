"""The application behind the real server, over loopback."""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread

import pytest
from flask import request
from store_builder import Packet, StreamBuilder, packets
from waitress import wasyncore
from web_fakes import PASSWORD, Site, make_site

from fwdcap.errors import Unavailable
from webui import __main__ as server
from webui.channel import STEP_BYTES, TURN_BYTES, FairChannel
from webui.exports import MOST

pytestmark = pytest.mark.unit

LOGIN = base64.b64encode(f"fwdcap:{PASSWORD}".encode()).decode()
STREAM = "cli_capture_20150620_1128"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


@contextmanager
def served(site: Site, listen: str = "127.0.0.1:0") -> Iterator[int]:
    """The site on waitress as `python -m webui` sets it up; gives the port."""
    waitress = server.make_server(site.app, listen)
    sockets = waitress._map  # waitress leaves its loop when nothing is left in it
    thread = Thread(target=waitress.run, daemon=True)
    thread.start()
    try:
        yield waitress.effective_port
    finally:
        waitress.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
        thread.join(20)
        waitress.task_dispatcher.shutdown()
        assert not thread.is_alive()


def ask(port: int, path: str, *more: str, method: str = "GET") -> socket.socket:
    """Sends one request and returns the socket, nothing read yet."""
    asking = socket.create_connection(("127.0.0.1", port), timeout=20)
    lines = (f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Basic {LOGIN}", *more)
    asking.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1"))
    return asking


def answer(asking: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """Reads until the server closes: status, headers in lower case, body."""
    with closing(asking):
        raw = b"".join(iter(lambda: asking.recv(1 << 20), b""))
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return int(first.split(" ")[1]), headers, body


def large(store: Path, packets_each: int = 160) -> StreamBuilder:
    """About 30 MB in three segments: far more than sockets buffer."""
    builder = StreamBuilder(store)
    for segment in range(3):
        if segment:
            builder.roll()
        start = segment * packets_each
        builder.add(
            [Packet(p.ns + start * 1_000_000, p.frame) for p in packets(packets_each, 65000)]
        )
    return builder.complete().write()


def test_bytes_arrive_as_they_are_stored_by_whole_and_by_range(site: Site) -> None:
    whole = large(site.store).single()
    url = f"/pcap/single?StreamName={STREAM}&"
    with served(site) as port:
        status, headers, body = answer(ask(port, url))
        assert (status, headers["content-length"]) == (200, str(len(whole)))
        assert hashlib.sha256(body).digest() == hashlib.sha256(whole).digest()
        status, headers, body = answer(ask(port, url, "Range: bytes=10000000-21000000"))
        assert (status, body == whole[10_000_000:21_000_001]) == (206, True)
        assert "transfer-encoding" not in headers
        status, headers, body = answer(ask(port, url, method="HEAD"))
        assert (status, headers["content-length"], body) == (200, str(len(whole)), b"")


def test_what_the_server_sends_of_a_download_is_counted(site: Site) -> None:
    whole = large(site.store).single()
    url = f"/pcap/single?StreamName={STREAM}&"
    meter = site.app.extensions["fwdcap"].meter
    with served(site) as port:
        assert len(answer(ask(port, url))[2]) == len(whole)
        wait_until(lambda: meter.downloads("plain").whole == 1)
        assert meter.downloads("plain").sent_bytes == len(whole)
        with closing(ask(port, url)) as asking:
            assert asking.recv(1) == b"H"
            wait_until(lambda: meter.downloads("plain").sent_bytes > len(whole))
            assert meter.downloads("plain").running == 1
        wait_until(lambda: meter.downloads("plain").broken == 1)
    seen = meter.downloads("plain")
    assert (seen.running, seen.whole) == (0, 1)
    assert len(whole) < seen.sent_bytes < 2 * len(whole)


URLS = (
    f"/pcap/single?StreamName={STREAM}&",
    f"/pcap/splittime?StreamName={STREAM}&Start=0&Stop=2434799736000000000ULL&",
    "/pcap/timerange?TSBegin=0&TSEnd=2434799736000000000",
)


@pytest.mark.parametrize("url", URLS, ids=["single", "splittime", "timerange"])
def test_slow_clients_hold_no_worker(site: Site, url: str) -> None:
    whole = large(site.store).single()
    with served(site) as port:
        slow = [ask(port, url) for _ in range(server.THREADS // 2)]
        slow += [ask(port, url, "Range: bytes=5-") for _ in range(server.THREADS)]
        for asking in slow:
            assert asking.recv(1) == b"H"
        for path in ("/healthz", "/sysmaster/status", "/plain/list"):
            assert answer(ask(port, path))[0] == 200
        first = b"H" + b"".join(iter(lambda: slow[0].recv(1 << 20), b""))
        assert first.endswith(whole[-100:])
        for asking in slow:
            asking.close()


def test_a_long_listing_holds_no_worker_and_has_its_length(site: Site) -> None:
    large(site.store)
    url = f"/plain/split?StreamName={STREAM}&StreamView=split_1MB"
    with served(site) as port:
        slow = [ask(port, url) for _ in range(server.THREADS * 2)]
        assert answer(ask(port, "/healthz"))[0] == 200
        for asking in slow:
            status, headers, body = answer(asking)
            assert (status, int(headers["content-length"])) == (200, len(body))
            assert body.count(b"\n") > 20


def unchunked(raw: bytes) -> tuple[bytes, bool]:
    """The body of a chunked transfer, and whether its last chunk came."""
    chunks, at = [], 0
    while at < len(raw):
        begin = raw.index(b"\r\n", at) + 2
        length = int(raw[at:begin], 16)
        if length == 0:
            return b"".join(chunks), True
        chunks.append(raw[begin : begin + length])
        at = begin + length + 2
    return b"".join(chunks), False


def test_a_filtered_download_is_chunked_and_whole(site: Site) -> None:
    whole = large(site.store).single()
    with served(site) as port:
        status, headers, body = answer(ask(port, f"{URLS[0]}FilterBPF=len%20>%200"))
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    assert "content-length" not in headers
    assert unchunked(body) == (whole, True)


def test_a_filtered_download_that_breaks_off_lacks_its_last_chunk(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(site.store)
    reads = iter([b"some"])

    def read(process: object, size: int) -> bytes:
        found = next(reads, None)
        if found is None:
            raise Unavailable("The export broke off: x.", code="export-failed")
        return found

    monkeypatch.setattr("fwdcap.store.export.ExportProcess.read", read)
    with served(site) as port:
        status, _, body = answer(ask(port, f"{URLS[0]}FilterTCP=true"))
        assert (status, unchunked(body)) == (200, (b"some", False))
        assert answer(ask(port, "/healthz"))[0] == 200


def scans(site: Site) -> list[int]:
    """Processes that read this store for a filtered download."""
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cwd")
        if (path.exists() and path.resolve() == site.store / "streams")
    ]


def test_slow_filtered_clients_leave_workers_and_end_with_their_process(site: Site) -> None:
    large(site.store)
    url = f"{URLS[0]}FilterBPF=len%20>%200"
    with served(site) as port:
        slow = [ask(port, url) for _ in range(MOST)]
        for asking in slow:
            assert asking.recv(1) == b"H"
        refused, headers, _ = answer(ask(port, url))
        assert (refused, headers["retry-after"]) == (503, "10")
        for _ in range(server.THREADS):
            assert answer(ask(port, "/plain/list"))[0] == 200
        assert len(scans(site)) == MOST
        for asking in slow:
            asking.close()
        wait_until(lambda: not scans(site))
        assert answer(ask(port, f"{URLS[0]}FilterIGMP=true"))[0] == 200


def test_a_client_that_leaves_a_search_without_a_match_ends_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(site.store)
    monkeypatch.setattr("webui.exports.LOOK_S", 0.05)
    monkeypatch.setattr("fwdcap.store.export.ExportProcess.ready", never_ready)
    with served(site) as port:
        exports = site.app.extensions["fwdcap"].exports
        asking = ask(port, f"{URLS[0]}FilterIGMP=true")
        wait_until(lambda: exports.running == 1)
        asking.close()
        wait_until(lambda: exports.running == 0)


def never_ready(process: object, timeout_s: float) -> bool:
    """A search that goes on and on."""
    time.sleep(timeout_s)
    return False


def test_a_client_that_takes_nothing_is_let_go_in_the_end(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(site.store)
    monkeypatch.setattr(server, "PATIENCE_S", 1)
    with served(site) as port:
        for url in (URLS[0], f"{URLS[0]}FilterBPF=len%20>%200"):
            with closing(ask(port, url)) as asking:
                assert asking.recv(1) == b"H"
                wait_until(lambda: not connected(port))
        wait_until(lambda: not scans(site))


def connected(port: int) -> bool:
    """Whether the server has a connection left."""
    listed = Path("/proc/net/tcp").read_text().splitlines()[1:]
    states = [line.split()[3] for line in listed if line.split()[1].endswith(f":{int(port):04X}")]
    return "01" in states


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_connection_gives_way_after_its_turn(site: Site) -> None:
    """However fast its client is: what one takes in a turn is bounded."""
    near, far = socket.socketpair()
    waitress = server.make_server(site.app, "127.0.0.1:0")
    listening = next(each for each in waitress._map.values() if hasattr(each, "channel_class"))
    try:
        assert listening.channel_class is FairChannel
        channel = FairChannel(listening, near, ("x", 0), listening.adj, map={})
        taking = Thread(target=lambda: [None for _ in iter(lambda: far.recv(1 << 20), b"")])
        taking.start()
        assert channel.sendbuf_len <= STEP_BYTES
        block = bytes(STEP_BYTES)
        for _ in range(3):  # in each turn some bytes, then none, whatever the socket would take
            sent, said = 0, 1
            channel._turn_bytes = 0
            while said or sent < TURN_BYTES:
                said = channel.send(block, do_close=False)
                sent += said
            assert TURN_BYTES <= sent < TURN_BYTES + STEP_BYTES
        channel.handle_close()
        taking.join(20)
    finally:
        far.close()
        wasyncore.close_all(waitress._map)
        waitress.task_dispatcher.shutdown()


@pytest.mark.parametrize("url", URLS, ids=["single", "splittime", "timerange"])
def test_segments_are_sent_by_the_kernel(
    site: Site, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but what goes out with the first turn."""
    whole, moved = large(site.store).single(), list[int]()
    sendfile = os.sendfile

    def counted(out: int, source: int, offset: int, size: int) -> int:
        moved.append(sendfile(out, source, offset, size))
        return moved[-1]

    monkeypatch.setattr(os, "sendfile", counted)
    with served(site) as port:
        body = answer(ask(port, url))[2]
    assert body == whole
    assert sum(moved) >= len(whole) - TURN_BYTES - STEP_BYTES
    assert max(moved) <= STEP_BYTES


def test_a_file_that_was_sent_is_closed_although_its_connection_stays(site: Site) -> None:
    built = large(site.store)
    whole = built.single()
    with served(site) as port, closing(HTTPConnection("127.0.0.1", port, timeout=20)) as asking:
        for _ in range(2):
            asking.request("GET", URLS[0], headers={"Authorization": f"Basic {LOGIN}"})
            assert asking.getresponse().read() == whole
            wait_until(lambda: not held(built.directory))


def held(directory: Path) -> list[str]:
    """Files of a directory that this process has open."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the descriptor of this listing
            found.append(os.readlink(path))
    return [name for name in found if name.startswith(str(directory))]


@pytest.mark.parametrize("gone", ["deleted", "shortened"])
def test_a_segment_that_goes_away_ends_the_download_not_the_server(site: Site, gone: str) -> None:
    built = large(site.store)
    last = built.directory / "000002.pcap"
    with served(site) as port:
        asking = ask(port, f"/pcap/single?StreamName={STREAM}&")
        assert asking.recv(1) == b"H"
        last.unlink() if gone == "deleted" else last.write_bytes(b"")
        with closing(asking):
            received = sum(len(part) for part in iter(lambda: asking.recv(1 << 20), b""))
        assert received < len(built.single())
        assert answer(ask(port, "/healthz"))[0] == 200


@pytest.mark.parametrize("path", ["//plain/list", "/plain//list", "///plain/list?rand=1"])
def test_doubled_slashes_over_the_wire(site: Site, path: str) -> None:
    with served(site) as port:
        status, _, body = answer(ask(port, path))
    assert (status, body.startswith(b"Filename , ")) == (200, True)


@pytest.mark.parametrize(
    ("stream", "status"),
    [("x" * 10_000, 404), ("%2e%2e", 404), ("%C3%A4", 404), ("\xe4", 400), ("a%00", 404)],
)
def test_odd_names_over_the_wire(site: Site, stream: str, status: int) -> None:
    with served(site) as port:
        answered, _, body = answer(ask(port, f"/pcap/single?StreamName={stream}"))
    assert answered == status
    assert b"Traceback" not in body


def test_a_socket_that_listens_already_can_be_handed_over(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        with served(site, f"fd:{listening.detach()}"):
            assert answer(ask(port, "/healthz"))[0] == 200


@pytest.mark.parametrize(
    "forged",
    [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: evil.example",
        "Forwarded: for=192.0.2.1;proto=https",
    ],
)
def test_without_a_proxy_nobody_is_believed_to_be_one(site: Site, forged: str) -> None:
    seen: list[tuple[str | None, str, list[str]]] = []

    def view() -> str:
        left = [key for key in request.environ if "FORWARDED" in key]
        seen.append((request.remote_addr, request.scheme, left))
        return ""

    site.app.add_url_rule("/seen", view_func=view)
    with served(site) as port:
        assert answer(ask(port, "/seen", forged))[0] == 200
    assert seen == [("127.0.0.1", "http", [])]


@pytest.mark.parametrize("listen", ["fd:x", "fd:9999", "127.0.0.1:http:x", "203.0.113.1:1"])
def test_an_address_that_cannot_be_used_is_a_sentence(
    site: Site, listen: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", str(site.store), "--listen", listen]
    assert server.main(arguments) == 1
    assert f"cannot serve on {listen}: " in capsys.readouterr().err


def test_an_unknown_zone_is_a_sentence(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert server.main(["--store", str(site.store), "--zone", "Moon/Sea"]) == 1
    assert "There is no time zone 'Moon/Sea'" in capsys.readouterr().err
