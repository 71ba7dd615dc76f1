"""What the web process tells the audit log: logins, refusals, downloads.

fwdcapd is the log's only writer. It is told from a thread of its own, so that
no answer waits for it; what repeats itself within a while is told once.
"""

from __future__ import annotations

import logging
import queue
from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Event as Flag
from threading import Lock, Thread

WAITING = 512
REMEMBERED = 2048
# For how long the same again is not worth another line, by what happened.
QUIET_S = {"login": 3600.0, "login-failed": 10.0, "download": 60.0, "refused": 60.0}
# Of these whoever has no password could fill the log with: one line is for all that is tried.
_WHATEVER_TARGET = frozenset({"login-failed"})

Report = Mapping[str, str]

log = logging.getLogger(__name__)


class Reports:
    """Takes events and passes them on, in order; `send` raises what it likes."""

    def __init__(self, send: Callable[[Report], object], clock: Callable[[], float]) -> None:
        self._send = send
        self._clock = clock
        self._lock = Lock()
        self._told: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._waiting: queue.Queue[Report | Flag] = queue.Queue(WAITING)
        self._thread: Thread | None = None

    def tell(self, what: str, who: str, from_: str, target: str = "", result: str = "done") -> None:
        """Never waits, never raises."""
        event = {"what": what, "who": who, "from": from_, "target": target, "result": result}
        if self._is_news(event):
            self._put(event)

    def flush(self, timeout_s: float) -> bool:
        """Waits until everything so far has been passed on; False where it took too long."""
        done = Flag()
        self._put(done)
        return done.wait(timeout_s)

    def _is_news(self, event: Report) -> bool:
        quiet_s, now_s = QUIET_S.get(event["what"], 0.0), self._clock()
        told = ("what", "who", "from") if event["what"] in _WHATEVER_TARGET else tuple(event)
        key = tuple(event[part] for part in told)
        with self._lock:
            told_s = self._told.pop(key, None)
            news = told_s is None or now_s - told_s >= quiet_s
            self._told[key] = now_s if news or told_s is None else told_s
            while len(self._told) > REMEMBERED:
                self._told.popitem(last=False)
        return news

    def _put(self, item: Report | Flag) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = Thread(target=self._pass_on, name="audit", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(item)
        except queue.Full:
            log.warning("too much at a time for the audit log, left out: %s", item)

    def _pass_on(self) -> None:
        while True:
            item = self._waiting.get()
            if isinstance(item, Flag):
                item.set()
                continue
            try:
                self._send(item)
            except Exception as error:
                log.warning("the audit log does not have %s: %s", dict(item), type(error).__name__)
