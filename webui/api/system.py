"""status and system: what the appliance is and does now."""

from __future__ import annotations

from typing import Any

import fwdcap
from fwdcap.errors import FwdcapError
from fwdcap.users.roles import Role
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import Operation, operation
from webui.context import context


@operation(
    blueprint,
    "GET",
    "/status",
    Operation(
        "Data path, routes with their counters, capture, store and warnings",
        Role.VIEWER,
        models.Status,
        refusals=(503,),
    ),
)
def status() -> Any:
    return context().daemon.status()


@operation(
    blueprint,
    "GET",
    "/system/time_current",
    Operation("The appliance's clock, a bare integer", Role.VIEWER, models.Nanoseconds),
)
def time_current() -> Any:
    return context().now_ns()


@operation(
    blueprint,
    "GET",
    "/system/version",
    Operation("Versions of the two processes", Role.VIEWER, models.Version),
)
def version() -> Any:
    try:
        daemon = context().daemon.recent()["version"]
    except FwdcapError:
        daemon = None
    return {"version": fwdcap.__version__, "daemon": daemon}
