"""The verbs for users and tokens, on a file in a directory."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from control_fakes import OURSELVES
from werkzeug.security import check_password_hash, generate_password_hash

from fwdcap.control import usersfile
from fwdcap.control.people import People
from fwdcap.errors import Conflict, Invalid, NotFound
from fwdcap.users.model import digest_of

pytestmark = pytest.mark.unit

NOW_NS = 1_800_000_000_000_000_000
PASSWORD = "correct horse"


def cheap(password: str) -> str:
    return generate_password_hash(password, method="scrypt:1024:1:1")


@pytest.fixture
def people(tmp_path: Path) -> People:
    made = People(tmp_path, OURSELVES, utc_ns=lambda: NOW_NS, hash_of=cheap)
    made.user_add({"name": "fwdcap", "role": "admin", "password": PASSWORD})
    return made


def raw(store: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((store / "users.json").read_text())
    return found


def test_a_user_is_added_shown_changed_and_removed(people: People, tmp_path: Path) -> None:
    body = {"name": "ann", "role": "restricted", "password": PASSWORD, "filter": "tcp port 80"}
    answer = people.user_add(body)
    assert answer["message"] == "added user [ann]"
    assert "hash" not in answer
    kept = raw(tmp_path)["users"]["ann"]
    assert check_password_hash(kept["hash"], PASSWORD)
    assert kept["filter"] == "tcp port 80"
    shown = {"name": "ann", "role": "restricted", "filter": "tcp port 80", "snaplen": 0}
    assert people.users()["users"][1] == {**shown, "provisional": False}
    people.user_set("ann", {"snaplen": 96, "password": "another horse"})
    kept = raw(tmp_path)["users"]["ann"]
    assert (kept["filter"], kept["snaplen"]) == ("tcp port 80", 96)
    assert check_password_hash(kept["hash"], "another horse")
    people.user_remove("ann")
    assert list(raw(tmp_path)["users"]) == ["fwdcap"]


def test_a_higher_role_is_bound_by_nothing(people: People, tmp_path: Path) -> None:
    people.user_add({"name": "ann", "role": "restricted", "password": PASSWORD, "snaplen": 96})
    people.user_set("ann", {"role": "operator"})
    assert raw(tmp_path)["users"]["ann"].keys() == {"role", "hash"}


def test_real_hashes_are_dear(tmp_path: Path) -> None:
    people = People(tmp_path, OURSELVES)
    people.user_add({"name": "fwdcap", "role": "admin", "password": PASSWORD})
    assert raw(tmp_path)["users"]["fwdcap"]["hash"].startswith("scrypt:32768:8:1$")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "bad-name"),
        ({"name": "x"}, "bad-role"),
        ({"name": "x", "role": "viewer"}, "bad-password"),
        ({"name": "x", "role": "viewer", "password": "short"}, "bad-password"),
        ({"name": "x", "role": "viewer", "password": PASSWORD, "hash": "h"}, "bad-request"),
        ({"name": "x", "role": "restricted", "password": PASSWORD}, "no-restriction"),
        (
            {"name": "x", "role": "restricted", "password": PASSWORD, "filter": "tcp prt 80"},
            "bad-filter",
        ),
        ({"name": "x", "role": "restricted", "password": PASSWORD, "filter": " "}, "bad-filter"),
        ({"name": "x", "role": "restricted", "password": PASSWORD, "filter": 7}, "bad-filter"),
        ({"name": "x", "role": "restricted", "password": PASSWORD, "snaplen": "9"}, "bad-request"),
        ({"name": "x", "role": "restricted", "password": PASSWORD, "snaplen": True}, "bad-request"),
    ],
)
def test_a_bad_user_is_refused_and_nothing_written(
    people: People, tmp_path: Path, body: dict[str, Any], code: str
) -> None:
    before = raw(tmp_path)
    with pytest.raises(Invalid) as raised:
        people.user_add(body)
    assert raised.value.code == code
    assert raw(tmp_path) == before


def test_nobody_is_left_without_an_admin(people: People) -> None:
    for change in (
        lambda: people.user_remove("fwdcap"),
        lambda: people.user_set("fwdcap", {"role": "viewer"}),
    ):
        with pytest.raises(Conflict, match="last admin"):
            change()


def test_names_cannot_be_changed(people: People) -> None:
    with pytest.raises(Invalid, match="'name' is not known"):
        people.user_set("fwdcap", {"name": "other"})
    with pytest.raises(NotFound):
        people.user_set("other", {"role": "viewer"})


def test_a_token_is_told_once(people: People, tmp_path: Path) -> None:
    answer = people.token_add({"name": "ci", "user": "fwdcap", "expires_ns": NOW_NS + 1})
    secret = answer["token"]
    assert secret.startswith("fwdcap_")
    assert len(secret) > 40
    kept = raw(tmp_path)["tokens"]["ci"]
    assert kept["digest"] == digest_of(secret)
    assert secret not in json.dumps(raw(tmp_path))
    shown = people.tokens()["tokens"]
    assert shown == [
        {
            "name": "ci",
            "user": "fwdcap",
            "role": "admin",
            "made_ns": NOW_NS,
            "expires_ns": NOW_NS + 1,
        }
    ]
    people.token_remove("ci")
    assert people.tokens() == {"tokens": []}


def test_tokens_differ_and_are_no_more_than_their_owner(people: People) -> None:
    made = {people.token_add({"name": n, "user": "fwdcap"})["token"] for n in ("a", "b")}
    assert len(made) == 2
    people.user_add({"name": "ann", "role": "viewer", "password": PASSWORD})
    with pytest.raises(Invalid, match="cannot have the role"):
        people.token_add({"name": "c", "user": "ann", "role": "operator"})
    with pytest.raises(Invalid, match="expired before"):
        people.token_add({"name": "c", "user": "ann", "expires_ns": 1})


def test_the_file_is_for_its_group_only(people: People, tmp_path: Path) -> None:
    people.user_set("fwdcap", {"password": "another horse"})
    assert stat.S_IMODE((tmp_path / "users.json").stat().st_mode) == 0o640
    assert [path.name for path in tmp_path.iterdir()] == ["users.json"]


def test_an_instance_id_is_warned_about_until_it_is_changed(people: People, tmp_path: Path) -> None:
    (tmp_path / "users.json").unlink()
    usersfile.ensure(tmp_path, OURSELVES, None, instance_id=lambda: "i-0123456789abcdef0")
    (notice,) = people.notices()
    assert notice.code == "instance-id-password"
    assert "i-0123" not in str(notice)
    people.user_set("fwdcap", {"password": "another horse"})
    assert people.notices() == ()


def test_a_damaged_file_is_said_and_kept(people: People, tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('{"users": {"a": {"hash": "h", "role": "king"}}}')
    assert [notice.code for notice in people.notices()] == ["users-unreadable"]
    with pytest.raises(Invalid, match="cannot be read"):
        people.user_add({"name": "x", "role": "viewer", "password": PASSWORD})
    assert "king" in (tmp_path / "users.json").read_text()
