"""What existing clients send, made into what they meant.

The vendor's own sync client asks for `//plain/list` and follows no redirect;
the manual's table writes a second `?` where `&` was meant. Both are set right
before routing, so that no part of the application has to know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_SLASHES = re.compile(r"/{2,}")


class Normalise:
    """WSGI middleware: single slashes in the path, `&` between parameters."""

    def __init__(self, app: WSGIApplication) -> None:
        self._app = app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        environ["PATH_INFO"] = path(environ.get("PATH_INFO", ""))
        environ["QUERY_STRING"] = query(environ.get("QUERY_STRING", ""))
        return self._app(environ, start_response)


def path(raw: str) -> str:
    """`raw` with every run of slashes made one."""
    return _SLASHES.sub("/", raw) or "/"


def query(raw: str) -> str:
    """`raw`, still encoded, with a bare `?` as the `&` it stands for."""
    return raw.replace("?", "&")
