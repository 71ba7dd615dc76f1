"""Whom `fwdcap user`, `token` and `audit` ask: the daemon, else the store itself."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fwdcap import config
from fwdcap.cli.options import client, common
from fwdcap.cli.run import overrides
from fwdcap.control.client import Client
from fwdcap.errors import Unavailable

if TYPE_CHECKING:
    from fwdcap.control.offlineusers import OfflineUsers

Body = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])


def asks(command: Command) -> Command:
    """The options of a command that works without a daemon, too."""
    settings = click.option(
        "--config",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=lambda context, _, value: _keep(context, "config", value),
        help="Settings (fwdcap.toml) that say where the store is, when no daemon runs.",
    )
    pairs = click.option(
        "--set",
        multiple=True,
        expose_value=False,
        metavar="TABLE.KEY=VALUE",
        callback=lambda context, _, value: _keep(context, "set", value),
        help="Any setting, when no daemon runs.",
    )
    return common(settings(pairs(command)))


def ask(question: Callable[[Client | OfflineUsers], Body]) -> Body:
    """The daemon's answer; root gets one from the store where no daemon runs."""
    try:
        return question(client())
    except Unavailable as error:
        if error.code != "daemon-not-running":
            raise
    from fwdcap.control.offlineusers import OfflineUsers  # a fifth of a second

    kept = click.get_current_context().ensure_object(dict)
    return question(OfflineUsers(config.load(kept.get("config"), overrides(kept.get("set", ())))))


def password(from_stdin: bool) -> tuple[str, bool]:
    """The password of standard input's first line, else a random one, which is said: True."""
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n"), False
    return secrets.token_urlsafe(12), True


def _keep(context: click.Context, key: str, value: Any) -> None:
    if value:
        context.ensure_object(dict)[key] = value
