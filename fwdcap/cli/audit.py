"""`fwdcap audit`: who did what, when, from where, and with what result."""

from __future__ import annotations

from typing import Any

import click

from fwdcap.cli import output, people
from fwdcap.cli.options import wants_json


@click.command()
@people.asks
@click.option("--last", type=click.IntRange(1, 10_000), default=50, show_default=True, metavar="N")
def audit(last: int) -> None:
    """Show the last N logins, refusals, downloads and changes, the newest below."""
    output.emit(people.ask(lambda at: at.audit(last)), wants_json(), _listing)


def _listing(body: dict[str, Any]) -> str:
    rows = [
        (
            output.moment(event.get("time_ns")),
            *(_text(event.get(key)) for key in ("who", "from", "what", "target", "result")),
        )
        for event in reversed(body["events"])
    ]
    if not rows:
        return "Nothing has been written down yet."
    table = output.table(("TIME", "WHO", "FROM", "WHAT", "TARGET", "RESULT"), rows)
    return f"{table}\n\nTimes are UTC."


def _text(value: object) -> str:
    """What somebody sent may hold what a terminal takes for orders."""
    return "".join(c if c.isprintable() else "?" for c in str(value or "-"))
