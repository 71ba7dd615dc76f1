"""One stream while it is recorded: the recorder that writes it, and its numbers.

The kernel emits while its flag is set, the recorder writes; both go on without
us. A session ties them together: recorder before emission, emission off before
the recorder is told to end, and a recorder that died or hangs is started again
into the same stream, later each time, since the ring holds what is not on disk
yet. One that ended by itself, by a cap or a roll, is not.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

from fwdcap import abi
from fwdcap.capture import counters, folder, recorder
from fwdcap.capture.caps import Caps, Used
from fwdcap.capture.counters import NS, Counters, Emitted
from fwdcap.capture.ending import End, is_cap
from fwdcap.capture.losses import Episode
from fwdcap.capture.place import Place, Source
from fwdcap.capture.tally import Tally
from fwdcap.capture.watchdog import Watch
from fwdcap.errors import FwdcapError, Unavailable
from fwdcap.store import stream_json
from fwdcap.store.stream_json import State, StreamJson

log = logging.getLogger(__name__)

START_PATIENCE_S = 5.0
STOP_PATIENCE_S = 10.0
KILL_PATIENCE_S = 0.5
_BACK_OFF_S = (0, 1, 2, 5, 10, 30)
_NO_START_S = 5  # until a start that the system refused is tried again
_STEADY_NS = 60 * NS  # a recorder that lived this long is restarted at once again
_INCIDENT_NS = 60 * NS  # for so long a recorder that was replaced is spoken of
_NOTE_NS = 5 * NS
_AWAY = "The recorder is away; packets wait in the ring."


class Fate(Enum):
    """What has become of the recorder. AWAY: it died; ENDED: somebody else ended it."""

    RUNNING = "running"
    AWAY = "away"
    ROLLED = "rolled"
    CAPPED = "capped"
    FAILED = "failed"
    REMOVED = "removed"
    ENDED = "ended"


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
        self.tally = Tally(words)
        self.stopping = False
        self._place = place
        self._source = source
        self._watch = Watch.begin(now_ns)
        self._killed = False
        self._incident = (0, "")
        self._attempts = 0
        self._retry_ns = 0
        self._noted_ns = 0
        self._before = 0  # generation of the last report of the process before this one
        self._pen = threading.Lock()  # retention notes what it removed, from its own thread

    @classmethod
    def begin(
        cls,
        words: StreamJson,
        place: Place,
        source: Source,
        pins: Path,
        now_ns: int,
        follows: bool = False,
    ) -> Session:
        """Write the first stream.json, start the recorder, then the emission.

        `follows`: it takes up where stream `words.continues` was rolled, under emission.
        Raises Unavailable or DiskFull; then nothing of the stream is left.
        """
        directory = folder.make_stream(place.store, words.stream, place.accounts)
        session = cls(words, place, source, None, now_ns)
        try:
            stream_json.write(directory / stream_json.FILE, words)
            session.process = recorder.start(session._order(pins))
            session._confirm()
            if not follows:
                source.activate(words.snaplen)
        except OSError as error:
            session._abandon(follows)
            raise folder.refusal(error, place.store) from error
        except FwdcapError:
            if not session._abandon(follows):
                raise
        return session

    # ---- numbers

    def report(self) -> abi.Checkpoint | None:
        return recorder.report(self.directory)

    def states(self) -> list[abi.CpuState]:
        """The program's counters; none without a data path."""
        try:
            return self._source.cpu_states()
        except Unavailable:
            return []

    def counted(self) -> Emitted:
        """What the program counts, also by route and mode; that takes time with many routes."""
        try:
            return counters.total(self.states(), self._source.interface_counts())
        except Unavailable:
            return Emitted()

    def emitted(self) -> Emitted:
        """What the program counted for this stream."""
        return counters.total(self.states()).since(self.tally.base)

    def numbers(self, utc_ns: int) -> tuple[Counters, tuple[Episode, ...]]:
        """The live counters and losses."""
        report = self.report()  # first: emitted is never behind committed
        return self.tally.live(self.states(), report, utc_ns)

    def look(self, now_ns: int, utc_ns: int) -> None:
        """Every second: let the losses have their times, which the next daemon learns, too."""
        states = self.states()
        if not states:
            return
        self.tally.look(states, self.report(), utc_ns)
        losses = tuple(each.to_dict() for each in self.tally.episodes)
        if losses == self.words.losses or now_ns - self._noted_ns < _NOTE_NS:
            return
        self._noted_ns = now_ns
        try:
            self.note(losses=losses)
        except OSError as error:
            log.warning("losses of %s could not be noted: %s", self.words.stream, error)

    # ---- while it runs

    def fate(self) -> Fate:
        """What has become of the recorder."""
        if not self.directory.is_dir():
            return Fate.REMOVED
        if self.process is not None and self.process.alive():
            return Fate.RUNNING
        report = self.report()
        if report is None or report.state == abi.RecorderState.RUNNING:
            return Fate.AWAY
        if report.state == abi.RecorderState.FAILED:
            return Fate.FAILED
        if report.end_reason == abi.EndReason.ROLL:
            return Fate.ROLLED
        return Fate.CAPPED if is_cap(report.end_reason) else Fate.ENDED

    def mind(self, now_ns: int) -> list[str]:
        """See that a recorder that runs gets on; one that hangs is replaced."""
        report = self.report()
        if self._attempts and now_ns - self._watch.began_ns > _STEADY_NS:
            self._attempts = 0
        self._watch = self._watch.look(now_ns, report, self.emitted().records)
        known, self.trouble = self.trouble, self._watch.trouble or _waits_for_room(report)
        if self._killed:
            self.trouble = "The recorder hangs in a write to the disk and cannot be ended."
            return []
        if not self._watch.hopeless:
            return [self.trouble] if self.trouble and not known else []
        return self._replace(now_ns)

    def message(self, now_ns: int) -> str:
        """What there is to say about the recorder."""
        until_ns, incident = self._incident
        return self.trouble or (incident if now_ns < until_ns else "")

    def failure(self) -> str:
        """Why the recorder gave up, in its own words where a full disk left room for them."""
        report = self.report()
        error = os.strerror(report.error) if report is not None else "it has no report"
        return recorder.said(self.directory) or error

    def revive(self, now_ns: int) -> list[str]:
        """Start a recorder that died again, each time later; returns what there is to say."""
        hung, self._killed = self._killed, False
        if self.process is not None:
            self.process.close()
            self.process = None
            delay_s = _BACK_OFF_S[min(self._attempts, len(_BACK_OFF_S) - 1)]
            self._retry_ns = now_ns + delay_s * NS
            self.trouble = _AWAY
        pins = self._source.pins()
        if pins is None or now_ns < self._retry_ns:
            return []
        self._attempts += 1
        self._watch = self._watch.replaced(now_ns, hung)
        said = recorder.said(self.directory)
        try:
            self._start_again(pins)
        except OSError as error:
            self._retry_ns = now_ns + _NO_START_S * NS
            known, why = self.trouble, error.strerror or str(error)
            self.trouble = f"The recorder cannot be started: {why}. Packets wait in the ring."
            return [self.trouble] if self.trouble != known else []
        ended = "hung" if hung else f"ended ({said})" if said else "ended"
        line = f"The recorder of {self.words.stream} {ended} and was started again."
        self.trouble, self._incident = "", (now_ns + _INCIDENT_NS, line)
        return [line]

    def note(self, **changes: Any) -> None:
        """Change stream.json. Raises OSError; then nothing is changed."""
        with self._pen:
            words = replace(self.words, **changes)
            stream_json.write(self.directory / stream_json.FILE, words)
            self.words = words

    def note_trimmed(self, original_first_ns: int | None, removed: Mapping[str, int]) -> None:
        """Write down what retention removed of the beginning. Raises OSError."""
        self.note(trimmed=True, original_first_ns=original_first_ns, removed=dict(removed))

    # ---- the end

    def ask_roll(self) -> bool:
        """Have the recorder end the stream at this moment; False when it is not soon done."""
        process = self.process
        if process is None:
            return False
        process.send(signal.SIGUSR1)
        return recorder.ends(self.directory, process, STOP_PATIENCE_S)

    def quiet(self) -> Emitted:
        """Stop the emission; the program's counters as they then are."""
        self.stopping = True
        try:
            self._source.deactivate()
        except Unavailable:
            log.warning("the data path is gone, what it counted is not known")
        return self.counted()

    def drain(self) -> bool:
        """End the recorder with the ring empty; one that is away is started once more."""
        pins = self._source.pins()
        if self.fate() is Fate.AWAY and pins is not None:
            try:
                self._start_again(pins)
            except OSError as error:
                log.warning("the recorder could not be started: %s", error)
        if self.process is None:
            report = self.report()
            return report is not None and report.state == abi.RecorderState.COMPLETE
        # Told to end before it has come up, it would leave what is in the ring.
        recorder.reports_within(self.directory, self.process, self._before, START_PATIENCE_S)
        clean = recorder.drained(self.directory, self.process, STOP_PATIENCE_S)
        self.let_go()
        return clean

    def let_go(self) -> None:
        """Forget a recorder that has ended."""
        if self.process is not None:
            self.process.close()
            self.process = None

    def kill(self) -> None:
        """End a recorder that nothing can come of any more."""
        if self.process is not None:
            self.process.send(signal.SIGKILL)
            self.process.ended_within(STOP_PATIENCE_S)
            self.let_go()

    def boundary(self) -> Emitted | None:
        """The program's counters where the stream ended by itself; None: they are gone."""
        report = self.report()
        if report is None or not self.states():
            return None
        return self.tally.boundary(report, self.counted())

    def finish(
        self, numbers: Counters, state: State, end: End, stopped_ns: int, continued_by: str = ""
    ) -> str:
        """Write the last words; returns what went wrong with that, if so."""
        with self._pen:
            self.words = replace(
                self.words,
                state=state,
                stopped_ns=stopped_ns,
                counters=numbers.stored(),
                first_loss_ns=numbers.first_loss_ns,
                last_loss_ns=numbers.last_loss_ns,
                losses=tuple(self.tally.final_losses(numbers, self.words, stopped_ns)),
                ended=end.kind,
                message=end.message,
                continued_by=continued_by or self.words.continued_by,
            )
            try:
                stream_json.write(self.directory / stream_json.FILE, self.words)
            except OSError as error:
                log.error("stream.json of %s could not be written: %s", self.words.stream, error)
                return str(folder.refusal(error, self._place.store))
        return ""

    # ---- inside

    def _replace(self, now_ns: int) -> list[str]:
        """End a recorder that hangs, and start another."""
        assert self.process is not None
        line = f"{self.trouble} It is replaced ({self.words.stream})."
        self.process.send(signal.SIGKILL)
        self._killed = True
        if not self.process.ended_within(KILL_PATIENCE_S):
            return [line]
        return [line, *self.revive(now_ns)]

    def _order(self, pins: Path) -> recorder.Order:
        place, words = self._place, self.words
        return recorder.Order(
            pins=pins,
            stream=self.directory,
            snaplen=words.snaplen,
            segment_bytes=place.segment_bytes,
            account=place.accounts.recorder,
            program=place.program,
            caps=Caps.of(words).left(Used.of(words)),
            follow=self._followed(),
        )

    def _followed(self) -> Path | None:
        """The stream that was rolled into this one, while this one has nothing of its own."""
        words = self.words
        rolled = words.continues and "seen" in words.baseline and self.report() is None
        return self._place.directory(words.continues) if rolled else None

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

    def _abandon(self, follows: bool) -> bool:
        """Leave nothing; one that follows another leaves what is in the ring, too.

        True: it has taken records from the ring already, so it has to stay.
        """
        if self.process is not None and not follows:
            recorder.drained(self.directory, self.process, START_PATIENCE_S)
        self.kill()
        report = self.report()
        if follows and report is not None and report.packets:
            return True
        folder.remove_stream(self.directory)
        return False

    def _start_again(self, pins: Path) -> None:
        self.let_go()
        report = self.report()
        self._before = report.generation if report else 0
        self.process = recorder.start(self._order(pins))


def _waits_for_room(report: abi.Checkpoint | None) -> str:
    if report is None or not report.error:
        return ""
    return f"{os.strerror(report.error)}: the recorder waits for room, packets wait in the ring."
