"""Whether the store is still the one that this daemon began with.

A mount point whose disk has gone is an empty directory of another disk, which
would fill without a word. So the daemon notes the file system that the store is
on and keeps a number in it, by which it knows the store when its disk is back.
"""

from __future__ import annotations

import logging
import os
import uuid
from pathlib import Path

from fwdcap.capture.notice import Notice
from fwdcap.errors import Unavailable
from fwdcap.store import durable

log = logging.getLogger(__name__)

FILE = ".fwdcap-store"


class Home:
    """Of one store; until `remember` any directory will do."""

    def __init__(self, store: Path) -> None:
        self._store = store
        self._device: int | None = None
        self._known = ""

    def remember(self) -> None:
        """Take the store as it is now for the right one."""
        mark = self._store / FILE
        try:
            self._device = self._store.stat().st_dev
            if not mark.exists():
                durable.replace(mark, uuid.uuid4().hex.encode())
            self._known = mark.read_text().strip()
        except OSError as error:  # a full disk shall not keep the daemon from starting
            log.warning("%s could not be written: %s", mark, error)

    def require(self) -> None:
        """Raises Unavailable where the store is not there."""
        found = self.trouble()
        if found is not None:
            raise found

    def trouble(self) -> Unavailable | None:
        """Why the store cannot be used, if so."""
        try:
            device = os.stat(self._store).st_dev
        except OSError as error:
            return self._away(f"is away: {error.strerror or error}")
        if self._device in (None, device) or self._reads() == self._known != "":
            return None
        return self._away("is on another disk than when the daemon began")

    def notices(self) -> tuple[Notice, ...]:
        """What a person should know of."""
        found = self.trouble()
        return (Notice(found.code, found.message, found.hint),) if found else ()

    def _reads(self) -> str:
        try:
            return (self._store / FILE).read_text().strip()
        except (OSError, ValueError):
            return ""

    def _away(self, why: str) -> Unavailable:
        return Unavailable(
            f"The store {self._store} {why}.",
            code="store-away",
            hint="Mount its disk again, or restart the daemon: it takes the directory as it is, "
            "and makes it where it was removed.",
        )
