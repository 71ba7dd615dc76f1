"""The store is known again, and what is not the store is not taken for it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from capture_rig import Rig
from control_fakes import STREAM, Clock, FakeMachine, eventually, service

from fwdcap.capture import home
from fwdcap.capture.home import Home
from fwdcap.control.service import Service
from fwdcap.errors import Unavailable

pytestmark = pytest.mark.unit


@pytest.fixture
def other_disk(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Directories that are on another disk from now on."""
    there: set[Path] = set()
    stat = os.stat

    def seen(path: Any, **how: Any) -> os.stat_result:
        found = stat(path, **how)
        if path not in there:
            return found
        return os.stat_result((*found[:2], found.st_dev + 1, *found[3:10]))

    monkeypatch.setattr(home.os, "stat", seen)
    return there


def test_a_store_is_known_by_its_disk_or_its_number(tmp_path: Path, other_disk: set[Path]) -> None:
    found = Home(tmp_path)
    assert found.trouble() is None  # before it was asked to remember
    found.remember()
    found.require()
    other_disk.add(tmp_path)
    found.require()  # mounted again: another device, the same number
    number = (tmp_path / home.FILE).read_text()
    (tmp_path / home.FILE).write_text("another")
    with pytest.raises(Unavailable, match="on another disk than when the daemon began"):
        found.require()
    (tmp_path / home.FILE).unlink()
    assert [notice.code for notice in found.notices()] == ["store-away"]
    (tmp_path / home.FILE).write_text(number)
    assert found.notices() == ()


def test_the_number_outlives_the_daemon(tmp_path: Path) -> None:
    Home(tmp_path).remember()
    number = (tmp_path / home.FILE).read_text()
    Home(tmp_path).remember()
    assert (tmp_path / home.FILE).read_text() == number


def started(root: Path) -> Service:
    machine = FakeMachine(root)
    machine.plug("cap0")
    found = service(root, machine, Clock())
    found.start()
    return found


def test_nothing_is_recorded_beneath_a_disk_that_went_away(
    tmp_path: Path, other_disk: set[Path]
) -> None:
    daemon = started(tmp_path)
    store = daemon.settings.store.path
    shutil.rmtree(store)
    store.mkdir()
    other_disk.add(store)
    with pytest.raises(Unavailable, match="on another disk") as refused:
        daemon.capture_start("x")
    assert "Mount its disk again" in refused.value.hint
    assert "store-away" in [warning["code"] for warning in daemon.status()["warnings"]]
    assert list(store.iterdir()) == []


def test_a_store_that_was_removed_is_said_to_be_away(tmp_path: Path) -> None:
    daemon = started(tmp_path)
    shutil.rmtree(daemon.settings.store.path)
    with pytest.raises(Unavailable, match="is away: No such file or directory") as refused:
        daemon.capture_start("x")
    assert "restart the daemon" in refused.value.hint
    assert "store-away" in [warning["code"] for warning in daemon.status()["warnings"]]


def test_last_words_wait_for_a_store_that_went_away(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.start("x")
    rig.source.emit(10)
    eventually(lambda: rig.committed() == 10)
    beneath = rig.store.rename(tmp_path / "elsewhere")
    rig.store.mkdir()
    rig.captures.tend()
    rig.captures.tend()
    rig.store.rmdir()
    beneath.rename(rig.store)
    assert rig.stream_json()["state"] == "recording"
    rig.captures.tend()
    words = rig.stream_json()
    assert (words["state"], words["ended"]) == ("complete", "removed")
    rig.end()


def test_last_words_of_a_stream_that_was_removed_are_dropped(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.start("x")
    (rig.store / "streams" / STREAM).rename(tmp_path / "gone")
    rig.captures.tend()
    rig.captures.tend()
    assert not (rig.store / "streams" / STREAM).exists()
    assert rig.captures._shelf._owed is None
    rig.end()


def test_last_words_are_not_put_into_a_later_stream_of_the_same_name(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.start("x")
    (rig.store / "streams").rename(tmp_path / "gone")
    rig.captures.tend()
    rig.captures.tend()  # there is no place for them
    rig.utc.pass_s(1)
    assert rig.start("x").stream == STREAM
    rig.captures.tend()
    assert rig.stream_json()["state"] == "recording"
    rig.captures.stop()
    rig.end()
