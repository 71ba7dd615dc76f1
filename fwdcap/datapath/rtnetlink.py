"""pyroute2's socket, with the errors everybody else expects.

pyroute2 raises an exception of its own that is no OSError. Interfaces come and
go between two requests, so such errors are ordinary here and must not get past
whoever handles OSError.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError


@contextlib.contextmanager
def rtnetlink() -> Iterator[pyroute2.IPRoute]:
    """A socket for this thread and block. Raises OSError when the kernel refuses."""
    try:
        with pyroute2.IPRoute() as socket:
            yield socket
    except NetlinkError as error:
        raise OSError(error.code, f"rtnetlink: {os.strerror(error.code)}") from error
