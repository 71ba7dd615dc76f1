"""Small disks of their own for stores, most of which are to run full: a file, mounted."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def disk(place: Path, size_bytes: int, kind: str = "ext4") -> Iterator[Path]:
    """An ext4 (or ext2) of that size at `place`; no block of it is kept for root alone."""
    image = place.with_name(f"{place.name}.image")
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(size_bytes)
    tool(f"mkfs.{kind}", "-q", "-F", "-m", "0", image)
    mount(place)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=False, capture_output=True)
        image.unlink()


def mount(place: Path) -> None:
    """Mount what `disk` made there, again."""
    tool("mount", "-o", "loop", place.with_name(f"{place.name}.image"), place)


def unmount(place: Path) -> None:
    """Take the disk away, leaving an empty directory."""
    tool("umount", place)


def tool(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
