"""nginx before the pages, without nginx: what is refused, said and named."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from control_fakes import OURSELVES

from fwdcap import config
from fwdcap.config import Settings
from fwdcap.control import doctor, front
from fwdcap.control.front import Front
from fwdcap.control.pages import Pages
from fwdcap.errors import Invalid, Unavailable
from fwdcap.tls import certificate

pytestmark = pytest.mark.unit

NOW = datetime(2026, 6, 1, tzinfo=UTC)
OTHERS = "203.0.113.1:443"


def settings(root: Path, **web: object) -> Settings:
    given = {"store.path": root / "store", "control.socket": root / "c.sock"}
    given |= {f"web.{key}": value for key, value in web.items()}  # type: ignore[misc]
    return config.load(None, {key: str(value) for key, value in given.items()})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.fixture
def nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something called nginx that is content with every configuration."""
    program = tmp_path / "bin" / "nginx"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


@pytest.fixture
def no_nginx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name, path: None)


@pytest.mark.usefixtures("no_nginx")
def test_without_nginx_the_start_is_refused_with_what_to_install(
    tmp_path: Path, listener: socket.socket
) -> None:
    with pytest.raises(Unavailable, match=r"not installed\. `apt-get install nginx-light`"):
        Pages(settings(tmp_path, tls="on"), OURSELVES, listener)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_nginx")
def test_without_nginx_loopback_is_served_in_clear(tmp_path: Path, listener: socket.socket) -> None:
    pages = Pages(settings(tmp_path), OURSELVES, listener)
    assert pages.url == f"http://127.0.0.1:{listener.getsockname()[1]}/"
    assert pages.notices() == []


@pytest.mark.usefixtures("no_nginx")
def test_doctor_tells_what_to_install(tmp_path: Path) -> None:
    check = doctor.https(settings(tmp_path, listen=OTHERS))
    assert (check.level, "nginx-light" in check.hint) == ("failure", True)
    assert doctor.https(settings(tmp_path)).level == "ok"
    assert doctor.https(settings(tmp_path, listen=OTHERS, tls="off")).level == "warning"


@pytest.mark.usefixtures("nginx")
def test_doctor_looks_at_the_certificate(tmp_path: Path) -> None:
    assert doctor.https(settings(tmp_path, listen=OTHERS)).level == "ok"
    half = doctor.https(settings(tmp_path, listen=OTHERS, key="/k.pem"))
    assert "set without certificate" in half.message
    missing = settings(tmp_path, listen=OTHERS, key="/k.pem", certificate="/c.pem")
    assert "/c.pem cannot be read" in doctor.https(missing).message


@pytest.mark.usefixtures("nginx")
def test_its_files_are_its_own(tmp_path: Path, listener: socket.socket) -> None:
    one = Front(settings(tmp_path, tls="on"), OURSELVES, listener, utc=lambda: NOW)
    one.prepare().close()
    directory = tmp_path / "c.sock.web"
    modes = {path.name: path.stat().st_mode & 0o777 for path in directory.iterdir()}
    assert modes.pop("temporary") == 0o750
    assert modes.pop("web.sock") == 0o660
    assert modes == dict.fromkeys(("nginx.conf", "certificate.pem", "key.pem"), 0o600)
    assert directory.stat().st_mode & 0o777 == 0o750
    assert not listener.getblocking()
    assert (directory / "key.pem").read_bytes() == (tmp_path / "store/tls/key.pem").read_bytes()
    one.stop()
    assert not directory.exists()


def test_what_nginx_refuses_is_said_in_a_sentence(
    tmp_path: Path, listener: socket.socket, nginx: Path
) -> None:
    said = "2026/06/01 10:00:00 [emerg] 7#7: no ssl in this build"
    nginx.write_text(f'#!/bin/sh\necho "[notice] x" >&2; echo "{said}" >&2; exit 1\n')
    one = Front(settings(tmp_path, tls="on"), OURSELVES, listener, utc=lambda: NOW)
    with pytest.raises(Invalid, match=r"its configuration: no ssl in this build\."):
        one.prepare()
    one.stop()


@pytest.mark.usefixtures("nginx")
def test_a_certificate_of_ours_is_renewed_before_it_ends(
    tmp_path: Path, listener: socket.socket
) -> None:
    now = [NOW]
    one = Front(settings(tmp_path, tls="on"), OURSELVES, listener, utc=lambda: now[0])
    one.prepare().close()
    one._child = Running()  # type: ignore[assignment]
    assert one.tend(1) == []
    now[0] += certificate.VALID - timedelta(days=10)
    assert [notice.code for notice in one.notices()] == ["certificate-ends"]
    assert one.tend(2) == []  # looked for every hour only
    (said,) = one.tend(3700)
    assert "new certificate" in said
    assert one.notices() == []
    one._child = None
    one.stop()


class Running:
    """A child that goes on."""

    def poll(self) -> None:
        return None

    def send_signal(self, number: int) -> None:
        pass


@pytest.mark.usefixtures("nginx")
@pytest.mark.parametrize(
    ("web", "codes"),
    [
        ({"tls": "on"}, []),
        ({"tls": "on", "plain_http": "api"}, ["plain-http"]),
        ({"plain_http": "api"}, []),
    ],
)
def test_status_warns_of_what_is_served_in_clear(
    tmp_path: Path, listener: socket.socket, web: dict[str, Any], codes: list[str]
) -> None:
    pages = Pages(settings(tmp_path, **web), OURSELVES, listener)
    assert [notice.code for notice in pages.notices()] == codes


def test_with_tls_off_others_get_nothing_and_status_says_so(tmp_path: Path) -> None:
    with socket.create_server(("0.0.0.0", 0)) as listening:
        pages = Pages(settings(tmp_path, tls="off"), OURSELVES, listening)
        assert [notice.code for notice in pages.notices()] == ["no-pages"]


@pytest.mark.usefixtures("nginx")
def test_https_needs_an_address(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        with pytest.raises(Invalid, match="unix socket"):
            Pages(settings(tmp_path, tls="on"), OURSELVES, listening)
        assert Pages(settings(tmp_path), OURSELVES, listening).url.startswith("unix:")


def test_the_machine_is_named_by_host_and_address() -> None:
    found = front.names()
    assert {"localhost", "127.0.0.1", "::1"} <= set(found)
    assert len(found) == len(set(found))
    for name in found[found.index("127.0.0.1") :]:
        assert not ip_address(name).is_link_local
