"""A machine of the lab: its interfaces, and ways to do things on it."""

from __future__ import annotations

import shlex
import socket
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Literal, TypeVar

from fwdcap.lab import namespaces
from fwdcap.lab.sniff import Sniff
from fwdcap.lab.wiring import Cable

T = TypeVar("T")


@dataclass(frozen=True)
class Host:
    """One namespace of the lab; commands may be given as a list or as one line."""

    name: str
    namespace: str
    cables: tuple[Cable, ...]

    @property
    def address(self) -> IPv4Address:
        """Of its first interface."""
        return self.cables[0].address.ip

    @property
    def mac(self) -> str:
        """Of its first interface."""
        return self.cables[0].mac

    def command(self, command: Sequence[str] | str) -> list[str]:
        """The command line that runs `command` here."""
        words = shlex.split(command) if isinstance(command, str) else command
        return namespaces.command(self.namespace, words)

    def run(
        self,
        command: Sequence[str] | str,
        *,
        check: bool = True,
        timeout_s: float = 60.0,
        stdin: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end, output as text.

        Raises CalledProcessError with what the command said, unless `check` is
        False, and TimeoutExpired.
        """
        done = subprocess.run(
            self.command(command), capture_output=True, text=True, timeout=timeout_s, input=stdin
        )
        if check and done.returncode:
            error = subprocess.CalledProcessError(
                done.returncode, done.args, done.stdout, done.stderr
            )
            error.add_note(f"{done.stdout}{done.stderr}".strip())
            raise error
        return done

    def popen(self, command: Sequence[str] | str, **options: Any) -> subprocess.Popen[bytes]:
        """Start in the background; `options` are Popen's. The process id is the command's."""
        return subprocess.Popen(self.command(command), **options)

    def call(self, function: Callable[[], T]) -> T:
        """What `function` returns when it runs here (in a thread of this process)."""
        return namespaces.inside(self.namespace, function)

    def socket(
        self,
        family: int = socket.AF_INET,
        kind: int = socket.SOCK_DGRAM,
        protocol: int = 0,
    ) -> socket.socket:
        """A socket that belongs to this host and can be used anywhere."""
        return self.call(lambda: socket.socket(family, kind, protocol))

    def send_frames(self, frames: Sequence[bytes], interface: str = "") -> None:
        """Put whole Ethernet frames on the wire, as they are, in order."""
        with self.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
            raw.bind((interface or self.cables[0].interface, 0))
            for frame in frames:
                raw.send(frame)

    def sniff(
        self,
        interface: str = "",
        expression: str = "",
        direction: Literal["in", "out", "inout"] = "inout",
    ) -> Sniff:
        """tcpdump on the interface for a `with` block; then `.frames`."""
        return Sniff(self.popen, interface or self.cables[0].interface, expression, direction)
