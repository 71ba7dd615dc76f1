"""`fwdcap status`: the appliance on one screen."""

from __future__ import annotations

from typing import Any

import click

from fwdcap import config
from fwdcap.cli import output
from fwdcap.cli.options import client, common, wants_json
from fwdcap.errors import Unavailable

_EPISODES = 5  # losses shown on one screen; --json has them all


@click.command()
@common
def status() -> None:
    """Show data path, capture, routes and store."""
    try:
        body = client().status()
    except Unavailable as error:
        raise _without_daemon(error) from None
    output.emit(body, wants_json(), _screen)


def _without_daemon(error: Unavailable) -> Unavailable:
    """The refusal, and which interfaces forward all the same."""
    if error.code != "daemon-not-running":
        return error
    from fwdcap.control.offline import Offline  # libbpf, wanted only here

    names = Offline(config.load(None, {})).left_behind()
    if not names:
        return error
    still = f"{', '.join(names)} {'goes' if len(names) == 1 else 'go'} on forwarding"
    hint = f"{error.hint} {still}; `fwdcap datapath show` tells more.".strip()
    return Unavailable(error.message, code=error.code, hint=hint)


def _screen(body: dict[str, Any]) -> str:
    parts = [
        output.facts(
            [
                ("interface", _interface(body["datapath"])),
                ("forwarded", _forwarded(body["forwarding"])),
                *_capture(body["capture"], body["zone"]),
                ("store", _store(body["store"])),
            ]
        )
    ]
    if body["routes"]:
        parts.append(_routes(body["routes"]))
    warnings = [f"warning: {item['message']} {item['hint']}" for item in body["warnings"]]
    if warnings:
        parts.append("\n".join(warnings))
    return "\n\n".join(parts)


def _interface(path: dict[str, Any]) -> str:
    why = path["why"].rstrip(".")
    if path["state"] != "forwarding":
        return f"{path['interface'] or '-'}, {path['state']}" + (f": {why}" if why else "")
    addresses = ", ".join(path["addresses"]) or "no address"
    mode = f"{path['mode']} mode" + (f" ({why})" if why else "")
    return f"{path['interface']}, {addresses}, link {path['link']}, {mode}"


def _forwarded(forwarding: dict[str, Any]) -> str:
    packets, size = output.count(forwarding["packets"]), output.size(forwarding["bytes"])
    dropped = [
        f"{output.count(n)} {name}"
        for name, n in forwarding["reasons"].items()
        if n and name.startswith("drop-")
    ]
    return f"{packets} packets, {size}, dropped: {', '.join(dropped) or 'none'}"


def _capture(capture: dict[str, Any], zone: str) -> list[tuple[str, str]]:
    if capture["name"] is None:
        return [("capture", "none yet")]
    since = output.moment(capture["started_ns"], zone)
    if capture["active"]:
        state = f"recording since {since} into {capture['stream']}"
    else:
        state = f"idle; last [{capture['name']}] until {output.moment(capture['stopped_ns'], zone)}"
    recorded = output.count(capture["committed_records"])
    lost = output.episodes(capture.get("losses", ()), zone)
    pairs = [
        ("capture", f"[{capture['name']}] {state}" if capture["active"] else state),
        ("recorded", f"{recorded} records, {output.size(capture['committed_bytes'])}"),
        ("lost", output.losses(capture["lost"])),
        *(("", line) for line in _latest(lost)),
    ]
    if capture.get("caps"):
        pairs.insert(1, ("ends at", _caps(capture["caps"])))
    if capture["active"]:
        rate = f"{output.count(capture['pps'])} records/s, {output.count(capture['bps'])} bit/s"
        pairs.append(("rate", f"{rate}, {output.size(capture['pending_bytes'])} pending"))
    if capture["recorder"] not in ("running", "none"):
        pairs.append(("recorder", capture["recorder"]))
    if capture["message"]:
        pairs.append(("note", capture["message"]))
    return pairs


def _latest(lines: list[str]) -> list[str]:
    """As many as one screen takes, and how many were before them."""
    before = len(lines) - _EPISODES
    if before <= 0:
        return lines
    return [f"{before} earlier, which --json shows", *lines[-_EPISODES:]]


def _caps(caps: dict[str, int]) -> str:
    words = {"max_bytes": "bytes", "max_packets": "packets", "max_seconds": "seconds"}
    return ", ".join(f"{output.count(value)} {words[name]}" for name, value in caps.items())


def _store(store: dict[str, Any]) -> str:
    return f"{output.size(store['used_bytes'])} used, {output.size(store['free_bytes'])} free"


def _routes(routes: list[dict[str, Any]]) -> str:
    return output.table(
        ("ROUTE", "WAY", "MODES", "MATCHED", "FORWARDED", "DROPPED", "RECORDED", "LOST"),
        [
            _row(route, way, arrow)
            for route in routes
            for way, arrow in (("to_server", "->"), ("to_client", "<-"))
        ],
        right=(3, 4, 5, 6, 7),
    )


def _row(route: dict[str, Any], way: str, arrow: str) -> tuple[str, ...]:
    counts = route[way]
    modes = ",".join(route["modes"]) if route["enabled"] else "disabled"
    return (
        route["name"] if way == "to_server" else "",
        f"{route['client']} {arrow} {route['server']}",
        (modes or "-") if way == "to_server" else "",
        output.count(counts["matched_packets"]),
        output.count(counts["forwarded_packets"]),
        output.count(counts["dropped_packets"]),
        output.count(sum(counts["recorded_packets"].values())),
        output.count(sum(counts["lost_packets"].values())),
    )
