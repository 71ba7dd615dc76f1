"""The store's directories: modes, room, and who is shut out."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from control_fakes import ACCOUNTS

from fwdcap.capture import folder
from fwdcap.capture.accounts import Account
from fwdcap.errors import DiskFull

pytestmark = pytest.mark.unit

STRANGER = Account("stranger", 4242, 4242)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_the_store_is_for_its_group_alone(tmp_path: Path) -> None:
    folder.prepare(tmp_path / "store", ACCOUNTS)
    assert mode(tmp_path / "store") == mode(tmp_path / "store" / "streams") == 0o750


def test_files_of_a_stream_belong_to_the_directorys_group(tmp_path: Path) -> None:
    folder.prepare(tmp_path, ACCOUNTS)
    assert mode(folder.make_stream(tmp_path, "s", ACCOUNTS)) == 0o2750


def test_a_store_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskFull) as raised:
        folder.prepare(tmp_path / "file" / "store", ACCOUNTS)
    assert raised.value.code == "store-not-writable"
    assert "file/store cannot be written" in raised.value.message


def test_a_full_disk_is_called_full() -> None:
    assert folder.refusal(OSError(errno.ENOSPC, "x"), Path("/s")).code == "store-full"


def test_no_capture_begins_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "MIN_FREE_BYTES", 1 << 60)
    with pytest.raises(DiskFull, match="is full"):
        folder.make_stream(tmp_path, "s", ACCOUNTS)


def test_used_bytes_are_those_on_disk(tmp_path: Path) -> None:
    (tmp_path / "sparse").touch()
    os.truncate(tmp_path / "sparse", 1 << 30)
    (tmp_path / "full").write_bytes(b"x" * 8192)
    assert 8192 <= folder.usage(tmp_path).used_bytes < 1 << 20


def test_who_may_pass_everywhere_is_not_shut_out() -> None:
    assert folder.shut_out(Path("/usr/bin"), STRANGER) is None


def test_the_first_wall_on_the_way_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    wall = folder.shut_out(inner, STRANGER)
    assert wall is not None
    assert wall in (tmp_path, *tmp_path.parents)  # pytest's own directories are private too


def test_owner_and_group_may_pass_by_their_own_bits(tmp_path: Path) -> None:
    door = tmp_path / "door"
    door.mkdir(mode=0o750)
    status = door.stat()
    assert folder.shut_out(door, Account("owner", status.st_uid, 0)) is None
    walls = {tmp_path, *tmp_path.parents}
    assert folder.shut_out(door, Account("group", 4242, status.st_gid)) in {None, *walls}
    assert folder.shut_out(door, STRANGER) in {door, *walls}


def test_what_is_not_there_shuts_nobody_out() -> None:
    assert folder.shut_out(Path("/nowhere/at/all"), STRANGER) is None
