"""stream.json: what a stream is, in words.

fwdcapd is its one writer; it says what the packets themselves do not: the
capture's name, the route table and its changes, and, once stopped, the final
counters. Written to a temporary file, synced and renamed, so a reader sees the
old text or the new one. Readers take a torn or missing file as "not known".
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from fwdcap import abi

State = Literal["recording", "complete", "recovered"]

FILE = "stream.json"
FORMAT = 1
MAX_NS = 2**63  # in the year 2262; what is later, or before 1970, is no time of a capture

# Records (emitted, lost before they were) by route id and mode.
Interfaces = Mapping[tuple[int, abi.Mode], tuple[int, int]]


@dataclass(frozen=True)
class StreamJson:
    """The content of one stream.json; all times are UTC nanoseconds.

    `routes` is the table as it was at the start, `changes` what became of it
    since. `counters` holds received_packets, error_packets, emitted_records,
    emitted_bytes, lost (reason → records) and interfaces, the rows of
    `interface_list`; it is empty until the stop. `note` says what recovery found.
    Of a stream that retention has `trimmed`, `original_first_ns` is the time of
    the first packet it had, `removed` its segments, packets and bytes (record
    headers included) that are gone.

    `max_bytes` (of the single pcap), `max_packets` and `max_seconds` end the
    capture, and `used` says what streams before this one took of them: a capture
    that rolls, or that a reboot interrupted, has several, each naming the next in
    `continued_by` and the one before in `continues`. `baseline` is what the
    program had counted where this one began. `schedule` is the row that started
    it, `boot` the kernel's boot id then. `ended` says in a word how it ended and
    `message` in a sentence; `losses` what was lost of which ring, why, and when.
    `clock_steps`: when the machine's clock was set (`at_ns`, by the stream's own
    time) and by how much (`by_ns`); the stream's times do not follow.
    """

    name: str
    stream: str
    state: State
    started_ns: int
    stopped_ns: int | None = None
    snaplen: int = 0
    link_type: int = 1
    zone: str = "UTC"
    interface: str = ""
    pins: str = ""
    routes: tuple[Mapping[str, Any], ...] = ()
    changes: tuple[Mapping[str, Any], ...] = ()
    counters: Mapping[str, Any] = field(default_factory=dict)
    first_loss_ns: int | None = None
    last_loss_ns: int | None = None
    link_since_ns: int | None = None
    note: str = ""
    trimmed: bool = False
    original_first_ns: int | None = None
    removed: Mapping[str, int] = field(default_factory=dict)
    max_bytes: int | None = None
    max_packets: int | None = None
    max_seconds: int | None = None
    used: Mapping[str, int] = field(default_factory=dict)
    continues: str = ""
    continued_by: str = ""
    baseline: Mapping[str, Any] = field(default_factory=dict)
    schedule: str = ""
    boot: str = ""
    ended: str = ""
    message: str = ""
    losses: tuple[Mapping[str, Any], ...] = ()
    clock_steps: tuple[Mapping[str, Any], ...] = ()
    format: int = FORMAT

    @property
    def lost(self) -> int:
        """Records lost over all reasons, as far as `counters` says."""
        lost = self.counters.get("lost", {})
        if not isinstance(lost, Mapping):
            return 0
        return sum(count for count in lost.values() if isinstance(count, int))


def read(path: Path) -> StreamJson | None:
    """What the file says; None where it is missing, torn or of another kind."""
    try:
        raw = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return parse(raw)


def parse(raw: object) -> StreamJson | None:
    """The value in decoded JSON; keys this version does not know are passed over.

    None where a value is of the wrong kind, or a time not between 1970 and 2262.
    """
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        return None
    known = {name: raw[name] for name in _KINDS if raw.get(name) is not None}
    if not all(_fits(known[name], _KINDS[name]) for name in known):
        return None
    if not known.keys() >= _REQUIRED or known["state"] not in get_args(State):
        return None
    if not _counts(known.get("removed", {})) or not _in_time(known):
        return None
    for name in ("routes", "changes", "losses", "clock_steps"):
        known[name] = tuple(part for part in known.get(name, ()) if isinstance(part, dict))
    if not all(_in_time(part) for name in ("changes", "losses") for part in known[name]):
        return None
    known["losses"] = tuple(filter(_is_loss, known["losses"]))
    return StreamJson(**known)


def write(path: Path, value: StreamJson) -> None:
    """Replaces the file; on return both text and name are on disk. Raises OSError."""
    text = json.dumps(asdict(value), indent=1, sort_keys=False) + "\n"
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w", encoding="utf-8") as file:
        _share(file.fileno(), path.parent)
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def interface_list(interfaces: Interfaces) -> list[dict[str, Any]]:
    """As `counters` and `baseline` have them."""
    return [
        {"route_id": route_id, "mode": mode.name.lower(), "recorded": recorded, "lost": lost}
        for (route_id, mode), (recorded, lost) in sorted(interfaces.items())
    ]


def parse_interfaces(raw: object) -> Interfaces:
    """What `interface_list` wrote; rows that are damaged are left out."""
    rows = [row for row in raw if isinstance(row, dict)] if isinstance(raw, list | tuple) else []
    return {
        (row["route_id"], _MODES[row["mode"]]): (row["recorded"], row["lost"])
        for row in rows
        if str(row.get("mode")) in _MODES
        and all(_fits(row.get(key), int) for key in ("route_id", "recorded", "lost"))
    }


def _share(fd: int, directory: Path) -> None:
    """Lets the store's group read the file: the web process is in it and nothing else."""
    os.fchmod(fd, 0o640)
    with suppress(PermissionError):
        os.fchown(fd, -1, directory.stat().st_gid)


_MODES = {mode.name.lower(): mode for mode in abi.Mode}
_REQUIRED = {"name", "stream", "state", "started_ns"}
_KINDS: Mapping[str, type] = {
    "name": str,
    "stream": str,
    "state": str,
    "started_ns": int,
    "stopped_ns": int,
    "snaplen": int,
    "link_type": int,
    "zone": str,
    "interface": str,
    "pins": str,
    "routes": list,
    "changes": list,
    "counters": dict,
    "first_loss_ns": int,
    "last_loss_ns": int,
    "link_since_ns": int,
    "note": str,
    "trimmed": bool,
    "original_first_ns": int,
    "removed": dict,
    "max_bytes": int,
    "max_packets": int,
    "max_seconds": int,
    "used": dict,
    "continues": str,
    "continued_by": str,
    "baseline": dict,
    "schedule": str,
    "boot": str,
    "ended": str,
    "message": str,
    "losses": list,
    "clock_steps": list,
}


def _fits(value: object, kind: type) -> bool:
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def _in_time(values: Mapping[str, Any]) -> bool:
    """Are all of its times such that clocks and calendars know them?"""
    times = [value for key, value in values.items() if key.endswith("_ns") and value is not None]
    return all(_fits(value, int) and 0 <= value < MAX_NS for value in times)


def _is_loss(part: Mapping[str, object]) -> bool:
    """Has it all that tells a loss? Its ring may be no one's."""
    numbers = (part.get("records"), part.get("first_ns"), part.get("last_ns"))
    ring = part.get("ring")
    return (
        isinstance(part.get("reason"), str)
        and all(_fits(number, int) for number in numbers)
        and (ring is None or _fits(ring, int))
    )


def _counts(removed: Mapping[str, object]) -> bool:
    """Has `removed` all of its numbers, or nothing?"""
    keys = ("segments", "packets", "bytes")
    return not removed or all(_fits(removed.get(key), int) for key in keys)
