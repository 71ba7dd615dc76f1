"""schedule: the whole list of captures that begin by themselves.

Its revision is the ETag: of two people who edit it at once, the second is told,
if both say by If-Match which one they have edited.
"""

from __future__ import annotations

from typing import Any

from flask import request

from fwdcap.errors import Conflict, Stale
from fwdcap.users.roles import Role
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import Operation, Parameter, Reply, operation
from webui.context import context

_TAGGED = {"ETag": "The schedule's revision, for If-Match."}
IF_MATCH = Parameter(
    "If-Match",
    {"type": "string"},
    "The ETag of what was edited: refused with 412 where it has changed since. "
    "Without it, or with *, whatever there is is replaced.",
    place="header",
)


@operation(
    blueprint,
    "GET",
    "/schedule",
    Operation("The schedule", Role.OPERATOR, models.Schedule, refusals=(503,), headers=_TAGGED),
)
def schedule() -> Any:
    return _tagged(context().daemon.schedule())


@operation(
    blueprint,
    "PUT",
    "/schedule",
    Operation(
        "Replace the schedule",
        Role.OPERATOR,
        models.Schedule,
        body=models.GivenSchedule,
        parameters=(IF_MATCH,),
        refusals=(409, 412, 503, 507),
        headers=_TAGGED,
    ),
)
def put_schedule(body: models.GivenSchedule) -> Any:
    daemon, revision = context().daemon, _edited()
    rows = [_own(row) for row in body.rows]
    try:
        return _tagged(daemon.schedule_put(rows, revision))
    except Conflict as error:
        if error.code != "schedule-changed":
            raise
        raise Stale(error.message, code=error.code, hint=error.hint) from None


def _edited() -> int | None:
    """The revision to replace, None: any; raises Stale where it is not that of If-Match."""
    wanted = request.if_match
    if "If-Match" not in request.headers or wanted.star_tag:
        return None
    revision = int(context().daemon.schedule()["revision"])
    if wanted.contains(str(revision)):
        return revision
    raise Stale(
        f"The schedule was changed meanwhile (revision {revision}).",
        code="schedule-changed",
        hint="Look at it again, then repeat the change.",
    )


def _own(row: models.GivenRow) -> dict[str, Any]:
    """The row without what the appliance says of it."""
    return row.model_dump(include=set(models.Row.model_fields), exclude_none=True)


def _tagged(body: dict[str, Any]) -> Reply:
    return Reply(body, {"ETag": f'"{body["revision"]}"'})
