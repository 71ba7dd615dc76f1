"""/healthz, for load balancers: is this appliance forwarding? No login, no details."""

from __future__ import annotations

from flask import Blueprint, Response

from fwdcap.errors import FwdcapError
from webui.api.operation import Operation, described
from webui.context import context

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
@described(
    Operation(
        "Whether packets are forwarded, for load balancers",
        None,
        media_types=("text/plain",),
        refusals=(503,),
    )
)
def healthz() -> Response:
    """200 while packets are forwarded, else 503."""
    try:
        forwarding = context().daemon.recent()["datapath"]["state"] == "forwarding"
    except (FwdcapError, KeyError, TypeError):
        forwarding = False
    said = "forwarding" if forwarding else "not forwarding"
    return Response(f"{said}\n", 200 if forwarding else 503, mimetype="text/plain")
