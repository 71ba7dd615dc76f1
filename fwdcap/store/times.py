"""Nanoseconds since 1970 to the text of a time zone.

Every time inside fwdcap is an integer number of UTC nanoseconds. It becomes a
local time only at the border, in the zone of `[time] zone`, and always with the
same words, so that a row of /plain/list, a page and a log line agree.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from fwdcap.errors import Invalid

NS = 1_000_000_000


def zone_of(name: str) -> tzinfo:
    """The time zone of that IANA name; raises Invalid where the machine knows none."""
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise Invalid(
            f"There is no time zone {name[:64]!r} on this machine.",
            code="unknown-zone",
            hint='Use a name such as "Europe/Vienna" or "UTC" for [time] zone.',
        ) from None


def local(ns: int, zone: tzinfo) -> datetime:
    """The second that `ns` (UTC nanoseconds) lies in, in `zone`."""
    return datetime.fromtimestamp(ns // NS, zone)


def asctime(ns: int, zone: tzinfo) -> str:
    """C's asctime without the newline, `Sat Jun 20 20:28:55 2015`, whatever the locale."""
    return local(ns, zone).ctime()


def days_hours_minutes(seconds: float) -> str:
    """A duration as /sysmaster/status shows it: `0D 3H 36M`."""
    minutes = max(0, int(seconds)) // 60
    return f"{minutes // 1440}D {minutes // 60 % 24}H {minutes % 60}M"
