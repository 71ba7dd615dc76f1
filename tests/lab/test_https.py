"""HTTPS by the real nginx: what is sent, what the application is told, what is refused.

nginx is set up by the daemon's own code before the application on waitress, over
loopback; the last test runs the whole of `fwdcap run`.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pytest
import trustme
from flask import jsonify, request
from waitress import wasyncore

from fwdcap import config
from fwdcap.capture.accounts import lookup
from fwdcap.config import Clear
from fwdcap.control.front import Front
from fwdcap.errors import Invalid
from fwdcap.store import pcap
from tests.unit.store_builder import Packet, StreamBuilder, packets
from webui import __main__ as server
from webui import create_app

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from web_fakes import NOW_NS, PASSWORD, FakeControl, write_users

LOGIN = {"Authorization": "Basic " + base64.b64encode(f"fwdcap:{PASSWORD}".encode()).decode()}
SINGLE = "/pcap/single?StreamName=cli_capture_20150620_1128&"
FORGED = {
    "X-Forwarded-For": "192.0.2.1",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Port": "1",
    "X-Forwarded-By": "192.0.2.2",
    "Forwarded": "for=192.0.2.3;proto=https;host=evil.example",
}


@dataclass
class Served:
    """The pages behind nginx; `trust` is the file of the certificate that a client needs."""

    port: int
    front: Front
    directory: Path
    trust: Path

    def open(self, secure: bool = True, source: str = "127.0.0.1") -> http.client.HTTPConnection:
        of: dict[str, Any] = {"timeout": 30, "source_address": (source, 0)}
        if not secure:
            return http.client.HTTPConnection("127.0.0.1", self.port, **of)
        context = ssl.create_default_context(cafile=str(self.trust))
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=context, **of)

    def get(
        self, path: str, *, method: str = "GET", secure: bool = True, source: str = "127.0.0.1",
        **headers: str,
    ) -> tuple[int, dict[str, str], bytes]:  # fmt: skip
        """Status, headers in lower case, body; with the right password."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(self.open(secure, source)) as connection:
            connection.request(method, path, headers={**LOGIN, **given})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, found, answer.read()

    @property
    def workers(self) -> list[int]:
        child = self.front._child
        assert child is not None
        path = Path(f"/proc/{child.pid}/task/{child.pid}/children")
        return [int(word) for word in path.read_text().split()] if path.exists() else []


@contextmanager
def served(place: Path, clear: Clear = "none", both: bool = False, **web: Path) -> Iterator[Served]:
    """`both`: on all addresses of IPv6 and IPv4, by one socket."""
    store = place / "store"
    store.mkdir(exist_ok=True)
    write_users(store)
    app = create_app(store, FakeControl(store), now_ns=lambda: NOW_NS, clear=clear, https=True)
    app.add_url_rule("/whoami", view_func=whoami)
    given = {"store.path": store, "control.socket": place / "c.sock", "web.tls": "on"}
    given |= {f"web.{key}": value for key, value in web.items()}
    settings = config.load(None, {key: str(value) for key, value in given.items()})
    place_of = {"family": socket.AF_INET6, "dualstack_ipv6": True} if both else {}
    address = ("::" if both else "127.0.0.1", 0)
    listener = socket.create_server(address, backlog=128, **place_of)  # type: ignore[arg-type]
    front = Front(settings, lookup("fwdcap-web", "fwdcap").web, listener)
    try:
        waitress = server.make_server(app, f"fd:{front.prepare().detach()}", behind_nginx=True)
        sockets = waitress._map
        thread = Thread(target=waitress.run, daemon=True)
        thread.start()
        try:
            front.start(0)
            trust = store / "tls" / "certificate.pem"
            yield Served(listener.getsockname()[1], front, place / "c.sock.web", trust)
        finally:
            waitress.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
            thread.join(20)
            waitress.task_dispatcher.shutdown()
    finally:
        front.stop()
        listener.close()


def whoami() -> Any:
    forwarded = {key: value for key, value in request.environ.items() if "FORWARDED" in key}
    return jsonify(address=request.remote_addr, scheme=request.scheme, **forwarded)


def large(place: Path, packets_each: int = 160) -> bytes:
    """About 30 MB in three segments: far more than sockets buffer. The download's bytes."""
    builder = StreamBuilder(place / "store")
    for segment in range(3):
        if segment:
            builder.roll()
        start = segment * packets_each
        builder.add(
            [Packet(p.ns + start * 1_000_000, p.frame) for p in packets(packets_each, 65000)]
        )
    return builder.complete().write().single()


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_downloads_are_exact_by_whole_by_range_and_resumed(tmp_path: Path) -> None:
    whole = large(tmp_path)
    with served(tmp_path) as site:
        status, headers, body = site.get(SINGLE)
        assert (status, headers["content-length"]) == (200, str(len(whole)))
        assert hashlib.sha256(body).digest() == hashlib.sha256(whole).digest()
        part = site.get(SINGLE, Range="bytes=10000000-21000000")
        assert (part[0], part[2] == whole[10_000_000:21_000_001]) == (206, True)
        rest = site.get(SINGLE, Range="bytes=20000000-", If_Range=headers["etag"])
        assert (rest[0], rest[2] == whole[20_000_000:]) == (206, True)
        head = site.get(SINGLE, method="HEAD")
        assert (head[0], head[1]["content-length"], head[2]) == (200, str(len(whole)), b"")
        assert site.get(SINGLE, Range=f"bytes={len(whole)}-")[0] == 416
        assert site.get("//plain//list")[2].startswith(b"Filename , ")


def test_a_filtered_download_is_chunked_and_begins_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large(tmp_path, 4)
    header, more = pcap.file_header(), Event()
    pieces = iter([lambda: header, lambda: more.wait(20) and b"rest", lambda: b""])
    monkeypatch.setattr("fwdcap.store.export.ExportProcess.ready", lambda *_: True)
    monkeypatch.setattr("fwdcap.store.export.ExportProcess.read", lambda *_: next(pieces)())
    with served(tmp_path) as site, closing(site.open()) as connection:
        connection.request("GET", f"{SINGLE}FilterTCP=true", headers=LOGIN)
        answer = connection.getresponse()
        assert answer.getheader("Transfer-Encoding") == "chunked"
        assert answer.read(len(header)) == header
        more.set()
        assert answer.read() == b"rest"


def test_the_application_sees_who_asks_whatever_they_claim(tmp_path: Path) -> None:
    with served(tmp_path) as site:
        for headers in ({}, FORGED):
            body = json.loads(site.get("/whoami", source="127.0.0.5", **headers)[2])
            assert body.pop("HTTP_X_FORWARDED_FOR") == "127.0.0.5"
            assert body.pop("HTTP_X_FORWARDED_PROTO") == "https"
            assert body == {"address": "127.0.0.5", "scheme": "https"}


def test_one_socket_for_both_families_tells_them_apart(tmp_path: Path) -> None:
    with served(tmp_path, both=True) as site:
        assert json.loads(site.get("/whoami")[2])["address"] == "127.0.0.1"
        context = ssl.create_default_context(cafile=str(site.trust))
        with closing(http.client.HTTPSConnection("::1", site.port, context=context)) as asking:
            asking.request("GET", "/whoami", headers=LOGIN)
            assert json.loads(asking.getresponse().read())["address"] == "::1"


def test_in_clear_the_same_port_refuses_whatever_is_claimed(tmp_path: Path) -> None:
    with served(tmp_path) as site:
        for headers in ({}, FORGED):
            status, _, body = site.get("/plain/list", secure=False, **headers)
            assert (status, b"use https" in body) == (403, True)
            assert site.get("/whoami", secure=False, method="POST", **headers)[0] == 403
        status, headers, _ = site.get("/capture?x=1", secure=False)
        assert status == 307
        assert headers["location"] == f"https://127.0.0.1:{site.port}/capture?x=1"
        assert site.get("/healthz", secure=False)[0] == 200


def test_the_api_may_be_let_in_in_clear(tmp_path: Path) -> None:
    with served(tmp_path, "api") as site:
        assert site.get("/plain/list", secure=False)[2].startswith(b"Filename , ")
        assert site.get("/sysmaster/status", secure=False)[0] == 200
        assert site.get("/live.json", secure=False)[0] == 403


def held(pid: int) -> list[str]:
    """Files and sockets that a process has open; they come and go while it works."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(path))
    assert found
    return found


def test_idle_clients_hold_no_worker_and_nothing_goes_to_disk(tmp_path: Path) -> None:
    whole = large(tmp_path)
    with served(tmp_path) as site:
        slow = [site.open() for _ in range(50)]
        for number, connection in enumerate(slow):
            of = {} if number % 2 else {"Range": "bytes=5-"}
            connection.request("GET", SINGLE, headers={**LOGIN, **of})
        answers = [connection.getresponse() for connection in slow]
        assert {answer.status for answer in answers} == {200, 206}
        for path in ("/healthz", "/sysmaster/status", "/plain/list"):
            assert site.get(path)[0] == 200
        assert not [path for path in site.directory.glob("temporary/**/*") if path.is_file()]
        assert not [name for pid in site.workers for name in held(pid) if "temporary" in name]
        assert answers[0].read() == whole[5:]
        for connection in slow:
            connection.close()


def issue(place: Path, ca: trustme.CA) -> dict[str, Path]:
    """A certificate of one's own in two files."""
    issued = ca.issue_cert("127.0.0.1")
    found = {"certificate": place / "own.pem", "key": place / "own.key"}
    issued.cert_chain_pems[0].write_to_path(str(found["certificate"]))
    issued.private_key_pem.write_to_path(str(found["key"]))
    return found


def serial(site: Served) -> int:
    with closing(site.open()) as connection:
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        found = connection.sock.getpeercert()
        assert found
        return int(str(found["serialNumber"]), 16)


def test_ones_own_certificate_is_used_and_a_new_one_taken_at_once(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    own = issue(tmp_path, ca)
    with served(tmp_path, **own) as site:
        site.trust = tmp_path / "ca.pem"
        status, headers, _ = site.get("/healthz")
        assert (status, headers["strict-transport-security"]) == (200, "max-age=2592000")
        assert "strict-transport-security" not in site.get("/healthz", secure=False)[1]
        first = serial(site)
        assert site.front.tend(1) == []
        own["key"].write_text("half written")
        (said,) = site.front.tend(2)
        assert "holds no private key" in said
        assert site.front.tend(3) == []  # said once
        assert [notice.code for notice in site.front.notices()] == ["certificate"]
        assert serial(site) == first
        issue(tmp_path, ca)
        (said,) = site.front.tend(4)
        assert "new certificate" in said
        assert site.front.notices() == []
        wait_until(lambda: serial(site) != first)


def test_a_pair_that_does_not_belong_together_is_refused_at_start(tmp_path: Path) -> None:
    ca = trustme.CA()
    key = issue(tmp_path, ca)["key"].rename(tmp_path / "other.key")
    with (
        pytest.raises(Invalid, match=r"other\.key is not that of the certificate"),
        served(tmp_path, certificate=issue(tmp_path, ca)["certificate"], key=key),
    ):
        pass


def test_what_is_made_here_binds_no_browser(tmp_path: Path) -> None:
    with served(tmp_path) as site:
        assert "strict-transport-security" not in site.get("/healthz")[1]
        assert site.front.notices() == []


@pytest.mark.parametrize("whom", ["master", "worker"])
def test_nginx_that_dies_comes_back(tmp_path: Path, whom: str) -> None:
    with served(tmp_path) as site:
        assert site.get("/healthz")[0] == 200
        child, workers = site.front._child, site.workers
        assert child is not None
        for pid in workers:
            assert "Uid:\t0" not in Path(f"/proc/{pid}/status").read_text()
        os.kill(child.pid if whom == "master" else workers[0], signal.SIGKILL)
        if whom == "master":
            wait_until(lambda: site.front.tend(1))
            site.front.tend(2)
            wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
        assert site.get("/healthz")[0] == 200


def test_fwdcap_run_is_all_there_is_to_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    log, control = tmp_path / "log", tmp_path / "c.sock"
    words = ["run", "--listen", "127.0.0.1:0", "--set", "web.tls=on", "--set", "web.plain_http=api"]
    words += ["--store", str(tmp_path / "store"), "--control", str(control)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "fwdcap", *words],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "FWDCAP_ADMIN_PASSWORD": PASSWORD, "PYTHONUNBUFFERED": "1"},
        )
    try:
        wait_until(lambda: "pages " in log.read_text() or process.poll() is not None)
        url = next(line.split()[1] for line in log.read_text().splitlines() if "pages " in line)
        assert url.startswith("https://127.0.0.1:")
        curl = [
            "curl",
            "-sS",
            "--retry",
            "5",
            "--cacert",
            str(tmp_path / "store/tls/certificate.pem"),
        ]
        status = [*curl, "-u", f"fwdcap:{PASSWORD}", f"{url}sysmaster/status"]
        assert subprocess.check_output(status, timeout=30).startswith(b"uptime, ")
        status[-1] = status[-1].replace("https:", "http:")
        assert subprocess.check_output(status, timeout=30).startswith(b"uptime, ")
        said = [sys.executable, "-m", "fwdcap", "--control", str(control), "status", "--json"]
        warnings = json.loads(subprocess.check_output(said, timeout=30))["warnings"]
        assert "plain-http" in [warning["code"] for warning in warnings]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert not (tmp_path / "c.sock.web").exists()
    with socket.socket() as asking:
        port = int(url.rstrip("/").rpartition(":")[2])
        assert asking.connect_ex(("127.0.0.1", port))
