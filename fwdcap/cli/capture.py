"""`fwdcap capture`: start, stop and list captures."""

from __future__ import annotations

from typing import Any

import click

from fwdcap.cli import output
from fwdcap.cli.options import client, common, wants_json


@click.group()
@common
def capture() -> None:
    """Start, stop and list captures."""


@capture.command()
@common
@click.argument("name")
@click.option(
    "--snaplen",
    type=click.IntRange(min=0),
    help="Keep this many bytes of each packet, 0 for all [store.snaplen].",
)
def start(name: str, snaplen: int | None) -> None:
    """Start recording into a new stream called NAME."""
    output.emit(client().capture_start(name, snaplen), wants_json(), _sentence)


@capture.command()
@common
def stop() -> None:
    """Stop the running capture; everything seen so far is kept."""
    output.emit(client().capture_stop(), wants_json(), _sentence)


@capture.command("list")
@common
def list_() -> None:
    """List the captures in the store, newest first."""
    output.emit(client().captures(), wants_json(), _listing)


def _sentence(answer: dict[str, Any]) -> str:
    text = str(answer["message"])
    return f"{text[:1].upper()}{text[1:]}.\nstream  {answer['stream']}"


def _listing(answer: dict[str, Any]) -> str:
    captures = answer["captures"]
    if not captures:
        return "The store holds no capture yet. Start one with `fwdcap capture start NAME`."
    zone = answer.get("zone", "UTC")
    return output.table(
        ("STREAM", "STATE", "STARTED", "PACKETS", "SIZE", "LOST"),
        [
            (
                item["stream"],
                item["state"],
                output.moment(item["started_ns"], zone),
                output.count(item["packets"]),
                output.size(item["size_bytes"]),
                output.count(item["lost"]),
            )
            for item in captures
        ],
        right=(3, 4, 5),
    )
