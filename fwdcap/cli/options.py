"""What several commands share: --control, --json, and the client made from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fwdcap.control.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])


def _keep_control(context: click.Context, _: click.Parameter, value: Path | None) -> None:
    if value is not None:
        context.ensure_object(dict)["control"] = value


def _keep_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.ensure_object(dict)["json"] = True


def control_option(command: Command) -> Command:
    return click.option(
        "--control",
        type=click.Path(path_type=Path),
        expose_value=False,
        callback=_keep_control,
        metavar="SOCKET",
        help="Control socket of the daemon [FWDCAP_CONTROL, /run/fwdcap/control.sock].",
    )(command)


def json_option(command: Command) -> Command:
    return click.option(
        "--json",
        is_flag=True,
        expose_value=False,
        callback=_keep_json,
        help="Print the result as JSON.",
    )(command)


def common(command: Command) -> Command:
    """--control and --json, for every command that asks the daemon."""
    return control_option(json_option(command))


def client() -> Client:
    """The daemon the current command is to ask."""
    return Client(click.get_current_context().ensure_object(dict).get("control"))


def wants_json() -> bool:
    return bool(click.get_current_context().ensure_object(dict).get("json"))
