"""What holds for all tiers: in CI a test that did not run has failed.

A skipped test looks like a passed one in a summary. With CI=true it fails the
run, unless its reason stands in the list below.
"""

from __future__ import annotations

import os

import pytest

# Reasons for which a test may be skipped in CI, each with why it cannot be had there.
ALLOWED_SKIPS: dict[str, str] = {
    "needs a kernel whose BPF_PROG_TEST_RUN splits a frame at data_end": (
        "Only the kernel can make a frame of two pieces for one run; 6.18 does, older ones refuse."
    ),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The browser's tests last: Playwright keeps an event loop running in this thread until the
    session ends, beside which pyroute2 cannot run its own."""
    items.sort(key=lambda item: "browser" in item.path.parts)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason in _unexpected(terminalreporter):
        terminalreporter.write_line(f"skipped in CI, which is a failure: {reason}", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter and _unexpected(reporter) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _unexpected(reporter: pytest.TerminalReporter) -> list[str]:
    if os.environ.get("CI") != "true":
        return []
    reasons = {str(report.longrepr[2]) for report in reporter.stats.get("skipped", [])}
    return sorted(r for r in reasons if r.removeprefix("Skipped: ") not in ALLOWED_SKIPS)
