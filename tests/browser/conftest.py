"""Debian's Chromium, and the pages on waitress over a synthetic store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from playwright.sync_api import BrowserContext
from waitress import wasyncore

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

from web_fakes import Site, make_site

from webui.__main__ import make_server

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    """The distribution's browser, which does nothing of its own accord."""
    quiet = ("background-networking", "component-update", "gpu", "quic", "sync")
    return {
        **browser_type_launch_args,
        "executable_path": str(CHROMIUM),
        "args": ["--no-sandbox", "--no-first-run", *(f"--disable-{part}" for part in quiet)],
    }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """An application whose clocks a test moves: another second, another question."""
    return make_site(tmp_path)


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """Where the site is served."""
    server = make_server(site.app, "127.0.0.1:0")
    sockets = server._map  # waitress leaves its loop when nothing is left in it
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.effective_port}"
    server.trigger.pull_trigger(lambda: wasyncore.close_all(sockets))
    thread.join(20)
    server.task_dispatcher.shutdown()


@pytest.fixture
def context(new_context: Callable[..., BrowserContext], address: str) -> BrowserContext:
    """A fresh browser profile in which addresses are those of the site."""
    return new_context(base_url=address)
