"""Where kernel objects are pinned.

One directory per capture interface and generation of the C contract, under
bpffs: `/sys/fs/bpf/fwdcap/<interface>/g<abi>`. bpffs is shared by all network
namespaces of a machine, interface names are not, so outside the first namespace
the namespace's cookie joins the name (inode numbers are reused, cookies never).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from pathlib import Path

from fwdcap import abi
from fwdcap.errors import Unavailable

BPFFS = Path("/sys/fs/bpf")
ROOT = BPFFS / "fwdcap"
_SO_NETNS_COOKIE = 71  # <asm-generic/socket.h>, Linux 5.14
_BPF_FS_MAGIC = "bpf"


def namespace_suffix() -> str:
    """'' in the first network namespace of the machine, else '@<cookie>'."""
    try:
        first = os.stat("/proc/1/ns/net")
        mine = os.stat("/proc/thread-self/ns/net")
        if (first.st_dev, first.st_ino) == (mine.st_dev, mine.st_ino):
            return ""
    except OSError:
        pass  # hidden from us: the cookie is right in any namespace
    with socket.socket(socket.AF_UNIX) as probe:
        return (
            f"@{int.from_bytes(probe.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), 'little')}"
        )


def interface_directory(interface: str) -> Path:
    # bpffs refuses dots in names, interfaces may not have colons: eth0.7 is eth0:7.
    return ROOT / f"{interface.replace('.', ':')}{namespace_suffix()}"


def interface_of(directory: Path) -> str:
    """The interface whose directory this is."""
    return directory.name.removesuffix(namespace_suffix()).replace(":", ".")


def generation_directory(interface: str) -> Path:
    return interface_directory(interface) / f"g{abi.ABI}"


def pinned_interfaces() -> list[str]:
    """Interfaces of this network namespace that have a pinned data path."""
    return sorted(
        interface_of(link.parent.parent) for link in links() if link.parent.name == f"g{abi.ABI}"
    )


def links() -> list[Path]:
    """The pinned links of this network namespace, of every interface and generation."""
    suffix = namespace_suffix()
    found = ROOT.glob("*/g*/link") if ROOT.is_dir() else ()
    return sorted(
        link for link in found if "@" + link.parts[-3].partition("@")[2] == (suffix or "@")
    )


def bpffs_is_mounted() -> bool:
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1:3] == [str(BPFFS), _BPF_FS_MAGIC] for line in mounts)


def mount_bpffs() -> None:
    """Mount bpffs if it is not; raises Unavailable with the reason."""
    if bpffs_is_mounted():
        return
    command = ["mount", "-t", "bpf", "bpf", str(BPFFS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(
            f"bpffs is not mounted at {BPFFS} and cannot be: {_first_line(done.stderr)}.",
            code="bpffs-missing",
            hint=f"Mount it as root: {' '.join(command)}",
        )


def remove(directory: Path) -> None:
    """Unpin everything in it; the kernel frees what nobody else holds.

    Parents that are empty then go as well, up to our own root.
    """
    shutil.rmtree(directory, ignore_errors=True)
    for parent in directory.parents:
        if not parent.is_relative_to(ROOT):
            break
        with contextlib.suppress(OSError):  # not empty
            parent.rmdir()


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[0].rstrip(".") if lines else "mount(8) does not say why"
