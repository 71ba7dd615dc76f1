"""The lab as a whole: who is in it, how it is built and how it goes away.

           host a 10.77.0.10      host b 10.77.0.20      (host d 10.77.0.30)
                 │                      │                       │
        ─────────┴──────────┬───── bridge ─────┬────────────────┴──
                            │                  │
                 mgmt0 10.77.0.99      cap0 10.77.0.100
                            └── appliance c ───┘

The appliance has two interfaces in one subnet, as a cloud instance with a
management interface has; mgmt0 comes first, so the main routing table prefers
it, which is exactly what a forwarder must not follow.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Interface
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from fwdcap.datapath import pins, settings
from fwdcap.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from fwdcap.lab import namespaces, wiring
from fwdcap.lab.appliance import Appliance, retire
from fwdcap.lab.appliance import start as start_appliance
from fwdcap.lab.host import Host
from fwdcap.lab.processes import end
from fwdcap.lab.wiring import BRIDGE, Cable

CLIENT = IPv4Address("10.77.0.10")
SERVER = IPv4Address("10.77.0.20")
STRANGER = IPv4Address("10.77.0.30")
MANAGEMENT = IPv4Address("10.77.0.99")
CAPTURE = IPv4Address("10.77.0.100")
PREFIX_LENGTH = 24

DEFAULT_NAME = "demo"
LABS = Path("/var/lib/fwdcap-lab")  # on a disk: a store on tmpfs would not take O_DIRECT
_TOOLS = ("nsenter", "tcpdump")

Xdp = Literal["auto", "native", "generic"]


@dataclass(frozen=True)
class Topology:
    """What of a lab can be chosen; `extra` are further hosts and their addresses."""

    mgmt: bool = True
    xdp: Xdp = "auto"
    mtu: int = 1500
    extra: Mapping[str, str] = field(default_factory=dict)

    def cables(self, name: str) -> tuple[Cable, ...]:
        """In the order in which they are laid: mgmt0 before cap0."""
        hosts = {"a": str(CLIENT), "b": str(SERVER), **self.extra}
        laid = [_cable(name, host, "eth0", host, address) for host, address in hosts.items()]
        if self.mgmt:
            laid.append(_cable(name, "c", "mgmt0", "c-mgmt0", str(MANAGEMENT)))
        native = self.xdp != "generic"
        laid.append(_cable(name, "c", "cap0", "c-cap0", str(CAPTURE), pass_program=native))
        return tuple(laid)


def _cable(
    lab: str, host: str, interface: str, port: str, address: str, *, pass_program: bool = False
) -> Cable:
    whole = IPv4Interface(f"{address}/{PREFIX_LENGTH}")
    return Cable(_namespace(lab, host), interface, whole, port, pass_program)


def _namespace(lab: str, member: str) -> str:
    return f"fwdcap-{lab}-{member}"


class Lab:
    """A named testbed. `with Lab(...)` builds it and takes it down again."""

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        mgmt: bool = True,
        xdp: Xdp = "auto",
        mtu: int = 1500,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
            raise Invalid(
                f"The lab name {name!r} is not usable.",
                code="bad-lab-name",
                hint="Use up to 40 of a-z, 0-9 and -, beginning with a letter or digit.",
            )
        for host in extra or {}:
            if not re.fullmatch(r"[a-z0-9]{1,10}", host) or host in ("a", "b", "c", "net", BRIDGE):
                raise Invalid(
                    f"The host name {host!r} is not usable.",
                    code="bad-host-name",
                    hint="Use up to 10 of a-z and 0-9; a, b, c, net and br0 are taken.",
                )
        self.name = name
        self.topology = Topology(mgmt, xdp, mtu, dict(extra or {}))
        self.directory = LABS / name
        self._cables = self.topology.cables(name)

    @classmethod
    def open(cls, name: str = DEFAULT_NAME) -> Lab:
        """A lab that was built before, also by another process; raises NotFound."""
        check_machine()
        if not namespaces.exists(_namespace(name, "net")):
            raise NotFound(
                f"There is no lab {name}.",
                code="no-lab",
                hint=f"`fwdcap lab up --name {name}` builds it.",
            )
        described = _read_description(LABS / name)
        return cls(name, **described)

    @classmethod
    def names(cls) -> list[str]:
        """The labs of this machine."""
        found = (re.fullmatch(r"fwdcap-(.+)-net", name) for name in namespaces.names())
        return [match[1] for match in found if match]

    @property
    def bridge_namespace(self) -> str:
        return _namespace(self.name, "net")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """The bridge's and the hosts'."""
        return (self.bridge_namespace, *dict.fromkeys(cable.namespace for cable in self._cables))

    @property
    def hosts(self) -> tuple[Host, ...]:
        names = dict.fromkeys(cable.namespace for cable in self._cables)
        return tuple(self.host(name.removeprefix(_namespace(self.name, ""))) for name in names)

    def host(self, name: str) -> Host:
        """`a`, `b`, the appliance `c`, or an extra one; raises NotFound."""
        namespace = _namespace(self.name, name)
        cables = tuple(cable for cable in self._cables if cable.namespace == namespace)
        if not cables:
            known = ", ".join(host.name for host in self.hosts)
            raise NotFound(
                f"There is no host {name} in lab {self.name}.",
                code="no-host",
                hint=f"It has {known}.",
            )
        return Host(name, namespace, cables)

    def up(self) -> Lab:
        """Build it, or adopt it when it stands already as described."""
        check_machine()
        if self._stands():
            return self
        self.down()
        self.directory.mkdir(parents=True)
        try:
            for namespace in self.namespaces:
                namespaces.create(namespace)
            wiring.build(self.bridge_namespace, self._cables, self.topology.mtu)
            (self.directory / "lab.json").write_text(json.dumps(asdict(self.topology)))
        except BaseException:
            self.down()
            raise
        return self

    def down(self) -> None:
        """Take everything away: processes, pins, cables, namespaces, files."""
        check_machine()
        standing = self._standing()
        if os.getpid() in namespaces.processes(standing):
            raise Conflict(
                f"This process runs inside lab {self.name}.",
                code="inside-lab",
                hint="Leave the lab's shell first.",
            )
        retire(self.directory)
        end(lambda: namespaces.processes(standing))
        self._remove_pins()
        if self.bridge_namespace in standing:
            wiring.cut(self.bridge_namespace)
        for namespace in standing:
            namespaces.remove(namespace)
        shutil.rmtree(self.directory, ignore_errors=True)

    def start_appliance(self, **options: Any) -> Appliance:
        """Start `fwdcap run` on host c; `options` are those of appliance.start."""
        return start_appliance(self.host("c"), self.directory, xdp=self.topology.xdp, **options)

    def pins(self) -> list[Path]:
        """What is pinned in bpffs for interfaces of this lab's appliance."""
        namespace = _namespace(self.name, "c")
        if not namespaces.exists(namespace) or not pins.ROOT.exists():
            return []
        return sorted(pins.ROOT.glob(f"*@{namespaces.cookie(namespace)}"))

    def saved_settings(self) -> list[Path]:
        """Where the appliance keeps what it will put back when it detaches."""
        namespace = _namespace(self.name, "c")
        if not namespaces.exists(namespace):
            return []
        return sorted(settings.RUN.glob(f"*@{namespaces.cookie(namespace)}.settings.json"))

    def __enter__(self) -> Lab:
        return self.up()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def _standing(self) -> list[str]:
        """Its namespaces that exist, also those of another shape it once had."""
        own = re.compile(re.escape(_namespace(self.name, "")) + "[a-z0-9]+")
        return [name for name in namespaces.names() if own.fullmatch(name)]

    def _stands(self) -> bool:
        return (
            sorted(self.namespaces) == self._standing()
            and (self.directory / "lab.json").exists()
            and Topology(**_read_description(self.directory)) == self.topology
        )

    def _remove_pins(self) -> None:
        for directory in self.pins():
            pins.remove(directory)
        for saved in self.saved_settings():
            saved.unlink(missing_ok=True)


def _read_description(directory: Path) -> dict[str, Any]:
    try:
        described: dict[str, Any] = json.loads((directory / "lab.json").read_text())
    except (OSError, ValueError):  # half built, or by hand: the usual shape
        return asdict(Topology())
    return described


def check_machine(*tools: str) -> None:
    """Raise unless this is root, and the lab's own programs and `tools` are there."""
    if os.geteuid() != 0:
        raise Forbidden(
            "A lab needs root, to make network namespaces.",
            code="not-root",
            hint="Run the command with sudo.",
        )
    missing = [tool for tool in (*_TOOLS, *tools) if shutil.which(tool) is None]
    if missing:
        raise Unavailable(
            f"The lab needs {' and '.join(missing)}, not found on this machine.",
            code="tool-missing",
            hint="On Debian: apt-get install util-linux tcpdump curl iputils-ping.",
        )
