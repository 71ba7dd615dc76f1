"""One capture while it runs: its stream and the recorder that writes it.

The kernel emits while its flag is set, the recorder writes; both go on without
us. A session ties them together: recorder before emission, emission off before
the recorder is told to end, and a recorder that died is started again into the
same stream, later each time, since the ring holds what is not on disk yet.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from fwdcap import abi
from fwdcap.capture import counters, folder, recorder
from fwdcap.capture.accounts import Accounts
from fwdcap.capture.counters import Counters, Emitted
from fwdcap.errors import FwdcapError, Unavailable
from fwdcap.store import stream_json
from fwdcap.store.stream_json import State, StreamJson

log = logging.getLogger(__name__)

START_PATIENCE_S = 5.0
STOP_PATIENCE_S = 10.0
_BACK_OFF_S = (0, 1, 2, 5, 10, 30)
_STEADY_NS = 60 * counters.NS  # a recorder that lived this long is restarted at once again
_SILENT_NS = 10 * counters.NS


class Source(Protocol):
    """What a capture needs of the data path; calls but `pins` raise Unavailable without one."""

    def pins(self) -> Path | None: ...
    def activate(self, snaplen: int) -> None: ...
    def deactivate(self) -> None: ...
    def capture_active(self) -> bool: ...
    def cpu_states(self) -> list[abi.CpuState]: ...


@dataclass(frozen=True)
class Place:
    """Where and as whom captures are written; sizes in bytes, snaplen 0 for whole frames."""

    store: Path
    zone: str
    accounts: Accounts
    segment_bytes: int
    snaplen: int = 0
    program: tuple[str, ...] = (str(recorder.PROGRAM),)

    def directory(self, stream: str) -> Path:
        return folder.streams_directory(self.store) / stream


class Session:
    """A running capture; `process` is None while its recorder is away."""

    def __init__(
        self,
        words: StreamJson,
        place: Place,
        source: Source,
        process: recorder.Recorder | None,
        now_ns: int,
    ) -> None:
        self.words = words
        self.directory = place.directory(words.stream)
        self.process = process
        self.trouble = ""
        self._place = place
        self._source = source
        self._started_ns = now_ns
        self._attempts = 0
        self._retry_ns = 0
        self._before = 0  # generation of the last report of the process before this one
        self._pen = threading.Lock()  # retention notes what it removed, from its own thread

    @classmethod
    def begin(
        cls, words: StreamJson, place: Place, source: Source, pins: Path, now_ns: int
    ) -> Session:
        """Write the first stream.json, start the recorder, then the emission.

        Raises Unavailable or DiskFull; then nothing of the stream is left.
        """
        directory = folder.make_stream(place.store, words.stream, place.accounts)
        session = cls(words, place, source, None, now_ns)
        try:
            stream_json.write(directory / stream_json.FILE, words)
            session.process = recorder.start(session._order(pins))
            session._confirm()
            source.activate(words.snaplen)
        except OSError as error:
            session._abandon()
            raise folder.refusal(error, place.store) from error
        except FwdcapError:
            session._abandon()
            raise
        return session

    def emitted(self) -> Emitted:
        """What the program counted; zeros without a data path."""
        try:
            return counters.total(self._source.cpu_states())
        except Unavailable:
            return Emitted()

    def numbers(self) -> Counters:
        """The live counters."""
        report = recorder.report(self.directory)  # first: emitted is never behind committed
        return counters.live(self.emitted(), report)

    # ---- while it runs

    def healthy(self, now_ns: int) -> bool:
        """Does the recorder run? Notes in `trouble` when it runs but does not report."""
        if self.process is None or not self.process.alive():
            return False
        if self._attempts and now_ns - self._started_ns > _STEADY_NS:
            self._attempts = 0
        report = recorder.report(self.directory)
        last_ns = max(report.heartbeat_ns if report else 0, self._started_ns)
        silent_ns = now_ns - last_ns
        self.trouble = (
            f"The recorder has not reported for {silent_ns // counters.NS} s."
            if silent_ns > _SILENT_NS
            else ""
        )
        return True

    def failure(self) -> str:
        """Why the recorder gave up, in its own words where a full disk left room for them;
        '' when it did not."""
        report = recorder.report(self.directory)
        if report is None or report.state != abi.RecorderState.FAILED:
            return ""
        return recorder.said(self.directory) or os.strerror(report.error)

    def revive(self, now_ns: int) -> list[str]:
        """Start a recorder that died again, each time later; returns what there is to say."""
        if self.process is not None:
            self.process.close()
            self.process = None
            delay_s = _BACK_OFF_S[min(self._attempts, len(_BACK_OFF_S) - 1)]
            self._retry_ns = now_ns + delay_s * counters.NS
        pins = self._source.pins()
        self.trouble = "The recorder is away; packets wait in the ring."
        if pins is None or now_ns < self._retry_ns:
            return []
        self._attempts += 1
        self._started_ns = now_ns
        said = recorder.said(self.directory)
        try:
            self._start_again(pins)
        except OSError as error:
            self._retry_ns = now_ns + _BACK_OFF_S[-1] * counters.NS
            return [f"The recorder could not be started: {error.strerror}."]
        ended = f"ended ({said})" if said else "ended"
        return [f"The recorder of {self.words.stream} {ended} and was started again."]

    def note_trimmed(self, original_first_ns: int | None, removed: Mapping[str, int]) -> None:
        """Write down what retention removed of the beginning. Raises OSError."""
        with self._pen:
            words = replace(
                self.words,
                trimmed=True,
                original_first_ns=original_first_ns,
                removed=dict(removed),
            )
            stream_json.write(self.directory / stream_json.FILE, words)
            self.words = words

    # ---- the end

    def quiet(self) -> Emitted:
        """Stop the emission; the counters as they then are."""
        try:
            self._source.deactivate()
        except Unavailable:
            log.warning("the data path is gone, what it counted is not known")
        return self.emitted()

    def drain(self) -> bool:
        """End the recorder with the ring empty; one that is away is started once more."""
        pins = self._source.pins()
        if (self.process is None or not self.process.alive()) and pins is not None:
            try:
                self._start_again(pins)
            except OSError as error:
                log.warning("the recorder could not be started: %s", error)
        if self.process is None:
            return False
        # Told to end before it has come up, it would leave what is in the ring.
        recorder.reports_within(self.directory, self.process, self._before, START_PATIENCE_S)
        clean = recorder.drained(self.directory, self.process, STOP_PATIENCE_S)
        self.process.close()
        self.process = None
        return clean

    def finish(
        self, emitted: Emitted, clean: bool, stopped_ns: int
    ) -> tuple[StreamJson, Counters, str]:
        """Write the last words; returns them, the final numbers and what went wrong, if so."""
        report = recorder.report(self.directory)
        failed = report is not None and report.state == abi.RecorderState.FAILED
        if emitted.seen:
            rest = abi.Loss.DISK if failed else abi.Loss.UNKNOWN
            numbers = counters.settled(emitted, report, rest)
        else:
            numbers = counters.reported(report)
        state: State = "complete" if clean else "recovered"
        try:
            with self._pen:
                self.words = replace(
                    self.words,
                    state=state,
                    stopped_ns=stopped_ns,
                    counters=numbers.stored(),
                    first_loss_ns=numbers.first_loss_ns,
                    last_loss_ns=numbers.last_loss_ns,
                )
                stream_json.write(self.directory / stream_json.FILE, self.words)
        except OSError as error:
            log.error("stream.json of %s could not be written: %s", self.words.stream, error)
            return self.words, numbers, str(folder.refusal(error, self._place.store))
        return self.words, numbers, ""

    # ---- inside

    def _order(self, pins: Path) -> recorder.Order:
        place = self._place
        return recorder.Order(
            pins=pins,
            stream=self.directory,
            snaplen=self.words.snaplen,
            segment_bytes=place.segment_bytes,
            account=place.accounts.recorder,
            program=place.program,
        )

    def _confirm(self) -> None:
        assert self.process is not None
        if recorder.reports_within(self.directory, self.process, 0, START_PATIENCE_S):
            return
        said = recorder.said(self.directory)
        if not said:
            silent = f"it did not report within {START_PATIENCE_S:.0f} s"
            said = silent if self.process.alive() else "it ended without a word"
        raise Unavailable(
            f"The recorder did not start: {said.rstrip('.')}.",
            code="recorder-failed",
            hint="Correct that, then start the capture again.",
        )

    def _abandon(self) -> None:
        if self.process is not None:
            recorder.drained(self.directory, self.process, START_PATIENCE_S)
            self.process.close()
            self.process = None
        folder.remove_stream(self.directory)

    def _start_again(self, pins: Path) -> None:
        if self.process is not None:
            self.process.close()
            self.process = None
        report = recorder.report(self.directory)
        self._before = report.generation if report else 0
        self.process = recorder.start(self._order(pins))
