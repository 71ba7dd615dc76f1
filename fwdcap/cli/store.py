"""`fwdcap store`: look after the files of a store."""

from __future__ import annotations

from pathlib import Path

import click

from fwdcap.cli import output
from fwdcap.cli.options import json_option, wants_json
from fwdcap.store.recover import Recovery, recover


@click.group()
def store() -> None:
    """Look after the files of a store."""


@store.command("recover")
@json_option
@click.argument("directory", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@click.option("--thorough", is_flag=True, help="Look at every record, also of complete streams.")
@click.pass_context
def recover_(context: click.Context, directory: Path, dry_run: bool, thorough: bool) -> None:
    """Make what a crash or a power cut left in DIR, a store or one stream, whole again.

    Every whole record is kept; what is no record is moved to files called
    .damaged. Works without a daemon. Streams that are being recorded are left
    alone. Exit code 1 when a stream could not be recovered.
    """
    found = recover(directory, dry_run=dry_run, thorough=thorough)
    if wants_json():
        output.emit([each.to_dict() for each in found], True, str)
    else:
        click.echo(_report(found, dry_run))
    if any(each.outcome == "failed" for each in found):
        context.exit(1)


def _report(found: list[Recovery], dry_run: bool) -> str:
    if not found:
        return "The store holds no stream."
    words = {"recovered": "to recover"} if dry_run else {}
    table = output.table(
        ("STREAM", "STATE", "RECORDS", "SIZE", "SEGMENTS", "MISSING"),
        [
            (
                each.stream,
                words.get(each.outcome, each.outcome),
                output.count(each.packets),
                output.size(each.size_bytes),
                output.count(each.segments),
                output.count(each.missing_packets),
            )
            for each in found
        ],
        right=(2, 3, 4, 5),
    )
    notes = [f"{each.stream}: {note}" for each in found for note in each.notes]
    return "\n\n".join(part for part in (table, "\n".join(notes)) if part)
