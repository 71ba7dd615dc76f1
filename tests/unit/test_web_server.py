"""The application behind the real server, over loopback."""

from __future__ import annotations

import base64
import hashlib
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread

import pytest
from store_builder import Packet, StreamBuilder, packets
from waitress import wasyncore
from web_fakes import PASSWORD, Site, make_site

from webui import __main__ as server

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


def test_slow_clients_hold_no_worker(site: Site) -> None:
    whole = large(site.store).single()
    url = f"/pcap/single?StreamName={STREAM}&"
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
