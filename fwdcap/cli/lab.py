"""`fwdcap lab`: a testbed of network namespaces on this machine, and the demo.

Commands on a host replace this process, so that their terminal, signals and
exit code are the command's own.
"""

from __future__ import annotations

import os

import click

from fwdcap.cli import output
from fwdcap.lab import DEFAULT_NAME, Host, Lab

_name = click.option("--name", default=DEFAULT_NAME, show_default=True, help="Which lab.")


@click.group()
def lab() -> None:
    """Two hosts, a bridge and an appliance in network namespaces (needs root)."""


@lab.command()
@_name
@click.option("--xdp", type=click.Choice(["auto", "native", "generic"]), default="auto")
@click.option("--no-mgmt", is_flag=True, help="Give the appliance no management interface.")
def up(name: str, xdp: str, no_mgmt: bool) -> None:
    """Build the lab, or keep it when it stands already."""
    built = Lab(name, mgmt=not no_mgmt, xdp=xdp).up()  # type: ignore[arg-type]
    click.echo(_listing(built))
    click.echo(f"\nTry `fwdcap lab run --name {name} a ping -c 3 {built.host('b').address}`.")


@lab.command(context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_name
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND on HOST (a, b or the appliance c)."""
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("Missing argument 'COMMAND...'.")
    _become(Lab.open(name).host(host), words)


@lab.command()
@_name
@click.argument("host")
def enter(name: str, host: str) -> None:
    """Open a shell on HOST (a, b or the appliance c)."""
    target = Lab.open(name).host(host)
    click.echo(f"On host {host} of lab {name}; `exit` leaves it.", err=True)
    _become(target, (os.environ.get("SHELL") or "/bin/sh",))


@lab.command()
@_name
def down(name: str) -> None:
    """Take the lab away.

    Everything that runs in it ends, and its captures go with it.
    """
    there = name in Lab.names()
    Lab(name).down()
    click.echo(f"Lab {name} is gone." if there else f"There was no lab {name}.")


@lab.command()
@_name
@click.option("--port", default=8080, show_default=True, help="Preferred port of the web page.")
def demo(name: str, port: int) -> None:
    """Relay, capture, download and show real traffic.

    The appliance is left running, with its web page on this machine's loopback.
    """
    from fwdcap.lab.demo import show  # not needed by the other commands

    show(port, name)


def _become(host: Host, command: tuple[str, ...]) -> None:
    words = host.command(command)
    os.execvp(words[0], words)


def _listing(built: Lab) -> str:
    return output.table(
        ("HOST", "INTERFACE", "ADDRESS", "MAC", "NAMESPACE"),
        [
            (host.name, cable.interface, str(cable.address), cable.mac, host.namespace)
            for host in built.hosts
            for cable in host.cables
        ],
    )
