"""The web interface: pages for people; /sysmaster, /plain, /pcap and /api/v1 for programs.

It has no privileges and keeps nothing: what is in the store it reads itself,
everything else it asks fwdcapd for. Without a daemon it still lists and sends
files. Every path needs a login but the login page, static files and /healthz;
every answer carries the same security headers.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask, Response
from flask_wtf.csrf import CSRFProtect

from fwdcap.config import Clear
from fwdcap.store.times import zone_of
from webui import (
    api,
    audit,
    auth,
    browse,
    headers,
    health,
    metrics,
    pages,
    password,
    pcap,
    plain,
    problems,
    summary,
    sysmaster,
    transport,
    words,
)
from webui.context import EXTENSION, Context, context
from webui.daemon import Control, Daemon
from webui.exports import Exports
from webui.logins import NONE as NO_LOGINS
from webui.logins import Logins
from webui.meter import Meter
from webui.normalise import Normalise
from webui.reports import Reports
from webui.users import Users

SESSION_HOURS = 12


def create_app(
    store: Path,
    control: Control,
    zone: str = "UTC",
    *,
    now_ns: Callable[[], int] = time.time_ns,
    clock: Callable[[], float] = time.monotonic,
    clear: Clear = "all",
    https: bool = False,
    logins: Logins = NO_LOGINS,
) -> Flask:
    """The application over the store at `store` and the daemon behind `control`.

    `now_ns` is the wall clock in UTC nanoseconds, `clock` a steady one in
    seconds; `clear` and `https` say how requests come in (webui.transport),
    `logins` are further ways to log in. Sessions end with the process: their key
    is made here and kept nowhere, since this process may not write.
    """
    app = Flask(__name__)
    app.config.update(
        SECRET_KEY=secrets.token_bytes(32),
        SESSION_COOKIE_NAME="fwdcap_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Strict",
        SESSION_REFRESH_EACH_REQUEST=False,
        PERMANENT_SESSION_LIFETIME=SESSION_HOURS * 3600,
        PROVIDE_AUTOMATIC_OPTIONS=False,
        MAX_CONTENT_LENGTH=64 * 1024,
        WTF_CSRF_TIME_LIMIT=None,  # a page that stays open all night must still be able to STOP
    )
    app.session_interface = auth.Sessions()
    app.url_map.merge_slashes = False  # Normalise has merged them; a redirect would lose clients
    daemon = Daemon(control, clock)
    app.extensions[EXTENSION] = Context(
        store=store,
        daemon=daemon,
        users=Users(
            store / "users.json",
            clock,
            now_ns=now_ns,
            logins=logins,
            ask_pam=lambda name, word: daemon.about_users(lambda at: at.pam_login(name, word)),
        ),
        reports=Reports(control.audit_report, clock),
        exports=Exports(),
        meter=Meter(),
        zone=zone_of(zone),
        zone_name=zone,
        now_ns=now_ns,
    )
    app.add_template_filter(words.code, "code")
    transport.install(app, clear, https)
    problems.install(app)
    auth.install(app)
    csrf = CSRFProtect(app)
    csrf.exempt(api.blueprint)  # which asks for the token itself, of sessions alone
    headers.install(app)
    app.after_request(_count)
    parts = (health, metrics, api, sysmaster, summary, plain, pcap, pages, password, browse, audit)
    for part in parts:
        app.register_blueprint(part.blueprint)
    app.register_blueprint(pcap.version_1)
    app.wsgi_app = Normalise(app.wsgi_app)  # type: ignore[method-assign]
    return app


def _count(response: Response) -> Response:
    context().meter.request(problems.family(), response.status_code)
    return response
