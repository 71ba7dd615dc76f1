"""/api/v1: users, tokens and the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from web_fakes import NOW_NS, PASSWORD, Site, make_site

from fwdcap.users.roles import Role

pytestmark = pytest.mark.unit

ANN = {"name": "ann", "role": "operator", "password": PASSWORD}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return make_site(tmp_path)


def ask(site: Site, method: str, path: str, body: Any = None, user: str = "fwdcap") -> Any:
    more = {} if body is None else {"json": body}
    return site.app.test_client().open(
        f"/api/v1/{path}", method=method, auth=(user, PASSWORD), **more
    )


def test_a_user_comes_changes_and_goes(site: Site) -> None:
    answer = ask(site, "POST", "users", ANN)
    assert (answer.status_code, answer.json["message"]) == (201, "added user [ann]")
    assert ask(site, "GET", "streams", user="ann").status_code == 200
    change = {"role": "restricted", "snaplen": 96, "filter": "tcp"}
    assert ask(site, "PATCH", "users/ann", change).json["filter"] == "tcp"
    shown = ask(site, "GET", "users").json["users"]
    assert shown[1] == {"name": "ann", "provisional": False, **change}
    assert shown[0]["name"] == "fwdcap"
    assert ask(site, "DELETE", "users/ann").json["message"] == "removed user [ann]"
    assert ask(site, "GET", "streams", user="ann").status_code == 401
    assert ask(site, "DELETE", "users/ann").status_code == 404


def test_a_token_comes_changes_and_goes(site: Site) -> None:
    made = ask(site, "POST", "tokens", {"name": "ci", "user": "fwdcap", "role": "viewer"})
    assert made.status_code == 201
    bearer = {"Authorization": f"Bearer {made.json['token']}"}
    client = site.app.test_client()
    assert client.get("/api/v1/streams", headers=bearer).status_code == 200
    assert client.get("/metrics", headers=bearer).status_code == 200
    assert client.get("/api/v1/users", headers=bearer).status_code == 403
    changed = ask(site, "PATCH", "tokens/ci", {"role": "admin", "expires_ns": NOW_NS + 9}).json
    assert (changed["role"], changed["expires_ns"]) == ("admin", NOW_NS + 9)
    assert client.get("/api/v1/users", headers=bearer).status_code == 200
    assert "token" not in ask(site, "GET", "tokens").json["tokens"][0]
    assert ask(site, "DELETE", "tokens/ci").status_code == 200
    assert client.get("/api/v1/streams", headers=bearer).status_code == 401


def test_a_token_needs_no_page_to_change_something(site: Site) -> None:
    token = site.control.people.token_add({"name": "ci", "user": "fwdcap"})["token"]
    answer = site.app.test_client().post(
        "/api/v1/users", json=ANN, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 201


def test_a_session_needs_its_pages_token(site: Site) -> None:
    assert site.browser().post("/api/v1/users", json=ANN).status_code == 400
    assert len(site.control.users()["users"]) == 1


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "users", {**ANN, "role": "king"}, 400, "bad-value"),
        ("POST", "users", {**ANN, "password": "short"}, 400, "bad-value"),
        ("POST", "users", {**ANN, "name": "a b"}, 400, "bad-value"),
        ("POST", "users", {**ANN, "hash": "h"}, 400, "unknown-key"),
        ("POST", "users", {"name": "ann", "role": "viewer"}, 400, "missing-key"),
        ("POST", "users", {**ANN, "role": "restricted"}, 400, "no-restriction"),
        ("POST", "users", {**ANN, "filter": "tcp"}, 400, "not-restricted"),
        (
            "POST",
            "users",
            {**ANN, "role": "restricted", "filter": "tcp prt 80"},
            400,
            "bad-filter",
        ),
        ("POST", "users", {**ANN, "name": "fwdcap"}, 409, "user-exists"),
        ("PATCH", "users/fwdcap", {"role": "viewer"}, 409, "last-admin"),
        ("PATCH", "users/none", {"role": "viewer"}, 404, "no-such-user"),
        ("DELETE", "users/fwdcap", None, 409, "last-admin"),
        ("POST", "tokens", {"name": "x", "user": "none"}, 404, "no-such-user"),
        ("POST", "tokens", {"name": "x", "user": "fwdcap", "expires_ns": 1}, 400, "bad-expiry"),
        ("PATCH", "tokens/none", {"role": "viewer"}, 404, "no-such-token"),
        ("DELETE", "tokens/none", None, 404, "no-such-token"),
        ("GET", "audit?last=0", None, 400, "bad-value"),
    ],
)
def test_refusals(site: Site, method: str, path: str, body: Any, status: int, code: str) -> None:
    answer = ask(site, method, path, body)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)
    assert PASSWORD not in answer.text


def test_a_password_that_is_refused_is_not_repeated(site: Site) -> None:
    for password in ("hunter2", ["hunter2"], "hunter2" * 200):
        answer = ask(site, "POST", "users", {**ANN, "password": password})
        assert (answer.status_code, "hunter2" in answer.text) == (400, False)


def test_the_audit_log_is_read_newest_first(site: Site) -> None:
    for number in range(3):
        event = {"who": "ann", "from": "192.0.2.1", "what": f"w{number}"}
        site.control.audit_report({**event, "target": "", "result": "done"})
    events = ask(site, "GET", "audit?last=2").json["events"]
    assert [event["what"] for event in events] == ["w2", "w1"]
    assert events[0]["from"] == "192.0.2.1"


@pytest.mark.parametrize("path", ["users", "tokens", "audit"])
def test_only_admins_may(site: Site, path: str) -> None:
    for role in Role:
        extra = {"snaplen": 96} if role is Role.RESTRICTED else {}
        site.control.people.user_add(
            {"name": role.value, "role": role.value, "password": PASSWORD, **extra}
        )
        status = ask(site, "GET", path, user=role.value).status_code
        assert status == (200 if role is Role.ADMIN else 403)
