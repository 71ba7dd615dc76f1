"""The data path as the daemon holds it: none, waited for, forwarding or detached.

Every touch of the kernel goes through here under one short lock, so a reader
never meets a data path that is being closed, and writers never overtake each
other. Towards captures it is their source of records (capture.session.Source).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fwdcap import abi
from fwdcap.config import Settings, ring_bytes, ring_count
from fwdcap.control.backend import Backend, DataPath, Interface
from fwdcap.errors import Conflict, NotFound, Unavailable
from fwdcap.routes.model import Rule, RuleKey
from fwdcap.routes.plan import Plan, plan

State = Literal["none", "waiting", "forwarding", "detached"]
Table = Mapping[RuleKey, Rule]


@dataclass(frozen=True)
class View:
    """What the data path is like at one moment; ring sizes in bytes."""

    state: State
    interface: str | None = None
    why: str = ""
    mode: str | None = None
    pins: Path | None = None
    info: Interface | None = None
    rules: Table = field(default_factory=dict)
    counters: Mapping[RuleKey, abi.RuleCounters] = field(default_factory=dict)
    reasons: Mapping[abi.Reason, int] = field(default_factory=dict)
    ring_used_bytes: int = 0
    ring_bytes: int = 0


class Kernel:
    """Owner of the one data path."""

    def __init__(self, settings: Settings, backend: Backend) -> None:
        self._settings = settings
        self._backend = backend
        self._lock = threading.RLock()
        self._path: DataPath | None = None
        self._claim: int | None = None
        self.interface = settings.interface.name
        self._why = "" if self.interface else "No capture interface is configured."
        self._detached = False

    # ---- life

    @property
    def attached(self) -> bool:
        return self._path is not None

    @property
    def waiting(self) -> bool:
        """An interface is wanted and not attached."""
        return self._path is None and self.interface is not None and not self._detached

    def wait_for(self, interface: str, why: str) -> None:
        """Note that `interface` is wanted and why it is not attached yet."""
        self.interface, self._why, self._detached = interface, why, False

    def attach(self, interface: str) -> None:
        """Attach to `interface` or adopt what is pinned there; refuses when another daemon has.

        Raises NotFound, Unavailable or Conflict.
        """
        with self._lock:
            if self._backend.info(interface) is None:
                raise missing(interface)
            # Before anything is touched: what is attached may be another daemon's.
            taken = claim(self._backend.directory(interface), interface)
            try:
                path = self._backend.attach(
                    interface,
                    xdp=self._settings.interface.xdp,
                    ring_bytes=ring_bytes(self._settings, memory_bytes()),
                    ring_count=ring_count(self._settings),
                    unmatched_drop=self._settings.interface.unmatched == "drop",
                )
            finally:
                if taken is not None:
                    os.close(taken)
            self._hold(path)

    def open(self, interface: str) -> bool:
        """Take what is pinned for `interface` without touching it; False when nothing is."""
        with self._lock:
            path = self._backend.open(interface)
            if path is None:
                return False
            self._hold(path)
            return True

    def detach(self) -> list[str]:
        """Remove the data path; returns what could not be restored. Raises Conflict."""
        with self._lock:
            path = self._need("detached")
            try:
                return path.detach()
            finally:  # whatever went wrong, it is not one to ask any more
                self._let_go()
                self._detached = True
                self._why = "Detached on request."

    def close(self) -> None:
        """Let go of everything; the data path goes on forwarding."""
        with self._lock:
            if self._path is not None:
                self._path.close()
                self._let_go()

    def tend(self) -> list[str]:
        """Every second: the data path puts back what the kernel lost."""
        with self._lock:
            if self._path is None:
                return []
            said = self._path.tend()
            self.interface = self._path.interface  # it may have a new name
            return said

    def apply(self, want: Table, names: Mapping[int, str]) -> list[str]:
        """Make the rules those of `want`; returns lines that name the routes touched."""
        with self._lock:
            path = self._need("given routes")
            steps = plan(path.rules(), want, names)
            path.apply(steps)
            return touched(steps)

    # ---- what it is

    def view(self) -> View:
        """One consistent look."""
        with self._lock:
            path, name = self._path, self.interface
            info = self._backend.info(name) if name else None
            if path is None:
                state: State = "detached" if self._detached else "waiting" if name else "none"
                return View(state, name, self._why, info=info)
            here = info is not None and path.ifindex == info.ifindex
            used, size = path.ring_fill()
            return View(
                state="forwarding" if here else "waiting",
                interface=name,
                why=path.why if here else f"Interface {name} has gone.",
                mode=(path.mode or None) if here else None,
                pins=path.pins,
                info=info,
                rules=path.rules(),
                counters=path.rule_counters(),
                reasons=path.reasons(),
                ring_used_bytes=used,
                ring_bytes=size,
            )

    # ---- captures' source

    def pins(self) -> Path | None:
        path = self._path
        return path.pins if path is not None else None

    def activate(self, snaplen: int) -> None:
        with self._lock:
            self._need("recorded from").activate(snaplen)

    def deactivate(self) -> None:
        with self._lock:
            self._need("recorded from").deactivate()

    def capture_active(self) -> bool:
        with self._lock:
            return self._need("recorded from").capture_active()

    def cpu_states(self) -> list[abi.CpuState]:
        with self._lock:
            return self._need("recorded from").cpu_states()

    def interface_counts(self) -> Mapping[tuple[int, abi.Mode], tuple[int, int]]:
        with self._lock:
            return self._need("recorded from").interface_counts()

    # ---- inside

    def _need(self, what: str) -> DataPath:
        if self._path is not None:
            return self._path
        raise Unavailable(
            f"There is no data path that could be {what}.",
            code="no-datapath",
            hint="Attach one with `fwdcap datapath attach IFACE`.",
        )

    def _hold(self, path: DataPath) -> None:
        try:
            self._claim = claim(path.pins.parent, path.interface)
        except Conflict:
            path.close()
            raise
        self._path, self._detached = path, False
        self.interface, self._why = path.interface, ""

    def _let_go(self) -> None:
        self._path = None
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None


def claim(directory: Path, interface: str) -> int | None:
    """Lock the pins' directory for as long as the returned descriptor is open.

    None where it is not there to be locked. Raises Conflict when another daemon has.
    """
    try:
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Conflict(
            f"Another fwdcap daemon has interface {interface}.",
            code="interface-taken",
            hint="Stop that one, or ask it with --control.",
        ) from None
    except OSError:
        os.close(handle)
        return None
    return handle


def missing(interface: str) -> NotFound:
    """The refusal for an interface that is not there."""
    return NotFound(
        f"There is no interface {interface} on this machine.",
        code="no-such-interface",
        hint="`ip -brief link` lists those there are.",
    )


def touched(steps: Plan) -> list[str]:
    """A line for each kind of change, none where nothing changed."""
    kinds = (("added", steps.added), ("changed", steps.changed), ("removed", steps.removed))
    return [f"Routes {what}: {', '.join(names)}." for what, names in kinds if names]


def memory_bytes() -> int:
    """The machine's memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def opened(backend: Backend, settings: Settings, interfaces: Sequence[str]) -> Iterator[list[View]]:
    """Looks at pinned data paths, for when no daemon runs."""
    kernels = [Kernel(settings, backend) for _ in interfaces]
    try:
        yield [
            kernel.view()
            for kernel, name in zip(kernels, interfaces, strict=True)
            if kernel.open(name)
        ]
    finally:
        for kernel in kernels:
            kernel.close()


def ownerless(backend: Backend, settings: Settings, interface: str) -> bool:
    """Is a data path pinned for the interface that no daemon has?"""
    try:
        with opened(backend, settings, [interface]) as views:
            return bool(views)
    except Conflict:
        return False
