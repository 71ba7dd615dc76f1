"""Numbers for routes.

Records carry a route's number, not its name, and streams outlive routes, so a
number once given is never given to another name. The daemon keeps the whole
mapping, removed routes included; that alone makes numbers survive restarts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

FIRST = 1  # 0 stands for "no route" in tags


def assign(known: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """`known` with the names that are new to it, each numbered above all before.

    Names that are gone stay in the result: whoever stores it stores all of it.
    """
    ids = dict(known)
    following = max(ids.values(), default=FIRST - 1) + 1
    for name in names:
        if name not in ids:
            ids[name] = following
            following += 1
    return ids
