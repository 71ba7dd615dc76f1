"""The first password, from the cloud's metadata service."""

from __future__ import annotations

from pathlib import Path

import pytest
from cloud import ID, cloud
from control_fakes import OURSELVES
from werkzeug.security import check_password_hash

from fwdcap.control import usersfile
from fwdcap.control.metadata import instance_id

pytestmark = pytest.mark.unit


def test_the_instance_id_is_asked_for_with_a_token() -> None:
    with cloud() as (endpoint, asked):
        assert instance_id(endpoint) == ID
        assert asked == ["PUT", "GET"]


@pytest.mark.parametrize(
    "said", ["", "<html>log in here</html>", "i-", "i-XYZ", "x" * 9999, "elsewhere"]
)
def test_what_is_no_instance_id_is_none(said: str) -> None:
    with cloud(said) as (endpoint, _):
        assert instance_id(endpoint) is None


def test_nobody_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with cloud() as (endpoint, asked):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # never used for this
        assert instance_id(endpoint) == ID
    assert instance_id(endpoint) is None
    assert instance_id("") is None
    assert instance_id("http://[") is None
    assert asked == ["PUT", "GET"]


def test_the_first_admin_has_the_instance_id_and_must_change_it(tmp_path: Path) -> None:
    with cloud() as (endpoint, asked):
        ask = lambda: instance_id(endpoint)  # noqa: E731
        assert usersfile.ensure(tmp_path, OURSELVES, None, instance_id=ask) is None
        entry = usersfile.read(tmp_path).users["fwdcap"]
        assert check_password_hash(entry.hash, ID)
        assert entry.provisional
        assert usersfile.ensure(tmp_path, OURSELVES, None, instance_id=ask) is None
        assert asked == ["PUT", "GET"]  # not again: there is a user


def test_a_given_password_comes_before_the_instance_id(tmp_path: Path) -> None:
    def ask() -> str:
        raise AssertionError("it is not needed")

    usersfile.ensure(tmp_path, OURSELVES, "given", instance_id=ask)
    entry = usersfile.read(tmp_path).users["fwdcap"]
    assert check_password_hash(entry.hash, "given")
    assert not entry.provisional


def test_a_password_given_later_need_not_be_changed(tmp_path: Path) -> None:
    usersfile.ensure(tmp_path, OURSELVES, None, instance_id=lambda: ID)
    usersfile.ensure(tmp_path, OURSELVES, "given")
    assert not usersfile.read(tmp_path).users["fwdcap"].provisional
