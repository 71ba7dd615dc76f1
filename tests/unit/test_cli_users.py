"""`fwdcap user`, `token` and `audit`: through a daemon, and on the store where none runs."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from control_fakes import OURSELVES
from werkzeug.security import check_password_hash

from fwdcap.capture.accounts import Accounts
from fwdcap.cli import main, people
from fwdcap.config import Settings
from fwdcap.control import offlineusers, usersfile
from fwdcap.control.audit import Audit, Event
from fwdcap.control.daemon import only_daemon
from fwdcap.control.people import People
from fwdcap.errors import Forbidden, Unavailable

pytestmark = pytest.mark.unit

Out = pytest.CaptureFixture[str]
PASSWORD = "correct horse"


def run(line: str, capsys: Out) -> tuple[int, str, str]:
    code = main.run(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


class Daemon(People):
    """Stands for the client."""

    def audit(self, last: int) -> dict[str, Any]:
        return {"events": Audit(self._store, OURSELVES).last(last)}


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    made = Daemon(tmp_path, OURSELVES, hash_of=lambda password: f"h:{password}")
    made.user_add({"name": "fwdcap", "role": "admin", "password": PASSWORD})
    monkeypatch.setattr(people, "client", lambda: made)
    return made


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store without a daemon, as root sees it."""
    monkeypatch.setenv("FWDCAP_CONTROL", str(tmp_path / "none.sock"))
    monkeypatch.setattr(offlineusers.os, "geteuid", lambda: 0)
    accounts = Accounts(OURSELVES, OURSELVES)
    monkeypatch.setattr(offlineusers, "lookup", lambda web, recorder: accounts)
    (tmp_path / "store").mkdir()
    return tmp_path / "store"


def test_a_user_is_added_with_a_password_that_is_shown_once(daemon: Daemon, capsys: Out) -> None:
    code, out, _ = run("user add ann --role restricted --filter tcp --snaplen 96", capsys)
    assert code == 0
    assert "Added user [ann]." in out
    password = out.split("password")[1].split()[0]
    assert usersfile.read(daemon._store).users["ann"].hash == f"h:{password}"
    code, out, _ = run("user list", capsys)
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "ROLE", "SNAPLEN", "FILTER"],
        ["fwdcap", "admin"],
        ["ann", "restricted", "96", "tcp"],
    ]
    assert password not in out


def test_a_password_comes_from_stdin(
    daemon: Daemon, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("a long secret\nmore\n"))
    code, out, _ = run("user add ann --password-stdin", capsys)
    assert (code, "secret" in out, "shown this once" in out) == (0, False, False)
    assert usersfile.read(daemon._store).users["ann"].hash == "h:a long secret"
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    code, _, err = run("user set ann --password-stdin", capsys)
    assert (code, "not a text of" in err) == (1, True)


def test_a_user_is_changed_and_removed(daemon: Daemon, capsys: Out) -> None:
    run("user add ann", capsys)
    assert run("user set ann --role operator", capsys)[1] == "Changed user [ann].\n"
    before = usersfile.read(daemon._store).users["ann"].hash
    code, out, _ = run("--json user set ann --new-password", capsys)
    made = json.loads(out)["password"]
    assert usersfile.read(daemon._store).users["ann"].hash == f"h:{made}" != before
    assert run("user set ann", capsys)[0] == 2
    assert run("user remove ann", capsys)[1] == "Removed user [ann].\n"
    code, _, err = run("user remove fwdcap", capsys)
    assert (code, "last admin" in err) == (1, True)


def test_tokens(daemon: Daemon, capsys: Out) -> None:
    assert "There is no token" in run("token list", capsys)[1]
    code, out, _ = run("token add ci --user fwdcap --role viewer --expires 90d", capsys)
    assert (code, "fwdcap_" in out, "shown this once" in out) == (0, True, True)
    out = run("token list", capsys)[1]
    assert ("ci" in out, "viewer" in out, "fwdcap_" in out) == (True, True, False)
    (token,) = daemon.tokens()["tokens"]
    assert token["expires_ns"] - token["made_ns"] == pytest.approx(90 * 86400e9, abs=60e9)
    assert run("token add x --user fwdcap --expires never", capsys)[0] == 1
    assert run("token remove ci", capsys)[1] == "Removed token [ci].\n"


def test_the_audit_log(daemon: Daemon, capsys: Out) -> None:
    assert "Nothing" in run("audit", capsys)[1]
    audit = Audit(daemon._store, OURSELVES, utc_ns=lambda: 1_800_000_000_000_000_000)
    audit.add(Event("ann", "192.0.2.1", "login"))
    audit.add(Event("e\x1b[2Jve", "192.0.2.2", "delete", "x_1", "role"))
    out = run("audit", capsys)[1]
    assert out.splitlines()[1].split() == [
        "2027-01-15",
        "08:00:00",
        "ann",
        "192.0.2.1",
        "login",
        "-",
        "done",
    ]
    assert "e?[2Jve" in out.splitlines()[2]
    assert len(json.loads(run("--json audit --last 1", capsys)[1])["events"]) == 1
    assert run("audit --last 0", capsys)[0] == 2


def test_without_a_daemon_root_changes_the_store(store: Path, capsys: Out) -> None:
    at = f"--set store.path={store}"
    code, out, err = run(f"user add fwdcap --role admin {at}", capsys)
    assert (code, err) == (0, "")
    password = out.split("password")[1].split()[0]
    assert check_password_hash(usersfile.read(store).users["fwdcap"].hash, password)
    assert "fwdcap" in run(f"user list {at}", capsys)[1]
    assert run(f"token add ci --user fwdcap {at}", capsys)[0] == 0
    assert run(f"token remove ci {at}", capsys)[0] == 0
    assert run(f"user set fwdcap --new-password {at}", capsys)[0] == 0
    assert run(f"user remove fwdcap {at}", capsys)[0] == 1
    events = json.loads(run(f"--json audit {at}", capsys)[1])["events"]
    assert [(event["who"], event["what"]) for event in reversed(events)] == [
        ("root", "user-add"),
        ("root", "token-add"),
        ("root", "token-remove"),
        ("root", "user-set"),
    ]


def test_a_store_that_a_daemon_holds_is_not_written(store: Path, capsys: Out) -> None:
    with only_daemon(store / "daemon"):
        code, _, err = run(f"user add ann --set store.path={store}", capsys)
    assert (code, "Another fwdcap daemon runs here" in err) == (1, True)
    assert not (store / "users.json").exists()


def test_without_a_daemon_only_root_may(
    store: Path, monkeypatch: pytest.MonkeyPatch, capsys: Out
) -> None:
    monkeypatch.setattr(offlineusers.os, "geteuid", lambda: 1000)
    code, _, err = run(f"user list --set store.path={store}", capsys)
    assert (code, "only root" in err) == (1, True)
    with pytest.raises(Forbidden):
        offlineusers.OfflineUsers(Settings())


def test_a_daemon_that_is_slow_is_not_gone_around(
    monkeypatch: pytest.MonkeyPatch, store: Path, capsys: Out
) -> None:
    def slow() -> Any:
        raise Unavailable("It did not answer.", code="daemon-slow")

    monkeypatch.setattr(people, "client", slow)
    assert run(f"user add ann --set store.path={store}", capsys)[0] == 1
    assert not (store / "users.json").exists()


def test_no_store_is_said(store: Path, capsys: Out) -> None:
    code, _, err = run(f"user list --set store.path={store}/none", capsys)
    assert (code, "There is no store" in err) == (1, True)
