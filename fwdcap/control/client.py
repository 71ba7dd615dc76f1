"""How command line and web pages reach fwdcapd: HTTP over its unix socket.

Everything that can go wrong on the way comes out as an error of fwdcap.errors
with the sentence a person should read: the daemon is not running, the socket
may not be used, the daemon refused. A daemon that was restarted is simply found
again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fwdcap.control.unixhttp import Answer, NotConnected, UnixHttp
from fwdcap.errors import Forbidden, FwdcapError, Unavailable, from_dict

DEFAULT_SOCKET = Path("/run/fwdcap/control.sock")
READ_TIMEOUT_S = 10.0
CHANGE_TIMEOUT_S = 120.0
PAM_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 3600.0  # as long as the recorder gets on with what is in the ring

# For whom the web process asks; from anybody else they mean nothing.
USER_HEADER = "X-Fwdcap-User"
FROM_HEADER = "X-Fwdcap-From"

Body = dict[str, Any]


class Client:
    """The verbs of a running daemon; each returns the decoded JSON body."""

    def __init__(
        self,
        socket: Path | None = None,
        asking: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        """`asking` gives headers that say for whom a request is made."""
        self._asking = asking
        self.socket = socket or Path(os.environ.get("FWDCAP_CONTROL") or DEFAULT_SOCKET)
        self._http = UnixHttp(self.socket)

    def status(self) -> Body:
        return self._ask("GET", "/status")

    def captures(self) -> Body:
        return self._ask("GET", "/captures")

    def capture_start(
        self,
        name: str,
        snaplen: int | None = None,
        *,
        max_bytes: int | None = None,
        max_packets: int | None = None,
        max_seconds: int | None = None,
    ) -> Body:
        """`snaplen` and `max_bytes` in bytes; the capture ends by itself at a cap."""
        sizes = {
            "snaplen": snaplen,
            "max_bytes": max_bytes,
            "max_packets": max_packets,
            "max_seconds": max_seconds,
        }
        body = {"name": name} | {key: size for key, size in sizes.items() if size is not None}
        return self._ask("POST", "/capture", body, CHANGE_TIMEOUT_S)

    def capture_stop(self) -> Body:
        return self._ask("DELETE", "/capture", None, STOP_TIMEOUT_S)

    def capture_roll(self) -> Body:
        """Go on in a new stream without losing a packet."""
        return self._ask("POST", "/capture/roll", {}, CHANGE_TIMEOUT_S)

    def store(self) -> Body:
        """Where the store is, and the zone of its times."""
        return self._ask("GET", "/store")

    def schedule(self) -> Body:
        return self._ask("GET", "/schedule")

    def schedule_put(self, rows: list[Body], revision: int | None = None) -> Body:
        """Replace the whole list; Conflict when it no longer has that revision."""
        body: Body = {"rows": rows}
        if revision is not None:
            body["revision"] = revision
        return self._ask("PUT", "/schedule", body, CHANGE_TIMEOUT_S)

    def stream_delete(self, stream: str) -> Body:
        return self._ask("DELETE", f"/streams/{quote(stream, safe='')}")

    def routes(self) -> Body:
        return self._ask("GET", "/routes")

    def datapath(self) -> Body:
        return self._ask("GET", "/datapath")

    def datapath_attach(self, interface: str) -> Body:
        return self._ask("POST", "/datapath/attach", {"interface": interface}, CHANGE_TIMEOUT_S)

    def datapath_detach(self, interface: str | None = None) -> Body:
        """Detach from `interface`, or from the one there is; Conflict where it is another."""
        body = {} if interface is None else {"interface": interface}
        return self._ask("POST", "/datapath/detach", body, STOP_TIMEOUT_S)

    def interfaces(self) -> Body:
        return self._ask("GET", "/interfaces")

    def doctor(self) -> Body:
        return self._ask("GET", "/doctor", None, CHANGE_TIMEOUT_S)

    def users(self) -> Body:
        return self._ask("GET", "/users")

    def user_add(self, body: Body) -> Body:
        """`body`: name, role, password, filter, snaplen."""
        return self._ask("POST", "/users", body)

    def user_set(self, name: str, body: Body) -> Body:
        """Changes what stands in `body`."""
        return self._ask("PATCH", f"/users/{quote(name, safe='')}", body)

    def user_remove(self, name: str) -> Body:
        return self._ask("DELETE", f"/users/{quote(name, safe='')}")

    def tokens(self) -> Body:
        return self._ask("GET", "/tokens")

    def token_add(self, body: Body) -> Body:
        """`body`: name, user, role, expires_ns; the answer has the token, this once."""
        return self._ask("POST", "/tokens", body)

    def token_set(self, name: str, body: Body) -> Body:
        """Changes its role or its end."""
        return self._ask("PATCH", f"/tokens/{quote(name, safe='')}", body)

    def token_remove(self, name: str) -> Body:
        return self._ask("DELETE", f"/tokens/{quote(name, safe='')}")

    def audit(self, last: int = 100) -> Body:
        """The latest events, the newest first."""
        return self._ask("GET", f"/audit?last={last}")

    def audit_report(self, event: Mapping[str, str]) -> Body:
        """What the web process saw by itself: who, from, what, target, result."""
        return self._ask("POST", "/audit", event)

    def pam_login(self, name: str, password: str) -> Body:
        """`right`, and the user's `groups`. Raises Unavailable."""
        return self._ask("POST", "/pam", {"name": name, "password": password}, PAM_TIMEOUT_S)

    def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        timeout_s: float = READ_TIMEOUT_S,
    ) -> Body:
        try:
            answer = self._http.ask(method, path, body, timeout_s, self._asking())
        except NotConnected as error:
            raise self._unreachable(error) from error
        except TimeoutError as error:
            raise Unavailable(
                f"The daemon on {self.socket} did not answer within {timeout_s:.0f} s.",
                code="daemon-slow",
                hint="Look at its log; packets are forwarded all the same.",
            ) from error
        except (OSError, HTTPException) as error:
            raise Unavailable(
                f"The daemon on {self.socket} went away while it was asked.",
                code="daemon-gone",
                hint="Look at its log, then ask again.",
            ) from error
        return _checked(answer)

    def _unreachable(self, error: NotConnected) -> FwdcapError:
        if error.errno in (errno.EACCES, errno.EPERM):
            return Forbidden(
                f"You may not use the control socket {self.socket}.",
                code="control-not-permitted",
                hint="Run the command as root.",
            )
        return Unavailable(
            f"The fwdcap daemon is not running: nothing answers on {self.socket}.",
            code="daemon-not-running",
            hint="Start it with `fwdcap run`, or name its socket with --control.",
        )


def _checked(answer: Answer) -> Body:
    """The body of an answer; the refusal in it, raised."""
    if 200 <= answer.status < 300:
        return answer.body
    problem = answer.body.get("error")
    raise from_dict(answer.status, problem if isinstance(problem, dict) else {})
