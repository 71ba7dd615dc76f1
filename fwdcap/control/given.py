"""What a request on the control socket was given; each raises Invalid where it was not."""

from __future__ import annotations

from typing import Any

from flask import request

from fwdcap.errors import Invalid


def body() -> dict[str, Any]:
    """The JSON object."""
    found = request.get_json(silent=True)
    if isinstance(found, dict):
        return found
    raise Invalid("The request has no JSON object.", code="bad-request", hint="Send one.")


def text(key: str) -> str:
    """A text of it."""
    value = body().get(key)
    if isinstance(value, str):
        return value
    raise Invalid(f"{key} is missing or not a text.", code="bad-request", hint=f"Send {key}.")
