"""Exports: filtered, cut, compressed or pcapng copies of streams, made by fwdcap-scan.

A plain download is bytes of the store as they are (download.py). Whatever looks
at packets is done by a process of its own that may nothing but read: this module
decides what it is to read, starts it behind everybody else, and turns what it
says into errors.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

import fwdcap
from fwdcap import abi
from fwdcap.errors import FwdcapError, Invalid, Unavailable
from fwdcap.store import names, scanplan
from fwdcap.store.chapters import chapters

Format = Literal["pcap", "pcapng"]

PROGRAM = Path(fwdcap.__file__).parent / "native" / "build" / "fwdcap-scan"
MAX_FILTERS = 16
MAX_FILTER_BYTES = 16384
CHUNK_BYTES = 1 << 20
_NOBODY = 65534
_USAGE = 2
_END_OF_TIME_NS = (1 << 64) - 1
_FILTER_MISTAKE = re.compile(r"fwdcap-scan: filter (\d+) at (\d+): (.*)")
_LIBPCAP_PREFIX = "can't parse filter expression: "


@dataclass(frozen=True)
class Export:
    """What is wanted of a stream.

    Records in [start_ns, stop_ns) (UTC, None: no bound) that match every filter
    (tcpdump's language), of these routes, modes and direction (none: of any),
    cut to snaplen bytes (0: whole), gzipped at level 1 to 9 (0: not).
    """

    format: Format = "pcap"
    start_ns: int | None = None
    stop_ns: int | None = None
    filters: tuple[str, ...] = ()
    routes: tuple[str, ...] = ()
    modes: frozenset[abi.Mode] = frozenset()
    direction: abi.Direction | None = None
    snaplen: int = 0
    gzip: int = 0

    @property
    def suffix(self) -> str:
        """The end of its file name, `.pcap` or `.pcapng.gz`."""
        return f".{self.format}{'.gz' if self.gzip else ''}"


@dataclass(frozen=True)
class Limits:
    """How far behind others an export stands, and what it may use."""

    nice: int = 10
    idle_io: bool = True
    memory_bytes: int = 512 << 20
    cpu_seconds: int = 3600

    def arguments(self) -> list[str]:
        return [
            *("--nice", str(self.nice)),
            *("--memory-bytes", str(self.memory_bytes)),
            *("--seconds", str(self.cpu_seconds)),
            *(["--idle-io"] if self.idle_io else []),
        ]


_CHECK = Limits(nice=0, idle_io=False, memory_bytes=256 << 20, cpu_seconds=5)


class ExportProcess:
    """A running fwdcap-scan; its output is read in chunks, in order, once."""

    def __init__(self, child: subprocess.Popen[bytes], export: Export, limits: Limits) -> None:
        self._child = child
        self._export = export
        self._limits = limits
        self._first = b""

    @property
    def pid(self) -> int:
        return self._child.pid

    def begin(self) -> ExportProcess:
        """Waits for the first bytes, the file's header; raises Invalid or Unavailable."""
        self._first = self._next(CHUNK_BYTES)
        return self

    def read(self, size: int = CHUNK_BYTES) -> bytes:
        """The next bytes, at most `size`, as soon as there are any; none at the end.

        Raises Unavailable where the export broke off: what was read is then not all.
        """
        if self._first:
            chunk, self._first = self._first[:size], self._first[size:]
            return chunk
        return self._next(size)

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self.read():
            yield chunk

    def ready(self, timeout_s: float) -> bool:
        """Waits until `read` would not wait, or for so long; says which."""
        stdout = self._child.stdout
        if self._first or stdout is None or stdout.closed:
            return True
        watch = select.poll()
        watch.register(stdout, select.POLLIN)
        return bool(watch.poll(timeout_s * 1000))

    def close(self) -> None:
        """Ends the process if it still runs; there is nothing more to read then."""
        self._first = b""
        if self._child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
        self._child.wait()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()

    def __enter__(self) -> ExportProcess:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()

    def _next(self, size: int) -> bytes:
        stdout, stderr = self._child.stdout, self._child.stderr
        assert stdout is not None
        assert stderr is not None
        if stdout.closed:
            return b""
        chunk = os.read(stdout.fileno(), size)
        if chunk:
            return chunk
        said = stderr.read().decode(errors="replace")
        code = self._child.wait()
        self.close()
        if code:
            raise refusal(code, said, self._export, self._limits)
        return b""


def open_export(
    root: Path, stream: str, export: Export, limits: Limits = Limits()
) -> ExportProcess:
    """That export of one stream, a running one up to what is committed now.

    Raises NotFound, Invalid (a filter, a route, a value) and Unavailable.
    """
    return open_exports(root, (stream,), export, limits)


def open_exports(
    root: Path, streams: Sequence[str], export: Export, limits: Limits = Limits()
) -> ExportProcess:
    """Several streams as one file, in the order given: in pcapng with their own interfaces."""
    base = root / "streams"
    wanted = arguments(export)
    plan = scanplan.encode(chapters(root, streams, export))
    directory = names.stream_directory(root, streams[0])
    command = [str(PROGRAM), *wanted, *limits.arguments(), *_user(directory)]
    process = ExportProcess(_start(command, plan, base), export, limits)
    try:
        return process.begin()
    except BaseException:
        process.close()
        raise


def check_filter(text: str) -> None:
    """Raises Invalid where `text` is not tcpdump's language; says where the mistake is."""
    export = Export(filters=(text,))
    arguments(export)
    command = [str(PROGRAM), "--check-filter", text, *_CHECK.arguments()]
    with ExportProcess(_start(command, b"", Path("/")), export, _CHECK) as process:
        process.read()


def arguments(export: Export) -> list[str]:
    """The command line for it; raises Invalid."""
    _check(export)
    found = ["--format", export.format]
    if export.start_ns is not None:
        found += ["--start", str(max(0, export.start_ns))]
    if export.stop_ns is not None:
        found += ["--stop", str(max(0, export.stop_ns))]
    for text in export.filters:
        found += ["--filter", text]
    for mode in sorted(export.modes):
        found += ["--mode", scanplan.word(mode)]
    if export.direction is not None:
        found += ["--direction", scanplan.word(export.direction)]
    if export.snaplen:
        found += ["--snaplen", str(export.snaplen)]
    if export.gzip:
        found += ["--gzip", str(export.gzip)]
    return found


def refusal(code: int, said: str, export: Export, limits: Limits) -> FwdcapError:
    """What an unsuccessful end means; `said` is what stood on its standard error."""
    line = next((line for line in said.splitlines() if line.startswith("fwdcap-scan: ")), "")
    mistake = _FILTER_MISTAKE.fullmatch(line)
    if code == _USAGE and mistake is not None:
        return _bad_filter(export.filters[int(mistake[1]) - 1], int(mistake[2]), mistake[3])
    sentence = line.removeprefix("fwdcap-scan: ")
    if code == _USAGE:
        return Invalid(f"The export cannot be made: {sentence}.", code="bad-export")
    if -code == signal.SIGXCPU:
        return Unavailable(
            f"The export took more than {limits.cpu_seconds} s of processor time.",
            code="export-too-long",
            hint="Ask for a shorter time window or a simpler filter.",
        )
    if code < 0:
        sentence = f"fwdcap-scan ended by {signal.Signals(-code).name}"
    return Unavailable(
        f"The export broke off: {sentence or f'fwdcap-scan ended with {code}'}.",
        code="export-failed",
        hint="The stream may have been deleted or its disk may be failing.",
    )


def _bad_filter(text: str, byte: int, sentence: str) -> Invalid:
    before = text.encode("utf-8", "surrogateescape")[:byte].decode("utf-8", "ignore")
    rest = text[len(before) :]
    at = f"at character {len(before) + 1}, {names.shorten(rest)}" if rest else "at its end"
    return Invalid(
        f"The filter has a mistake {at}: {sentence.removeprefix(_LIBPCAP_PREFIX)}.",
        code="bad-filter",
        hint="Filters are written in tcpdump's language, see pcap-filter(7).",
    )


def _check(export: Export) -> None:
    low, high = export.start_ns, export.stop_ns
    wrong = (
        (
            low is not None and high is not None and low >= high,
            f"The window from {low} to {high} holds no time.",
            "Its end must be later than its start; both are nanoseconds since 1970.",
        ),
        (
            any(at is not None and at > _END_OF_TIME_NS for at in (low, high)),
            "The window ends after the end of time.",
            "Times are nanoseconds since 1970.",
        ),
        (
            not 0 <= export.snaplen <= abi.PCAP_SNAPLEN,
            f"{export.snaplen} bytes cannot be kept of a frame.",
            f"The largest snaplen is {abi.PCAP_SNAPLEN}, and 0 keeps all.",
        ),
        (
            not 0 <= export.gzip <= 9,
            f"There is no compression level {export.gzip}.",
            "Levels go from 1, fast, to 9, small; 0 does not compress.",
        ),
        (
            len(export.filters) > MAX_FILTERS,
            f"There are {len(export.filters)} filters.",
            f"Join them with `and`: {MAX_FILTERS} are the most.",
        ),
        (
            any(len(os.fsencode(text)) > MAX_FILTER_BYTES for text in export.filters),
            f"A filter is longer than {MAX_FILTER_BYTES} bytes.",
            "Use networks instead of lists of addresses.",
        ),
        (
            any("\0" in text for text in export.filters),
            "A filter holds a NUL character.",
            "Filters are written in tcpdump's language, see pcap-filter(7).",
        ),
    )
    for is_wrong, message, hint in wrong:
        if is_wrong:
            raise Invalid(message, code="bad-export", hint=hint)


def _user(directory: Path) -> list[str]:
    """Root reads as nobody in the group that may read the store, if there is such a group."""
    if os.geteuid() != 0:
        return []
    try:
        status = directory.stat()
    except OSError:
        return []
    if status.st_gid:
        return ["--user", f"{_NOBODY}:{status.st_gid}"]
    return ["--user", f"{status.st_uid}:{status.st_gid}"] if status.st_uid else []


def _start(command: Sequence[str], plan: bytes, directory: Path) -> subprocess.Popen[bytes]:
    """fwdcap-scan in `directory`, with the plan behind its standard input; raises Unavailable."""
    given = os.memfd_create("fwdcap-scan-plan", os.MFD_CLOEXEC)
    try:
        with open(given, "wb", closefd=False) as file:
            file.write(plan)
        os.lseek(given, 0, os.SEEK_SET)
        return subprocess.Popen(
            [os.fsencode(part) for part in command],
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=directory,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )
    except OSError as error:
        raise Unavailable(
            f"fwdcap-scan cannot be started: {error.strerror}.",
            code="scan-unavailable",
            hint="`make build` makes it; `fwdcap doctor` says what else may be wrong.",
        ) from error
    finally:
        os.close(given)
