"""A bench for fwdcap-recorder alone: a real ring that a test fills, and what comes out.

The producer is fwdcap/native/bpf/emit.bpf.c, run by BPF_PROG_TEST_RUN: it
writes the record it is given, or numbers, times and counts as the data path
does. What the recorder wrote is read back with a parser of its own, so that the
recorder and the store's reader are not each other's only witness.
"""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from fwdcap import abi
from fwdcap.datapath import libbpf
from fwdcap.store import checkpoint as checkpoints

NATIVE = Path(libbpf.__file__).parents[1] / "native"
RECORDER = Path(os.environ.get("FWDCAP_RECORDER", NATIVE / "build" / "fwdcap-recorder"))
BPFFS = Path("/sys/fs/bpf")
NOBODY = 65534
KEY = bytes(4)
KILLER = Path(__file__).parent / "kill_at_call.c"
PATIENCE_S = 20.0
RING_BYTES = 16 << 20
NAME = "x_20260101_0000"

AS_GIVEN, COUNTED, UNCOPIED, FORGOTTEN = range(4)  # enum wanted of emit.bpf.c

_numbers = itertools.count()


def given(cpu: int, sequence: int, monotonic_ns: int, frame: bytes) -> abi.Record:
    return abi.Record(
        cpu=cpu, sequence=sequence, monotonic_ns=monotonic_ns, len=len(frame), reserved=AS_GIVEN
    )


class Producer:
    """Pinned rings with their counters, and the program that fills them."""

    def __init__(self, ring_bytes: int, rings: int = 1) -> None:
        self.pins = BPFFS / f"fwdcap-test-{os.getpid()}-{next(_numbers)}"
        self.cpus = libbpf.possible_cpus()
        self._object = libbpf.open_object(NATIVE / "build" / "emit.bpf.o")
        for name in ("cpu_state", "scratches"):
            self._object.set_max_entries(name, self.cpus)
        self._object.load()
        self._program = self._object.program("emit")
        self._maps = {n: self._object.map(n) for n in ("cpu_state", "capture")}
        self._rings = [self._make_ring(number, ring_bytes) for number in range(rings)]
        self._maps |= {f"ring{number}": ring for number, ring in enumerate(self._rings)}
        self._consumers = [mmap.mmap(ring.fd, mmap.PAGESIZE, offset=0) for ring in self._rings]
        self.deactivate()

    def _make_ring(self, number: int, ring_bytes: int) -> libbpf.Map:
        ring = libbpf.create_map(libbpf.MAP_TYPE_RINGBUF, f"ring{number}", 0, 0, ring_bytes)
        with closing(self._object.map("rings")) as rings:  # left open, it would keep the ring
            rings.put(struct.pack("=I", number), struct.pack("=I", ring.fd))
        return ring

    def __enter__(self) -> Producer:
        self.pins.mkdir()
        for name, each in self._maps.items():
            each.pin(self.pins / name)
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for name in self._maps:
            (self.pins / name).unlink(missing_ok=True)
        self.pins.rmdir()
        for consumer in self._consumers:
            consumer.close()
        for each in self._maps.values():
            each.close()
        self._object.close()

    def activate(self) -> None:
        for cpu in range(self.cpus):
            self._maps["cpu_state"].put(struct.pack("=I", cpu), bytes(abi.CpuState()))
        self._control(1)

    def deactivate(self) -> None:
        self._control(0)

    def _control(self, active: int, rings: int | None = None) -> None:
        control = abi.CaptureControl(active=active, nr_rings=rings or len(self._rings))
        self._maps["capture"].put(KEY, bytes(control))

    def states(self) -> list[abi.CpuState]:
        raw = (self._maps["cpu_state"].get(struct.pack("=I", cpu)) for cpu in range(self.cpus))
        return [abi.CpuState.from_buffer_copy(each or b"") for each in raw]

    def emitted(self) -> int:
        """Records numbered so far, lost ones included."""
        return sum(state.next_sequence for state in self.states())

    def released(self, ring: int = 0) -> int:
        """The position in the ring up to which the recorder gave space back."""
        return int.from_bytes(self._consumers[ring][:8], "little")

    def emit(self, frame: bytes = bytes(64), *, wanted: int = COUNTED, times: int = 1) -> None:
        self.emit_record(abi.Record(len=len(frame), reserved=wanted), frame, times)

    def emit_record(self, record: abi.Record, frame: bytes, times: int = 1) -> None:
        record.caplen = record.caplen or len(frame)
        record.link_type = abi.LINKTYPE_ETHERNET
        self._program.test_run(bytes(record) + frame, repeat=times)

    @contextmanager
    def as_if_one_ring(self) -> Iterator[None]:
        """In the block the program, and who asks, believes that ring0 is all there is."""
        active = abi.CaptureControl.from_buffer_copy(self._maps["capture"].get(KEY) or b"").active
        self._control(active, rings=1)
        try:
            yield
        finally:
            self._control(active)

    @contextmanager
    def on_one_cpu(self, cpu: int = 0) -> Iterator[None]:
        """What this thread emits in the block has one sequence."""
        cpus = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {sorted(cpus)[cpu]})
        try:
            yield
        finally:
            os.sched_setaffinity(0, cpus)

    @contextmanager
    def emitting(self, frame: bytes = bytes(64), pause_s: float = 0.005) -> Iterator[None]:
        """Every CPU emits bursts of 100 until the block is left."""
        over = threading.Event()

        def run(cpu: int) -> None:
            os.sched_setaffinity(threading.get_native_id(), {cpu})
            while not over.wait(pause_s):
                self.emit(frame, times=100)

        cpus = os.sched_getaffinity(0)
        threads = [threading.Thread(target=run, args=(cpu,)) for cpu in cpus]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()


class Recorder:
    """The recorder as a process, writing one stream; `args` are further options."""

    def __init__(
        self,
        pins: Path,
        stream: Path,
        *args: str,
        user: str = "nobody",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.stream = stream
        self.started_ns = time.monotonic_ns()
        command = [str(RECORDER), f"--pins={pins}", f"--stream={stream}", f"--user={user}", *args]
        self.process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env={**os.environ, **(environment or {})}
        )

    def checkpoint(self) -> abi.Checkpoint | None:
        return checkpoints.read(self.stream / "checkpoint")

    def wait_for(self, what: Callable[[abi.Checkpoint], bool]) -> abi.Checkpoint:
        """The first checkpoint seen of which `what` is true."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            found = self.checkpoint()
            if found is not None and what(found):
                return found
            if self.process.poll() is not None:
                raise AssertionError(f"the recorder ended: {self.said()}")
            time.sleep(0.002)
        raise AssertionError("the recorder did not report in time")

    def ready(self) -> Recorder:
        """Itself, once the checkpoint is its own and not a predecessor's."""
        self.wait_for(lambda found: found.heartbeat_ns > self.started_ns)
        return self

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(PATIENCE_S)

    def facts(self) -> dict[str, str]:
        """The fields of /proc/PID/status."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return dict(line.split(":\t", 1) for line in status.splitlines())

    def said(self) -> str:
        assert self.process.stderr
        return self.process.stderr.read()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def finish(self) -> abi.Checkpoint:
        """SIGTERM, and the last checkpoint of a recorder that then ended well."""
        self.send(signal.SIGTERM)
        assert self.ended() == 0, self.said()
        last = self.checkpoint()
        assert last
        assert last.state == abi.RecorderState.COMPLETE
        return last


Record = Callable[..., Recorder]
Mount = Callable[..., Path]


def make_stream(parent: Path, name: str = NAME) -> Path:
    """A stream's directory, as the daemon makes it; nobody can reach it by name."""
    stream = parent / name
    stream.mkdir(mode=0o2750)
    os.chown(stream, NOBODY, 0)
    stream.chmod(0o2750)
    return stream


def tool(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build_killer(directory: Path) -> Path:
    """The library that kills its process at the nth call that touches a file."""
    return build_library(KILLER, directory)


def build_library(source: Path, directory: Path) -> Path:
    """What is preloaded into a recorder."""
    library = directory / f"{source.stem}.so"
    command = ["cc", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source, "-ldl"]
    subprocess.run(command, check=True)
    return library


@dataclass(frozen=True)
class Stored:
    """One record as it stands in a segment."""

    segment: int
    offset: int
    time_ns: int
    len: int
    frame: bytes
    tag: bytes


def read_records(stream: Path) -> list[Stored]:
    """Every record of a sealed stream; its files must hold nothing else."""
    found: list[Stored] = []
    for number, path in enumerate(sorted(stream.glob("*.pcap"))):
        assert path.name == f"{number:06}.pcap"
        raw = path.read_bytes()
        assert raw[:24] == struct.pack("=IHHIIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, 1)
        tags = path.with_suffix(".tags").read_bytes()
        offset = 24
        for entry in range(0, len(tags), 8):
            seconds, ns, caplen, length = struct.unpack_from("=IIII", raw, offset)
            assert ns < 1_000_000_000
            frame = raw[offset + 16 : offset + 16 + caplen]
            assert len(frame) == caplen
            time_ns = seconds * 1_000_000_000 + ns
            found.append(Stored(number, offset, time_ns, length, frame, tags[entry : entry + 8]))
            offset += 16 + caplen
        assert offset == len(raw)
    return found


def read_index(stream: Path) -> list[list[tuple[int, ...]]]:
    """The entries of each segment's index, as tuples in the order of abi.h."""
    return [
        list(struct.iter_unpack("=5Q", path.read_bytes()))
        for path in sorted(stream.glob("*.index"))
    ]


def expected_index(records: list[Stored]) -> list[list[tuple[int, ...]]]:
    """What the rule of abi.h makes of these records."""
    segments: list[list[tuple[int, ...]]] = []
    size = entry_size = second = previous_ns = 0
    for number, record in enumerate(records):
        since = (record.time_ns - records[0].time_ns) // 1_000_000_000
        first = record.segment == len(segments)
        due = since > second or size - entry_size >= 262_144
        if first:
            segments.append([])
        if first or (due and record.time_ns != previous_ns):
            segments[-1].append((record.time_ns, previous_ns, record.offset, number, size))
            entry_size, second = size, since
        previous_ns = record.time_ns
        size += 16 + len(record.frame)
    return segments or [[]]


def takes_direct_io(directory: Path) -> bool:
    """Whether the filesystem lets a file be opened with O_DIRECT."""
    path = directory / "probe"
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT))
    except OSError:
        return False
    finally:
        path.unlink(missing_ok=True)
    return True


def stamps(records: list[Stored]) -> dict[int, list[int]]:
    """The sequences of each CPU as they stand in counted records, in stored order."""
    found: dict[int, list[int]] = {}
    for record in records:
        sequence, cpu = struct.unpack_from("=QH", record.frame)
        found.setdefault(cpu, []).append(sequence)
    return found


def assert_sound(stream: Path, last: abi.Checkpoint) -> list[Stored]:
    """What holds of every sealed stream. Returns its records."""
    records = read_records(stream)
    times = [record.time_ns for record in records]
    assert times == sorted(times)
    assert read_index(stream) == expected_index(records)
    assert last.packets == len(records)
    assert last.frame_bytes == sum(len(record.frame) for record in records)
    assert last.bytes == last.frame_bytes + 16 * len(records)
    assert (last.first_ns, last.last_ns) == ((times[0], times[-1]) if times else (0, 0))
    assert last.packets + sum(last.lost_records) == sum(last.next_sequence) - last.begun_sequence
    assert sum(last.ring_lost_records) == sum(last.lost_records)
    on_disk = sum(path.stat().st_blocks for path in stream.iterdir()) * 512
    assert on_disk < last.bytes + 8 * len(records) + 2**20  # preallocated space was given back
    return records


def assert_each_once(records: list[Stored], producer: Producer) -> None:
    """Whatever the program numbered stands in the records once, and in order."""
    counts = {cpu: s.next_sequence for cpu, s in enumerate(producer.states()) if s.next_sequence}
    assert stamps(records) == {cpu: list(range(count)) for cpu, count in counts.items()}
