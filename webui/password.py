"""The page where a user of users.json sets a new password; fwdcapd writes it."""

from __future__ import annotations

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from fwdcap.errors import Forbidden, FwdcapError, Invalid
from fwdcap.users import changes
from fwdcap.users.roles import Role
from webui import auth, problems
from webui.context import context

blueprint = Blueprint("password", __name__)


@blueprint.route("/password", methods=["GET", "POST"])
@auth.needs(Role.VIEWER)
def change() -> AnyResponse | str:
    """Asks for the old and the new password; every other session of the user ends."""
    if g.user.source != "password":
        raise Forbidden(
            "This login has no password here.",
            code="no-password",
            hint="Change it where it is kept, or log in with user name and password.",
        )
    if request.method != "POST":
        return _page()
    try:
        _change(g.user.name)
    except FwdcapError as error:
        return Response(_page(problems.of_error(error)), error.http_status)
    user = context().users.current(g.user.name)
    if user is not None and g.by_session:
        auth.open_session(user)
    flash("The password is changed. Other browsers have to log in again.")
    return redirect(url_for("pages.capture"), 303)


def _change(name: str) -> None:
    """Raises Invalid, TooMany, Unavailable or what fwdcapd refuses."""
    old, new = request.form.get("old", ""), request.form.get("new", "")
    if new != request.form.get("again", ""):
        raise Invalid(
            "The new password was typed in two ways.", code="bad-password", hint="Type it again."
        )
    changes.password(new)
    if auth.log_in(name, old) is None:
        raise Invalid("The old password is wrong.", code="wrong-login", hint="Type it again.")
    if new == old:
        raise Invalid("The new password is the old one.", code="bad-password", hint="Choose one.")
    context().daemon.about_users(lambda daemon: daemon.user_set(name, {"password": new}))


def _page(problem: problems.Problem | None = None) -> str:
    return render_template("password.html", problem=problem, least=changes.MIN_PASSWORD)
