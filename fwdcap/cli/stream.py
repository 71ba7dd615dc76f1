"""`fwdcap stream`: look at what is recorded, cut it, delete it.

Reads the store directly, so it works without a daemon, for whoever may read the
store. Only deleting is the daemon's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import tzinfo
from pathlib import Path
from typing import Any

import click

from fwdcap.cli import output
from fwdcap.cli.export import export
from fwdcap.cli.options import client, common, json_option, wants_json
from fwdcap.cli.place import place_options, where
from fwdcap.errors import NotFound
from fwdcap.store.listing import open_splits
from fwdcap.store.names import not_found
from fwdcap.store.stream import StreamInfo, list_streams, read_stream
from fwdcap.store.times import zone_of
from fwdcap.store.views import VIEWS, Split, View, split_name, view_named


@click.group()
def stream() -> None:
    """List recorded streams, their views and splits; export and delete them."""


stream.add_command(export)


@stream.command("list")
@place_options
@json_option
def list_(file: Path | None, store: Path | None) -> None:
    """List the streams of the store, newest first."""
    root, zone = where(file, store)
    found = list_streams(root)
    if wants_json():
        output.emit([_facts(info) for info in found], True, str)
    else:
        click.echo(_listing(found, root, zone))


@stream.command()
@click.argument("name", metavar="STREAM")
@place_options
@json_option
def views(name: str, file: Path | None, store: Path | None) -> None:
    """List the ways STREAM can be cut into splits."""
    root, _ = where(file, store)
    read_stream(root, name)
    rows = [{"view": view.name, "kind": view.kind, _UNITS[view.kind]: view.step} for view in VIEWS]
    output.emit(rows, wants_json(), _views)


@stream.command()
@click.argument("name", metavar="STREAM")
@click.argument("view_name", metavar="VIEW")
@place_options
@json_option
def splits(name: str, view_name: str, file: Path | None, store: Path | None) -> None:
    """List the splits of STREAM in VIEW, such as split_1min or split_1GB.

    A split holds the packets from START up to, not including, STOP (UTC
    nanoseconds); SIZE is the exact size of its download in bytes. Of a running
    stream the last one still grows.
    """
    root, zone = where(file, store)
    view = view_named(view_name)
    found = _until_deleted(name, open_splits(root, name, view))
    if wants_json():
        output.emit([_split(row, view, zone_of(zone)) for row in found], True, str)
        return
    click.echo(_SPLIT.format("NAME", "RECORDS", "SIZE", "START", "STOP"))
    for row in found:
        click.echo(_line(row, zone_of(zone)))


@stream.command()
@click.argument("name", metavar="STREAM")
@common
def delete(name: str) -> None:
    """Delete STREAM, in the store and in the archive; the daemon does it.

    A stream that is being recorded is refused: stop the capture first.
    """
    answer = client().stream_delete(name)
    output.emit(answer, wants_json(), lambda _: f"Deleted stream [{name}].")


_UNITS = {"time": "period_ns", "size": "size_bytes"}
_SPLIT = "{:<29}  {:>14}  {:>16}  {:>19}  {:>19}"


def _until_deleted(name: str, rows: Iterator[Split]) -> Iterator[Split]:
    """The rows; raises NotFound where the stream is deleted while they are read."""
    try:
        yield from rows
    except OSError as error:
        missing: NotFound = not_found(name)
        raise missing from error


def _facts(info: StreamInfo) -> dict[str, Any]:
    return {**asdict(info), "routes": [dict(route) for route in info.routes]}


def _listing(found: list[StreamInfo], root: Path, zone: str) -> str:
    if not found:
        return f"{root} holds no stream yet. Record one with `fwdcap capture start NAME`."
    table = output.table(
        ("STREAM", "STATE", "STARTED", "RECORDS", "SIZE", "LOST"),
        [
            (
                info.stream,
                info.state,
                output.moment(info.started_ns, zone),
                output.count(info.packets),
                output.size(info.size_bytes),
                output.count(info.lost),
            )
            for info in found
        ],
        right=(3, 4, 5),
    )
    problems = [f"{info.stream}: {info.problem}" for info in found if info.problem]
    return "\n\n".join(part for part in (table, "\n".join(problems)) if part)


def _views(rows: list[dict[str, Any]]) -> str:
    def step(row: dict[str, Any]) -> str:
        if row["kind"] == "time":
            return f"{row['period_ns'] // 10**9} s"
        return output.size(row["size_bytes"])

    return output.table(
        ("VIEW", "KIND", "STEP"),
        [(row["view"], row["kind"], step(row)) for row in rows],
        right=(2,),
    )


def _split(row: Split, view: View, zone: tzinfo) -> dict[str, Any]:
    return {"name": split_name(row.start_ns, zone), "view": view.name, **row._asdict()}


def _line(row: Split, zone: tzinfo) -> str:
    return _SPLIT.format(
        split_name(row.start_ns, zone),
        output.count(row.packets),
        output.count(row.size_bytes),
        row.start_ns,
        row.stop_ns,
    )
