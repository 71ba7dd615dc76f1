"""Numbers and enums in the words of the pages."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup, escape

from fwdcap.store.times import NS

_REASONS = {
    "pass-not-ip": "not IPv4, left to the machine itself",
    "pass-no-route": "no route matches, left to the machine itself",
    "pass-group-address": "broadcast or multicast, left to the machine itself",
    "pass-malformed": "malformed, left to the machine itself",
    "drop-unmatched": "no route matches, and unmatched packets are dropped",
    "drop-disabled": "their route is disabled",
    "drop-no-next-hop": "the next hop has never answered",
    "drop-too-big": "larger than the MTU towards the next hop",
    "drop-super-frame": "larger than the interface's MTU: the sender's segmentation offload is on",
    "drop-ttl": "their time to live ran out",
    "drop-unsupported": "their rule cannot be carried out",
    "drop-internal": "a step after the match failed",
    "note-next-hop-stale": "forwarded to the last known next hop, it no longer answers",
    "note-unfinished-checksum": "forwarded with an unfinished checksum: "
    "the sender's checksum offload is on",
}
_LOSSES = {
    "ring-full": "ring full",
    "copy": "not copied",
    "disk": "disk",
    "unknown": "unexplained",
}
_BYTES = ("kB", "MB", "GB", "TB", "PB")
_BITS = ("kbit/s", "Mbit/s", "Gbit/s", "Tbit/s")


def number(value: int) -> str:
    """1234567 as `1,234,567`."""
    return f"{value:,}"


def size(value: int) -> str:
    """Bytes in decimal units, three digits: `1.23 GB`."""
    return f"{value} bytes" if value < 1000 else _scaled(value, _BYTES)


def bit_rate(value: int) -> str:
    """Bits per second: `7.73 Gbit/s`."""
    return f"{value} bit/s" if value < 1000 else _scaled(value, _BITS)


def duration(nanoseconds: int) -> str:
    """`0:03:12`, with days in front where there are any: `2 d 0:03:12`."""
    seconds = max(0, nanoseconds) // NS
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days} d {clock}" if days else clock


def span(nanoseconds: int) -> str:
    """How long a split is: `1.00 s`, `250 ms`, from a minute on `0:15:00`."""
    if nanoseconds >= 60 * NS:
        return duration(nanoseconds)
    for unit_ns, unit in ((NS, "s"), (1_000_000, "ms"), (1000, "µs")):
        if nanoseconds >= unit_ns:
            value = nanoseconds / unit_ns
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{max(0, nanoseconds)} ns"


def reason(word: str) -> str:
    """Why packets were not forwarded, or what was odd about them."""
    return _REASONS.get(word, word.replace("-", " "))


def code(text: str) -> Markup:
    """The sentence for a page: what stands in backticks set as code, all of it escaped."""
    parts = text.split("`")
    if len(parts) % 2 == 0:  # one backtick has no partner
        return escape(text)
    pieces = (
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(parts)
    )
    return Markup("").join(pieces)


def loss(word: str) -> str:
    """Why records were lost."""
    return _LOSSES.get(word, word.replace("-", " "))


def losses(lost: Mapping[str, int]) -> str:
    """`ring full 1,200 · disk 34`, only what happened."""
    parts = ((loss(word), count) for word, count in lost.items())
    return " · ".join(f"{said} {number(count)}" for said, count in parts if count)


def _scaled(value: int, units: tuple[str, ...]) -> str:
    scaled, unit = value / 1000, units[0]
    for following in units[1:]:
        if scaled < 999.5:
            break
        scaled, unit = scaled / 1000, following
    return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"
