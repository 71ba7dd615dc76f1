"""The Audit page: who did what, when, from where, and with what result."""

from __future__ import annotations

from flask import Blueprint, render_template

from fwdcap.store.times import local
from fwdcap.users.roles import Role
from webui.auth import needs
from webui.context import context
from webui.query import parameters, whole_number

blueprint = Blueprint("audit", __name__)

SHOWN = 200
_MOST = 10_000


@blueprint.get("/audit")
@needs(Role.ADMIN)
def index() -> str:
    """The latest events, the newest first; Last says how many."""
    last = whole_number(parameters(("Last",)), "Last", _MOST) or SHOWN
    around = context()
    events = around.daemon.about_users(lambda daemon: daemon.audit(last))["events"]
    rows = [
        (f"{local(event['time_ns'], around.zone):%Y-%m-%d %H:%M:%S}", event) for event in events
    ]
    return render_template("audit.html", rows=rows, more=len(rows) == last < _MOST, most=_MOST)
