"""The audit log: appended, bounded, and what is no row is left out."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from control_fakes import OURSELVES

from fwdcap.control.audit import Audit, Event

pytestmark = pytest.mark.unit


def make(store: Path, max_bytes: int = 1 << 20) -> Audit:
    return Audit(store, OURSELVES, utc_ns=lambda: 7, max_bytes=max_bytes)


def test_a_row_says_who_what_when_where_and_how_it_went(tmp_path: Path) -> None:
    make(tmp_path).add(Event("ann", "192.0.2.1", "delete", "x_1", "no-such-stream"))
    path = tmp_path / "audit.jsonl"
    assert json.loads(path.read_text()) == {
        "time_ns": 7,
        "who": "ann",
        "from": "192.0.2.1",
        "what": "delete",
        "target": "x_1",
        "result": "no-such-stream",
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_the_latest_come_first(tmp_path: Path) -> None:
    audit = make(tmp_path)
    for number in range(5):
        audit.add(Event("ann", "", f"w{number}"))
    assert [row["what"] for row in audit.last(3)] == ["w4", "w3", "w2"]
    assert len(audit.last(99)) == 5
    assert make(tmp_path / "none").last(3) == []


def test_it_is_bounded_and_keeps_one_predecessor(tmp_path: Path) -> None:
    audit = make(tmp_path, max_bytes=1000)
    for number in range(100):
        audit.add(Event("ann", "192.0.2.1", "login", f"t{number}"))
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"audit.jsonl", "audit.jsonl.1"}
    assert max(sizes.values()) <= 1000
    targets = [row["target"] for row in audit.last(100)]
    assert targets == [f"t{number}" for number in range(99, 99 - len(targets), -1)]
    assert len(targets) > 7


def test_lines_stay_lines_and_have_a_length(tmp_path: Path) -> None:
    audit = make(tmp_path)
    audit.add(Event("a\nb", "\x1b[2J", "login", "x" * 9999))
    audit.add(Event("c", "", "login"))
    assert len((tmp_path / "audit.jsonl").read_bytes().splitlines()) == 2
    row = audit.last(2)[1]
    assert (row["who"], row["from"], len(row["target"])) == ("a\nb", "\x1b[2J", 256)


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    audit = make(tmp_path)
    audit.add(Event("a", "", "login"))
    with (tmp_path / "audit.jsonl").open("ab") as file:
        file.write(b'7\n{"who": "x"}\n{"who": "tor')
    audit.add(Event("b", "", "login"))
    assert [row["who"] for row in audit.last(9)] == ["b", "a"]


def test_what_cannot_be_written_is_said_and_raises_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "none").add(Event("ann", "", "capture-stop"))
    assert "audit log cannot be written" in caplog.text
    assert "capture-stop" in caplog.text


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("")
    (tmp_path / "audit.jsonl").symlink_to(tmp_path / "victim")
    make(tmp_path).add(Event("ann", "", "login"))
    assert (tmp_path / "victim").read_text() == ""
