"""`fwdcap stream` and `fwdcap store` read and mend a store without a daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from store_recording import BEGIN_NS, NS, Record, Recording

from fwdcap.cli import main
from fwdcap.store import durable
from fwdcap.store.listing import open_splits
from fwdcap.store.views import VIEWS, view_named

pytestmark = pytest.mark.unit

Out = pytest.CaptureFixture[str]


@pytest.fixture
def recording(tmp_path: Path) -> Recording:
    records = [Record(BEGIN_NS + n * NS // 2, bytes([n + 1]) * 100) for n in range(50)]
    return Recording(tmp_path, records).write()


def run(line: str, capsys: Out) -> tuple[int, str, str]:
    code = main.run(line.split())
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_shows_streams_and_what_is_wrong_with_them(recording: Recording, capsys: Out) -> None:
    code, text, _ = run(f"stream list --store {recording.root}", capsys)
    assert code == 0
    assert text.splitlines()[1].split()[:2] == [recording.stream, "recording"]
    (recording.directory / "checkpoint").unlink()
    _, text, _ = run(f"stream list --store {recording.root}", capsys)
    assert "checkpoint is missing" in text
    _, text, _ = run(f"stream list --store {recording.root} --json", capsys)
    (row,) = json.loads(text)
    assert (row["stream"], row["packets"]) == (recording.stream, 50)
    _, text, _ = run(f"stream list --store {recording.root / 'none'}", capsys)
    assert "no stream yet" in text


def test_store_and_zone_may_come_from_the_settings(recording: Recording, capsys: Out) -> None:
    file = recording.root / "fwdcap.toml"
    file.write_text(f'[store]\npath = "{recording.root}"\n[time]\nzone = "Asia/Tokyo"\n')
    _, text, _ = run(f"stream splits {recording.stream} split_1sec --config {file}", capsys)
    assert text.splitlines()[1].split()[0] == "20150620_20:28:56.123.456.789"


def test_views_are_all_there_for_every_stream(recording: Recording, capsys: Out) -> None:
    _, text, _ = run(f"stream views {recording.stream} --store {recording.root}", capsys)
    assert [line.split()[0] for line in text.splitlines()[1:]] == [view.name for view in VIEWS]
    _, text, _ = run(f"stream views {recording.stream} --store {recording.root} --json", capsys)
    assert json.loads(text)[0] == {"view": "split_1sec", "kind": "time", "period_ns": NS}
    code, _, said = run(f"stream views none --store {recording.root}", capsys)
    assert (code, "no stream 'none'" in said) == (1, True)


def test_splits_are_those_of_the_index(recording: Recording, capsys: Out) -> None:
    line = f"stream splits {recording.stream} split_10sec --store {recording.root}"
    _, text, _ = run(line, capsys)
    _, as_json, _ = run(f"{line} --json", capsys)
    rows = list(open_splits(recording.root, recording.stream, view_named("split_10sec")))
    assert [int(line.split()[-1]) for line in text.splitlines()[1:]] == [
        row.stop_ns for row in rows
    ]
    assert [(row["start_ns"], row["size_bytes"]) for row in json.loads(as_json)] == [
        (row.start_ns, row.size_bytes) for row in rows
    ]
    code, _, said = run(f"stream splits {recording.stream} x --store {recording.root}", capsys)
    assert code == 1
    assert "split_1sec" in said


def test_recover_says_what_it_would_do_what_it_did_and_that_it_is_done(
    recording: Recording, capsys: Out
) -> None:
    os.truncate(recording.directory / "000000.pcap", 24 + 116 * 40 + 9)
    code, text, _ = run(f"store recover {recording.root} --dry-run", capsys)
    assert (code, "to recover" in text) == (0, True)
    code, text, _ = run(f"store recover {recording.directory} --json", capsys)
    (row,) = json.loads(text)
    assert (code, row["outcome"], row["packets"], row["missing_packets"]) == (
        0,
        "recovered",
        40,
        10,
    )
    code, text, _ = run(f"store recover {recording.root} --thorough", capsys)
    assert (code, text.splitlines()[1].split()[1]) == (0, "intact")


def test_recover_ends_with_one_where_it_could_not(
    recording: Recording, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, said = run(f"store recover {recording.root / 'none'}", capsys)
    assert (code, "no store and no stream" in said) == (1, True)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "replace", full)
    code, text, _ = run(f"store recover {recording.root}", capsys)
    assert (code, "disk is full" in text) == (1, True)
