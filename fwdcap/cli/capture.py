"""`fwdcap capture`: start, stop, roll and list captures."""

from __future__ import annotations

from typing import Any

import click

from fwdcap.cli import output
from fwdcap.cli.amount import SIZE
from fwdcap.cli.options import client, common, wants_json

_AT_LEAST_ONE = click.IntRange(min=1)


@click.group()
@common
def capture() -> None:
    """Start, stop, roll and list captures."""


@capture.command()
@common
@click.argument("name")
@click.option(
    "--snaplen",
    type=click.IntRange(min=0),
    help="Keep this many bytes of each packet, 0 for all [store.snaplen].",
)
@click.option("--max-bytes", type=SIZE, metavar="SIZE", help="End at this size, such as 10GB.")
@click.option("--max-packets", type=_AT_LEAST_ONE, metavar="N", help="End after N packets.")
@click.option("--max-seconds", type=_AT_LEAST_ONE, metavar="N", help="End after N seconds.")
def start(
    name: str,
    snaplen: int | None,
    max_bytes: int | None,
    max_packets: int | None,
    max_seconds: int | None,
) -> None:
    """Start recording into a new stream called NAME.

    With several limits it ends at the first one reached, exactly there.
    """
    answer = client().capture_start(
        name,
        snaplen,
        max_bytes=max_bytes,
        max_packets=max_packets,
        max_seconds=max_seconds,
    )
    output.emit(answer, wants_json(), _sentence)


@capture.command()
@common
def stop() -> None:
    """Stop the running capture; everything seen so far is kept."""
    daemon = client()
    zone = "UTC" if wants_json() else str(daemon.status()["zone"])
    output.emit(daemon.capture_stop(), wants_json(), lambda told: _sentence(told, zone))


@capture.command()
@common
def roll() -> None:
    """Go on in a new stream, without losing a packet in between."""
    output.emit(client().capture_roll(), wants_json(), _sentence)


@capture.command("list")
@common
def list_() -> None:
    """List the captures in the store, newest first."""
    output.emit(client().captures(), wants_json(), _listing)


def _sentence(answer: dict[str, Any], zone: str = "UTC") -> str:
    text = str(answer["message"])
    lines = [f"{text[:1].upper()}{text[1:]}."]
    pairs = [("stream", answer["stream"])]
    summary = answer.get("summary")
    if summary is not None:
        records, size = output.count(summary["packets"]), output.size(summary["bytes"])
        pairs += [
            ("recorded", f"{records} records, {size} in {summary['seconds']:,} s"),
            ("lost", output.losses(summary["lost"])),
            *(("", line) for line in output.episodes(summary["losses"], zone)),
            *([("note", summary["message"])] if summary["message"] else []),
        ]
    return "\n".join([*lines, output.facts(pairs)])


def _listing(answer: dict[str, Any]) -> str:
    captures = answer["captures"]
    if not captures:
        return "The store holds no capture yet. Start one with `fwdcap capture start NAME`."
    zone = answer.get("zone", "UTC")
    return output.table(
        ("STREAM", "STATE", "STARTED", "RECORDS", "SIZE", "LOST", "ENDED"),
        [
            (
                item["stream"],
                item["state"],
                output.moment(item["started_ns"], zone),
                output.count(item["packets"]),
                output.size(item["size_bytes"]),
                output.count(item["lost"]),
                _ended(item),
            )
            for item in captures
        ],
        right=(3, 4, 5),
    )


def _ended(item: dict[str, Any]) -> str:
    """How it ended, in a word or two; empty while it records."""
    ended = item.get("ended") or ""
    if item.get("continued_by"):
        return f"{ended}, goes on in {item['continued_by']}"
    return ended
