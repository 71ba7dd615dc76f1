"""The pages: Capture and login; browse.py has Files. Forms post, so they work without a script.

/live.json carries what moves on them, once a second, for the small script that
writes it into place.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from flask import (
    Blueprint,
    Response,
    flash,
    g,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from fwdcap import __version__
from fwdcap.errors import FwdcapError, NotFound, TooMany
from fwdcap.store.names import check_name
from fwdcap.store.stream import read_stream
from fwdcap.users.roles import Role
from webui import auth, files, problems
from webui.context import context
from webui.lost import SHOWN
from webui.moment import overview_now
from webui.query import parameters

blueprint = Blueprint("pages", __name__)

_TARGETS = frozenset({"/capture", "/files", "/en.files.html", "/audit"})


@blueprint.app_context_processor
def _everywhere() -> dict[str, Any]:
    """What the frame of every page shows: who is logged in, and the REC mark."""
    user = getattr(g, "user", None)
    return {
        "user": user,
        "may": auth.may,
        "by_session": getattr(g, "by_session", False) and user and user.source != "proxy",
        "now": overview_now() if user is not None else None,
        "zone": context().zone_name,
        "version": __version__,
    }


@blueprint.get("/")
@auth.needs(Role.VIEWER)
def index() -> AnyResponse:
    """The Capture page is the first one."""
    return redirect(url_for("pages.capture"), 302)


@blueprint.get("/capture")
@auth.needs(Role.VIEWER)
def capture() -> str:
    """Start, stop, and the numbers of the moment."""
    return _capture_page()


@blueprint.post("/capture/start")
@auth.needs(Role.OPERATOR)
def start() -> AnyResponse:
    """REC."""
    name = request.form.get("name", "").strip()
    try:
        answer = context().daemon.capture_start(check_name(name))
    except FwdcapError as error:
        return _refused(error, name)
    return _done(answer)


@blueprint.post("/capture/stop")
@auth.needs(Role.OPERATOR)
def stop() -> AnyResponse:
    """STOP."""
    try:
        answer = context().daemon.capture_stop()
    except FwdcapError as error:
        return _refused(error, "")
    return _done(answer)


@blueprint.get("/live.json")
@auth.needs(Role.VIEWER)
def live() -> Response:
    """What moves on a page: `values`, `states`, and the `layout` they belong to."""
    parameters()
    around, now = context(), overview_now()
    values, states = dict(now.values), dict(now.states)
    if now.recording and now.stream:
        try:
            running = read_stream(around.store, now.stream)
        except NotFound:
            pass
        else:
            row = files.row(running, around.now_ns(), around.zone, now.stream)
            values |= row.values
            states |= row.states
    body = {"layout": now.layout, "values": values, "states": states}
    return Response(json.dumps(body), mimetype="application/json")


@blueprint.route("/login", methods=["GET", "POST"])
def login() -> AnyResponse | str:
    """The login page; opens a session for the right password."""
    target = _target(request.values.get("next", ""))
    if request.method != "POST":
        if auth.session_user() is not None:
            return redirect(target, 303)
        return render_template("login.html", next=target, name="")
    name, password = request.form.get("name", ""), request.form.get("password", "")
    shown = {"next": target, "name": name[:128]}
    try:
        user = auth.log_in(name, password)
    except TooMany as error:
        page = render_template("login.html", problem=problems.of_error(error), **shown)
        return Response(page, error.http_status, {"Retry-After": str(error.retry_s)})
    if user is None:
        page = render_template("login.html", refused=True, **shown)
        return Response(page, 401, {"WWW-Authenticate": 'Form realm="fwdcap"'})
    auth.open_session(user)
    return redirect(target, 303)


@blueprint.post("/logout")
@auth.needs(Role.VIEWER)
def logout() -> AnyResponse:
    """Ends this browser's session."""
    session.clear()
    return redirect(url_for("pages.login"), 303)


def _target(text: str) -> str:
    """Where a login leads: one of our own pages, whatever was asked for."""
    asked = urlsplit(text)
    if asked.scheme or asked.netloc or asked.path not in _TARGETS:
        return "/capture"
    return asked._replace(fragment="").geturl()


def _capture_page(problem: problems.Problem | None = None, name: str = "") -> str:
    return render_template("capture.html", problem=problem, name=name, losses_shown=SHOWN)


def _refused(error: FwdcapError, name: str) -> AnyResponse:
    return Response(_capture_page(problems.of_error(error), name[:256]), error.http_status)


def _done(answer: dict[str, Any]) -> AnyResponse:
    message = str(answer["message"])
    flash(f"{message[:1].upper()}{message[1:]}.")
    return redirect(url_for("pages.capture"), 303)
