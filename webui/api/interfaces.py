"""interfaces: the machine's, and the data path on one of them."""

from __future__ import annotations

import re
from typing import Any

from fwdcap.errors import NotFound
from fwdcap.store.names import shorten
from fwdcap.users.roles import Role
from webui.api import models
from webui.api.blueprint import blueprint
from webui.api.operation import Operation, operation
from webui.context import context

_NAME = re.compile(r"[!-.0-9;-~]{1,15}")  # dev_valid_name() of net/core/dev.c, ASCII alone


@operation(
    blueprint,
    "GET",
    "/interfaces",
    Operation(
        "The appliance's network interfaces", Role.VIEWER, models.Interfaces, refusals=(503,)
    ),
)
def interfaces() -> Any:
    return context().daemon.interfaces()


@operation(
    blueprint,
    "POST",
    "/interfaces/<name>/attach",
    Operation(
        "Attach the data path and forward by the routes",
        Role.ADMIN,
        models.Attached,
        refusals=(404, 409, 503, 507),
    ),
)
def attach(name: str) -> Any:
    return context().daemon.datapath_attach(_checked(name))


@operation(
    blueprint,
    "POST",
    "/interfaces/<name>/detach",
    Operation(
        "Stop a running capture and forward nothing any more",
        Role.ADMIN,
        models.Attached,
        refusals=(404, 409, 503),
    ),
)
def detach(name: str) -> Any:
    return context().daemon.datapath_detach(_checked(name))


def _checked(name: str) -> str:
    """The name itself where the kernel could have an interface of it; raises NotFound."""
    if _NAME.fullmatch(name):
        return name
    raise NotFound(
        f"There is no interface {shorten(name)} on this appliance.",
        code="no-such-interface",
        hint="/api/v1/interfaces lists those there are.",
    )
