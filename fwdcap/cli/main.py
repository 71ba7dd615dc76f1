"""The root of the command line: which commands there are, and how it ends.

Commands are imported when they are asked for, so that `fwdcap version` does not
pay for HTTP or a testbed. Exit codes: 0 fine, 1 refused, 2 wrong usage.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from fwdcap import __version__
from fwdcap.cli.options import common
from fwdcap.errors import FwdcapError

_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("fwdcap.cli.run", "run"),
    "status": ("fwdcap.cli.status", "status"),
    "route": ("fwdcap.cli.route", "route"),
    "capture": ("fwdcap.cli.capture", "capture"),
    "schedule": ("fwdcap.cli.schedule", "schedule"),
    "datapath": ("fwdcap.cli.datapath", "datapath"),
    "doctor": ("fwdcap.cli.doctor", "doctor"),
    "stream": ("fwdcap.cli.stream", "stream"),
    "store": ("fwdcap.cli.store", "store"),
    "user": ("fwdcap.cli.user", "user"),
    "token": ("fwdcap.cli.token", "token"),
    "audit": ("fwdcap.cli.audit", "audit"),
    "lab": ("fwdcap.cli.lab", "lab"),
}


class LazyGroup(click.Group):
    """A group whose commands live in modules that are imported on demand."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*_COMMANDS, *super().list_commands(context)]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return super().get_command(context, name)
        module, attribute = _COMMANDS[name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="%(prog)s %(version)s")
@common
def fwdcap() -> None:
    """Relay packets between two machines and keep a copy of what passes."""


@fwdcap.command()
def version() -> None:
    """Print the version."""
    click.echo(f"fwdcap {__version__}")


def run(arguments: Sequence[str]) -> int:
    """Run one command line; errors are sentences on stderr. Returns the exit code."""
    try:
        result = fwdcap.main(list(arguments), prog_name="fwdcap", standalone_mode=False)
    except FwdcapError as error:
        click.echo(f"error: {error}", err=True)
        return error.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        click.echo(f"error: The system refused: {error.strerror or error}{where}.", err=True)
        return 1
    return result if isinstance(result, int) else 0
