"""The one capture at a time: start, stop, adopt, tend, and what is known of it.

`Captures` decides; a Session (the running capture) does. When nothing runs it
keeps the numbers of the last capture, from its stream.json, so that they are
the same after a stop and after a restart of fwdcapd.

Its methods are called one at a time (the service's lock); only `status`,
`stream` and `note_trimmed` may be called beside another.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwdcap import abi
from fwdcap.capture import counters, folder, recorder
from fwdcap.capture.adoption import Found, Step, decide
from fwdcap.capture.counters import Counters, Emitted, Sample
from fwdcap.capture.session import STOP_PATIENCE_S, Place, Session, Source
from fwdcap.errors import Conflict, Invalid, Unavailable
from fwdcap.store import stream_json
from fwdcap.store.names import check_name, stream_name
from fwdcap.store.stream_json import StreamJson

log = logging.getLogger(__name__)

MAX_SNAPLEN = abi.PCAP_SNAPLEN
_UNCLEAN = "The recorder did not end cleanly; its stream ends at its last report."


@dataclass(frozen=True)
class Outcome:
    """What became of a start or a stop; `message` is the sentence for people."""

    name: str
    stream: str
    message: str
    time_ns: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Captures:
    """The running capture, if any, and the last one's numbers."""

    def __init__(
        self,
        place: Place,
        source: Source,
        *,
        utc_ns: Callable[[], int] = time.time_ns,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._place = place
        self._source = source
        self._utc_ns = utc_ns
        self._monotonic_ns = monotonic_ns
        self._session: Session | None = None
        self._last: tuple[StreamJson, Counters] | None = None
        self._message = ""
        self._failed = False
        self._history: deque[Sample] = deque(maxlen=4)
        self._owed: StreamJson | None = None  # last words that a full disk did not take

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

    def note_trimmed(
        self, stream: str, original_first_ns: int | None, removed: Mapping[str, int]
    ) -> None:
        """Write into a stream's stream.json what retention removed of it. Raises OSError."""
        session = self._session
        if session is not None and session.words.stream == stream:
            session.note_trimmed(original_first_ns, removed)

    def start(
        self,
        name: str,
        snaplen: int | None = None,
        *,
        interface: str = "",
        routes: Sequence[Mapping[str, Any]] = (),
        link_since_ns: int | None = None,
    ) -> Outcome:
        """Begin a new stream. Raises Invalid, Conflict, Unavailable or DiskFull."""
        check_name(name)
        length = _check_snaplen(self._place.snaplen if snaplen is None else snaplen)
        if self._session is not None:
            raise Conflict(
                f"Capture [{self.running}] is already running.",
                code="already-capturing",
                hint="Stop it first.",
            )
        pins = self._pins()
        started_ns = self._utc_ns()
        taken = folder.names(self._place.store)
        words = StreamJson(
            name=name,
            stream=stream_name(name, started_ns, self._place.zone, taken),
            state="recording",
            started_ns=started_ns,
            snaplen=length,
            zone=self._place.zone,
            interface=interface,
            pins=str(pins),
            routes=tuple(routes),
            link_since_ns=link_since_ns,
        )
        now_ns = self._monotonic_ns()
        self._take(Session.begin(words, self._place, self._source, pins, now_ns))
        message = f"successfully started capture [{name}]"
        if not any(route.get("enabled") and route.get("modes") for route in routes):
            message += ", but no route records anything"
        log.info("%s into %s", message, words.stream)
        return Outcome(name, words.stream, message, started_ns)

    def stop(self) -> Outcome:
        """End the running capture with all that was seen on disk. Raises Conflict."""
        session = self._session
        if session is None:
            raise Conflict(
                "No capture is running, there is nothing to stop.",
                code="not-capturing",
                hint="Start one with `fwdcap capture start NAME`.",
            )
        emitted = session.quiet()
        clean = session.drain()
        words = self._finish(session, emitted, clean, "" if clean else _UNCLEAN)
        message = f"successfully stopped capture [{words.name}]"
        log.info("%s (%s)", message, words.stream)
        return Outcome(words.name, words.stream, message, words.stopped_ns or 0)

    def tend(self) -> list[str]:
        """Every second: keep the rates, see to the recorder; returns what there is to say."""
        self._write_owed()
        session = self._session
        if session is None:
            return []
        now_ns = self._monotonic_ns()
        emitted = session.emitted()
        self._history.append(Sample(now_ns, emitted.records, emitted.bytes))
        if session.healthy(now_ns):
            return []
        failure = session.failure()
        if not failure:
            return session.revive(now_ns)
        name = session.words.name
        trouble = f"Capture [{name}] was stopped, its recorder failed: {failure.rstrip('.')}."
        self._finish(session, session.quiet(), True, trouble)
        self._failed = True
        return [trouble]

    # ---- adoption

    def adopt(self, waiting: bool = False) -> list[str]:
        """Take over what an earlier fwdcapd left; returns what there is to say about it.

        Call it when a data path has been attached, or at the start without one;
        `waiting`: one may still come.
        """
        unfinished = []
        for words in self._stored():
            if words.state == "recording":
                unfinished.append(words)
            elif self._last is None or words.started_ns > self._last[0].started_ns:
                report = recorder.report(self._place.directory(words.stream))
                self._last = (words, counters.kept(words.counters, report))
        unfinished.sort(key=lambda words: words.started_ns, reverse=True)
        lines = [line for words in unfinished for line in self._adopt(words, waiting)]
        if self._session is None and self._active():
            self._source.deactivate()
            lines.append("Nothing records any more, the emission of records was switched off.")
        return lines

    def _adopt(self, words: StreamJson, waiting: bool) -> list[str]:
        session, ours = self._session, False
        if session is not None and session.words.stream == words.stream:
            ours = True
        else:
            process = recorder.find(self._place.directory(words.stream))
            now_ns = self._monotonic_ns()
            session = Session(words, self._place, self._source, process, now_ns)
        pins = self._source.pins()
        found = Found(
            alive=session.process is not None and session.process.alive(),
            path=pins is not None,
            same=str(pins) == words.pins,
            active=self._active(),
            waiting=waiting,
            taken=self._session is not None and not ours,
        )
        step = decide(found)
        if step is Step.RECOVER:
            return [self._recover(session)]
        if ours or step is Step.LEAVE:
            return []
        self._take(session)
        name = f"Capture [{words.name}]"
        if step is Step.GO_ON:
            return [f"{name} is still running and goes on ({words.stream})."]
        return [f"{name} goes on ({words.stream}).", *session.revive(self._monotonic_ns())]

    def _recover(self, session: Session) -> str:
        """End a stream that nothing more can follow into; keep everything."""
        current, last = self._session, self._last
        if session.process is not None:
            recorder.drained(session.directory, session.process, STOP_PATIENCE_S)
            session.process.close()
            session.process = None
        report = recorder.report(session.directory)
        clean = report is not None and report.state == abi.RecorderState.COMPLETE
        words = self._finish(session, Emitted(), clean, "")
        if last is not None and last[0].started_ns > words.started_ns:
            self._last = last
        self._session = current if current is not session else None
        return f"Capture [{words.name}] had been interrupted; its stream {words.stream} is kept."

    # ---- what is known

    def status(self) -> dict[str, Any]:
        """The `capture` object of GET /status; the last capture's numbers when idle."""
        session = self._session
        if session is None:
            words, numbers = self._last or (None, Counters())
            state, bits, packets = ("failed" if self._failed else "none"), 0, 0
        else:
            words, numbers = session.words, session.numbers()
            state = "running" if session.process is not None else "restarting"
            now = Sample(self._monotonic_ns(), numbers.emitted_records, numbers.emitted_bytes)
            bits, packets = counters.rates(tuple(self._history), now)
        pending_bytes = numbers.emitted_bytes - numbers.committed_bytes if session else 0
        return {
            "active": session is not None,
            "name": words.name if words else None,
            "stream": words.stream if words else None,
            "started_ns": words.started_ns if words else None,
            "stopped_ns": words.stopped_ns if words else None,
            "received_packets": numbers.received_packets,
            "error_packets": numbers.error_packets,
            "emitted_records": numbers.emitted_records,
            "emitted_bytes": numbers.emitted_bytes,
            "committed_records": numbers.committed_records,
            "committed_bytes": numbers.committed_bytes,
            "pending_bytes": max(0, pending_bytes),
            "lost_records": numbers.lost_records,
            "lost": counters.losses(numbers.lost),
            "bps": bits,
            "pps": packets,
            "recorder": state,
            "message": session.trouble if session else self._message,
        }

    # ---- inside

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

    def _take(self, session: Session) -> None:
        self._history.clear()
        self._message, self._failed = "", False
        self._session = session

    def _finish(self, session: Session, emitted: Emitted, clean: bool, trouble: str) -> StreamJson:
        words, numbers, problem = session.finish(emitted, clean, self._utc_ns())
        self._last = (words, numbers)
        self._owed = words if problem else self._owed
        self._message, self._failed = problem or trouble, False
        self._session = None
        return words

    def _write_owed(self) -> None:
        """The last words of a capture that a full disk ended, once there is room for them."""
        words = self._owed
        directory = self._place.directory(words.stream) if words else None
        if words is None or directory is None:
            return
        if directory.is_dir():
            try:
                stream_json.write(directory / stream_json.FILE, words)
            except OSError:
                return  # in a second again
        self._owed = None

    def _stored(self) -> list[StreamJson]:
        names = folder.names(self._place.store)
        every = (stream_json.read(self._place.directory(name) / stream_json.FILE) for name in names)
        return [words for words in every if words is not None]


def _check_snaplen(snaplen: int) -> int:
    if 0 <= snaplen <= MAX_SNAPLEN:
        return snaplen
    raise Invalid(
        f"A snaplen of {snaplen} bytes cannot be used.",
        code="bad-snaplen",
        hint=f"Use 1 to {MAX_SNAPLEN}, or 0 for whole packets.",
    )
