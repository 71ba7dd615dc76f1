"""Sizes and ages as people write them: "500GB", "10%", "7d".

One place for all settings, options and requests that take one, so that the same
text means the same everywhere: GB are 10^9 bytes and GiB 2^30, as on the disk
and in memory; an age has its unit, a bare number of nobody-knows-what is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwdcap.errors import Invalid

_PREFIXES = ("", "k", "m", "g", "t", "p")
_UNITS_BYTES = {
    f"{prefix}{ending}": base**power
    for base, ending in ((1000, "b"), (1024, "ib"))
    for power, prefix in enumerate(_PREFIXES)
    if prefix or base == 1000
}
_NS = 1_000_000_000
_UNITS_NS = {"s": _NS, "m": 60 * _NS, "h": 3600 * _NS, "d": 86_400 * _NS, "w": 604_800 * _NS}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*|%)")
_AGE = re.compile(r"(?:\d+(?:\.\d+)?\s*[smhdw]\s*)+")
_AGE_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_MAX = 2**63 - 1

SIZES = 'a number of bytes or a size such as "500GB" or "2TiB"'
SHARES = f'{SIZES}, or a share such as "10%"'
AGES = 'an age such as "7d", "36h" or "90m"'


@dataclass(frozen=True)
class Size:
    """`bytes`, or `percent` of something that is known later."""

    bytes: int = 0
    percent: float | None = None

    def of(self, whole_bytes: int) -> int:
        """It in bytes, `whole_bytes` being 100 %."""
        return self.bytes if self.percent is None else int(whole_bytes * self.percent / 100)


def size(value: object, *, share: bool = False) -> Size:
    """The size that `value` (a number or a text) stands for; `share`: "10%" is one too.

    Raises Invalid.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX:
        return Size(value)
    match = _SIZE.fullmatch(_tidy(value)) if isinstance(value, str) else None
    if match is not None:
        number, unit = match[1], match[2].lower()
        if unit == "%" and share and float(number) <= 100:
            return Size(percent=float(number))
        if not unit and "." not in number and int(number) <= _MAX:
            return Size(int(number))
        if unit in _UNITS_BYTES and (found := _product(number, _UNITS_BYTES[unit])) <= _MAX:
            return Size(found)
    raise _refusal(value, SHARES if share else SIZES, "size")


def age_ns(value: object) -> int:
    """The age that a text such as "7d" or "1d12h" stands for, in nanoseconds. Raises Invalid."""
    text = value.strip().lower() if isinstance(value, str) else ""
    if _AGE.fullmatch(text):
        parts = _AGE_PART.findall(text)
        found = sum(_product(number, _UNITS_NS[unit]) for number, unit in parts)
        if 0 < found <= _MAX:
            return found
    raise _refusal(value, AGES, "age")


def _tidy(text: str) -> str:
    """Without the underscores that TOML allows between digits."""
    return re.sub(r"(?<=\d)_(?=\d)", "", text.strip())


def _product(number: str, unit: int) -> int:
    """`number` × `unit` without the rounding of a float."""
    whole, _, fraction = number.partition(".")
    return int(whole) * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)


def _refusal(value: object, must: str, kind: str) -> Invalid:
    shown = repr(value) if len(repr(value)) < 60 else f"{repr(value)[:60]}…"
    return Invalid(f"{shown} is no {kind}.", code=f"bad-{kind}", hint=f"It must be {must}.")
