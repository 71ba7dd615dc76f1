"""Imports point downwards only (docs/architecture.md, "The house").

    errors, abi, amounts, config ← routes, store, filters, analysis, users, datapath, capture
    ← control ← cli, webui

A process that reads pages or runs a command must not pull in what drives the
kernel, and the store must be readable without a daemon.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]

BASE = {"errors", "abi", "amounts", "config", ""}
READABLE = {"routes", "store", "filters", "analysis", "users"}

# Part → parts of fwdcap it may import; "" is fwdcap/__init__.py (the version).
# "control.client" alone stands for the one module of control that is meant.
MAY_IMPORT: dict[str, set[str]] = {
    "": set(),
    "errors": set(),
    "abi": set(),
    "amounts": {"errors"},
    "config": {"errors", "abi", "amounts", "users"},
    "native": {"abi"},
    "routes": BASE,
    "store": BASE | READABLE,
    "filters": BASE | READABLE,
    "analysis": BASE | READABLE,
    "users": {"errors", "abi", "amounts", ""},
    "datapath": BASE | READABLE | {"native"},
    "capture": BASE | READABLE | {"native", "datapath"},
    "tls": BASE,
    "control": BASE | READABLE | {"native", "datapath", "capture", "tls"},
    "lab": BASE | READABLE | {"native", "datapath", "control.client"},
    "cli": BASE | READABLE | {"control", "lab"},
    "__main__": BASE | {"cli"},
    "webui": (BASE | READABLE | {"control.client"}) - {"routes"},
}
OWN_MODULE_NEEDED = ("control.client",)


def modules() -> list[Path]:
    return sorted(
        path.relative_to(ROOT) for top in ("fwdcap", "webui") for path in (ROOT / top).rglob("*.py")
    )


def dotted(module: Path) -> list[str]:
    parts = list(module.with_suffix("").parts)
    return parts[:-1] if parts[-1] == "__init__" else parts


def imports(module: Path, source: str) -> Iterator[str]:
    """Full names of everything a module imports, wherever in it that stands."""
    package = dotted(module) if module.name == "__init__.py" else dotted(module)[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str | None:
    """The part of fwdcap that an imported name belongs to; None: not ours."""
    top, *rest = name.split(".")
    if top == "webui":
        return "webui"
    if top != "fwdcap":
        return None
    known = rest and (rest[0] in MAY_IMPORT or (ROOT / "fwdcap" / rest[0]).is_dir())
    return rest[0] if known else ""


def allowed(part: str, name: str) -> bool:
    target = part_of(name)
    if target is None or target == part:
        return True
    may = MAY_IMPORT[part]
    inner = ".".join(name.split(".")[1:3])
    return target in may or (inner in OWN_MODULE_NEEDED and inner in may)


def upward(module: Path, source: str) -> list[str]:
    part = "webui" if module.parts[0] == "webui" else part_of(".".join(dotted(module)))
    assert part is not None
    return [name for name in imports(module, source) if not allowed(part, name)]


@pytest.mark.parametrize("module", modules(), ids=str)
def test_imports_point_downwards(module: Path) -> None:
    assert upward(module, (ROOT / module).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("module", modules(), ids=str)
def test_no_module_that_is_shipped_imports_scapy(module: Path) -> None:
    """Scapy is GPL-2.0-only: for tests, never for what is shipped."""
    names = imports(module, (ROOT / module).read_text(encoding="utf-8"))
    assert [name for name in names if name.split(".")[0] == "scapy"] == []


def test_every_part_has_its_rule() -> None:
    parts = {part_of(".".join(dotted(module))) for module in modules()}
    assert parts <= MAY_IMPORT.keys()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("fwdcap/cli/run.py", "from fwdcap.datapath import links"),
        ("fwdcap/cli/run.py", "def f():\n    import fwdcap.capture.captures"),
        ("webui/pages.py", "from fwdcap import datapath"),
        ("webui/pages.py", "from fwdcap.control import server"),
        ("webui/pages.py", "from fwdcap.control.service import Service"),
        ("fwdcap/store/stream.py", "from ..control import client"),
        ("fwdcap/store/__init__.py", "from ..datapath.links import facts"),
        ("fwdcap/routes/plan.py", "from fwdcap.store.stream import read_stream"),
        ("fwdcap/datapath/apply.py", "import fwdcap.control.client"),
        ("fwdcap/control/service.py", "import webui"),
        ("fwdcap/errors.py", "from fwdcap import abi"),
    ],
)
def test_an_import_upwards_is_noticed(module: str, source: str) -> None:
    assert upward(Path(module), source)


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("webui/pages.py", "from fwdcap.control.client import Client"),
        ("webui/pages.py", "from fwdcap.control import client"),
        ("webui/pages.py", "from fwdcap import __version__, errors"),
        ("webui/__main__.py", "from . import create_app"),
        ("fwdcap/routes/plan.py", "from .model import Rule"),
        ("fwdcap/control/service.py", "from fwdcap.capture.captures import Captures"),
        ("fwdcap/cli/run.py", "import json, pathlib"),
    ],
)
def test_an_import_downwards_is_fine(module: str, source: str) -> None:
    assert upward(Path(module), source) == []
