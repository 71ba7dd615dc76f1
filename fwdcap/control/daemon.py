"""The life of fwdcapd: from `fwdcap run` to its last signal.

Whatever can be refused is refused before anything is touched. After that the
order is: data path, captures, control socket, pages; then one look a second at
all of them. Signals decide how it ends: SIGTERM (a supervisor) leaves a running
capture to the next daemon, SIGINT (a person) stops it first. The data path goes
on forwarding in any case.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType

from fwdcap import __version__
from fwdcap.capture import folder
from fwdcap.capture.background import Worker
from fwdcap.config import Settings
from fwdcap.control import host, metadata, usersfile, webprocess
from fwdcap.control.backend import Backend, real
from fwdcap.control.pages import Pages
from fwdcap.control.server import ControlServer
from fwdcap.control.service import Service
from fwdcap.errors import Conflict, FwdcapError, Unavailable

log = logging.getLogger(__name__)

TICK_S = 1.0
_SHORTEST_S = 0.05
_STOP_S = 2.0
PASSWORD = "FWDCAP_ADMIN_PASSWORD"
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Say = Callable[[str], None]


def run(
    settings: Settings,
    say: Say,
    environment: Mapping[str, str],
    backend: Backend | None = None,
) -> None:
    """Live until a signal; `say` prints lines for people. Raises FwdcapError when refused."""
    host.require_privileges(host.effective_capabilities())
    host.require_kernel(host.kernel_release())
    machine = backend or real()
    service = Service(settings, machine)
    with contextlib.ExitStack() as stack:
        # First of all: a second daemon would otherwise complain of the first one's port.
        stack.enter_context(only_daemon(settings.control.socket))
        listener = stack.enter_context(contextlib.closing(webprocess.listen(settings.web.listen)))
        pages = Pages(settings, service.accounts.web, listener)
        machine.mount()
        folder.prepare(settings.store.path, service.accounts)
        stack.enter_context(only_daemon(settings.store.path / "daemon"))
        signals = stack.enter_context(Signals(_ENDING))
        stack.callback(service.close)
        lines = service.start()
        password = usersfile.ensure(
            settings.store.path,
            service.accounts.web,
            environment.get(PASSWORD) or None,
            instance_id=lambda: metadata.instance_id(settings.users.metadata),
        )
        server = ControlServer(service, settings.control.socket)
        stack.callback(server.close)
        server.start()
        stack.callback(pages.stop)
        pages.prepare()
        pages.start(time.monotonic())
        service.watch(pages.notices)
        _introduce(service, lines, pages.url, password, say)
        captures = Worker("captures", lambda: _log(service.tend()))
        captures.start()
        stack.callback(captures.stop, _STOP_S)
        _end(service, _live(service, captures, pages, signals), say)


def _live(service: Service, captures: Worker, pages: Pages, signals: Signals) -> signal.Signals:
    """Tick until a signal; returns it."""
    while True:
        received = signals.wait(pause_s(time.time()))
        if received is not None:
            return received
        captures.poke()
        lines = service.tick()
        try:
            lines += pages.tend(time.monotonic())
        except OSError as error:
            lines.append(f"The web process cannot be started: {error}")
        _log(lines)


def _log(lines: list[str]) -> None:
    for line in lines:
        log.info("%s", line)


def pause_s(now_s: float) -> float:
    """Until the next tick: at whole seconds of the clock, since schedules begin and end there."""
    left_s = TICK_S - now_s % TICK_S
    return left_s if left_s > _SHORTEST_S else left_s + TICK_S


def _end(service: Service, received: signal.Signals, say: Say) -> None:
    """A person's Ctrl-C stops the capture; a supervisor's signal leaves it."""
    name = service.running
    if name is not None and received == signal.SIGINT:
        try:
            message = service.capture_stop(pressed=False)["message"]
            say(f"{message[:1].upper()}{message[1:]}.")  # a name keeps its capitals
        except FwdcapError as error:
            say(str(error))
    elif name is not None:
        say(f"Capture [{name}] goes on recording; the next `fwdcap run` takes it over.")
    if service.datapath_attached:
        say("Packets are still forwarded; `fwdcap datapath detach` ends that.")


def _introduce(
    service: Service, lines: list[str], url: str, password: str | None, say: Say
) -> None:
    """The few lines a person wants to see."""
    status = service.status()
    path = status["datapath"]
    say(f"fwdcap {__version__}")
    if path["state"] == "forwarding":
        addresses = ", ".join(path["addresses"]) or "no address"
        why = f": {path['why']}" if path["why"] else ""
        say(f"interface  {path['interface']}, {addresses}, {path['mode']} mode{why}")
    else:
        say(f"interface  {path['why']} Nothing is forwarded.")
    for route in status["routes"]:
        modes = ", ".join(route["modes"]) or "forward only"
        state = "" if route["enabled"] else " (disabled)"
        way = f"{route['client']} -> {route['capture']} -> {route['server']}"
        say(f"route      {route['name']}: {way}, {modes}{state}")
    if not status["routes"]:
        say("route      none: nothing is relayed until there is one ([routes] file)")
    say(f"store      {service.settings.store.path}")
    say(f"pages      {url} as user {usersfile.ADMIN}")
    if password is not None:
        say(f"password   {password}   (shown this once)")
    for warning in status["warnings"]:
        say(f"warning    {warning['message']} {warning['hint']}")
    for line in lines:
        say(line)


@contextlib.contextmanager
def only_daemon(thing: Path) -> Iterator[None]:
    """Hold the lock beside `thing`. Raises Conflict while another daemon does."""
    path = thing.with_name(f"{thing.name}.lock")
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unavailable(
            f"{path} cannot be made: {error.strerror}.",
            code="no-lock",
            hint="Choose another place with --control or --store.",
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Conflict(
            f"Another fwdcap daemon runs here: it holds {path}.",
            code="daemon-running",
            hint="Ask that one (`fwdcap status`), or give this one its own --control and --store.",
        ) from None
    try:
        yield
    finally:
        os.close(handle)


class Signals:
    """Signals as something to wait for, with no race between looking and sleeping."""

    def __init__(self, numbers: tuple[signal.Signals, ...]) -> None:
        self._numbers = numbers
        self._reader, self._writer = socket.socketpair()
        self._selector = selectors.DefaultSelector()

    def __enter__(self) -> Signals:
        for end in (self._reader, self._writer):
            end.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._old_fd = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._old = {number: signal.signal(number, _note) for number in self._numbers}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def wait(self, timeout_s: float) -> signal.Signals | None:
        """The next of the signals within that time, None for none."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            left_s = deadline_s - time.monotonic()
            if not self._selector.select(max(0.0, left_s)):
                return None
            for number in self._reader.recv(64):
                if number in self._numbers:
                    return signal.Signals(number)


def _note(_number: int, _frame: FrameType | None) -> None:
    """The number arrives through the wake-up descriptor."""
