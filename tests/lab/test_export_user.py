"""Root reads a store as somebody who may only read it."""

from __future__ import annotations

import os
from pathlib import Path

from fwdcap.store.export import Export, open_export
from tests.unit.store_builder import example

WEB_GROUP = 54321
RECORDER = 54322


def test_root_exports_as_nobody_of_the_readers_group(tmp_path: Path) -> None:
    """Also where the way to the store is closed to everybody but root."""
    built = example(tmp_path)
    streams = tmp_path / "streams"
    for path in (tmp_path, streams):
        os.chown(path, 0, WEB_GROUP)
        path.chmod(0o750)
    for path in (built.directory, *built.directory.iterdir()):
        os.chown(path, RECORDER, WEB_GROUP)
        path.chmod(0o640 if path.is_file() else 0o2750)
    with open_export(tmp_path, built.stream, Export()) as process:
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert f"Uid:\t{65534}\t{65534}\t{65534}\t{65534}" in status
        assert f"Gid:\t{WEB_GROUP}\t{WEB_GROUP}\t{WEB_GROUP}\t{WEB_GROUP}" in status
        assert "CapEff:\t0000000000000000" in status
        assert "CapPrm:\t0000000000000000" in status
        assert b"".join(process) == built.single()
