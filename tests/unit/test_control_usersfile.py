"""The first user's password: given, kept, or made up once."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from control_fakes import OURSELVES
from werkzeug.security import check_password_hash

from fwdcap.control import usersfile
from fwdcap.errors import DiskFull, Invalid

pytestmark = pytest.mark.unit


def entry(store: Path, name: str = "fwdcap") -> dict[str, str]:
    read: dict[str, str] = json.loads((store / "users.json").read_text())["users"][name]
    return read


def test_a_password_is_made_up_once(tmp_path: Path) -> None:
    made_up = usersfile.ensure(tmp_path, OURSELVES, None)
    assert made_up
    assert check_password_hash(entry(tmp_path)["hash"], made_up)
    assert entry(tmp_path)["hash"].startswith("scrypt:")
    assert entry(tmp_path)["role"] == "admin"
    assert usersfile.ensure(tmp_path, OURSELVES, None) is None
    assert check_password_hash(entry(tmp_path)["hash"], made_up)


def test_made_up_passwords_differ(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    made = {usersfile.ensure(tmp_path / name, OURSELVES, None) for name in "ab"}
    assert len(made) == 2


def test_a_given_password_is_not_repeated(tmp_path: Path) -> None:
    assert usersfile.ensure(tmp_path, OURSELVES, "secret") is None
    assert check_password_hash(entry(tmp_path)["hash"], "secret")


def test_a_given_password_replaces_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    others = {"users": {"guest": {"hash": "h", "role": "viewer"}}}
    (tmp_path / "users.json").write_text(json.dumps(others))
    usersfile.ensure(tmp_path, OURSELVES, "one")
    usersfile.ensure(tmp_path, OURSELVES, "two")
    assert check_password_hash(entry(tmp_path)["hash"], "two")
    assert entry(tmp_path, "guest") == {"hash": "h", "role": "viewer"}


def test_the_same_password_again_leaves_the_file_alone(tmp_path: Path) -> None:
    usersfile.ensure(tmp_path, OURSELVES, "one")
    before = (tmp_path / "users.json").read_bytes()
    usersfile.ensure(tmp_path, OURSELVES, "one")
    assert (tmp_path / "users.json").read_bytes() == before


def test_only_owner_and_group_may_read_it(tmp_path: Path) -> None:
    usersfile.ensure(tmp_path, OURSELVES, "one")
    assert stat.S_IMODE((tmp_path / "users.json").stat().st_mode) == 0o640


@pytest.mark.parametrize("text", ["{", "[]", '{"users": 7}', '{"users": {"a": 1}}'])
def test_a_torn_file_is_refused_and_kept(tmp_path: Path, text: str) -> None:
    (tmp_path / "users.json").write_text(text)
    with pytest.raises(Invalid, match="cannot be read"):
        usersfile.ensure(tmp_path, OURSELVES, "one")
    assert (tmp_path / "users.json").read_text() == text


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DiskFull):
        usersfile.ensure(tmp_path / "nowhere", OURSELVES, "one")
