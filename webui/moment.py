"""The moment a page shows: asked for once, the same for everything within one request."""

from __future__ import annotations

from flask import g

from fwdcap.errors import FwdcapError
from webui import overview
from webui.context import context
from webui.overview import Overview


def overview_now() -> Overview:
    """What is known of the appliance in this request."""
    if not hasattr(g, "overview"):
        around = context()
        try:
            g.overview = overview.of_status(around.daemon.recent(), around.zone)
        except FwdcapError as error:
            g.overview = overview.of_error(error)
    return g.overview  # type: ignore[no-any-return]
