"""What the pages show of a moment, as values; pure.

`values` holds every number and sentence that moves, by key, and `states` how
each is meant (good, bad, warn, idle). A page is rendered from them once and
kept up to date from /live.json, which is the same two tables: nothing is
worded twice. `layout` changes when a page needs other rows, not other numbers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from fwdcap.errors import FwdcapError
from fwdcap.store.times import local
from webui import lost
from webui.lost import LossRow
from webui.words import bit_rate, duration, losses, number, reason, size

Body = Mapping[str, Any]

_NO_BREAK = "\u00a0"
_WAYS = (("to_server", "to server"), ("to_client", "to client"))


@dataclass(frozen=True)
class Warn:
    """Something to look at, and what to do about it."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class Way:
    """One direction of a route; its numbers are in `values` under `key`."""

    key: str
    title: str


@dataclass(frozen=True)
class RouteRow:
    """A route as the table shows it."""

    name: str
    enabled: bool
    client: str
    capture: str
    server: str
    egress: str
    modes: tuple[str, ...]
    ways: tuple[Way, ...]


@dataclass(frozen=True)
class Overview:
    """A moment of the appliance; `known` is False where fwdcapd does not answer."""

    known: bool
    recording: bool = False
    name: str = ""
    stream: str = ""
    has_counters: bool = False
    values: Mapping[str, str] = field(default_factory=dict)
    states: Mapping[str, str] = field(default_factory=dict)
    facts: tuple[tuple[str, str], ...] = ()
    routes: tuple[RouteRow, ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()
    losses: tuple[LossRow, ...] = ()
    warnings: tuple[Warn, ...] = ()

    @property
    def layout(self) -> str:
        """Equal for two moments that differ in numbers only."""
        shape = (
            self.known,
            self.recording,
            self.stream,
            self.has_counters,
            self.facts,
            self.routes,
            self.reasons,
            self.losses,
            self.warnings,
        )
        return hashlib.sha256(repr(shape).encode()).hexdigest()[:16]


def of_error(error: FwdcapError) -> Overview:
    """What can be said without fwdcapd."""
    values = {
        "forwarding.headline": "Not known",
        "forwarding.detail": "The daemon does not answer. Packets may still be forwarded.",
        "recording.headline": "Not known",
        "recording.detail": "A running capture goes on without the daemon.",
        "lost.headline": "Not known",
        "lost.detail": "The Files page shows what each stream lost.",
    }
    states = {"forwarding": "warn", "recording": "warn", "lost": "warn"}
    return Overview(
        known=False,
        values=values,
        states=states,
        warnings=(Warn(error.message, error.hint),),
    )


def of_status(now: Body, zone: tzinfo) -> Overview:
    """The overview of fwdcapd's status; times are worded in `zone`."""
    capture, datapath = now["capture"], now["datapath"]
    values: dict[str, str] = {}
    states: dict[str, str] = {}
    _forwarding(now, values, states)
    _recording(now, zone, values, states)
    _losses(capture, zone, values, states)
    _numbers(now, values)
    routes = tuple(_route(route, values, states) for route in now["routes"])
    return Overview(
        known=True,
        recording=bool(capture["active"]),
        name=capture["name"] or "",
        stream=capture["stream"] or "",
        has_counters=bool(capture["stream"]),
        values=values,
        states=states,
        facts=_facts(datapath),
        routes=routes,
        reasons=_reasons(now["forwarding"]["reasons"], values),
        losses=lost.rows(capture.get("losses") or (), zone, values),
        warnings=tuple(Warn(w["message"], w.get("hint", "")) for w in now["warnings"]),
    )


def _forwarding(now: Body, values: dict[str, str], states: dict[str, str]) -> None:
    datapath, dropped = now["datapath"], now["forwarding"]["dropped"]
    values["forwarding.packets"] = number(now["forwarding"]["packets"])
    values["forwarding.bytes"] = size(now["forwarding"]["bytes"])
    values["forwarding.dropped"] = number(dropped)
    states["forwarding.dropped"] = "warn" if dropped else "idle"
    enabled = [route for route in now["routes"] if route["enabled"]]
    if datapath["state"] != "forwarding":
        told = ("Not forwarding", datapath["why"] or "No capture interface is set.", "bad")
    elif datapath["link"] != "up":
        told = ("Not forwarding", f"The link of {datapath['interface']} is down.", "bad")
    elif not enabled:
        told = ("Ready, nothing to forward", "There is no enabled route.", "warn")
    else:
        count = f"{len(enabled)} route{'s' if len(enabled) > 1 else ''}"
        told = ("Forwarding", f"{count} on {datapath['interface']}, {datapath['mode']} XDP", "good")
    values["forwarding.headline"], values["forwarding.detail"], states["forwarding"] = told


def _recording(now: Body, zone: tzinfo, values: dict[str, str], states: dict[str, str]) -> None:
    capture = now["capture"]
    active, recorder = capture["active"], capture.get("recorder", "running")
    started_ns = capture["started_ns"] or 0
    ended_ns = now["time_ns"] if active else capture["stopped_ns"] or started_ns
    elapsed = duration(ended_ns - started_ns)
    values["capture.elapsed"] = elapsed
    values["capture.started"] = f"{local(started_ns, zone):%Y-%m-%d %H:%M:%S}" if started_ns else ""
    values["mark.name"], values["mark.elapsed"] = capture["name"] or "", elapsed
    said = capture.get("message") or ""
    if active and recorder == "stopping":
        told = ("Stopping", said, "warn")
    elif active and recorder != "running":
        told = ("Recording interrupted", said or f"The recorder is {recorder}.", "bad")
    elif active and not any(route["enabled"] and route["modes"] for route in now["routes"]):
        told = ("Recording nothing", "No enabled route has a mode.", "warn")
    elif active and said:
        told = ("Recording", said, "warn")
    elif active:
        told = ("Recording", f"{capture['name']}, for {elapsed}", "good")
    elif recorder == "failed":
        told = ("Not recording", said or "The last capture ended by an error.", "bad")
    elif said:
        told = ("Not recording", f"{said[:1].upper()}{said[1:].rstrip('.')}.", "idle")
    elif capture["stream"]:
        told = ("Not recording", f"Last capture: {capture['name']}, {elapsed} long", "idle")
    else:
        told = ("Not recording", "No capture yet.", "idle")
    values["recording.headline"], values["recording.detail"], states["recording"] = told


def _losses(capture: Body, zone: tzinfo, values: dict[str, str], states: dict[str, str]) -> None:
    count, which = capture["lost_records"], "this" if capture["active"] else "the last"
    if count:
        why = losses(capture["lost"]) + _when(capture.get("losses") or (), zone)
        told = (f"{number(count)} lost", f"In {which} capture: {why}.", "bad")
    elif capture["stream"]:
        told = ("Nothing lost", f"Every record of {which} capture is kept.", "good")
    else:
        told = ("Nothing lost", "No capture yet.", "idle")
    values["lost.headline"], values["lost.detail"], states["lost"] = told
    values["capture.lost"] = number(count)
    states["capture.lost"] = "bad" if count else "idle"


def _when(episodes: Sequence[Body], zone: tzinfo) -> str:
    """From the first loss to the last, as the end of a sentence."""
    if not episodes:
        return ""
    first = local(min(episode["first_ns"] for episode in episodes), zone)
    last = local(max(episode["last_ns"] for episode in episodes), zone)
    day = "" if first.date() == last.date() else "%Y-%m-%d "
    return f", {first:%Y-%m-%d %H:%M:%S} to {last.strftime(f'{day}%H:%M:%S')}"


def _numbers(now: Body, values: dict[str, str]) -> None:
    capture, store, active = now["capture"], now["store"], now["capture"]["active"]
    values |= {
        "capture.received": number(capture["received_packets"]),
        "capture.errors": number(capture["error_packets"]),
        "capture.recorded": number(capture["committed_records"]),
        "capture.recorded_bytes": size(capture["committed_bytes"]),
        "capture.pending": size(capture["pending_bytes"] or 0),
        "capture.bps": bit_rate(int(capture["bps"] or 0) if active else 0),
        "capture.pps": number(int(capture["pps"] or 0) if active else 0),
        "store.used": size(store["used_bytes"]),
        "store.free": size(store["free_bytes"]),
    }


def _facts(datapath: Body) -> tuple[tuple[str, str], ...]:
    """Data path and link, label and value, leaving out what is not known."""
    speed = datapath["link_speed_mbit"]
    link = f"{datapath['link']}, {bit_rate(speed * 1_000_000)}" if speed else datapath["link"]
    mode = f"{datapath['mode']} XDP" if datapath["mode"] else None
    facts = (
        ("Interface", datapath["interface"]),
        ("Data path", datapath["state"] if mode is None else f"{datapath['state']}, {mode}"),
        ("Why", datapath["why"]),
        ("Addresses", ", ".join(datapath["addresses"])),
        ("Link", link if datapath["interface"] else None),
        ("MTU", datapath["mtu"]),
        ("Driver", datapath["driver"]),
    )
    return tuple((label, str(value)) for label, value in facts if value)


def _route(route: Body, values: dict[str, str], states: dict[str, str]) -> RouteRow:
    ways = []
    for way, title in _WAYS:
        key, counted = f"route.{route['id']}.{way}", route[way]
        missing = sum(counted["lost_packets"].values())
        values |= {
            f"{key}.matched": number(counted["matched_packets"]),
            f"{key}.forwarded": number(counted["forwarded_packets"]),
            f"{key}.bytes": size(counted["forwarded_bytes"]),
            f"{key}.dropped": number(counted["dropped_packets"]),
            f"{key}.recorded": _by_mode(route["modes"], counted["recorded_packets"]),
            f"{key}.lost": number(missing),
        }
        states[f"{key}.dropped"] = "warn" if counted["dropped_packets"] else "idle"
        states[f"{key}.lost"] = "bad" if missing else "idle"
        ways.append(Way(key, title))
    return RouteRow(
        name=route["name"],
        enabled=route["enabled"],
        client=route["client"],
        capture=route["capture"],
        server=route["server"],
        egress=route["egress"] or route["capture"],
        modes=tuple(route["modes"]),
        ways=tuple(ways),
    )


def _by_mode(modes: list[str], recorded: Mapping[str, int]) -> str:
    """One number, or one for each mode of the route where it has several."""
    counts = [(mode, recorded.get(mode, 0)) for mode in modes]
    if len(counts) == 1:
        return number(counts[0][1])
    return " · ".join(f"{mode}{_NO_BREAK}{number(count)}" for mode, count in counts) or "0"


def _reasons(reasons: Mapping[str, int], values: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """(key of the count, words) of every reason that happened."""
    rows = []
    for word, count in reasons.items():
        if count and word != "forwarded":
            values[f"reason.{word}"] = number(count)
            rows.append((f"reason.{word}", reason(word)))
    return tuple(rows)
