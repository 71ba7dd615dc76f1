"""`fwdcap user`: who may log in to pages and programs, and what for."""

from __future__ import annotations

from typing import Any

import click

from fwdcap.cli import output, people
from fwdcap.cli.options import wants_json
from fwdcap.users.roles import Role

_ROLES = click.Choice([role.value for role in Role])
_STDIN = click.option(
    "--password-stdin", "from_stdin", is_flag=True, help="Read it from the first line of stdin."
)
_FILTER = click.option(
    "--filter", "filter_", metavar="FILTER", help="What a restricted user gets, as tcpdump has it."
)
_SNAPLEN = click.option(
    "--snaplen", type=int, metavar="BYTES", help="How much of each packet it gets, 0 for all."
)


@click.group()
@people.asks
def user() -> None:
    """Show and edit the users."""


@user.command("list")
@people.asks
def list_() -> None:
    """List the users and their roles."""
    output.emit(people.ask(lambda at: at.users()), wants_json(), _listing)


@user.command()
@people.asks
@click.argument("name")
@click.option("--role", type=_ROLES, default=Role.VIEWER.value, show_default=True)
@_FILTER
@_SNAPLEN
@_STDIN
def add(name: str, role: str, filter_: str | None, snaplen: int | None, from_stdin: bool) -> None:
    """Add user NAME; the password is made up and printed once, unless stdin has it."""
    password, made_up = people.password(from_stdin)
    body = _given(role, filter_, snaplen) | {"name": name, "password": password}
    _say(people.ask(lambda at: at.user_add(body)), password if made_up else None)


@user.command("set")
@people.asks
@click.argument("name")
@click.option("--role", type=_ROLES)
@_FILTER
@_SNAPLEN
@_STDIN
@click.option("--new-password", is_flag=True, help="Make up a new one and print it.")
def set_(
    name: str,
    role: str | None,
    filter_: str | None,
    snaplen: int | None,
    from_stdin: bool,
    new_password: bool,
) -> None:
    """Change user NAME; what is not given stays. Its sessions end with its password."""
    body, shown = _given(role, filter_, snaplen), None
    if from_stdin or new_password:
        body["password"], made_up = people.password(from_stdin)
        shown = body["password"] if made_up else None
    if not body:
        raise click.UsageError("Say what to change: --role, --filter, --snaplen or a password.")
    _say(people.ask(lambda at: at.user_set(name, body)), shown)


@user.command()
@people.asks
@click.argument("name")
def remove(name: str) -> None:
    """Remove user NAME with its tokens; it is logged out at once."""
    _say(people.ask(lambda at: at.user_remove(name)), None)


def _given(role: str | None, filter_: str | None, snaplen: int | None) -> dict[str, Any]:
    given = {"role": role, "filter": filter_, "snaplen": snaplen}
    return {key: value for key, value in given.items() if value is not None}


def _say(answer: dict[str, Any], password: str | None) -> None:
    if password is not None:
        answer = {**answer, "password": password}

    def sentence(body: dict[str, Any]) -> str:
        said = str(body["message"])
        shown = f"\npassword   {password}   (shown this once)" if password is not None else ""
        return f"{said[:1].upper()}{said[1:]}.{shown}"

    output.emit(answer, wants_json(), sentence)


def _listing(body: dict[str, Any]) -> str:
    rows = [
        (
            each["name"],
            each["role"],
            str(each["snaplen"] or ""),
            each["filter"],
            "its password must be changed" if each["provisional"] else "",
        )
        for each in body["users"]
    ]
    if not rows:
        return "There is no user. Starting the daemon makes the first one."
    return output.table(("NAME", "ROLE", "SNAPLEN", "FILTER", ""), rows)
