"""Users, tokens and the audit log on the control socket, and who is written into it.

A command comes from root. The web process says in two headers for whom it asks,
and is believed: it has checked that user's password, and nobody else's process
has its uid. Whatever changes something is written down here, in one place,
with its outcome.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask, Response, jsonify, request

from fwdcap.capture.accounts import Account
from fwdcap.config import Settings
from fwdcap.control import given
from fwdcap.control.audit import DONE, Audit, Event
from fwdcap.control.client import FROM_HEADER, USER_HEADER
from fwdcap.control.pam import Pam
from fwdcap.control.people import People
from fwdcap.errors import Forbidden, Invalid

WEB_MAY = frozenset(
    {
        ("GET", "/users"),
        ("POST", "/users"),
        ("PATCH", "/users/<name>"),
        ("DELETE", "/users/<name>"),
        ("GET", "/tokens"),
        ("POST", "/tokens"),
        ("PATCH", "/tokens/<name>"),
        ("DELETE", "/tokens/<name>"),
        ("GET", "/audit"),
        ("POST", "/audit"),
        ("POST", "/pam"),
    }
)
REPORTS = frozenset({"login", "login-failed", "refused", "download"})

# What a request is called in the log, and where its target stands.
_WORDS = {
    ("POST", "/capture"): ("capture-start", "name"),
    ("DELETE", "/capture"): ("capture-stop", ""),
    ("POST", "/capture/roll"): ("capture-roll", ""),
    ("PUT", "/schedule"): ("schedule", ""),
    ("DELETE", "/streams/<stream>"): ("delete", "stream"),
    ("POST", "/datapath/attach"): ("attach", "interface"),
    ("POST", "/datapath/detach"): ("detach", ""),
    ("POST", "/users"): ("user-add", "name"),
    ("PATCH", "/users/<name>"): ("user-set", "name"),
    ("DELETE", "/users/<name>"): ("user-remove", "name"),
    ("POST", "/tokens"): ("token-add", "name"),
    ("PATCH", "/tokens/<name>"): ("token-set", "name"),
    ("DELETE", "/tokens/<name>"): ("token-remove", "name"),
}
_SILENT = frozenset({("POST", "/audit"), ("POST", "/pam")})
_FEW = 100


@dataclass(frozen=True)
class Access:
    """What there is to ask about who may use the appliance."""

    people: People
    audit: Audit
    pam: Pam

    @classmethod
    def of(
        cls,
        settings: Settings,
        web: Account,
        *,
        store: Path | None = None,
        utc_ns: Callable[[], int] = time.time_ns,
    ) -> Access:
        """That of the configured store."""
        place = store or settings.store.path
        return cls(
            People(place, web, utc_ns=utc_ns),
            Audit(place, web, utc_ns=utc_ns),
            Pam(settings.users.pam),
        )


def install(app: Flask, access: Access, is_web: Callable[[], bool]) -> None:
    """Offers the verbs, and writes down whatever changes something."""

    def offer(method: str, path: str, verb: Callable[..., Any]) -> None:
        app.add_url_rule(
            path, f"{method} {path}", lambda **parts: jsonify(verb(**parts)), methods=[method]
        )

    people = access.people
    offer("GET", "/users", people.users)
    offer("POST", "/users", lambda: people.user_add(given.body()))
    offer("PATCH", "/users/<name>", lambda name: people.user_set(name, given.body()))
    offer("DELETE", "/users/<name>", people.user_remove)
    offer("GET", "/tokens", people.tokens)
    offer("POST", "/tokens", lambda: people.token_add(given.body()))
    offer("PATCH", "/tokens/<name>", lambda name: people.token_set(name, given.body()))
    offer("DELETE", "/tokens/<name>", people.token_remove)
    offer("GET", "/audit", lambda: {"events": access.audit.last(_count())})
    offer("POST", "/audit", lambda: _report(access.audit, is_web()))
    offer("POST", "/pam", lambda: access.pam.login(given.text("name"), given.text("password")))

    @app.after_request
    def write_down(response: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule else ""
        asked = (request.method, rule)
        if request.method not in ("GET", "HEAD") and rule and asked not in _SILENT:
            access.audit.add(_event(asked, response, is_web()))
        return response


def _event(asked: tuple[str, str], response: Response, web: bool) -> Event:
    what, key = _WORDS.get(asked, (" ".join(asked), ""))
    target = (request.view_args or {}).get(key) or _given(key)
    said = response.get_json(silent=True) if response.status_code >= 400 else None
    error = said.get("error") if isinstance(said, dict) else None
    result = str(error.get("code", "failed")) if isinstance(error, dict) else DONE
    who, from_ = _asking(web)
    return Event(who, from_, what, str(target), result)


def _asking(web: bool) -> tuple[str, str]:
    """Who asks and from where; headers count only from the web process."""
    if not web:
        return "root", "command line"
    who = request.headers.get(USER_HEADER, "(web process)")
    return who, request.headers.get(FROM_HEADER, "")


def _report(audit: Audit, web: bool) -> dict[str, Any]:
    """What the web process saw by itself. Raises Forbidden, Invalid."""
    body = given.body()
    fields = {key: str(body.get(key, "")) for key in ("who", "from", "what", "target", "result")}
    if not web or fields["what"] not in REPORTS:
        raise Forbidden(
            "This cannot be reported to the audit log.",
            code="not-permitted",
            hint=f"The web process reports {', '.join(sorted(REPORTS))}.",
        )
    audit.add(
        Event(
            fields["who"],
            fields["from"],
            fields["what"],
            fields["target"],
            fields["result"] or DONE,
        )
    )
    return {}


def _given(key: str) -> object:
    body = request.get_json(silent=True)
    return body.get(key, "") if isinstance(body, dict) and key else ""


def _count() -> int:
    text = request.args.get("last", str(_FEW))
    if text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    raise Invalid("last is not a number.", code="bad-request", hint="Send a number of events.")
