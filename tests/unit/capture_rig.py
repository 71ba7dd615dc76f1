"""A store, a ring and daemons one after the other, for the tests of captures."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from control_fakes import ACCOUNTS, PATIENCE_S, RECORDER, STREAM, Clock, FakeSource, eventually

from fwdcap.capture import clockstep, folder, recorder
from fwdcap.capture.captures import Captures
from fwdcap.capture.place import Place
from fwdcap.capture.summary import Outcome
from fwdcap.capture.words import Around, Wish

Route = dict[str, Any]

ROUTES: tuple[Route, ...] = ({"name": "demo", "enabled": True, "modes": ["inline"]},)


class Rig:
    """A store, a ring and as many daemons as a test wants, one after the other."""

    def __init__(self, root: Path) -> None:
        self.store = root / "store"
        pins = root / "pins"
        pins.mkdir()
        folder.prepare(self.store, ACCOUNTS)
        self.place = Place(self.store, "UTC", ACCOUNTS, 10**9, 0, RECORDER)
        self.source = FakeSource(pins)
        self.utc, self.monotonic = Clock(), Clock(0)
        self.boot = "first"
        self.clock_is_set = False  # these two clocks go as a test likes
        self.captures = self.daemon()

    def daemon(self) -> Captures:
        """Another daemon on the same store and kernel, the earlier one being gone."""
        return Captures(
            self.place,
            self.source,
            utc_ns=self.utc,
            monotonic_ns=self.monotonic,
            boot=lambda: self.boot,
            repair=lambda directory: None,
            step=lambda *looked: clockstep.look(*looked) if self.clock_is_set else None,
        )

    def start(
        self, name: str, snaplen: int | None = None, *, routes: Sequence[Route] = ROUTES, **of: Any
    ) -> Outcome:
        return self.captures.start(Wish(name, snaplen, **of), Around("cap0", routes))

    def stream_json(self, stream: str = STREAM) -> dict[str, object]:
        read: dict[str, object] = json.loads(
            (self.store / "streams" / stream / "stream.json").read_text()
        )
        return read

    def pid(self, stream: str = STREAM) -> int:
        """Of the recorder, which has its name only once it is executed."""
        found: list[recorder.Recorder] = []

        def look() -> bool:
            running = recorder.find(self.store / "streams" / stream)
            found.extend([running] if running else [])
            return bool(found)

        eventually(look)
        found[0].close()
        return found[0].pid

    def recording(self) -> bool:
        found = recorder.find(self.store / "streams" / STREAM)
        if found:
            found.close()
        return found is not None

    def ended(self) -> bool:
        """Whether the capture has, after another second of the daemon's."""
        self.captures.tend()
        return not self.captures.running

    def kill(self) -> None:
        os.kill(self.pid(), signal.SIGKILL)
        self.gone()

    def gone(self) -> None:
        """Wait until the recorder has ended."""
        session = self.captures._session
        eventually(lambda: not self.recording())
        if session is not None and session.process is not None:
            assert session.process.ended_within(PATIENCE_S)

    def misbehave(self, how: str) -> None:
        (self.source.directory / how).touch()

    def behave(self, how: str) -> None:
        (self.source.directory / how).unlink()

    def committed(self) -> int:
        count: int = self.captures.status()["committed_records"]
        return count

    def end(self) -> None:
        """What still records ends with the test."""
        for directory in (self.store / "streams").iterdir():
            found = recorder.find(directory)
            if found:
                found.send(signal.SIGKILL)
                found.close()
