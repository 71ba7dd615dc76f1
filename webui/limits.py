"""What a restricted user's downloads are forced through.

The filter and the snaplen that are set for the user are put over whatever was
asked for, which makes every such download one of fwdcap-scan. What sends bytes
of the store as they are asks `refuse_plain` once more, so that a path that was
forgotten here is refused instead of handing out everything.
"""

from __future__ import annotations

from dataclasses import replace

from flask import g

from fwdcap.errors import Forbidden
from fwdcap.store.export import Export
from fwdcap.users.roles import Role
from webui.users import User


def bound(export: Export, user: User) -> Export:
    """The export as that user may have it. Raises Forbidden where nothing is set."""
    if user.role.may(Role.DOWNLOADER):
        return export
    if not (user.filter or user.snaplen):
        raise _refusal(user)
    filters = export.filters
    if user.filter and user.filter not in filters:
        filters = (*filters, user.filter)
    return replace(export, filters=filters, snaplen=_shorter(export.snaplen, user.snaplen))


def refuse_plain() -> None:
    """Raises Forbidden where this request's user may not have bytes as they are."""
    user = getattr(g, "user", None)
    if user is None or not user.role.may(Role.DOWNLOADER):
        raise _refusal(user)


def _shorter(one: int, other: int) -> int:
    """The smaller snaplen, 0 being none."""
    return min(one or other, other or one)


def _refusal(user: User | None) -> Forbidden:
    return Forbidden(
        f"User {user.name if user else ''} may download only through a filter, and none is set.",
        code="no-restriction",
        hint="Ask an admin for one.",
    )
