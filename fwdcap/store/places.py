"""Where the files of a stream are, and how they are called on their way out.

A segment that moved to the archive leaves a symbolic link in the store, so one
path leads to it wherever it is: replacing a file by a link to its copy is one
rename, no reader ever finds neither, and any pcap tool reads on. The links are
relative to `<store>/archive`, itself a link to where the archive is now.

What is being deleted is renamed first, to a name that no stream and no segment
can have: it is gone for readers at once, and a crash leaves what is known to be
rubbish.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

ARCHIVE = "archive"
KINDS = ("tags", "index", "pcap")  # in the order in which they come to a new place

_SEGMENT = re.compile(r"(\d{6,})\.(pcap|tags|index)")
_DELETING = ".deleting"
_NEW = ".new"


def file_name(number: int, kind: str) -> str:
    """What a file of that segment is called in either place."""
    return f"{number:06}.{kind}"


def segment_of(name: str) -> tuple[int, str] | None:
    """Number and kind of the segment's file of that name; None where it is none."""
    match = _SEGMENT.fullmatch(name)
    return (int(match[1]), match[2]) if match else None


def link_text(stream: str, name: str) -> str:
    """What the link of an archived file says; relative to the stream's directory."""
    return f"../../{ARCHIVE}/{stream}/{name}"


def is_archived(directory: Path, name: str, fd: int | None = None) -> bool:
    """Is that file of a stream a link to its copy in the archive?

    Any other link is none of ours: a reader must not follow it.
    """
    try:
        said = os.readlink(directory / name if fd is None else name, dir_fd=fd)
    except OSError:
        return False
    return said == link_text(stream_of(directory), name)


def stream_of(directory: Path) -> str:
    """The stream that is, or was until its deletion began, in that directory."""
    return deleted_name(directory.name) or directory.name


def deleting(name: str) -> str:
    """What a stream's directory or a segment's file is called while it is deleted."""
    return f".{name}{_DELETING}"


def deleted_name(hidden: str) -> str | None:
    """The name that something had before its deletion began; None where it did not begin."""
    if hidden.startswith(".") and hidden.endswith(_DELETING):
        return hidden[1 : -len(_DELETING)] or None
    return None


def unfinished(name: str) -> str:
    """What a copy or link is called until it takes its place."""
    return f".{name}{_NEW}"


def is_unfinished(hidden: str) -> bool:
    """Was that left by a copy that never took its place?"""
    inner = hidden[1 : -len(_NEW)]
    return hidden.startswith(".") and hidden.endswith(_NEW) and segment_of(inner) is not None
