"""`fwdcap doctor`: what this machine lacks, one line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fwdcap import config
from fwdcap.cli import output
from fwdcap.cli.options import client, common, wants_json
from fwdcap.cli.run import overrides, quoted
from fwdcap.errors import Unavailable

_MARKS = {"ok": "ok", "warning": "warn", "failure": "FAIL"}


@click.command()
@common
@click.option("--config", "file", type=click.Path(path_type=Path), help="Settings (fwdcap.toml).")
@click.option("--set", "pairs", metavar="TABLE.KEY=VALUE", multiple=True, help="Any setting.")
@click.option("--interface", metavar="IFACE", help="The capture interface.")
@click.option("--routes", type=click.Path(), help="The routes (routes.toml).")
@click.pass_context
def doctor(
    context: click.Context,
    file: Path | None,
    pairs: tuple[str, ...],
    interface: str | None,
    routes: str | None,
) -> None:
    """Check this machine; exit code 1 when something will not work.

    Asks the running daemon; without one, or with any setting given here, looks by itself.
    """
    flags = quoted({"interface.name": interface, "routes.file": routes})
    answer = _answer(file, {**overrides(pairs), **flags})
    output.emit(answer, wants_json(), _report)
    if any(check["level"] == "failure" for check in answer["checks"]):
        context.exit(1)


def _answer(file: Path | None, given: dict[str, str]) -> dict[str, Any]:
    alone = []
    if file is None and not given:
        try:
            return client().doctor()
        except Unavailable as error:
            if error.code != "daemon-not-running":
                raise
            said = error.to_dict()
            alone = [{"name": "daemon", "level": "warning", **said}]
    from fwdcap.control.offline import Offline

    checks = Offline(config.load(file, given)).doctor()["checks"]
    return {"checks": alone + checks}


def _report(answer: dict[str, Any]) -> str:
    checks = answer["checks"]
    width = max(len(check["name"]) for check in checks)
    return "\n".join(
        f"{_MARKS[check['level']]:<4}  {check['name'].ljust(width)}  "
        f"{check['message']} {check['hint']}".rstrip()
        for check in checks
    )
