"""`make bench`: forwarding and recording rates against kernel NAT with tcpdump.

Prints a table and writes JSON. Everything compared is measured in one run, on
one machine, with one generator; absolute figures depend on both.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench.device import Fwdcap, KernelNat, Trial
from tests.bench.measure import Result, measure
from tests.bench.pairs import Pairs, measure_pairs
from tests.bench.wire import Generator, Wire, pin_to_cpu

SIZES = (64, 512, 1500)
FORWARD_ONLY = "forward only"
INLINE = "forward + capture, inline"
ALL_MODES = "forward + capture, three modes"
FROZEN = "forward + capture, recorder frozen, ring full"
PAIRED_BYTES = 64
STEADY_BYTES = 1500
STEADY_BITS_PER_S = 10.2e9
STEADY_S = 10.0
FROZEN_RING_BYTES = 16 << 20  # full at once, before the watchdog looks
NAT = "nftables NAT"
NAT_TCPDUMP = "nftables NAT + tcpdump"
GENERATOR = "BPF_PROG_TEST_RUN live frames over a veth pair, on the data path's core"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = _options()
    pin_to_cpu(0)
    wire = Wire()
    results: list[Result] = []
    further = Further()
    try:
        with tempfile.TemporaryDirectory(dir=options.directory, prefix="fwdcap-bench-") as top:
            Path(top).chmod(0o755)
            for name in options.devices:
                results += _measure_device(name, wire, Path(top), options, further)
    finally:
        wire.close()
    report = _report(results, further, options)
    print(_table(results))
    print("\n".join(further.lines()))
    if options.json:
        Path(options.json).write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _options() -> argparse.Namespace:
    devices = [FORWARD_ONLY, INLINE, ALL_MODES, FROZEN, NAT, NAT_TCPDUMP]
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one trial")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="frame bytes, no FCS")
    parser.add_argument("--pairs", type=int, default=9, help="of trials without and with a capture")
    parser.add_argument("--devices", nargs="+", default=devices, choices=devices)
    parser.add_argument("--directory", default="/var/tmp", help="where captures are written")
    parser.add_argument("--ring-bytes", type=int, default=0, help="0: the product's own choice")
    parser.add_argument("--json", default="", help="file for the figures")
    return parser.parse_args()


@dataclass
class Further:
    """What is measured beside the table."""

    pairs: Pairs | None = None
    steady: Trial | None = None

    def lines(self) -> list[str]:
        said = [str(self.pairs)] if self.pairs else []
        if self.steady:
            said.append(
                f"{STEADY_BYTES} B, inline copy, {STEADY_BITS_PER_S / 1e9:.1f} Gbit/s offered for "
                f"{self.steady.seconds:.0f} s: {self.steady.recorded:,} recorded, "
                f"{self.steady.lost:,} lost, {self.steady.dropped:,} dropped"
            )
        return said


def _measure_device(
    name: str, wire: Wire, top: Path, options: argparse.Namespace, further: Further
) -> list[Result]:
    directory = top / name.replace(" ", "-")
    directory.mkdir()
    device: Fwdcap | KernelNat
    if name in (NAT, NAT_TCPDUMP):
        device = KernelNat(wire, directory, capture=name == NAT_TCPDUMP)
    else:
        modes = ("ingress", "inline", "egress") if name == ALL_MODES else ("inline",)
        device = Fwdcap(
            wire,
            directory,
            modes,
            capture=name != FORWARD_ONLY,
            ring_bytes=FROZEN_RING_BYTES if name == FROZEN else options.ring_bytes,
            freeze=name == FROZEN,
        )
    results = []
    try:
        for size in options.sizes:
            with wire.generator(size) as generator:
                results.append(
                    measure(
                        name,
                        device,
                        generator,
                        size,
                        seconds=options.seconds,
                        bisect=name not in (NAT_TCPDUMP, FROZEN),
                        say=say,
                    )
                )
                if name == INLINE and isinstance(device, Fwdcap):
                    _measure_further(device, generator, size, options, further)
    finally:
        device.close()
    return results


def _measure_further(
    device: Fwdcap, generator: Generator, size: int, options: argparse.Namespace, further: Further
) -> None:
    if size == PAIRED_BYTES and options.pairs:
        further.pairs = measure_pairs(
            device, generator, size, seconds=options.seconds / 2, count=options.pairs, say=say
        )
    if size == STEADY_BYTES:
        rate = STEADY_BITS_PER_S / 8 / STEADY_BYTES
        further.steady = device.trial(generator, STEADY_S, rate)


def _best(result: Result) -> float:
    """The rate that counts: clean for us, the best forwarded one for the rivals.

    With the recorder frozen losing is the point; what counts is what is forwarded.
    """
    if result.device in (NAT, NAT_TCPDUMP, FROZEN):
        return max(result.full.forwarded_rate, result.clean.forwarded_rate if result.clean else 0)
    return result.clean.forwarded_rate if result.clean else 0.0


def _ratios(results: list[Result]) -> dict[tuple[str, int], dict[str, float]]:
    best = {(result.device, result.frame_bytes): _best(result) for result in results}
    ratios = {}
    for (device, size), rate in best.items():
        references = {"forward only": FORWARD_ONLY, "NAT + tcpdump": NAT_TCPDUMP}
        ratios[device, size] = {
            label: rate / best[reference, size]
            for label, reference in references.items()
            if best.get((reference, size))
        }
    return ratios


def _table(results: list[Result]) -> str:
    ratios = _ratios(results)
    head = (
        "| frames | device | (a) nothing lost, M/s | × forward only | × NAT + tcpdump "
        "| (b) full offer: forwarded, M/s | recorded, M/s | lost | dropped |\n"
        "|---|---|---|---|---|---|---|---|---|"
    )
    rows = []
    for result in sorted(results, key=lambda result: result.frame_bytes):
        ratio = ratios[result.device, result.frame_bytes]
        full = result.full
        clean = f"{result.clean.forwarded_rate / 1e6:.2f}" if result.clean else "none found"
        cells = [
            f"{result.frame_bytes} B",
            result.device,
            clean,
            *(
                f"{ratio[key]:.2f}" if key in ratio else ""
                for key in ("forward only", "NAT + tcpdump")
            ),
            f"{full.forwarded_rate / 1e6:.2f}",
            f"{full.recorded_rate / 1e6:.2f}",
            f"{full.lost}",
            f"{full.dropped}",
        ]
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join([head, *rows])


def _report(
    results: list[Result], further: Further, options: argparse.Namespace
) -> dict[str, object]:
    ratios = _ratios(results)
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "cores": os.cpu_count(),
        "generator": GENERATOR,
        "seconds": options.seconds,
        "results": [
            {**asdict(result), "ratios": ratios[result.device, result.frame_bytes]}
            for result in results
        ],
        "pairs": further.pairs.to_dict() if further.pairs else None,
        "steady": asdict(further.steady) if further.steady else None,
    }


if __name__ == "__main__":
    sys.exit(main())
