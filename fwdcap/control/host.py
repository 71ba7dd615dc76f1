"""What the machine must have before a daemon can work, each with its sentence.

The readings are arguments where a decision depends on them, so that an old
kernel can be tried on a new one.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from fwdcap.errors import Forbidden, Unavailable

MINIMUM_KERNEL = (6, 1)
# <linux/capability.h>
_NEEDED = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}


def kernel_release() -> str:
    """As `uname -r` prints it."""
    return os.uname().release


def kernel_version(release: str) -> tuple[int, int]:
    """Major and minor of a release, (0, 0) where it has none."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def require_kernel(release: str) -> None:
    """Raises Unavailable for a kernel that lacks what the data path needs."""
    if kernel_version(release) >= MINIMUM_KERNEL:
        return
    raise Unavailable(
        f"Linux {release} is too old.",
        code="kernel-too-old",
        hint="fwdcap needs 6.1 or later, as in Debian 12, Amazon Linux 2023 or Ubuntu 24.04.",
    )


def effective_capabilities() -> int:
    """The bits of CapEff, 0 where they cannot be read."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    match = re.search(r"^CapEff:\s*([0-9a-f]+)$", text, re.MULTILINE)
    return int(match[1], 16) if match else 0


def lacking(capabilities: int) -> list[str]:
    """The names of needed capabilities that are not among these bits."""
    return [name for name, bit in _NEEDED.items() if not capabilities >> bit & 1]


def require_privileges(capabilities: int) -> None:
    """Raises Forbidden without what loading and attaching takes."""
    names = lacking(capabilities)
    if not names:
        return
    raise Forbidden(
        f"fwdcap lacks the privileges to relay packets: {', '.join(names)}.",
        code="no-privileges",
        hint="Run it as root.",
    )
