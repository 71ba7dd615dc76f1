"""What a user may do: one ladder, on which each role may what those below it may."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """From the least to the most."""

    VIEWER = "viewer"  # status and lists
    RESTRICTED = "restricted"  # downloads, through the filter and the snaplen set for that user
    DOWNLOADER = "downloader"  # downloads
    OPERATOR = "operator"  # captures, the schedule, deleting streams
    ADMIN = "admin"  # routes, users, settings, the data path, the audit log

    @property
    def step(self) -> int:
        """How far up the ladder, the lowest being 0."""
        return list(Role).index(self)

    def may(self, needed: Role) -> bool:
        """Whether this role may what `needed` may."""
        return self.step >= needed.step


def role_of(text: object) -> Role | None:
    """The role of that name; None where there is none."""
    try:
        return Role(text) if isinstance(text, str) else None
    except ValueError:
        return None
