"""Who asks, and may this request change something.

Everything needs a login but what `OPEN` names: the check runs before any view,
so a view cannot forget it. Programs send HTTP Basic; browsers keep a session.

The manual's interface changes state by GET, which any page on the web can make
a browser send. So a request that changes something is refused when the browser
says it comes from another site, and a session cookie alone is not enough: the
browser must also say that it comes from one of our own pages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar
from urllib.parse import quote, urlsplit

from flask import Flask, current_app, g, redirect, request, session, url_for
from flask.sessions import SecureCookieSessionInterface
from flask_httpauth import HTTPBasicAuth
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.wrappers import Response as AnyResponse

from fwdcap.errors import Forbidden, TooMany
from fwdcap.users.roles import Role
from webui import problems
from webui.context import context
from webui.users import User

OPEN = frozenset({"pages.login", "static", "health.healthz"})
# All that a browser may do before a password that others may know is changed.
_BEFORE_CHANGE = frozenset({"password.change", "pages.logout"})

P = ParamSpec("P")
R = TypeVar("R")

_READING = frozenset({"GET", "HEAD"})


class Sessions(SecureCookieSessionInterface):
    """Session cookies that are marked Secure wherever the request came by https."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure


def changes(view: Callable[P, R]) -> Callable[P, R]:
    """Marks a view that changes something although it is reached by GET."""
    view.changes_state = True  # type: ignore[attr-defined]
    return view


def needs(role: Role) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Marks a view with the least role that may use it; without a mark it is admin."""

    def mark(view: Callable[P, R]) -> Callable[P, R]:
        view.needed_role = role  # type: ignore[attr-defined]
        return view

    return mark


def needed(app: Flask, endpoint: str | None) -> Role:
    """The least role that may use that endpoint."""
    view = app.view_functions.get(endpoint or "")
    role: Role = getattr(view, "needed_role", Role.ADMIN)
    return role


def may(role: Role | str) -> bool:
    """Whether the user of this request may what `role` may."""
    user = getattr(g, "user", None)
    return user is not None and user.role.may(Role(role))


def install(app: Flask) -> None:
    """Puts the checks in front of every view."""
    basic = HTTPBasicAuth(realm="fwdcap")
    basic.verify_password(_verify)
    basic.error_handler(_unauthorized)
    identify = basic.login_required(lambda: None)

    def guard() -> AnyResponse | None:
        if request.endpoint not in OPEN:
            if request.method == "OPTIONS":  # flask_httpauth asks nothing of it, no view has it
                raise request.routing_exception or MethodNotAllowed()
            refusal: AnyResponse | None = _by_token() if _sends_token() else identify()
            if refusal is None:
                refusal = _first_new_password()
            if refusal is not None:
                return refusal
            _refuse_lesser()
        if _changes_state():
            _refuse_foreign()
        return None

    app.before_request(guard)


def open_session(user: User) -> None:
    """Starts a browser session for `user`, whatever was there before."""
    session.clear()
    session.permanent = True
    session["user"], session["mark"] = user.name, user.mark
    if user.source != "password":
        session["role"] = user.role.value


def session_user() -> User | None:
    """The user of this browser's session, None where there is none or it has ended."""
    name, mark = session.get("user"), session.get("mark")
    if not isinstance(name, str) or not isinstance(mark, str):
        return None
    if "role" in session:
        return context().users.recall_guest(name, session["role"], mark)
    return context().users.recall(name, mark)


def log_in(name: str, password: str) -> User | None:
    """The user of that name and password; raises TooMany. The audit log hears of it."""
    around, address = context(), request.remote_addr or ""
    # What is typed into the wrong field may be a password: only known names are told.
    who = name if around.users.knows(name) else "(unknown)"
    try:
        user = around.users.verify(name, password, address)
    except TooMany as error:
        around.reports.tell("refused", who, address, request.path, error.code)
        raise
    if user is None:
        around.reports.tell("login-failed", who, address, request.path, "wrong-login")
    else:
        around.reports.tell("login", user.who, address)
    return user


def _verify(name: str, password: str) -> User | None:
    """Credentials where some were sent; the session, or a trusted proxy's word, otherwise."""
    g.by_session = not name and not password
    if g.by_session:
        g.user = session_user() or _by_proxy()
    else:
        g.user = log_in(name, password)
    return g.user  # type: ignore[no-any-return]


def _by_proxy() -> User | None:
    peer = request.remote_addr or ""  # where our own nginx is in between, what it says
    user = context().users.of_proxy(peer, request.headers)
    if user is not None:
        context().reports.tell("login", user.who, peer)
    return user


def _sends_token() -> bool:
    return request.headers.get("Authorization", "")[:7].lower() == "bearer "


def _by_token() -> AnyResponse | None:
    """401 for a token that is wrong or has expired; whose it is otherwise stands in g.user."""
    g.by_session = False
    g.user = context().users.of_token(request.headers["Authorization"][7:].strip())
    address = request.remote_addr or ""
    if g.user is not None:
        context().reports.tell("login", g.user.who, address)
        return None
    context().reports.tell("login-failed", "(token)", address, request.path, "wrong-token")
    response = problems.respond(problems.of_token())
    response.headers["WWW-Authenticate"] = 'Bearer realm="fwdcap", error="invalid_token"'
    return response


def _first_new_password() -> AnyResponse | None:
    """Leads a browser to the page for a new password, and lets nothing else through."""
    if not (g.by_session and g.user.provisional) or request.endpoint in _BEFORE_CHANGE:
        return None
    if problems.family() == "page" and request.method in _READING:
        return redirect(url_for("password.change"), 303)
    raise Forbidden(
        "The password of this user has to be changed first.",
        code="password-change",
        hint="Open any page with a browser, which asks for a new one.",
    )


def _unauthorized() -> AnyResponse:
    """401, or the login page for a person who opens a page."""
    wants_page = "text/html" in request.headers.get("Accept", "")
    if problems.family() == "page" and wants_page and request.method in _READING:
        wanted = quote(request.full_path.rstrip("?"), safe="/")  # url_for would leave its `?`
        return redirect(f"{url_for('pages.login')}?next={wanted}", 303)
    response = problems.respond(problems.of_login(not getattr(g, "by_session", True)))
    if _asks_for_a_page():  # Basic would make the browser open its own dialog
        response.headers["WWW-Authenticate"] = 'Session realm="fwdcap"'
    return response


def _refuse_lesser() -> None:
    """Raises Forbidden for a user whose role is below the one this view needs."""
    if request.endpoint is None:  # nothing is there, which is not a secret
        return
    role = needed(current_app, request.endpoint)
    if not may(role):
        address = request.remote_addr or ""
        context().reports.tell("refused", g.user.who, address, request.path, "role")
        raise Forbidden(
            f"User {g.user.name} has the role {g.user.role}, which may not do this.",
            code="role",
            hint=f"Ask an admin for the role {role}.",
        )


def _asks_for_a_page() -> bool:
    """Whether a script of one of our pages asks, whose session may have ended."""
    ours = current_app.config["SESSION_COOKIE_NAME"] in request.cookies
    return problems.family() == "live" or (problems.family() == "api" and ours)


def _changes_state() -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    if not getattr(view, "changes_state", False):
        return request.method not in _READING
    if request.method == "HEAD":
        raise MethodNotAllowed(["GET"])
    return True


def _refuse_foreign() -> None:
    """Raises Forbidden for what another site, or nobody in particular, made a browser send.

    A form proves by its token that it is ours; a GET has only the browser's word.
    """
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    own_origin = origin is not None and urlsplit(origin).netloc == request.host
    if site in {"cross-site", "same-site"} or (origin is not None and not own_origin):
        raise Forbidden(
            "This request comes from another site and would change something.",
            code="cross-site",
            hint="Do it on the appliance's own pages.",
        )
    marked = site == "same-origin" or own_origin
    if request.method in _READING and getattr(g, "by_session", False) and not marked:
        raise Forbidden(
            "A browser session alone cannot change something by this address.",
            code="session-alone",
            hint="Use the Capture page, or send user name and password.",
        )
