"""The blueprint all of /api/v1 belongs to, and what is asked before any of its views."""

from __future__ import annotations

from flask import Blueprint, current_app, g

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")


@blueprint.before_request
def _of_our_pages() -> None:
    """A session may change something only with the token of one of our pages."""
    if getattr(g, "by_session", False):
        current_app.extensions["csrf"].protect()
