"""Whether a request may come in clear. Decided before anything else is read.

nginx speaks TLS for us and says by X-Forwarded-Proto how a request came; on
loopback nobody is in front and nothing has to be encrypted. Everywhere else a
request in clear is refused, a page's reader sent to the same address by https.
`[web] plain_http = "api"` lets the path families of existing scripts in.
"""

from __future__ import annotations

from urllib.parse import quote

from flask import Flask, redirect, request
from werkzeug.wrappers import Response

from fwdcap.config import Clear
from fwdcap.errors import Forbidden
from webui import problems

FAMILIES = frozenset({"sysmaster", "plain", "pcap"})
_READING = frozenset({"GET", "HEAD"})
# Load balancers ask for it, without credentials.
_ALWAYS = "health.healthz"


def install(app: Flask, clear: Clear, https: bool) -> None:
    """Puts the check in front of everything; `https`: nginx answers by https, too."""

    def guard() -> Response | None:
        if clear == "all" or request.is_secure or request.endpoint == _ALWAYS:
            return None
        family = problems.family()
        if clear == "api" and family in FAMILIES:
            return None
        if https and family == "page" and request.method in _READING:
            return redirect(f"https://{request.host}{_target()}", 307)
        raise _refusal(https)

    app.before_request(guard)


def _target() -> str:
    query = request.query_string.decode("latin-1")
    return quote(request.path) + (f"?{query}" if query else "")


def _refusal(https: bool) -> Forbidden:
    return Forbidden(
        "This is not available over plain HTTP: use https.",
        code="use-https",
        hint="Put https:// before the address; curl takes the certificate with --cacert."
        if https
        else "On the appliance, set [web] tls to auto.",
    )
