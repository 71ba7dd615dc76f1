"""fwdcapd as the web sees it.

Its refusals are passed on in its own words, but without the machine's paths,
which are nobody's business out there. That it does not answer at all is said in
one way, whatever the reason. Many open pages share one question: `recent` asks
at most twice a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, Protocol

from fwdcap.errors import FwdcapError, Unavailable

Body = dict[str, Any]

RECENT_S = 0.5
# How control.client says that there was nobody to ask.
UNREACHABLE = frozenset(
    {"daemon-not-running", "daemon-slow", "daemon-gone", "control-not-permitted"}
)

_PATH = re.compile(r"(?<![\w:/.])/(?:[\w.@+-]+/)*[\w.@+-]*\w")


class Control(Protocol):
    """The part of fwdcap.control.client.Client that the web uses."""

    def status(self) -> Body: ...

    def capture_start(
        self,
        name: str,
        snaplen: int | None = None,
        *,
        max_bytes: int | None = None,
        max_packets: int | None = None,
        max_seconds: int | None = None,
    ) -> Body: ...

    def capture_stop(self) -> Body: ...

    def stream_delete(self, stream: str) -> Body: ...

    def schedule(self) -> Body: ...

    def schedule_put(self, rows: list[Body], revision: int | None = None) -> Body: ...

    def routes(self) -> Body: ...

    def interfaces(self) -> Body: ...

    def datapath_attach(self, interface: str) -> Body: ...

    def datapath_detach(self, interface: str | None = None) -> Body: ...

    def users(self) -> Body: ...

    def user_add(self, body: Body) -> Body: ...

    def user_set(self, name: str, body: Body) -> Body: ...

    def user_remove(self, name: str) -> Body: ...

    def tokens(self) -> Body: ...

    def token_add(self, body: Body) -> Body: ...

    def token_set(self, name: str, body: Body) -> Body: ...

    def token_remove(self, name: str) -> Body: ...

    def audit(self, last: int) -> Body: ...

    def audit_report(self, event: Mapping[str, str]) -> Body: ...

    def pam_login(self, name: str, password: str) -> Body: ...


class Daemon:
    """The verbs, with refusals fit to be shown; every one raises FwdcapError."""

    def __init__(self, control: Control, clock: Callable[[], float]) -> None:
        self._control = control
        self._clock = clock
        self._lock = Lock()
        self._recent: tuple[float, Body | FwdcapError] | None = None

    def status(self) -> Body:
        """The status now."""
        return self._ask(self._control.status)

    def recent(self) -> Body:
        """The status as it was at most half a second ago."""
        with self._lock:
            if self._recent is None or self._clock() - self._recent[0] >= RECENT_S:
                self._recent = self._clock(), self._status_or_error()
            answer = self._recent[1]
        if isinstance(answer, FwdcapError):
            raise answer
        return answer

    def capture_start(self, name: str, snaplen: int | None = None, **caps: int) -> Body:
        """Starts a capture, `caps` as control.client names them.

        Raises Invalid, Conflict, DiskFull or Unavailable.
        """
        return self._change(lambda: self._control.capture_start(name, snaplen, **caps))

    def capture_stop(self) -> Body:
        """Stops the running capture; raises Conflict where there is none."""
        return self._change(self._control.capture_stop)

    def stream_delete(self, stream: str) -> Body:
        """Deletes a stream; raises NotFound, and Conflict while it is being recorded."""
        return self._ask(lambda: self._control.stream_delete(stream))

    def schedule(self) -> Body:
        """The schedule and its revision."""
        return self._ask(self._control.schedule)

    def schedule_put(self, rows: list[Body], revision: int | None) -> Body:
        """Replaces the schedule of that revision, None: of any.

        Raises Invalid, Conflict or DiskFull.
        """
        return self._ask(lambda: self._control.schedule_put(rows, revision))

    def routes(self) -> Body:
        """The routes and what each counted."""
        return self._ask(self._control.routes)

    def interfaces(self) -> Body:
        """The appliance's interfaces."""
        return self._ask(self._control.interfaces)

    def datapath_attach(self, interface: str) -> Body:
        """Attaches the data path; raises NotFound, Invalid, Conflict or Unavailable."""
        return self._change(lambda: self._control.datapath_attach(interface))

    def datapath_detach(self, interface: str) -> Body:
        """Takes it off that interface; raises Conflict where it is not there."""
        return self._change(lambda: self._control.datapath_detach(interface))

    def _change(self, question: Callable[[], Body]) -> Body:
        """Asks for what makes the recent status old."""
        try:
            return self._ask(question)
        finally:
            self._forget()

    def about_users(self, question: Callable[[Control], Body]) -> Body:
        """A verb about users, tokens or the audit log, on whatever it is called with."""
        return self._ask(lambda: question(self._control))

    def _forget(self) -> None:
        with self._lock:
            self._recent = None

    def _status_or_error(self) -> Body | FwdcapError:
        try:
            return self.status()
        except FwdcapError as error:
            return error

    def _ask(self, question: Callable[[], Body]) -> Body:
        try:
            return question()
        except FwdcapError as error:
            raise presentable(error) from error


def presentable(error: FwdcapError) -> FwdcapError:
    """`error` as it may be shown outside the machine."""
    if error.code in UNREACHABLE:
        return Unavailable(
            "The daemon fwdcapd does not answer.",
            code=error.code,
            hint="Forwarding and a running capture go on without it; "
            "on the appliance, fwdcap status says more.",
        )
    return type(error)(
        without_paths(error.message), code=error.code, hint=without_paths(error.hint)
    )


def without_paths(text: str) -> str:
    """`text` with absolute paths left out."""
    return _PATH.sub("(a path on the appliance)", text)
