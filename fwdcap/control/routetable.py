"""The routes the daemon works with: read, checked, numbered.

Reading and checking touch nothing, so that bad input is refused before anything
is changed. Numbers are kept in the store, because its streams speak of routes
by number long after a route is gone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fwdcap.capture.folder import refusal
from fwdcap.capture.notice import Notice
from fwdcap.config import Settings
from fwdcap.control.backend import Backend
from fwdcap.errors import Invalid
from fwdcap.routes import check, file, ids
from fwdcap.routes.model import Route, Rule, RuleKey, expand_all, route_dict

IDS = "route_ids.json"


@dataclass(frozen=True)
class RouteTable:
    """The table, its file's name for sentences, and the numbers of its routes."""

    routes: tuple[Route, ...] = ()
    source: str = ""
    numbers: dict[str, int] = field(default_factory=dict)

    def rules(self) -> dict[RuleKey, Rule]:
        return expand_all(self.routes, self.numbers)

    def names(self) -> dict[int, str]:
        """Names by number, of routes that are gone too."""
        return {number: name for name, number in self.numbers.items()}

    def described(self) -> list[dict[str, Any]]:
        """The table as stream.json keeps it."""
        return [route_dict(route, self.numbers[route.name]) for route in self.routes]

    def check(self, backend: Backend, interface: str) -> tuple[Notice, ...]:
        """What there is to warn of on that interface. Raises Invalid."""
        found = check.check(self.routes, backend.facts(interface), self.source)
        return tuple(Notice(warning.code, warning.message, warning.hint) for warning in found)

    def check_alone(self) -> None:
        """Check what can be without an interface: every address counts as ours that must be."""
        ours = frozenset(
            address for route in self.routes for address in (route.capture, route.egress_address)
        )
        facts = check.Facts("the interface", ours, frozenset())
        check.check(self.routes, facts, self.source)


def read(settings: Settings) -> RouteTable:
    """The table of the routes file, not numbered yet. Raises Invalid, NotFound or Forbidden."""
    path = settings.routes.file
    return RouteTable() if path is None else RouteTable(file.read(path), str(path))


def number(table: RouteTable, store: Path) -> RouteTable:
    """The table with its routes numbered; new numbers are stored first.

    Raises Invalid for a file of numbers that cannot be used, DiskFull where none can be written.
    """
    known = _known(store / IDS)
    numbers = ids.assign(known, [route.name for route in table.routes])
    if numbers != known:
        try:
            _store(store / IDS, numbers)
        except OSError as error:
            raise refusal(error, store) from error
    return replace(table, numbers=numbers)


def _known(path: Path) -> dict[str, int]:
    try:
        numbers = json.loads(path.read_bytes())["ids"]
        return {str(name): int(value) for name, value in numbers.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise Invalid(
            f"The numbers of routes in {path} cannot be read.",
            code="route-ids-unreadable",
            hint="Restore that file; without it old streams name the wrong routes. "
            "If none matter, delete it.",
        ) from None


def _store(path: Path, numbers: dict[str, int]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as handle:
        json.dump({"format": 1, "ids": numbers}, handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.rename(path)
