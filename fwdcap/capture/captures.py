"""The one capture at a time: start, stop, roll, tend, adopt, and what is known of it.

`Captures` decides; a Session (the running stream) does. When nothing runs the
numbers of the last capture are shown, from its stream.json, so that they are
the same after a stop and after a restart of fwdcapd.

Its methods are called one at a time (the service's lock); only `status`,
`running`, `stream`, `words` and `note_trimmed` may be called beside another.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fwdcap import abi
from fwdcap.capture import (
    adoption,
    clockstep,
    closing,
    counters,
    ending,
    folder,
    recorder,
    summary,
    words,
)
from fwdcap.capture.caps import Caps, Used
from fwdcap.capture.closing import Closed
from fwdcap.capture.counters import Counters, Emitted, Sample
from fwdcap.capture.place import Place, Source
from fwdcap.capture.session import Fate, Session
from fwdcap.capture.shelf import Shelf
from fwdcap.capture.summary import Outcome
from fwdcap.capture.words import Around, Wish
from fwdcap.errors import Conflict, FwdcapError, Unavailable
from fwdcap.store import recover, stream_json
from fwdcap.store.names import check_name, stream_name
from fwdcap.store.stream_json import StreamJson, interface_list

log = logging.getLogger(__name__)

FOLLOW_PATIENCE_NS = 60 * counters.NS


class Captures:
    """The running capture, if any, and the last one's numbers."""

    def __init__(
        self,
        place: Place,
        source: Source,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
        boot: Callable[[], str] = adoption.boot_id,
        repair: Callable[[Path], object] = recover.recover_stream,
        step: Callable[..., dict[str, int] | None] = clockstep.look,
    ) -> None:
        self._place = place
        self._source = source
        self._utc_ns = utc_ns
        self._monotonic_ns = monotonic_ns
        self._boot = boot
        self._repair = repair
        self._step = step
        self._session: Session | None = None
        self._shelf = Shelf(place)
        self._message = ""
        self._history: deque[Sample] = deque(maxlen=4)
        self._follow_by_ns = 0  # 0: nothing has rolled and waits for its next stream
        self._interrupted: StreamJson | None = None

    # ---- what runs

    @property
    def running(self) -> str | None:
        """The name of the running capture."""
        session = self._session
        return session.words.name if session else None

    @property
    def stream(self) -> str | None:
        """The stream of the running capture."""
        session = self._session
        return session.words.stream if session else None

    @property
    def words(self) -> StreamJson | None:
        """stream.json of the running capture."""
        session = self._session
        return session.words if session else None

    @property
    def last(self) -> StreamJson | None:
        """stream.json of the last capture that ended."""
        return self._shelf.last[0] if self._shelf.last else None

    def note_trimmed(
        self, stream: str, original_first_ns: int | None, removed: Mapping[str, int]
    ) -> None:
        """Write into a stream's stream.json what retention removed of it. Raises OSError."""
        session = self._session
        if session is not None and session.words.stream == stream:
            session.note_trimmed(original_first_ns, removed)
        else:
            self._shelf.note_trimmed(stream, original_first_ns, removed)

    # ---- verbs

    def start(self, wish: Wish, around: Around) -> Outcome:
        """Begin a new stream. Raises Invalid, Conflict, Unavailable or DiskFull."""
        check_name(wish.name)
        snaplen = self._place.snaplen if wish.snaplen is None else wish.snaplen
        wish.caps.checked()
        words.check_snaplen(snaplen)
        if self._session is not None:
            raise Conflict(
                f"Capture [{self.running}] is already running.",
                code="already-capturing",
                hint="Stop it first.",
            )
        if self._place.home is not None:
            self._place.home.require()
        pins, started_ns = self._pins(), self._utc_ns()
        new = words.fresh(
            wish,
            around,
            self._stream_name(wish.name, started_ns),
            started_ns,
            snaplen=snaplen,
            zone=self._place.zone,
            pins=str(pins),
            boot=self._boot(),
            baseline={"interfaces": interface_list(self._source.interface_counts())},
        )
        self._take(Session.begin(new, self._place, self._source, pins, self._monotonic_ns()))
        if wish.after:
            self._shelf.note_continued(wish.after, new.stream)
        message = f"successfully started capture [{wish.name}]"
        if not around.records:
            message += ", but no route records anything"
        log.info("%s into %s", message, new.stream)
        return Outcome(wish.name, new.stream, message, started_ns)

    def stop(self, kind: str = ending.STOPPED) -> Outcome:
        """End the running capture with all that was seen on disk. Raises Conflict."""
        session = self._need()
        if session.fate() in (Fate.FAILED, Fate.REMOVED, Fate.ENDED, Fate.CAPPED):
            self._see_to(session, self._monotonic_ns())
        else:
            self._stop(session, kind)
        assert self._shelf.last is not None
        last, numbers = self._shelf.last
        message = f"successfully stopped capture [{last.name}]"
        log.info("%s (%s)", message, last.stream)
        final = summary.final(last, numbers)
        return Outcome(last.name, last.stream, message, last.stopped_ns or 0, final)

    def roll(self) -> Outcome:
        """Go on in a new stream without losing a packet. Raises Conflict or Unavailable."""
        session = self._need("roll")
        old = session.words.stream
        if session.ask_roll():
            self._see_to(session, self._monotonic_ns())
        if self._session is None:
            raise Unavailable(
                f"Capture [{session.words.name}] could not be rolled, it has ended.",
                code="not-rolled",
                hint=self._message,
            )
        session, now = self._session, self._session.words
        if now.stream == old:
            raise Unavailable(
                f"Capture [{now.name}] could not be rolled yet.",
                code="not-rolled",
                hint=session.trouble or "Its recorder is still writing; look again in a moment.",
            )
        message = f"capture [{now.name}] goes on in {now.stream}"
        return Outcome(now.name, now.stream, message, now.started_ns)

    def tend(self) -> list[str]:
        """Every second: keep the rates, see to the recorder; returns what there is to say."""
        self._shelf.write_owed()
        session = self._session
        if session is None:
            return []
        now_ns = self._monotonic_ns()
        emitted = session.emitted()
        self._history.append(Sample(now_ns, emitted.records, emitted.bytes))
        session.look(now_ns, self._utc_ns())
        return [*self._look_at_clock(session), *self._see_to(session, now_ns)]

    # ---- adoption

    def adopt(self, waiting: bool = False) -> list[str]:
        """Take over what an earlier fwdcapd left; returns what there is to say about it.

        Call it when a data path has been attached, or at the start without one;
        `waiting`: one may still come.
        """
        unfinished = self._shelf.read()
        self._message = self.last.message if self.last is not None else ""
        lines = [line for each in unfinished for line in self._adopt(each, waiting)]
        if self._session is None and self._active():
            self._source.deactivate()
            lines.append("Nothing records any more, the emission of records was switched off.")
        return lines

    def take_interrupted(self) -> StreamJson | None:
        """The capture that a reboot interrupted, once: it should go on as a new stream."""
        found, self._interrupted = self._interrupted, None
        return found

    def wish_after(self, old: StreamJson) -> Wish | None:
        """What to start so that an interrupted capture goes on; None when its caps are used up."""
        report = recorder.report(self._place.directory(old.stream))
        used = Used.of(old).and_by(report) if report is not None else Used.of(old)
        caps = Caps.of(old)
        if caps.used_up(used) is not None:
            return None
        return Wish(old.name, old.snaplen, caps, old.schedule, old.stream, used)

    def _adopt(self, found: StreamJson, waiting: bool) -> list[str]:
        session, ours = self._session, False
        if session is not None and session.words.stream == found.stream:
            ours = True
        else:
            process = recorder.find(self._place.directory(found.stream))
            now_ns = self._monotonic_ns()
            session = Session(found, self._place, self._source, process, now_ns)
        pins, fate = self._source.pins(), session.fate()
        state = adoption.Found(
            alive=fate is Fate.RUNNING or (fate is not Fate.AWAY and pins is not None),
            path=pins is not None,
            same=str(pins) == found.pins,
            active=self._active(),
            waiting=waiting,
            taken=self._session is not None and not ours,
        )
        step = adoption.decide(state)
        if step is adoption.Step.RECOVER:
            if not state.taken and adoption.goes_on(found, self._boot(), pins):
                self._interrupted = found
            # The same ring, its emission off: a stop was cut short, and the ring may hold more.
            same_ring = state.same and not state.taken and found.boot == self._boot()
            return self._recover(session, drain=same_ring)
        if ours or step is adoption.Step.LEAVE:
            return []
        self._take(session)
        now_ns, name = self._monotonic_ns(), f"Capture [{found.name}]"
        if session.fate() is Fate.RUNNING:
            return [f"{name} is still running and goes on ({found.stream})."]
        if step is adoption.Step.GO_ON:
            return self._see_to(session, now_ns)
        return [f"{name} goes on ({found.stream}).", *session.revive(now_ns)]

    def _recover(self, session: Session, *, drain: bool = False) -> list[str]:
        """End a stream that nothing more can follow into; keep everything, with `drain` the
        rest in its ring as well."""
        lines = []
        if session.process is not None or drain:
            session.drain()
        try:
            self._repair(session.directory)
        except FwdcapError as error:
            lines.append(str(error))
        session.words = stream_json.read(session.directory / stream_json.FILE) or session.words
        current = self._session if self._session is not session else None
        # What the program counts since a later stream began is not this one's.
        latest = self.last is None or self.last.started_ns <= session.words.started_ns
        total = session.counted() if drain and latest else Emitted()
        closed = closing.interrupted(session, current, total, self._utc_ns())
        self._close(session, closed)
        self._session = current
        name, stream = session.words.name, session.words.stream
        if closed.end.kind == ending.INTERRUPTED:
            return [*lines, f"Capture [{name}] had been interrupted; its stream {stream} is kept."]
        return [*lines, closed.end.message or f"Stream {stream} is complete."]

    # ---- what is known

    def status(self) -> dict[str, Any]:
        """The `capture` object of GET /status; the last capture's numbers when idle."""
        session = self._session
        if session is None:
            last, numbers = self._shelf.last or (None, Counters())
            failed = last is not None and last.ended in ending.FAILURES
            return summary.capture(
                last,
                numbers,
                last.losses if last else (),
                active=False,
                recorder="failed" if failed else "none",
                message=self._message,
            )
        numbers, episodes = session.numbers(self._utc_ns())
        now_ns = self._monotonic_ns()
        now = Sample(now_ns, numbers.emitted_records, numbers.emitted_bytes)
        state = "running" if session.process is not None else "restarting"
        message = session.message(now_ns)
        if session.stopping:
            state = "stopping"
            waiting = max(0, numbers.emitted_records - numbers.committed_records)
            message = message or f"Stopping: {waiting:,} records are still to be written."
        return summary.capture(
            session.words,
            numbers,
            [episode.to_dict() for episode in episodes],
            active=True,
            rates=counters.rates(tuple(self._history), now),
            recorder=state,
            message=message,
        )

    # ---- inside

    def _see_to(self, session: Session, now_ns: int) -> list[str]:
        """What has to be done now that the recorder is as it is."""
        fate = session.fate()
        if fate is Fate.RUNNING:
            return session.mind(now_ns)
        if fate is Fate.AWAY:
            return session.revive(now_ns)
        if fate is Fate.ROLLED:
            return self._follow(session, now_ns)
        if fate is Fate.CAPPED:
            return self._end_by_cap(session)
        return self._end_by_failure(session, fate)

    def _look_at_clock(self, session: Session) -> list[str]:
        report, steps = session.report(), session.words.clock_steps
        if report is None or report.state != abi.RecorderState.RUNNING:
            return []
        offset_ns = int(report.clock_offset_ns)
        step = self._step(offset_ns, steps, self._monotonic_ns(), self._utc_ns())
        if step is None:
            return []
        try:
            session.note(clock_steps=(*steps, step))
        except OSError:
            return []  # in a second again
        return [clockstep.said(session.words.stream, step)]

    def _stop(self, session: Session, kind: str) -> None:
        """Emission off, everything on disk; also what a roll had left in the ring."""
        total = session.quiet()
        session.look(self._monotonic_ns(), self._utc_ns())
        clean = session.drain()
        while session.fate() is Fate.ROLLED:
            self._follow(session, self._monotonic_ns())
            if self._session is None or self._session is session:
                break
            session = self._session
            clean = session.drain()
        fate = session.fate()
        if fate is Fate.CAPPED:
            self._end_by_cap(session)
        elif fate is Fate.FAILED and self._session is session:
            self._close(session, closing.failed(session, total, fate, "", self._utc_ns()))
        elif self._session is session:
            self._close(session, closing.drained(session, total, clean, kind, self._utc_ns()))

    def _end_by_cap(self, session: Session, reason: abi.EndReason | None = None) -> list[str]:
        session.quiet()
        session.let_go()
        report = session.report()
        assert report is not None
        reason = reason or abi.EndReason(report.end_reason)
        closed = closing.capped(session, report, reason, self._utc_ns())
        self._close(session, closed)
        return [f"{closed.end.message} ({session.words.stream})."]

    def _end_by_failure(self, session: Session, fate: Fate, why: str = "") -> list[str]:
        total = session.quiet()
        session.look(self._monotonic_ns(), self._utc_ns())
        session.kill()
        closed = closing.failed(session, total, fate, why, self._utc_ns())
        self._close(session, closed)
        return [closed.end.message]

    def _follow(self, session: Session, now_ns: int) -> list[str]:
        """Begin the stream that goes on where this one was rolled."""
        session.let_go()
        old, report, end_at = session.words, session.report(), session.boundary()
        if report is None or end_at is None:  # the data path has gone: so has its ring
            return self._end_by_failure(session, Fate.FAILED, "the data path has gone")
        used = Used.of(old).and_by(report)
        spent = Caps.of(old).used_up(used)
        if spent is not None:
            return self._end_by_cap(session, spent)
        now_utc_ns = self._utc_ns()
        # The moment of the roll by the clock as it is now, which may have been set since.
        started_ns = now_utc_ns - max(0, self._monotonic_ns() - int(report.ended_ns))
        baseline = session.tally.baseline(end_at, session.states(), report, now_utc_ns)
        stream = self._stream_name(old.name, started_ns)
        new = words.following(old, stream, started_ns, used, baseline)
        try:
            place, source = self._place, self._source
            following = Session.begin(new, place, source, self._pins(), now_ns, follows=True)
        except FwdcapError as error:
            return self._not_followed(session, error, now_ns)
        self._follow_by_ns = 0
        self._close(session, closing.rolled(session, end_at, report, stream, started_ns))
        following.stopping = session.stopping
        self._take(following)
        return [f"Capture [{old.name}] goes on in {stream} after {old.stream}."]

    def _not_followed(self, session: Session, error: FwdcapError, now_ns: int) -> list[str]:
        """Try again while the ring holds; then it is the end of the capture."""
        self._follow_by_ns = self._follow_by_ns or now_ns + FOLLOW_PATIENCE_NS
        if now_ns >= self._follow_by_ns:
            self._follow_by_ns = 0
            why = f"the next stream could not be begun: {error.message}"
            return self._end_by_failure(session, Fate.FAILED, why)
        known = session.trouble
        session.trouble = f"The next stream cannot be begun: {error.message} Packets wait."
        return [session.trouble] if session.trouble != known else []

    def _need(self, verb: str = "stop") -> Session:
        if self._session is not None:
            return self._session
        raise Conflict(
            f"No capture is running, there is nothing to {verb}.",
            code="not-capturing",
            hint="Start one with `fwdcap capture start NAME`.",
        )

    def _pins(self) -> Path:
        pins = self._source.pins()
        if pins is None:
            raise Unavailable(
                "There is no capture interface, nothing can be recorded.",
                code="no-datapath",
                hint="Name one with [interface] name, or `fwdcap datapath attach IFACE`.",
            )
        return pins

    def _active(self) -> bool:
        try:
            return self._source.capture_active()
        except Unavailable:
            return False

    def _stream_name(self, name: str, started_ns: int) -> str:
        return stream_name(name, started_ns, self._place.zone, folder.names(self._place.store))

    def _take(self, session: Session) -> None:
        self._history.clear()
        self._message = ""
        self._session = session

    def _close(self, session: Session, closed: Closed) -> None:
        problem = session.finish(
            closed.numbers, closed.state, closed.end, closed.stopped_ns, closed.continued_by
        )
        found = self._session is not session
        self._shelf.put(session.words, closed.numbers, owed=bool(problem), found=found)
        if self.last is session.words:
            self._message = closed.end.message or problem
        self._session = None
