"""captures: the running one, starting and stopping."""

from __future__ import annotations

from typing import Any

from fwdcap.store.names import check_name
from fwdcap.users.roles import Role
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import Operation, Reply, operation
from webui.context import context

CURRENT = "/captures/current"


@operation(
    blueprint,
    "GET",
    CURRENT,
    Operation(
        "The running capture, or the last one with active false",
        Role.VIEWER,
        models.Capture,
        refusals=(503,),
    ),
)
def current() -> Any:
    return context().daemon.status()["capture"]


@operation(
    blueprint,
    "POST",
    "/captures",
    Operation(
        "Start a capture",
        Role.OPERATOR,
        models.Began,
        status=201,
        body=models.Start,
        refusals=(409, 503, 507),
        headers={"Location": "Where the running capture is."},
    ),
)
def start(body: models.Start) -> Any:
    wanted = body.model_dump(exclude_none=True)
    answer = context().daemon.capture_start(check_name(wanted.pop("name")), **wanted)
    return Reply(answer, {"Location": f"{blueprint.url_prefix}{CURRENT}"})


@operation(
    blueprint,
    "DELETE",
    CURRENT,
    Operation(
        "Stop the running capture, whoever started it",
        Role.OPERATOR,
        models.Ended,
        refusals=(409, 503),
    ),
)
def stop() -> Any:
    return context().daemon.capture_stop()
