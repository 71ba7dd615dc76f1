"""What was lost, episode by episode: of which ring, why, how much, from when to when; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Any

from fwdcap.store.times import local
from webui.words import loss, number

SHOWN = 10  # of the capture of the moment; the page of its stream has them all


@dataclass(frozen=True)
class LossRow:
    """An episode of losses; its number of records and its end, which move, are in the
    page's values under `key`."""

    key: str
    why: str
    ring: str
    since: str


def rows(
    episodes: Sequence[Mapping[str, Any]], zone: tzinfo, values: dict[str, str]
) -> tuple[LossRow, ...]:
    """A row for each, the latest first; what moves is put into `values`."""
    return tuple(
        _row(at, episode, zone, values)
        for at, episode in reversed(list(enumerate(episodes)))  # the number of one stays its own
    )


def _row(at: int, episode: Mapping[str, Any], zone: tzinfo, values: dict[str, str]) -> LossRow:
    key, ring = f"loss.{at}", episode["ring"]
    values[f"{key}.records"] = number(episode["records"])
    values[f"{key}.until"] = _moment(episode["last_ns"], zone)
    return LossRow(
        key=key,
        why=loss(episode["reason"]),
        ring="—" if ring is None else str(ring),
        since=_moment(episode["first_ns"], zone),
    )


def _moment(ns: int, zone: tzinfo) -> str:
    return f"{local(ns, zone):%Y-%m-%d %H:%M:%S}"
