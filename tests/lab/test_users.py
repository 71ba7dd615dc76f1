"""Users on a running appliance: the first password, roles, restricted downloads, the audit log."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator

import pytest
from product import wait_until

from fwdcap.lab import CAPTURE, Appliance, Lab
from tests.unit.cloud import ID, cloud

PASSWORD = "a correct horse"
SNAPLEN = 40


@pytest.fixture(scope="module")
def appliance(lab: Lab) -> Iterator[Appliance]:
    """In a cloud, with nobody's password given."""
    with cloud(make=lab.host("c").call) as (endpoint, asked):
        made = lab.start_appliance(password=None, settings={"users.metadata": endpoint})
        assert asked == ["PUT", "GET"]
        yield made


def fetch(
    appliance: Appliance, path: str, user: str, password: str, **headers: str
) -> tuple[int, bytes]:
    login = b64encode(f"{user}:{password}".encode()).decode()
    sent = {"Authorization": f"Basic {login}"} | headers
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{appliance.url}{path}", headers=sent), timeout=20
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def frames(raw: bytes) -> list[bytes]:
    """What each record of a pcap holds, cut ones included."""
    found, at = [], 24
    while at < len(raw):
        length = int.from_bytes(raw[at + 8 : at + 12], sys.byteorder)
        found.append(raw[at + 16 : at + 16 + length])
        at += 16 + length
    return found


def command(appliance: Appliance, *words: str, stdin: str = "") -> str:
    return subprocess.run(
        [sys.executable, "-m", "fwdcap", "--control", str(appliance.control), *words],
        input=stdin,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_users_from_the_first_password_to_the_log(lab: Lab, appliance: Appliance) -> None:
    client = appliance.client

    def codes() -> list[str]:
        return [warning["code"] for warning in client.status()["warnings"]]

    assert fetch(appliance, "/plain/list", "fwdcap", ID)[0] == 200
    assert "instance-id-password" in codes()
    assert ID not in appliance.log.read_text()
    command(appliance, "user", "set", "fwdcap", "--password-stdin", stdin=PASSWORD)
    assert "instance-id-password" not in codes()
    assert fetch(appliance, "/plain/list", "fwdcap", ID)[0] == 401

    restricted = ("--role", "restricted", "--filter", "icmp[0] == 8", "--snaplen", str(SNAPLEN))
    command(appliance, "user", "add", "eve", *restricted, "--password-stdin", stdin=PASSWORD)
    command(appliance, "user", "add", "ann", "--password-stdin", stdin=PASSWORD)

    start = "/sysmaster/capture_start?StreamName=users"
    assert fetch(appliance, start, "ann", PASSWORD)[0] == 403
    assert fetch(appliance, start, "fwdcap", PASSWORD)[0] == 200
    lab.host("a").run(f"ping -c 3 -i 0.05 {CAPTURE}")
    assert fetch(appliance, "/sysmaster/capture_stop", "fwdcap", PASSWORD)[0] == 200
    (stream,) = [info["stream"] for info in client.captures()["captures"]]

    single = f"/pcap/single?StreamName={stream}"
    whole = frames(fetch(appliance, single, "fwdcap", PASSWORD)[1])
    requests = [frame for frame in whole if frame[23] == 1 and frame[34] == 8]
    assert 0 < len(requests) < len(whole)
    status, cut = fetch(appliance, single, "eve", PASSWORD, Range="bytes=0-")
    assert status == 200
    assert frames(cut) == [frame[:SNAPLEN] for frame in requests]
    assert fetch(appliance, single, "ann", PASSWORD)[0] == 403
    assert fetch(appliance, f"/pcap/del?StreamName={stream}", "eve", PASSWORD)[0] == 403
    command(appliance, "user", "remove", "eve")
    assert fetch(appliance, single, "eve", PASSWORD)[0] == 401

    def rows() -> list[tuple[str, ...]]:
        keys = ("who", "from", "what", "target", "result")
        return [tuple(event[key] for key in keys) for event in client.audit()["events"]]

    for row in (
        ("root", "command line", "user-set", "fwdcap", "done"),
        ("ann", "127.0.0.1", "refused", "/sysmaster/capture_start", "role"),
        ("fwdcap", "127.0.0.1", "capture-start", "users", "done"),
        ("eve", "127.0.0.1", "download", f"{stream}.pcap", "done"),
        ("root", "command line", "user-remove", "eve", "done"),
        ("(unknown)", "127.0.0.1", "login-failed", "/pcap/single", "wrong-login"),
    ):
        wait_until(lambda row=row: row in rows(), f"{row} in the audit log")  # type: ignore[misc]
    assert "user-remove" in command(appliance, "audit")


def test_users_and_log_are_not_the_webs_to_write(appliance: Appliance) -> None:
    for name in ("users.json", "audit.jsonl"):
        found = (appliance.store / name).stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o640)
        assert found.st_gid != 0
    assert os.stat(appliance.store).st_mode & 0o022 == 0
