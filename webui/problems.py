"""Refusals in the shape that the asking side reads.

Programs of the /sysmaster family read one JSON shape, /plain and /pcap a plain
sentence, our own script another JSON shape, people a page. All show the same
sentence. What nobody foresaw is logged here and named nowhere else: no
traceback and no path leaves the machine.
"""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass

from flask import Flask, Response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from fwdcap.errors import FwdcapError, TooMany
from fwdcap.store.times import asctime
from webui.context import context

log = logging.getLogger(__name__)

_SENTENCES = {
    400: ("This request cannot be read.", ""),
    401: ("A user name and a password are needed.", "Log in, or use curl -u user:password."),
    403: ("This is not allowed.", ""),
    404: ("There is nothing at this address.", ""),
    405: ("This method does not work here.", ""),
    415: ("What was sent is no JSON.", "Send JSON, with Content-Type: application/json."),
    413: ("This request is too large.", ""),
    500: ("Something went wrong inside the appliance.", "Its log says what."),
}


# Seconds after which it may be worth asking again, by the refusal's code.
_RETRY_S = {"too-many-exports": 10}


@dataclass(frozen=True)
class Problem:
    """A refusal on its way out."""

    status: int
    message: str
    hint: str = ""
    code: str = "refused"

    @property
    def sentence(self) -> str:
        return f"{self.message} {self.hint}".strip()


def install(app: Flask) -> None:
    """Lets every error of the application come out through here."""
    app.register_error_handler(FwdcapError, _refused)
    app.register_error_handler(CSRFError, _stale_form)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unforeseen)


def of_error(error: FwdcapError) -> Problem:
    """A FwdcapError as a problem, with the HTTP status its class stands for."""
    return Problem(error.http_status, error.message, error.hint, error.code)


def of_status(status: int) -> Problem:
    """The plain sentence of an HTTP status."""
    message, hint = _SENTENCES.get(status, ("This request was refused.", ""))
    return Problem(status, message, hint, f"http-{status}")


def of_login(given: bool) -> Problem:
    """401, of a request with credentials or without."""
    if not given:
        return of_status(401)
    return Problem(401, "User name or password is wrong.", "", "wrong-login")


def of_token() -> Problem:
    """401, of a request with a token."""
    return Problem(401, "The token is wrong or has expired.", "", "wrong-token")


def family() -> str:
    """Who asks: sysmaster, plain, pcap, api, metrics, live or page."""
    first = request.path.split("/", 2)[1] if request.path.startswith("/") else ""
    if first in {"sysmaster", "plain", "pcap", "api", "metrics"}:
        return first
    return "live" if first == "live.json" else "page"


def respond(problem: Problem) -> Response:
    """The problem in the shape of the family that was asked."""
    kind = family()
    if kind == "sysmaster":
        return sysmaster(False, problem.sentence, context().now_ns(), problem.status)
    if kind in {"plain", "pcap", "metrics"} or request.endpoint == "health.healthz":
        return Response(f"{problem.sentence}\n", problem.status, mimetype="text/plain")
    if kind in {"live", "api"}:
        body = {"error": {k: getattr(problem, k) for k in ("code", "message", "hint")}}
        return Response(json.dumps(body), problem.status, mimetype="application/json")
    return Response(render_template("error.html", problem=problem), problem.status)


def sysmaster(status: bool, sentence: str, ns: int, code: int = 200) -> Response:
    """`{"Status":…,"Str":"[asctime] sentence"}`, compact, the time in the appliance's zone."""
    said = f"[{asctime(ns, context().zone)}] {sentence}"
    body = json.dumps({"Status": status, "Str": said}, separators=(",", ":"))
    return Response(body, code, mimetype="application/json")


def _refused(error: FwdcapError) -> Response:
    response = respond(of_error(error))
    if isinstance(error, TooMany):
        response.headers["Retry-After"] = str(error.retry_s)
    elif error.code in _RETRY_S:
        response.headers["Retry-After"] = str(_RETRY_S[error.code])
    return response


def _stale_form(error: CSRFError) -> Response:
    if family() == "api":
        said = "A browser session must send its page's token to change something."
        return respond(Problem(400, said, "Send it as X-CSRFToken.", "csrf-token"))
    return respond(
        Problem(
            400,
            "This form is no longer valid, nothing was changed.",
            "Go back, reload the page and try again.",
            "stale-form",
        )
    )


def _http(error: HTTPException) -> Response:
    response = respond(of_status(error.code or 500))
    if error.response is None and (allowed := getattr(error, "valid_methods", None)):
        response.headers["Allow"] = ", ".join(sorted(allowed))
    return response


def _unforeseen(error: Exception) -> Response:
    log.exception("a request to %s failed", request.path)
    return respond(of_status(500))
