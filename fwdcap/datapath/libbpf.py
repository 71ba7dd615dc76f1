"""The only file that knows libbpf.

A thin ctypes layer over the system's libbpf (1.1 or later): open and load an
object, create, pin and reach maps, attach XDP by link, run a program on one
frame. Bytes in, bytes out: what they mean is fwdcap.abi's business. ctypes is
enough because nothing here runs per packet (a map look-up costs about 2 us).

Every failure is an OSError whose text names the call; callers at the border
turn it into a sentence.
"""

from __future__ import annotations

import ctypes as ct
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

# <linux/bpf.h> and <linux/if_link.h>
MAP_TYPE_ARRAY = 2
MAP_TYPE_RINGBUF = 27
BPF_ANY = 0
BPF_XDP = 37
XDP_FLAGS_SKB_MODE = 2
XDP_FLAGS_DRV_MODE = 4
TEST_RUN_LIVE_FRAMES = 2

XDP_VERDICTS = ("aborted", "drop", "pass", "tx", "redirect")


class _LinkCreateOpts(ct.Structure):
    _fields_ = (("sz", ct.c_size_t), ("flags", ct.c_uint32), ("padding", ct.c_uint32))


class _TestRunOpts(ct.Structure):
    _fields_ = (
        ("sz", ct.c_size_t),
        ("data_in", ct.c_void_p),
        ("data_out", ct.c_void_p),
        ("data_size_in", ct.c_uint32),
        ("data_size_out", ct.c_uint32),
        ("ctx_in", ct.c_void_p),
        ("ctx_out", ct.c_void_p),
        ("ctx_size_in", ct.c_uint32),
        ("ctx_size_out", ct.c_uint32),
        ("retval", ct.c_uint32),
        ("repeat", ct.c_int),
        ("duration", ct.c_uint32),
        ("flags", ct.c_uint32),
        ("cpu", ct.c_uint32),
        ("batch_size", ct.c_uint32),
    )


class _ProgInfo(ct.Structure):
    """Head of struct bpf_prog_info, up to the name."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("tag", ct.c_uint8 * 8),
        ("jited_prog_len", ct.c_uint32),
        ("xlated_prog_len", ct.c_uint32),
        ("jited_prog_insns", ct.c_uint64),
        ("xlated_prog_insns", ct.c_uint64),
        ("load_time", ct.c_uint64),
        ("created_by_uid", ct.c_uint32),
        ("nr_map_ids", ct.c_uint32),
        ("map_ids", ct.c_uint64),
        ("name", ct.c_char * 16),
    )


class _LinkInfo(ct.Structure):
    """Head of struct bpf_link_info for an XDP link."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("prog_id", ct.c_uint32),
        ("padding", ct.c_uint32),
        ("ifindex", ct.c_uint32),
        ("rest", ct.c_uint8 * 44),
    )


class _MapInfo(ct.Structure):
    """Head of struct bpf_map_info."""

    _fields_ = (
        ("type", ct.c_uint32),
        ("id", ct.c_uint32),
        ("key_size", ct.c_uint32),
        ("value_size", ct.c_uint32),
        ("max_entries", ct.c_uint32),
        ("map_flags", ct.c_uint32),
        ("name", ct.c_char * 16),
    )


_PRINT = ct.CFUNCTYPE(ct.c_int, ct.c_int, ct.c_char_p, ct.c_void_p)
_POINTER_CALLS = (
    "bpf_object__open_file",
    "bpf_object__next_map",
    "bpf_object__next_program",
    "bpf_map__initial_value",
)


class _Library:
    """libbpf.so.1 and the log it printed since the last call."""

    def __init__(self) -> None:
        self.so: Any = ct.CDLL("libbpf.so.1", use_errno=True)
        for name in _POINTER_CALLS:
            getattr(self.so, name).restype = ct.c_void_p
        for name in ("bpf_map__name", "bpf_program__name"):
            getattr(self.so, name).restype = ct.c_char_p
        self.log: list[str] = []
        libc: Any = ct.CDLL(None)

        def keep(_level: int, fmt: bytes, arguments: int) -> int:
            text = ct.create_string_buffer(16384)
            libc.vsnprintf(text, ct.c_size_t(len(text)), fmt, ct.c_void_p(arguments))
            self.log.append(text.value.decode(errors="replace"))
            return 0

        self._keep = _PRINT(keep)  # libbpf holds it as long as the process lives
        self.so.libbpf_set_print(self._keep)

    def check(self, result: int, what: str) -> int:
        """`result`, or OSError naming `what` when it is a negative errno."""
        if result < 0:
            number = -result if result != -1 else (ct.get_errno() or 1)
            raise OSError(number, f"{what}: {os.strerror(number)}")
        return result

    def pointer(self, result: int | None, what: str) -> int:
        if not result:
            number = ct.get_errno() or 22
            raise OSError(number, f"{what}: {os.strerror(number)}{self.tail()}")
        return result

    def tail(self) -> str:
        """The end of libbpf's log, as a suffix for an error text."""
        lines = "".join(self.log).strip().splitlines()
        self.log.clear()
        return "\n" + "\n".join(lines[-25:]) if lines else ""


@cache
def _library() -> _Library:
    return _Library()


class Map:
    """An open map; owns its file descriptor. Keys and values are bytes."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        info = _MapInfo()
        _info(fd, info, "map info")
        self.type: int = info.type
        self.max_entries: int = info.max_entries
        self.key_size: int = info.key_size
        per_cpu = info.type in (5, 6, 10)  # PERCPU_HASH, PERCPU_ARRAY, LRU_PERCPU_HASH
        self.value_size: int = (info.value_size + 7) // 8 * 8 if per_cpu else info.value_size
        self._copies = possible_cpus() if per_cpu else 1
        self._value = ct.create_string_buffer(self.value_size * self._copies)

    def get(self, key: bytes) -> bytes | None:
        """The value, all CPUs' values one after the other, or None."""
        so = _library().so
        if so.bpf_map_lookup_elem(self.fd, key, self._value) < 0:
            return None
        return self._value.raw

    def per_cpu(self, key: bytes) -> list[bytes]:
        raw = self.get(key) or b""
        return [raw[i : i + self.value_size] for i in range(0, len(raw), self.value_size)]

    def put(self, key: bytes, value: bytes) -> None:
        if len(value) == self.value_size:
            value = value * self._copies
        lib = _library()
        lib.check(
            lib.so.bpf_map_update_elem(self.fd, key, value, ct.c_uint64(BPF_ANY)), "map update"
        )

    def remove(self, key: bytes) -> bool:
        """Whether the key was there."""
        return int(_library().so.bpf_map_delete_elem(self.fd, key)) >= 0

    def keys(self) -> Iterator[bytes]:
        so = _library().so
        following = ct.create_string_buffer(self.key_size)
        current: bytes | None = None
        while so.bpf_map_get_next_key(self.fd, current, following) >= 0:
            current = following.raw
            yield current

    def pin(self, path: Path) -> None:
        pin(self.fd, path)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True)
class TestRun:
    """What one BPF_PROG_TEST_RUN returned; `duration_ns` is per repetition."""

    __test__ = False

    verdict: int
    frame: bytes
    duration_ns: int


class Program:
    """A loaded program; the object or the caller owns its descriptor."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @property
    def id(self) -> int:
        info = _ProgInfo()
        _info(self.fd, info, "program info")
        return int(info.id)

    def test_run(
        self,
        frame: bytes,
        *,
        ingress_ifindex: int = 0,
        linear_bytes: int | None = None,
        repeat: int = 1,
        live: bool = False,
        batch: int = 0,
    ) -> TestRun:
        """Run the program on `frame` (BPF_PROG_TEST_RUN).

        With `live`, frames really go where the verdict sends them and nothing
        comes back. With `linear_bytes` the rest of the frame lies in a fragment,
        which not every kernel can. Raises OSError.
        """
        lib = _library()
        linear = len(frame) if linear_bytes is None else linear_bytes
        out = ct.create_string_buffer(0 if live else len(frame) + 512)
        context = (ct.c_uint32 * 6)(0, linear, 0, ingress_ifindex, 0, 0)
        options = _TestRunOpts(
            sz=ct.sizeof(_TestRunOpts),
            data_in=ct.cast(ct.c_char_p(frame), ct.c_void_p),
            data_size_in=len(frame),
            repeat=repeat,
            flags=TEST_RUN_LIVE_FRAMES if live else 0,
            batch_size=batch,
        )
        if not live:
            options.data_out = ct.cast(out, ct.c_void_p)
            options.data_size_out = len(out)
        if ingress_ifindex or linear != len(frame):
            options.ctx_in = ct.cast(context, ct.c_void_p)
            options.ctx_size_in = ct.sizeof(context)
        lib.check(lib.so.bpf_prog_test_run_opts(self.fd, ct.byref(options)), "program test run")
        return TestRun(options.retval, out.raw[: options.data_size_out], options.duration)


class Object:
    """An opened BPF object file; `load` gives it to the kernel."""

    def __init__(self, path: Path) -> None:
        lib = _library()
        lib.log.clear()
        self._lib = lib
        self._pointer: int | None = lib.pointer(
            lib.so.bpf_object__open_file(str(path).encode(), None), f"opening {path.name}"
        )
        self._maps = dict(self._iterate("map"))
        self._programs = dict(self._iterate("program"))
        self._owned: list[Map] = []

    def _iterate(self, kind: str) -> Iterator[tuple[str, int]]:
        following = getattr(self._lib.so, f"bpf_object__next_{kind}")
        name = getattr(self._lib.so, f"bpf_{kind}__name")
        item = following(ct.c_void_p(self._pointer), None)
        while item:
            yield name(ct.c_void_p(item)).decode(), item
            item = following(ct.c_void_p(self._pointer), ct.c_void_p(item))

    def set_rodata(self, value: bytes) -> None:
        """Write the start of the object's read-only data, before `load`."""
        name = next(n for n in self._maps if n.endswith(".rodata"))
        size = ct.c_size_t()
        start = self._lib.pointer(
            self._lib.so.bpf_map__initial_value(ct.c_void_p(self._maps[name]), ct.byref(size)),
            "read-only data",
        )
        if len(value) > size.value:
            raise ValueError(f"read-only data holds {size.value} bytes, not {len(value)}")
        ct.memmove(start, value, len(value))

    def set_max_entries(self, name: str, entries: int) -> None:
        call = self._lib.so.bpf_map__set_max_entries
        self._lib.check(call(ct.c_void_p(self._maps[name]), ct.c_uint32(entries)), name)

    def reuse(self, name: str, existing: Map) -> None:
        """Use an existing map instead of creating `name`."""
        call = self._lib.so.bpf_map__reuse_fd
        self._lib.check(call(ct.c_void_p(self._maps[name]), existing.fd), f"reusing map {name}")

    def load(self) -> None:
        """Raises OSError with the end of the verifier's log."""
        result = self._lib.so.bpf_object__load(ct.c_void_p(self._pointer))
        if result < 0:
            raise OSError(-result, f"loading: {os.strerror(-result)}{self._lib.tail()}")
        self._lib.log.clear()

    def map(self, name: str) -> Map:
        """A map of its own descriptor, valid after the object is closed."""
        fd = self._lib.so.bpf_map__fd(ct.c_void_p(self._maps[name]))
        return Map(os.dup(self._lib.check(fd, f"map {name}")))

    def program(self, name: str) -> Program:
        """Valid until the object is closed."""
        fd = self._lib.so.bpf_program__fd(ct.c_void_p(self._programs[name]))
        return Program(self._lib.check(fd, f"program {name}"))

    def close(self) -> None:
        if self._pointer:
            self._lib.so.bpf_object__close(ct.c_void_p(self._pointer))
            self._pointer = None


def open_object(path: Path) -> Object:
    return Object(path)


def possible_cpus() -> int:
    """How many CPUs a per-CPU map has entries for."""
    return _library().check(_library().so.libbpf_num_possible_cpus(), "possible CPUs")


def create_map(kind: int, name: str, key_size: int, value_size: int, max_entries: int) -> Map:
    lib = _library()
    fd = lib.so.bpf_map_create(kind, name.encode(), key_size, value_size, max_entries, None)
    return Map(lib.check(fd, f"creating map {name}"))


def pin(fd: int, path: Path) -> None:
    lib = _library()
    lib.check(lib.so.bpf_obj_pin(fd, str(path).encode()), f"pinning {path}")


def open_pin(path: Path) -> int:
    """A descriptor of what is pinned at `path`."""
    lib = _library()
    return lib.check(lib.so.bpf_obj_get(str(path).encode()), f"opening {path}")


def open_pinned_map(path: Path) -> Map:
    return Map(open_pin(path))


def program_name(program_id: int) -> str:
    """The kernel's name of a loaded program, '' when it is gone."""
    fd = _library().so.bpf_prog_get_fd_by_id(ct.c_uint32(program_id))
    if fd < 0:
        return ""
    try:
        info = _ProgInfo()
        _info(fd, info, "program info")
        return bytes(info.name).decode(errors="replace")
    finally:
        os.close(fd)


def attach_xdp(program: Program, ifindex: int, flags: int) -> int:
    """A link descriptor; `flags` asks for XDP_FLAGS_DRV_MODE or _SKB_MODE."""
    lib = _library()
    options = _LinkCreateOpts(sz=ct.sizeof(_LinkCreateOpts), flags=flags)
    lib.log.clear()
    fd = lib.so.bpf_link_create(program.fd, ifindex, BPF_XDP, ct.byref(options))
    return lib.check(fd, "attaching the XDP program")


def attach_xdp_netlink(program: Program, ifindex: int, flags: int) -> None:
    """Attach without a link: stays when the process ends (lab and benchmarks)."""
    lib = _library()
    lib.check(lib.so.bpf_xdp_attach(ifindex, program.fd, ct.c_uint32(flags), None), "attaching XDP")


def detach_xdp_netlink(ifindex: int) -> None:
    """Undo attach_xdp_netlink; nothing attached is fine."""
    _library().so.bpf_xdp_detach(ifindex, 0, None)


def replace_program(link_fd: int, program: Program) -> None:
    """Swap the link's program atomically: every packet meets the old or the new one."""
    lib = _library()
    lib.check(lib.so.bpf_link_update(link_fd, program.fd, None), "replacing the XDP program")


def link_target(link_fd: int) -> tuple[int, int]:
    """(ifindex, program id) of an XDP link; ifindex 0 when its interface is gone."""
    info = _LinkInfo()
    _info(link_fd, info, "link info")
    return int(info.ifindex), int(info.prog_id)


def _info(fd: int, info: ct.Structure, what: str) -> None:
    lib = _library()
    size = ct.c_uint32(ct.sizeof(info))
    lib.check(lib.so.bpf_obj_get_info_by_fd(fd, ct.byref(info), ct.byref(size)), what)
