"""Which store a command reads, and the zone of its times.

What is asked for; else the running daemon's, since two appliances on one
machine have two; else what the settings say by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fwdcap import config
from fwdcap.cli.options import client, control_option
from fwdcap.errors import FwdcapError

Command = TypeVar("Command", bound=Callable[..., Any])


def place_options(command: Command) -> Command:
    """--config, --store and --control."""
    file = click.option(
        "--config", "file", type=click.Path(path_type=Path), help="Settings (fwdcap.toml)."
    )
    store = click.option(
        "--store",
        type=click.Path(path_type=Path, file_okay=False),
        help=f"The store [the daemon's, or store.path, {config.Settings().store.path}].",
    )
    return file(store(control_option(command)))


def where(file: Path | None, store: Path | None) -> tuple[Path, str]:
    """The store and the zone. Raises Invalid for settings that cannot be read."""
    if file is None and store is None:
        try:
            answer = client().store()
            return Path(answer["path"]), str(answer["zone"])
        except FwdcapError:
            pass  # nobody answers, or not to this user
    settings = config.load(file, {})
    return store or settings.store.path, settings.time.zone
