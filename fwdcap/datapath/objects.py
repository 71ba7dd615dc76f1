"""The kernel objects of one capture interface: program, maps, rings, link.

Everything is pinned, so that it outlives this process, and adopted by name the
next time. The link is made once; a newer program takes its place atomically,
with the maps it finds. Ours is the program our pinned link reports; any other
XDP program on the interface is somebody's, and is named and left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fwdcap import abi
from fwdcap.datapath import libbpf, links, pins, settings
from fwdcap.errors import Conflict, FwdcapError, Unavailable

OBJECT = Path(__file__).parent.parent / "native" / "build" / "fwdcap.bpf.o"
MAPS = ("rules4", "rule_counters", "reasons", "capture", "cpu_state", "scratches", "rings")
_PER_CPU = ("cpu_state", "scratches")
RING = "ring0"  # the first of ring0, ring1 …
_RING_NAME = re.compile(r"ring\d+")
_ZERO = bytes(4)
_CONTROL_BYTES = ctypes.sizeof(abi.CaptureControl)

# Errors by which a driver says that it cannot do native XDP as things are.
_NO_NATIVE = {errno.EOPNOTSUPP, errno.EINVAL, errno.ERANGE, errno.ENOSPC, errno.EFBIG, errno.ENOMEM}


@dataclass
class Objects:
    """Open descriptors; `close` leaves everything pinned and forwarding."""

    pins: Path
    link_fd: int
    maps: dict[str, libbpf.Map]

    def close(self) -> None:
        for opened in self.maps.values():
            opened.close()
        if self.link_fd >= 0:
            os.close(self.link_fd)
            self.link_fd = -1


def load_program(
    directory: Path, *, ring_bytes: int, ring_count: int = 1, unmatched_drop: bool
) -> tuple[libbpf.Object, dict[str, libbpf.Map]]:
    """Load the program with the maps pinned in `directory`, or pin new ones there.

    `ring_bytes` is the size of each ring; rings that are pinned stay as they are.
    """
    if not OBJECT.exists():
        raise Unavailable(
            f"The BPF object {OBJECT.name} has not been built.",
            code="not-built",
            hint="Run `make build`.",
        )
    found = {name: _open_map(directory / name) for name in MAPS}
    program = libbpf.open_object(OBJECT)
    config = abi.Config(
        next_hop_refresh_ns=250_000_000, interface=0, unmatched_drop=int(unmatched_drop)
    )
    program.set_rodata(bytes(config))
    for name in _PER_CPU:
        program.set_max_entries(name, libbpf.possible_cpus())
    for name, existing in found.items():
        if existing:
            program.reuse(name, existing)
    try:
        program.load()
    except OSError as error:
        raise FwdcapError(
            f"The kernel refuses the program {OBJECT.name}: {error.strerror or error}.",
            code="program-refused",
            hint="`fwdcap doctor` lists what the kernel lacks.",
        ) from error
    maps = {}
    for name in MAPS:
        existing = found[name]
        maps[name] = existing or program.map(name)
        if not existing:
            maps[name].pin(directory / name)
    maps |= _rings(directory, maps["rings"], ring_bytes, ring_count)
    return program, maps


def _open_map(path: Path) -> libbpf.Map | None:
    return libbpf.open_pinned_map(path) if path.exists() else None


def ring_names(names: Iterable[str]) -> list[str]:
    """Those that are rings', by number."""
    return sorted(filter(_RING_NAME.fullmatch, names), key=_ring_number)


def _ring_number(name: str) -> int:
    return int(name.removeprefix("ring"))


def _rings(
    directory: Path, rings: libbpf.Map, ring_bytes: int, ring_count: int
) -> dict[str, libbpf.Map]:
    """The pinned rings, which keep the number and size they were made with, or new ones."""
    names = ring_names(path.name for path in directory.iterdir())
    if names:
        found = {name: libbpf.open_pinned_map(directory / name) for name in names}
    else:
        found = _new_rings(directory, ring_bytes, ring_count)
    for name, ring in found.items():
        rings.put(_ring_number(name).to_bytes(4, "little"), ring.fd.to_bytes(4, "little"))
    return found


def _new_rings(directory: Path, ring_bytes: int, ring_count: int) -> dict[str, libbpf.Map]:
    """All are made before any is pinned: what is pinned is taken for the whole set."""
    made: dict[str, libbpf.Map] = {}
    try:
        for number in range(ring_count):
            name = f"ring{number}"
            made[name] = libbpf.create_map(libbpf.MAP_TYPE_RINGBUF, name, 0, 0, ring_bytes)
    except OSError as error:
        for ring in made.values():
            ring.close()
        raise Unavailable(
            f"The kernel refuses {sizes(ring_count, ring_bytes)}: {error.strerror}.",
            code="no-ring",
            hint="Set a smaller [ring] bytes or count.",
        ) from error
    for name, ring in made.items():
        ring.pin(directory / name)
    return made


def sizes(count: int, each_bytes: int) -> str:
    """Rings in words."""
    return f"{count} ring{'s' if count > 1 else ''} of {each_bytes:,} bytes"


def prepare_capture(maps: dict[str, libbpf.Map], mtu: int) -> None:
    """Fill the control entry; a capture that runs goes on."""
    control = abi.CaptureControl.from_buffer_copy(
        maps["capture"].get(_ZERO) or bytes(_CONTROL_BYTES)
    )
    control.nr_rings = len(ring_names(maps))
    control.ring_bytes = maps[RING].max_entries
    control.interface_mtu = mtu
    maps["capture"].put(_ZERO, bytes(control))


def attach(
    interface: str, *, xdp: str, ring_bytes: int, ring_count: int = 1, unmatched_drop: bool
) -> tuple[Objects, str]:
    """Attach to an interface, or adopt what is pinned for it.

    Returns the objects and why the mode is what it is ('' when adopted).
    Raises Unavailable without the interface, Conflict when another program has it.
    """
    info = links.interface_info(interface)
    if not info:
        raise Unavailable(
            f"There is no interface {interface}.",
            code="no-interface",
            hint="`ip link` lists those there are.",
        )
    pins.mount_bpffs()
    directory = pins.generation_directory(interface)
    _follow_rename(directory, info.ifindex)
    with _nothing_left_of(directory):
        link_fd = _own_link(directory, info.ifindex)
        _refuse_stranger(interface, info.ifindex, link_fd)
        program, maps = load_program(
            directory, ring_bytes=ring_bytes, ring_count=ring_count, unmatched_drop=unmatched_drop
        )
        with contextlib.closing(program):
            prepare_capture(maps, info.mtu)
            why = ""
            if link_fd >= 0:
                libbpf.replace_program(link_fd, program.program("fwdcap"))
            else:
                link_fd, why = _new_link(program.program("fwdcap"), info, xdp)
                _pin_link(link_fd, directory)
    return Objects(directory, link_fd, maps), why


@contextlib.contextmanager
def _nothing_left_of(directory: Path) -> Iterator[None]:
    """Make the directory; should the block fail, take it away again if it is new."""
    new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if new:
            pins.remove(directory)
        raise


def _own_link(directory: Path, ifindex: int) -> int:
    """The pinned link if it still leads to this interface, else -1."""
    path = directory / "link"
    if not path.exists():
        return -1
    link_fd = libbpf.open_pin(path)
    if libbpf.link_target(link_fd)[0] == ifindex:
        return link_fd
    os.close(link_fd)
    return -1


def _pin_link(link_fd: int, directory: Path) -> None:
    """In one step in place of an older one: a crash leaves either, never none."""
    fresh = directory / "link-new"
    fresh.unlink(missing_ok=True)
    libbpf.pin(link_fd, fresh)
    fresh.replace(directory / "link")


def _follow_rename(directory: Path, ifindex: int) -> None:
    """Pins made under an interface's former name move to its present one.

    Raises Conflict where the link is of another generation of the C contract.
    """
    former = _pinned_for(ifindex)
    if former is None or former == directory:
        return
    if former.name != directory.name:
        raise Conflict(
            f"The data path of another version ({former.name}) is attached to this interface.",
            code="other-generation",
            hint="Run `fwdcap datapath detach` of that version first.",
        )
    move(former.parent, directory.parent)


def move(former: Path, present: Path) -> None:
    """Rename an interface's directory of pins, and what was saved for it."""
    former.rename(present)
    settings.rename(pins.interface_of(former), pins.interface_of(present))


def _pinned_for(ifindex: int) -> Path | None:
    """The directory whose link leads to this interface, whatever its name was."""
    for link in pins.links():
        link_fd = libbpf.open_pin(link)
        try:
            if libbpf.link_target(link_fd)[0] == ifindex:
                return link.parent
        finally:
            os.close(link_fd)
    return None


def _refuse_stranger(interface: str, ifindex: int, link_fd: int) -> None:
    there = links.xdp_info(ifindex)
    if not there:
        return
    ours = libbpf.link_target(link_fd)[1] if link_fd >= 0 else 0
    if there.program_id == ours:
        return
    name = libbpf.program_name(there.program_id) or "unnamed"
    raise Conflict(
        f'Interface {interface} already has the XDP program "{name}" (id {there.program_id}), '
        "which is not ours.",
        code="xdp-taken",
        hint=f"Remove it first, for instance with `ip link set dev {interface} xdp off`.",
    )


def _new_link(program: libbpf.Program, info: links.InterfaceInfo, xdp: str) -> tuple[int, str]:
    driver = info.driver or "unknown"
    if xdp == "generic":
        return _attach(program, info, libbpf.XDP_FLAGS_SKB_MODE), "generic mode was asked for"
    try:
        return _attach(program, info, libbpf.XDP_FLAGS_DRV_MODE), f"driver {driver} has native XDP"
    except OSError as error:
        if xdp == "native" or error.errno not in _NO_NATIVE:
            raise Unavailable(
                f"Driver {driver} of {info.name} refuses native XDP: "
                f"{os.strerror(error.errno or 0)}.",
                code="no-native-xdp",
                hint='Set [interface] xdp = "auto" or "generic", or lower the MTU '
                f"(now {info.mtu}).",
            ) from error
        reason = f"driver {driver} refuses native XDP ({os.strerror(error.errno or 0)})"
        return _attach(program, info, libbpf.XDP_FLAGS_SKB_MODE), f"{reason}, so generic is used"


def _attach(program: libbpf.Program, info: links.InterfaceInfo, flags: int) -> int:
    return libbpf.attach_xdp(program, info.ifindex, flags)


def adopt(interface: str) -> Objects | None:
    """What is pinned, without touching it; None when nothing is."""
    directory = pins.generation_directory(interface)
    if not (directory / "link").exists():
        return None
    rings = ring_names(path.name for path in directory.iterdir())
    maps = {name: libbpf.open_pinned_map(directory / name) for name in (*MAPS, *rings)}
    return Objects(directory, libbpf.open_pin(directory / "link"), maps)


def remove(interface: str) -> None:
    """Unpin everything: with its link gone, the program leaves the interface."""
    with contextlib.suppress(FileNotFoundError):
        pins.remove(pins.interface_directory(interface))
