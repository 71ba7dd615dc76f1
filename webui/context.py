"""What a request needs beyond itself: store, daemon, users, zone, clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, cast

from flask import current_app

from webui.daemon import Daemon
from webui.meter import Meter
from webui.reports import Reports
from webui.users import Users

if TYPE_CHECKING:
    from webui.exports import Exports

EXTENSION = "fwdcap"


@dataclass(frozen=True)
class Context:
    """The application's surroundings; `now_ns` is the wall clock in UTC nanoseconds."""

    store: Path
    daemon: Daemon
    users: Users
    exports: Exports
    meter: Meter
    reports: Reports
    zone: tzinfo
    zone_name: str
    now_ns: Callable[[], int]


def context() -> Context:
    """The surroundings of the application that answers this request."""
    return cast(Context, current_app.extensions[EXTENSION])
