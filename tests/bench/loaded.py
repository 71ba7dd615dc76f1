"""What downloads of the running stream cost its recording: `python -m tests.bench.loaded`.

Packets are relayed and recorded at a fixed rate, first alone, then while four
clients download the stream that is being written and one has stopped reading.
Recorder, web process and clients share one core, the data path has the other.
Nothing may be lost in either.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.bench.device import Fwdcap
from tests.bench.wire import Generator, Wire, pin_to_cpu

CLIENTS = 4
CLIENT_CPU = "1"


def main() -> int:
    options = _options()
    pin_to_cpu(0)
    wire = Wire()
    try:
        with tempfile.TemporaryDirectory(dir=options.directory, prefix="fwdcap-loaded-") as top:
            Path(top).chmod(0o755)
            lost = measure(wire, Path(top), options)
    finally:
        wire.close()
    return 1 if lost else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.loaded", description=__doc__)
    parser.add_argument("--directory", default="/var/tmp", help="where captures are written")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rate", type=float, default=100_000, help="packets a second")
    parser.add_argument("--size", type=int, default=1500, help="bytes of a frame, no FCS")
    return parser.parse_args()


def measure(wire: Wire, directory: Path, options: argparse.Namespace) -> int:
    """Prints both; returns how many records were lost."""
    device = Fwdcap(wire, directory, ("inline",), capture=True, ring_bytes=0)
    try:
        with wire.generator(options.size) as generator:
            generator.sink_by_xdp()
            return sum(_one(device, wire, generator, options, load) for load in (False, True))
    finally:
        device.close()


def _one(
    device: Fwdcap, wire: Wire, generator: Generator, options: argparse.Namespace, load: bool
) -> int:
    fetched = 0
    with device.recording() as recording:
        url = f"{device.url}pcap/single?StreamName={recording.stream}"
        around = downloading(wire, url) if load else contextlib.nullcontext([])
        with around as clients:
            sent = generator.send(options.seconds, options.rate)
            fetched = sum(_fetched(client) for client in clients)
    beside = f"beside {CLIENTS} downloads and one that stopped" if load else "alone"
    print(
        f"{sent.rate:.0f} packets/s of {options.size} bytes, {beside}: "
        f"{recording.records} recorded, {recording.lost} lost"
        + (f"; downloaded {fetched / 1e9:.2f} GB" if load else "")
    )
    return recording.lost


@contextlib.contextmanager
def downloading(wire: Wire, url: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Clients that begin again whenever they have it all, and one that stops reading."""
    said = shlex.quote("%{size_download}\\n")
    curl = f"curl -s -u fwdcap:bench {shlex.quote(url)}"
    going = f"while :; do {curl} -o /dev/null -w {said} & child=$!; wait $child; done"
    going = f"trap 'kill $child; wait $child; exit' TERM; {going}"
    taskset = ["taskset", "-c", CLIENT_CPU, "sh", "-c"]
    idle = wire.in_box(*taskset, f"exec {curl} -o - --limit-rate 1", stdout=subprocess.DEVNULL)
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    clients = [wire.in_box(*taskset, going, **quiet) for _ in range(CLIENTS)]
    try:
        yield clients
    finally:
        for client in (*clients, idle):
            client.terminate()
            client.wait()


def _fetched(client: subprocess.Popen[str]) -> int:
    """Bytes of the downloads a client has finished."""
    client.terminate()
    text = client.communicate(timeout=20)[0]
    return sum(int(line) for line in text.split())


if __name__ == "__main__":
    sys.exit(main())
