"""For whom the web process asks fwdcapd: the user and the address of the request."""

from __future__ import annotations

from collections.abc import Mapping

from flask import g, has_request_context, request

from fwdcap.control.client import FROM_HEADER, USER_HEADER


def headers() -> Mapping[str, str]:
    """The headers that say so, none outside of a request."""
    if not has_request_context():
        return {}
    user = getattr(g, "user", None)
    return {
        USER_HEADER: plain(user.who if user is not None else ""),
        FROM_HEADER: plain(request.remote_addr or ""),
    }


def plain(text: str) -> str:
    """`text` as it may stand in a header: printable ASCII, the rest escaped."""
    return ascii(text)[1:-1]
