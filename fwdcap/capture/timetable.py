"""The schedule as it is kept: <store>/schedule.json, which fwdcapd alone writes.

`revision` counts its changes, so that of two people who edit it at once the
second is told. `stopped` says when a person last stopped each row's capture: a
row stays stopped until its next start time, through a restart of the daemon too.
Rows of the settings file are not in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fwdcap.capture import rows
from fwdcap.capture.rows import Row
from fwdcap.errors import Invalid
from fwdcap.store import durable

FILE = "schedule.json"
FORMAT = 1


@dataclass(frozen=True)
class Timetable:
    """The content of the file; moments are UTC nanoseconds."""

    rows: tuple[Row, ...] = ()
    revision: int = 0
    stopped: Mapping[str, int] = field(default_factory=dict)


def read(path: Path) -> Timetable:
    """What the file says, nothing where there is none. Raises Invalid for one that is damaged."""
    try:
        raw = json.loads(path.read_bytes())
        if raw["format"] != FORMAT:
            raise ValueError
        stopped = {str(name): int(at_ns) for name, at_ns in raw["stopped"].items()}
        return Timetable(rows.parse_rows(raw["rows"], str(path)), int(raw["revision"]), stopped)
    except FileNotFoundError:
        return Timetable()
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise Invalid(
            f"The schedule in {path} cannot be read.",
            code="schedule-unreadable",
            hint="Restore that file, or write the schedule anew; then nothing of it is left.",
        ) from None


def write(path: Path, table: Timetable) -> None:
    """Replace the file; on return it is on disk. Raises OSError."""
    raw = {
        "format": FORMAT,
        "revision": table.revision,
        "rows": [row.to_dict() for row in table.rows],
        "stopped": dict(table.stopped),
    }
    durable.replace(path, (json.dumps(raw, indent=1) + "\n").encode())
