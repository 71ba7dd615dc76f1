"""`fwdcap route`: the route table the daemon works with."""

from __future__ import annotations

from typing import Any

import click

from fwdcap.cli import output
from fwdcap.cli.options import client, common, wants_json


@click.group()
@common
def route() -> None:
    """Look at the routes."""


@route.command("list")
@common
def list_() -> None:
    """List the routes and what passed each of them."""
    output.emit(client().routes(), wants_json(), _listing)


def _listing(answer: dict[str, Any]) -> str:
    routes = answer["routes"]
    if not routes:
        return "No route is configured. Write one into the routes file (`fwdcap run --routes`)."
    return output.table(
        ("ID", "NAME", "CLIENT", "CAPTURE", "EGRESS", "SERVER", "MODES", "STATE", "FORWARDED"),
        [
            (
                str(item["id"]),
                item["name"],
                item["client"],
                item["capture"],
                item["egress"],
                item["server"],
                ",".join(item["modes"]) or "-",
                "enabled" if item["enabled"] else "disabled",
                output.count(_forwarded(item)),
            )
            for item in routes
        ],
        right=(0, 8),
    )


def _forwarded(item: dict[str, Any]) -> int:
    ways = (item["to_server"], item["to_client"])
    return sum(int(way["forwarded_packets"]) for way in ways)
