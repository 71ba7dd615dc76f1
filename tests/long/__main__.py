"""Runs the long tests and writes docs/test-long.md: `python -m tests.long [PYTEST ARGUMENT]...`

The soak (marker `long`), and the property tests of the program once more with
many examples. What they said stands in docs/ with its commit and its kernel, so
that a reader sees what was tried and when; it is written when something failed
as well, and the exit code is then pytest's. Progress goes to stderr.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as Xml
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
REPORT = ROOT / "docs" / "test-long.md"
EXAMPLES = 10_000


@dataclass(frozen=True)
class Suite:
    """One run of pytest; `environment` is what makes it long."""

    title: str
    arguments: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True)
class Outcome:
    """One test: passed, failed or skipped, in seconds, and what it has to say."""

    name: str
    verdict: str
    seconds: float
    result: str


SUITES = (
    Suite("Soak: traffic while processes are killed at random", ("tests/lab", "-m", "long"), {}),
    Suite(
        f"Program against oracle, {EXAMPLES:,} examples of each property",
        ("tests/bpf/test_bpf_properties.py",),
        {"FWDCAP_EXAMPLES": str(EXAMPLES)},
    ),
)


def main(arguments: Sequence[str]) -> int:
    """0 when everything passed, else the exit code of the first suite that did not."""
    began = datetime.now(UTC)
    report, code = [*head(began)], 0
    for suite in SUITES:
        say(f"{suite.title} …")
        started_s = time.monotonic()
        ended, outcomes = run(suite, arguments)
        took_s = time.monotonic() - started_s
        say(f"{suite.title}: exit code {ended} after {took_s:.0f} s")
        report += section(suite, ended, outcomes, took_s)
        code = code or ended
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text("\n".join(report) + "\n")
    say(f"written to {REPORT.relative_to(ROOT)}")
    return code


def run(suite: Suite, arguments: Sequence[str]) -> tuple[int, list[Outcome]]:
    """pytest's exit code, and what it noted of each test."""
    with tempfile.TemporaryDirectory() as directory:
        notes = Path(directory) / "notes.xml"
        words = [sys.executable, "-m", "pytest", "-v", "--timeout=3600"]
        words += [f"--junit-xml={notes}", "-o", "junit_family=xunit1"]  # which keeps properties
        done = subprocess.run(
            [*words, *suite.arguments, *arguments],
            cwd=ROOT,
            env={**os.environ, **suite.environment},
            stdout=sys.stderr,
        )
        return done.returncode, read(notes) if notes.exists() else []


def read(notes: Path) -> list[Outcome]:
    return [outcome(case) for case in Xml.parse(notes).iter("testcase")]


def outcome(case: Xml.Element) -> Outcome:
    kinds = {"failure": "failed", "error": "failed", "skipped": "skipped"}
    verdict = next((kinds[child.tag] for child in case if child.tag in kinds), "passed")
    said = [each.get("value", "") for each in case.iter("property") if each.get("name") == "result"]
    return Outcome(case.get("name", "?"), verdict, float(case.get("time", 0)), "; ".join(said))


def head(began: datetime) -> list[str]:
    return [
        "# The long tests",
        "",
        "Written by `make test-long`; not to be edited by hand.",
        "",
        f"- date: {began:%Y-%m-%d %H:%M} UTC",
        f"- commit: {commit()}",
        f"- kernel: {platform.release()} ({platform.machine()}, {os.cpu_count()} CPUs)",
    ]


def section(suite: Suite, ended: int, outcomes: list[Outcome], took_s: float) -> list[str]:
    lines = ["", f"## {suite.title}", ""]
    settings = " ".join(f"{key}={value}" for key, value in suite.environment.items())
    command = " ".join(part for part in (settings, "pytest", *suite.arguments) if part)
    lines += [f"`{command}`: {verdict(ended)} in {took_s:.0f} s.", ""]
    for each in outcomes:
        more = f": {each.result}" if each.result else ""
        lines.append(f"- {each.verdict}, {each.seconds:.0f} s, `{each.name}`{more}")
    return lines


def verdict(ended: int) -> str:
    return "passed" if ended == 0 else f"**failed** (exit code {ended})"


def commit() -> str:
    """The short hash, and whether the tree differs from it (the report itself aside)."""
    short = git("rev-parse", "--short", "HEAD")
    changed = git("status", "--porcelain", "--", ".", f":!{REPORT.relative_to(ROOT)}")
    return f"{short} with uncommitted changes" if changed else short


def git(*arguments: str) -> str:
    words = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or ("unknown" if arguments[0] == "rev-parse" else "")


def say(line: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
