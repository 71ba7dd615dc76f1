"""`fwdcap datapath`: what is attached, and attaching and detaching by hand.

Works without a daemon as well, because what it left forwarding must be
removable without starting it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fwdcap import config
from fwdcap.cli import output
from fwdcap.cli.options import client, common, wants_json
from fwdcap.cli.run import overrides
from fwdcap.control.client import Client
from fwdcap.errors import Unavailable


@click.group()
@common
def datapath() -> None:
    """Show, attach and detach the data path."""


@datapath.command()
@common
def show() -> None:
    """Show the data path: interface, mode, ring, what was forwarded and why not."""
    daemon = _daemon()
    answer = daemon.datapath() if daemon else _offline().datapath()
    output.emit(answer, wants_json(), _shown)


@datapath.command()
@common
@click.argument("interface", metavar="IFACE")
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings (fwdcap.toml).")
@click.option("--set", "pairs", metavar="TABLE.KEY=VALUE", multiple=True, help="Any setting.")
def attach(interface: str, file: Path | None, pairs: tuple[str, ...]) -> None:
    """Attach to IFACE and apply the routes.

    A running daemon does it with its own settings; --config and --set are for
    when there is none.
    """
    daemon = _daemon()
    if daemon:
        answer = daemon.datapath_attach(interface)
    else:
        answer = _offline(file, pairs).datapath_attach(interface)
    output.emit(answer, wants_json(), _sentence)


@datapath.command()
@common
@click.argument("interface", metavar="[IFACE]", required=False)
def detach(interface: str | None) -> None:
    """Stop forwarding and restore the interface's settings; stops a running capture first.

    IFACE names one that an earlier daemon left behind.
    """
    daemon = _daemon()
    if daemon and interface in (None, daemon.status()["datapath"]["interface"]):
        answer = daemon.datapath_detach()
    else:
        answer = _offline().datapath_detach(interface)
    output.emit(answer, wants_json(), _sentence)


def _daemon() -> Client | None:
    """The running daemon, None where there is none."""
    asked = client()
    try:
        asked.routes()
    except Unavailable as error:
        if error.code == "daemon-not-running":
            return None
        raise
    return asked


def _offline(file: Path | None = None, pairs: tuple[str, ...] = ()) -> Any:
    from fwdcap.control.offline import Offline

    return Offline(config.load(file, overrides(pairs)))


def _sentence(answer: dict[str, Any]) -> str:
    return "\n".join(f"{line[:1].upper()}{line[1:]}" for line in [*answer["lines"], _said(answer)])


def _said(answer: dict[str, Any]) -> str:
    return f"{answer['message']}."


def _shown(answer: dict[str, Any]) -> str:
    paths = answer["datapaths"]
    if not paths:
        return "No data path is attached. `fwdcap datapath attach IFACE` attaches one."
    return "\n\n".join(_one(path) for path in paths)


def _one(path: dict[str, Any]) -> str:
    forwarding = path["forwarding"]
    mode = f"{path['mode']} mode" if path["mode"] else ""
    state = ", ".join(part for part in (path["state"], mode, path["why"]) if part)
    passed = output.count(forwarding["packets"]), output.size(forwarding["bytes"])
    ring = output.size(path["ring_used_bytes"]), output.size(path["ring_bytes"])
    pairs = [
        ("interface", path["interface"] or "-"),
        ("state", state),
        ("addresses", ", ".join(path["addresses"]) or "-"),
        ("link", f"{path['link']}, MTU {path['mtu']}, driver {path['driver'] or 'unknown'}"),
        ("pins", path["pins"] or "-"),
        ("rules", str(path["rules"])),
        ("forwarded", f"{passed[0]} packets, {passed[1]}"),
        ("ring", f"{ring[0]} of {ring[1]} in use"),
    ]
    reasons = [(name, output.count(n)) for name, n in forwarding["reasons"].items() if n]
    return output.facts([*pairs, *reasons])
