"""The recorder as a process: start it, find it again, end it.

It outlives us on purpose, so it gets its own session, nothing of our open files
and a command line that names its stream; by that a later fwdcapd finds it. A
process is held by a pidfd, which cannot mean another process later.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import fwdcap
from fwdcap import abi
from fwdcap.capture.accounts import Account
from fwdcap.capture.caps import Caps
from fwdcap.store import checkpoint

LOG = "recorder.log"
PROGRAM = Path(fwdcap.__file__).parent / "native" / "build" / "fwdcap-recorder"
_POLL_S = 0.02
_LOOK_S = 0.5
# A write that the disk sits on: only the disk can end it, and it mostly does.
DISK_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Order:
    """What a recorder is to do; sizes in bytes, snaplen 0 for whole frames. `follow` is the
    directory of the stream that was rolled, where this one begins."""

    pins: Path
    stream: Path
    snaplen: int
    segment_bytes: int
    account: Account
    program: tuple[str, ...] = (str(PROGRAM),)
    caps: Caps = field(default_factory=Caps)
    follow: Path | None = None

    def command(self) -> list[str]:
        command = [
            *self.program,
            *("--pins", str(self.pins)),
            *("--stream", str(self.stream)),
            *("--snaplen", str(self.snaplen)),
            *("--segment-bytes", str(self.segment_bytes)),
            *self.caps.arguments(),
        ]
        if self.follow is not None:
            command += ["--continue", str(self.follow)]
        if self.account.switch:
            command += ["--user", f"{self.account.uid}:{self.account.gid}"]
        return command


class Recorder:
    """One recorder process, started by us or found."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None = None) -> None:
        self.pid = pid
        self._child = child
        self._pidfd = os.pidfd_open(pid)

    def alive(self) -> bool:
        return not self.ended_within(0)

    def ended_within(self, timeout_s: float) -> bool:
        """Wait for its end; False when it still runs after `timeout_s`."""
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        ended = bool(poll.poll(timeout_s * 1000))
        if ended and self._child is not None:
            self._child.wait()
        return ended

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    def close(self) -> None:
        os.close(self._pidfd)


def start(order: Order) -> Recorder:
    """Start a recorder; what it says goes to recorder.log of its stream. Raises OSError."""
    log = os.open(order.stream / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
    try:
        child = subprocess.Popen(
            order.command(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"},
            close_fds=True,
            start_new_session=True,
        )
    finally:
        os.close(log)
    return Recorder(child.pid, child)


def find(stream: Path) -> Recorder | None:
    """The running recorder of the stream in that directory: by its command line, and run
    by the directory's owner or root, so that nobody else can pretend to be it."""
    try:
        uids = (0, stream.stat().st_uid)
    except OSError:
        return None
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or not _records(entry, stream, uids):
            continue
        try:
            found = Recorder(int(entry.name))
        except OSError:
            continue
        if _records(entry, stream, uids) and found.alive():  # still the same process
            return found
        found.close()
    return None


def _records(process: Path, stream: Path, uids: tuple[int, ...]) -> bool:
    try:
        if process.stat().st_uid not in uids:
            return False
        words = (process / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    wanted = os.fsencode(stream)
    pairs = list(itertools.pairwise(words))
    return (b"--stream", wanted) in pairs and any(word == b"--pins" for word, _ in pairs)


def report(stream: Path) -> abi.Checkpoint | None:
    """What the recorder of that stream last reported."""
    return checkpoint.read(stream / checkpoint.FILE)


def reports_within(stream: Path, recorder: Recorder, after: int, timeout_s: float) -> bool:
    """Wait for a report of a generation above `after`; False: it ended or said nothing."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = report(stream)
        if found is not None and found.generation > after:
            return True
        if recorder.ended_within(_POLL_S):
            return False
    return False


def drained(stream: Path, recorder: Recorder, patience_s: float) -> bool:
    """Tell it to write what is left and wait as long as it gets on; False: it was killed."""
    recorder.send(signal.SIGTERM)
    if not ends(stream, recorder, patience_s):
        recorder.send(signal.SIGKILL)
        recorder.ended_within(patience_s)
        return False
    found = report(stream)
    return found is not None and found.state == abi.RecorderState.COMPLETE


def ends(stream: Path, recorder: Recorder, patience_s: float) -> bool:
    """Wait for its end as long as it gets on; False: nothing moved for `patience_s`.

    A write that waits for the disk is given DISK_PATIENCE_S.
    """
    before, moved_s = _progress(stream), time.monotonic()
    while not recorder.ended_within(min(_LOOK_S, patience_s)):
        now, now_s = _progress(stream), time.monotonic()
        if now != before:
            before, moved_s = now, now_s
        elif now_s - moved_s > patience_s and not (
            now_s - moved_s < DISK_PATIENCE_S and _waits_for_disk(recorder.pid)
        ):
            return False
    return True


def _progress(stream: Path) -> int:
    found = report(stream)
    return int(found.generation) if found is not None else 0


def _waits_for_disk(pid: int) -> bool:
    """Is a thread of it in a sleep that nothing interrupts (proc(5), state D)?"""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if (thread / "stat").read_text().rpartition(")")[2].split()[0] == "D":
                return True
    return False


def said(stream: Path) -> str:
    """The last line the recorder wrote to its log, without its own name before it."""
    try:
        text = (stream / LOG).read_text(errors="replace").strip()
    except OSError:
        return ""
    last = text.splitlines()[-1] if text else ""
    return last.removeprefix("fwdcap-recorder:").strip()
