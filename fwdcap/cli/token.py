"""`fwdcap token`: passwords of programs, each with a name, an owner and perhaps an end."""

from __future__ import annotations

import time
from typing import Any

import click

from fwdcap import amounts
from fwdcap.cli import output, people
from fwdcap.cli.options import wants_json
from fwdcap.users.roles import Role


@click.group()
@people.asks
def token() -> None:
    """Show and edit the API tokens."""


@token.command("list")
@people.asks
def list_() -> None:
    """List the tokens; what they are is not kept."""
    output.emit(people.ask(lambda at: at.tokens()), wants_json(), _listing)


@token.command()
@people.asks
@click.argument("name")
@click.option("--user", required=True, metavar="USER", help="Whom it acts for.")
@click.option(
    "--role", type=click.Choice([role.value for role in Role]), help="At most this [the owner's]."
)
@click.option("--expires", metavar="AGE", help='After how long it ends, such as "90d" [never].')
def add(name: str, user: str, role: str | None, expires: str | None) -> None:
    """Add token NAME and print it, this once; programs send `Authorization: Bearer TOKEN`."""
    body: dict[str, Any] = {"name": name, "user": user}
    if role is not None:
        body["role"] = role
    if expires is not None:
        body["expires_ns"] = time.time_ns() + amounts.age_ns(expires)
    output.emit(people.ask(lambda at: at.token_add(body)), wants_json(), _added)


@token.command()
@people.asks
@click.argument("name")
def remove(name: str) -> None:
    """Remove token NAME; it stops at once."""
    output.emit(
        people.ask(lambda at: at.token_remove(name)),
        wants_json(),
        lambda body: f"Removed token [{body['name']}].",
    )


def _added(body: dict[str, Any]) -> str:
    return (
        f"Added token [{body['name']}] of {body['user']}, role {body['role']}.\n"
        f"token      {body['token']}   (shown this once)"
    )


def _listing(body: dict[str, Any]) -> str:
    rows = [
        (
            each["name"],
            each["user"],
            each["role"],
            output.moment(each["made_ns"]),
            output.moment(each["expires_ns"]) if each["expires_ns"] else "never",
        )
        for each in body["tokens"]
    ]
    if not rows:
        return "There is no token. Add one with `fwdcap token add NAME --user USER`."
    return f"{output.table(('NAME', 'USER', 'ROLE', 'MADE', 'EXPIRES'), rows)}\n\nTimes are UTC."
