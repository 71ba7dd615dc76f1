"""The verbs of fwdcapd: everything a command, a page or the daemon itself can ask for.

Owner of the data path, the routes and the captures. Verbs that change something
come one at a time (`_changes`); reading never waits for them, so a page keeps
moving while a capture drains. Nothing here knows of sockets or signals.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fwdcap import __version__
from fwdcap.capture import folder, recorder
from fwdcap.capture.accounts import Accounts, lookup
from fwdcap.capture.caps import Caps
from fwdcap.capture.folder import Usage
from fwdcap.capture.home import Home
from fwdcap.capture.housekeeping import Housekeeping
from fwdcap.capture.notice import Notice
from fwdcap.capture.place import Place
from fwdcap.capture.rules import Rules
from fwdcap.capture.words import Around, Wish
from fwdcap.config import Settings
from fwdcap.control import doctor, routetable, status
from fwdcap.control.backend import Backend
from fwdcap.control.kernel import Kernel, View, missing, ownerless
from fwdcap.control.linkclock import LinkClock
from fwdcap.control.recent import Recent
from fwdcap.control.recording import Recording
from fwdcap.control.routetable import RouteTable
from fwdcap.control.whoasks import Access
from fwdcap.errors import Conflict, FwdcapError, NotFound
from fwdcap.store.stream import list_streams

log = logging.getLogger(__name__)

Body = dict[str, Any]
_USAGE_EVERY_NS = 2_000_000_000
_BUSY_S = 5.0
_UPTIME = Path("/proc/uptime")


@dataclass(frozen=True)
class Clocks:
    """Nanoseconds of UTC and of CLOCK_MONOTONIC."""

    utc_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns


class Service:
    """Made once a daemon; `start` before any verb, `tick` every second, `close` at the end."""

    def __init__(
        self,
        settings: Settings,
        backend: Backend,
        *,
        accounts: Accounts | None = None,
        clocks: Clocks | None = None,
        recorder_program: tuple[str, ...] = (str(recorder.PROGRAM),),
    ) -> None:
        """Reads and checks settings and routes; nothing is touched. Raises Invalid, NotFound."""
        self.settings = settings
        self.accounts = accounts or lookup(settings.users.web, settings.users.recorder)
        self._clocks = clocks or Clocks()
        self._backend = backend
        self._table = routetable.read(settings)
        self._table.check_alone()
        name = settings.interface.name
        if name is not None and backend.info(name) is not None:
            self._table.check(backend, name)
        self._store = settings.store.path
        self._home = Home(self._store)
        self._kernel = Kernel(settings, backend)
        self._link = LinkClock(self._store, self._clocks.utc_ns)
        self._recording = Recording(
            settings,
            Place(
                store=self._store,
                zone=settings.time.zone,
                accounts=self.accounts,
                segment_bytes=settings.store.segment_bytes,
                snaplen=settings.store.snaplen,
                program=recorder_program,
                home=self._home,
            ),
            self._kernel,
            self._around,
            utc_ns=self._clocks.utc_ns,
            monotonic_ns=self._clocks.monotonic_ns,
        )
        self._captures = self._recording.captures
        self._housekeeping = Housekeeping(
            self._store,
            Rules.of(settings.store),
            self._captures,
            self.accounts.web,
            utc_ns=self._clocks.utc_ns,
        )
        self.access = Access.of(settings, self.accounts.web, utc_ns=self._clocks.utc_ns)
        self._changes = threading.RLock()
        self._route_notices: tuple[Notice, ...] = ()
        self._recent = Recent(self._clocks.monotonic_ns)
        self._usage = (0, Usage(0, 0, 0))
        self._watched: Callable[[], Iterable[Notice]] = tuple

    # ---- life

    @property
    def table(self) -> RouteTable:
        return self._table

    def start(self) -> list[str]:
        """Prepare the store, attach or adopt; returns lines for people.

        An interface that is not there is waited for. Raises what keeps it from starting.
        """
        with self._changes:
            folder.prepare(self._store, self.accounts)
            self._home.remember()
            self._table = routetable.number(self._table, self._store)
            self._housekeeping.start()
            lines = self._recording.schedule.load()
            return [*lines, *self._begin(), *self._left_behind()]

    def watch(self, notices: Callable[[], Iterable[Notice]]) -> None:
        """Somebody else's notices, which the status shows with ours."""
        self._watched = notices

    def tick(self) -> list[str]:
        """Every second: what never takes long; returns lines for the log. Never raises."""
        parts = (self._tend_path, self._tend_waiting, self._housekeeping.tick)
        return [line for part in parts for line in _said(part)]

    def tend(self) -> list[str]:
        """Every second: captures and their schedule, which may wait for the disk.

        From another thread than `tick`, or the data path would wait with them. Never raises.
        """
        if not self._changes.acquire(blocking=False):
            return []  # being started or stopped
        try:
            return _said(self._recording.tend)
        finally:
            self._changes.release()

    def close(self) -> None:
        """Let go; data path and recorder go on."""
        self._housekeeping.close()
        alone = self._changes.acquire(timeout=_BUSY_S)  # a drain that lasts is the next one's
        try:
            self._kernel.close()
        finally:
            if alone:
                self._changes.release()

    @property
    def running(self) -> str | None:
        """The name of the running capture."""
        return self._captures.running

    @property
    def datapath_attached(self) -> bool:
        return self._kernel.attached

    # ---- verbs that read

    def status(self) -> Body:
        view = self._kernel.view()
        used, capture = self._used(), self._captures.status()
        return {
            "version": __version__,
            "time_ns": self._clocks.utc_ns(),
            "zone": self.settings.time.zone,
            "datapath": status.datapath(view, self._link.since_ns()),
            "forwarding": status.forwarding(view),
            "routes": status.routes(self._table.routes, self._table.numbers, view),
            "capture": capture,
            "store": {
                "used_bytes": used.used_bytes,
                "free_bytes": used.free_bytes,
                "total_bytes": used.total_bytes,
                "archive": self._housekeeping.archive(),
            },
            "uptime_s": _uptime_s(),
            "warnings": [notice.to_dict() for notice in self._notices(view, capture)],
        }

    def captures(self) -> Body:
        return {
            "zone": self.settings.time.zone,
            "captures": [
                {
                    "name": info.name,
                    "stream": info.stream,
                    "state": info.state,
                    "started_ns": info.started_ns,
                    "stopped_ns": info.stopped_ns,
                    "first_ns": info.first_ns,
                    "last_ns": info.last_ns,
                    "packets": info.packets,
                    "size_bytes": info.size_bytes,
                    "lost": info.lost,
                    "trimmed": info.trimmed,
                    "schedule": info.schedule or None,
                    "ended": info.ended or None,
                    "message": info.message,
                    "continues": info.continues or None,
                    "continued_by": info.continued_by or None,
                }
                for info in list_streams(self._store)
            ],
        }

    def routes(self) -> Body:
        view = self._kernel.view()
        return {"routes": status.routes(self._table.routes, self._table.numbers, view)}

    def datapath(self) -> Body:
        view = self._kernel.view()
        return {"datapaths": [status.datapath_detail(view, self._link.since_ns())]}

    def interfaces(self) -> Body:
        """The machine's interfaces but loopback, by name."""
        view = self._kernel.view()
        found = [self._backend.info(name) for name in sorted(self._backend.interface_names())]
        return {"interfaces": [status.interface(info, view) for info in found if info is not None]}

    def doctor(self) -> Body:
        view = self._kernel.view()
        seen = self._recent.of(view)
        checks = doctor.examine(
            self.settings, self._backend, view, self.accounts, self._table, seen
        )
        return {"checks": [check.to_dict() for check in checks]}

    # ---- verbs that change

    def capture_start(
        self,
        name: str,
        snaplen: int | None = None,
        max_bytes: int | None = None,
        max_packets: int | None = None,
        max_seconds: int | None = None,
    ) -> Body:
        """Raises Invalid, Conflict, Unavailable or DiskFull."""
        caps = Caps(max_bytes, max_packets, max_seconds)
        with self._alone():
            return self._recording.start(Wish(name, snaplen, caps))

    def capture_stop(self, pressed: bool = True) -> Body:
        """`pressed`: by STOP, not because the daemon ends. Raises Conflict."""
        with self._alone():
            body = self._recording.stop(pressed)
            self._usage = (0, self._usage[1])
            return body

    def capture_roll(self) -> Body:
        """Go on in a new stream. Raises Conflict or Unavailable."""
        with self._alone():
            return self._recording.roll()

    def store(self) -> Body:
        return {"path": str(self._store.absolute()), "zone": self.settings.time.zone}

    def schedule(self) -> Body:
        return self._recording.schedule.body()

    def schedule_put(self, rows: object, revision: int | None) -> Body:
        """Replace the schedule that had that revision. Raises Invalid, Conflict or DiskFull."""
        with self._alone():
            return self._recording.schedule.put(rows, revision)

    def stream_delete(self, stream: str) -> Body:
        """Raises NotFound, Conflict while it is being recorded, or Unavailable."""
        with self._changes:
            self._housekeeping.delete(stream)
            self._usage = (0, self._usage[1])
            log.info("deleted stream %s as asked", stream)
            return {"stream": stream, "message": f"deleted stream [{stream}]"}

    def datapath_attach(self, interface: str) -> Body:
        """Attach and apply the routes. Raises NotFound, Invalid, Conflict or Unavailable."""
        with self._changes:
            if self._backend.info(interface) is None:
                raise missing(interface)
            current = self._kernel.interface
            if self._kernel.attached and current != interface:
                raise Conflict(
                    f"The data path is attached to {current}.",
                    code="already-attached",
                    hint="Detach it first: `fwdcap datapath detach`.",
                )
            lines = [] if self._kernel.attached else self._attach(interface)
            message = status.attached(self._kernel.view())
            return {"interface": interface, "message": message, "lines": lines}

    def datapath_detach(self, interface: str | None = None) -> Body:
        """Stop a running capture, then remove the data path, if it is that interface's.

        Raises Conflict.
        """
        with self._changes:
            current = self._kernel.interface if self._kernel.attached else None
            if current is None or interface not in (None, current):
                where = f" to {interface}" if interface else ""
                raise Conflict(
                    f"No data path is attached{where}, there is nothing to detach.",
                    code="not-attached",
                    hint="`fwdcap datapath show` tells what there is.",
                )
            stopped = self._recording.stop(False)["message"] if self.running else None
            lines = self._kernel.detach()
            interface = self._kernel.interface
            message = f"detached from {interface}, nothing is forwarded any more"
            lines = ([stopped] if stopped else []) + lines
            return {"interface": interface, "message": message, "lines": lines}

    # ---- inside

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """For a verb that changes something. Raises Conflict while another takes its time."""
        if not self._changes.acquire(timeout=_BUSY_S):
            name = self.running
            doing = (
                f"Capture [{name}] is being started or ended" if name else "Another change is made"
            )
            raise Conflict(
                f"{doing}, which takes its time.",
                code="busy",
                hint="`fwdcap status` tells how far it is; then ask again.",
            )
        try:
            yield
        finally:
            self._changes.release()

    def _around(self) -> Around:
        since_ns = self._link.since_ns() or None
        return Around(self._kernel.interface or "", self._table.described(), since_ns)

    def _begin(self) -> list[str]:
        name = self._kernel.interface
        if name is None:
            return self._recording.adopt()
        if self._backend.info(name) is None:
            why = f"Interface {name} is not there yet."
            self._kernel.wait_for(name, why)
            return [f"{why} Waiting for it.", *self._recording.adopt(waiting=True)]
        return self._attach(name)

    def _left_behind(self) -> list[str]:
        """A line for each data path that nobody tends: it forwards by old routes."""
        return [
            f"Interface {name} still forwards since an earlier run; "
            f"`fwdcap datapath detach {name}` ends that."
            for name in self._backend.pinned()
            if name != self._kernel.interface and ownerless(self._backend, self.settings, name)
        ]

    def _attach(self, interface: str) -> list[str]:
        """Check, attach, apply, adopt: in this order, so that a refusal touches nothing."""
        notices = self._table.check(self._backend, interface)
        self._kernel.attach(interface)
        self._recent.begin(self._kernel.view())
        self._route_notices = notices
        lines = self._kernel.apply(self._table.rules(), self._table.names())
        self._observe_link()
        return [*lines, *self._recording.adopt()]

    def _tend_path(self) -> list[str]:
        lines = self._kernel.tend()
        self._observe_link()
        if self._recent.due:
            self._recent.note(self._kernel.view())
        return lines

    def _tend_waiting(self) -> list[str]:
        name = self._kernel.interface
        if name is None or not self._kernel.waiting or not self._changes.acquire(blocking=False):
            return []
        try:
            if self._backend.info(name) is None:
                return []
            lines = self._attach(name)
            return [f"Interface {name} is there now, attached to it.", *lines]
        except NotFound:
            return []  # gone again
        except FwdcapError as error:
            known = self._kernel.view().why
            self._kernel.wait_for(name, str(error))
            return [] if known == str(error) else [str(error)]
        finally:
            self._changes.release()

    def _observe_link(self) -> None:
        name = self._kernel.interface
        info = self._backend.info(name) if name else None
        if name:
            self._link.observe(name, info.ifindex if info else 0, info is not None and info.up)

    def _used(self) -> Usage:
        now_ns = self._clocks.monotonic_ns()
        at_ns, usage = self._usage
        if not at_ns or now_ns - at_ns > _USAGE_EVERY_NS:
            usage = folder.usage(self._store)
            self._usage = (now_ns, usage)
        return usage

    def _notices(self, view: View, capture: Body) -> list[Notice]:
        kept = (*self._home.notices(), *self._housekeeping.notices())
        recording = self._recording.notices(capture)
        people = self.access.people.notices()
        ours = (*self.accounts.notices, *people, *self._route_notices, *recording, *kept)
        seen = self._recent.of(view)
        passed = (*status.about_senders(seen), *status.about_next_hops(seen, view.interface))
        return [*ours, *passed, *self._watched()]


def _said(part: Callable[[], list[str]]) -> list[str]:
    try:
        return part()
    except (FwdcapError, OSError) as error:
        return [str(error)]
    except Exception:  # a mistake of ours shall not end what forwards and records
        log.exception("a second's work could not be done")
        return []


def _uptime_s() -> int:
    try:
        return int(float(_UPTIME.read_text().split()[0]))
    except (OSError, ValueError):
        return 0
