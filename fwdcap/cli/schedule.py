"""`fwdcap schedule`: the captures that begin and end by themselves.

Each change reads the list, edits one row and writes the list back with the
revision it was read at, so that two people at it never undo each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fwdcap.cli import output
from fwdcap.cli.options import client, common, wants_json
from fwdcap.errors import Conflict, NotFound

Row = dict[str, Any]
Rows = list[Row]

_KEYS = ("name", "enabled", "always", "days", "start", "stop")


@click.group()
@common
def schedule() -> None:
    """Show and edit the schedule of captures."""


@schedule.command("list")
@common
def list_() -> None:
    """List its rows and what they are doing."""
    output.emit(client().schedule(), wants_json(), _listing)


def _times(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say when."""
    options = (
        click.option("--always", is_flag=True, help="24/7, a new stream each day [capture.roll]."),
        click.option("--days", metavar="DAYS", help="Weekdays: mon-fri, sat,sun or daily."),
        click.option("--start", metavar="HH:MM", help="When it begins, in the appliance's zone."),
        click.option("--stop", metavar="HH:MM", help="When it ends; on the next day if earlier."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@schedule.command()
@common
@click.argument("name")
@_times
@click.option("--disabled", is_flag=True, help="Write it down, but do not record yet.")
def add(
    name: str,
    always: bool,
    days: str | None,
    start: str | None,
    stop: str | None,
    disabled: bool,
) -> None:
    """Add a row; NAME is that of its captures."""
    row = _given({"name": name, "enabled": not disabled}, always, days, start, stop)

    def change(rows: Rows) -> Rows:
        if any(each["name"] == name for each in rows):
            raise Conflict(
                f"The schedule has a row [{name}] already.",
                code="row-exists",
                hint="Change it with `fwdcap schedule set`.",
            )
        return [*rows, row]

    _edit(change, f"Added row [{name}].")


@schedule.command("set")
@common
@click.argument("name")
@_times
@click.option("--enable/--disable", "enabled", default=None, help="Switch it on or off.")
def set_(
    name: str,
    always: bool,
    days: str | None,
    start: str | None,
    stop: str | None,
    enabled: bool | None,
) -> None:
    """Change row NAME; what is not given stays."""

    def change(rows: Rows) -> Rows:
        _require(rows, name)
        return [
            _changed(row, always, days, start, stop, enabled) if row["name"] == name else row
            for row in rows
        ]

    _edit(change, f"Changed row [{name}].")


@schedule.command()
@common
@click.argument("name")
def remove(name: str) -> None:
    """Remove row NAME; a capture it has running ends."""

    def change(rows: Rows) -> Rows:
        _require(rows, name)
        return [row for row in rows if row["name"] != name]

    _edit(change, f"Removed row [{name}].")


def _edit(change: Callable[[Rows], Rows], said: str) -> None:
    now = client().schedule()
    rows = change([{key: row[key] for key in _KEYS if key in row} for row in now["rows"]])
    answer = client().schedule_put(rows, now["revision"])
    output.emit(answer, wants_json(), lambda body: f"{said}\n\n{_listing(body)}")


def _require(rows: Rows, name: str) -> None:
    if all(row["name"] != name for row in rows):
        known = ", ".join(row["name"] for row in rows) or "none yet"
        raise NotFound(
            f"The schedule has no row [{name}].", code="no-such-row", hint=f"Its rows: {known}."
        )


def _given(row: Row, always: bool, days: str | None, start: str | None, stop: str | None) -> Row:
    times = {"days": days, "start": start, "stop": stop}
    if always:
        row = {**row, "always": True}
    return row | {key: value for key, value in times.items() if value is not None}


def _changed(
    row: Row,
    always: bool,
    days: str | None,
    start: str | None,
    stop: str | None,
    enabled: bool | None,
) -> Row:
    if always:
        row = {key: value for key, value in row.items() if key not in ("days", "start", "stop")}
    elif days or start or stop:
        row = {**row, "always": False}
    row = _given(row, always, days, start, stop)
    return row if enabled is None else {**row, "enabled": enabled}


def _listing(body: dict[str, Any]) -> str:
    zone = body["zone"]
    if not body["rows"]:
        return "The schedule is empty. Add a row with `fwdcap schedule add NAME`."
    rows = [
        (
            row["name"],
            "24/7" if row["always"] else ", ".join(row["days"]),
            "" if row["always"] else f"{row['start']}-{row['stop']}",
            row["state"],
            output.moment(row["next_ns"], zone),
            "settings" if row["managed"] else "",
            row["message"],
        )
        for row in body["rows"]
    ]
    roll = f"24/7 captures begin a new stream at {body['roll']}." if body["roll"] else ""
    table = output.table(("NAME", "DAYS", "TIME", "STATE", "NEXT", "FROM", ""), rows)
    return f"{table}\n\nTimes are {zone}. {roll}".rstrip()
