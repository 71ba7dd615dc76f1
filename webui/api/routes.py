"""routes: what is relayed, as users write it. What each counted is in status."""

from __future__ import annotations

import hashlib
from typing import Any

from flask import Response, request

from fwdcap.users.roles import Role
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import Operation, Parameter, Reply, operation
from webui.context import context

IF_NONE_MATCH = Parameter(
    "If-None-Match",
    {"type": "string"},
    "An ETag: 304 where the routes are still those.",
    False,
    "header",
)


@operation(
    blueprint,
    "GET",
    "/routes",
    Operation(
        "The table of routes",
        Role.VIEWER,
        models.Routes,
        parameters=(IF_NONE_MATCH,),
        refusals=(503,),
        also=(304,),
        headers={"ETag": "Changes with the routes, not with their counters."},
    ),
)
def routes() -> Any:
    table = models.Routes.model_validate(context().daemon.routes())
    mark = hashlib.sha256(table.model_dump_json().encode()).hexdigest()[:32]
    headers = {"ETag": f'"{mark}"', "Cache-Control": "private, no-cache"}
    if request.if_none_match.contains_weak(mark):
        return Response(status=304, headers=headers)
    return Reply(table, headers)
