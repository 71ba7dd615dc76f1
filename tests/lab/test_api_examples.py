"""The API of a real appliance: every example of docs/api.md, as a shell runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

from fwdcap.lab import CAPTURE, Appliance, Lab, read_pcap

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.M | re.S)


def values(text: str) -> list[Any]:
    """The JSON values that stand one behind the other."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        found.append(value)
    return found


def run(block: str, appliance: Appliance, directory: Path) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", block],
        cwd=directory,
        env={
            **os.environ,
            "A": appliance.url,
            "U": f"{appliance.user}:{appliance.password}",
            "NO_PROXY": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, (block, done.stderr)
    return done.stdout


def test_the_examples_of_the_page_do_what_it_says(
    lab: Lab, appliance: Appliance, tmp_path: Path
) -> None:
    look, capture, streams, schedule, interfaces, metrics = blocks()
    status, now_ns = values(run(look, appliance, tmp_path))
    assert (status["datapath"]["state"], status["capture"]["active"]) == ("forwarding", False)
    assert abs(status["time_ns"] - now_ns) < 60 * 10**9

    start, current, stop = capture.split("curl -fsS")[1:]
    (began,) = values(run(f"curl -fsS{start}", appliance, tmp_path))
    lab.host("a").run(["ping", "-c", "3", "-i", "0.1", str(CAPTURE)])
    (running,) = values(run(f"curl -fsS{current}", appliance, tmp_path))
    assert running["caps"] == {"max_bytes": 10**8, "max_packets": 10**4, "max_seconds": None}
    (ended,) = values(run(f"curl -fsS{stop}", appliance, tmp_path))
    assert ended["stream"] == began["stream"] == running["stream"]
    assert ended["summary"]["packets"] >= 2 * 3  # a ping both ways, in three modes

    *_, deleted = values(run(streams, appliance, tmp_path))
    assert deleted["stream"] == began["stream"]
    assert 0 < len(read_pcap(tmp_path / "second.pcap")) <= ended["summary"]["packets"]

    before, after = values(run(schedule, appliance, tmp_path))
    assert after["revision"] == before["revision"] + 1
    assert [row["name"] for row in after["rows"]] == ["night"]

    listed, detached, attached = values(run(interfaces, appliance, tmp_path))
    assert {each["name"]: each["datapath"] for each in listed["interfaces"]}["cap0"] == "forwarding"
    assert detached["message"] == "detached from cap0, nothing is forwarded any more"
    assert attached["message"].startswith("attached to cap0")

    samples = run(metrics, appliance, tmp_path)
    assert 'fwdcap_datapath_forwarding{interface="cap0"} 1.0' in samples
    assert 'fwdcap_route_forwarded_packets_total{direction="to_server",route="demo"}' in samples
