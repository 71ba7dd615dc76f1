"""`fwdcap run`: the daemon and the pages, in the foreground."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path

import click

from fwdcap import config

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


@click.command()
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings (fwdcap.toml).")
@click.option("--interface", metavar="IFACE", help="The capture interface.")
@click.option("--xdp", type=click.Choice(["auto", "native", "generic"]), help="How to attach.")
@click.option("--routes", type=click.Path(), help="The routes (routes.toml).")
@click.option("--store", type=click.Path(), help="Where streams are kept.")
@click.option("--listen", metavar="HOST:PORT|fd:N", help="Where pages are served.")
@click.option(
    "--control", metavar="SOCKET", envvar="FWDCAP_CONTROL", help="The control socket to serve."
)
@click.option("--set", "pairs", metavar="TABLE.KEY=VALUE", multiple=True, help="Any other setting.")
def run(
    file: Path | None,
    interface: str | None,
    xdp: str | None,
    routes: str | None,
    store: str | None,
    listen: str | None,
    control: str | None,
    pairs: tuple[str, ...],
) -> None:
    """Relay, record and serve pages until Ctrl-C.

    The data path keeps forwarding afterwards; `fwdcap datapath detach` removes it.
    """
    flags = {
        "interface.name": interface,
        "interface.xdp": xdp,
        "routes.file": routes,
        "store.path": store,
        "web.listen": listen,
        "control.socket": control,
    }
    settings = config.load(file, {**overrides(pairs), **quoted(flags)})
    logging.basicConfig(level=logging.INFO, format=_FORMAT, stream=sys.stderr)
    logging.getLogger("waitress").setLevel(logging.WARNING)
    from fwdcap.control import daemon  # libbpf and the web server, wanted only here

    daemon.run(settings, click.echo, os.environ)


def overrides(pairs: tuple[str, ...]) -> dict[str, str]:
    """`table.key=value` texts as a mapping; wrong usage for what has no `=`."""
    found = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise click.UsageError(f"--set {pair}: write it as table.key=value.")
        found[key.strip()] = value.strip()
    return found


def quoted(flags: dict[str, str | None]) -> dict[str, str]:
    """Flags that were given, as TOML texts: an interface called `1` is a name too."""
    return {key: json.dumps(value) for key, value in flags.items() if value is not None}
