"""`fwdcap stream export`: a stream, or part of it, as a file of its own.

Reads the store directly, so it works without a daemon. The file is written by
fwdcap-scan; what goes wrong half way leaves what came before, and says so.
"""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import BinaryIO, get_args

import click

from fwdcap import abi
from fwdcap.cli.place import place_options, where
from fwdcap.errors import DiskFull, FwdcapError, Invalid
from fwdcap.store.export import Export, ExportProcess, Format, open_export
from fwdcap.store.scanplan import word

_MODES = {word(mode): mode for mode in abi.Mode}
_DIRECTIONS = {word(direction): direction for direction in abi.Direction}


@click.command("export")
@click.argument("stream")
@click.option("--output", "-o", default="-", metavar="FILE", help="Where to write [-: stdout].")
@click.option("--format", "format_", type=click.Choice(get_args(Format)), default="pcap")
@click.option("--start", type=int, metavar="NS", help="From this time on, UTC nanoseconds.")
@click.option("--stop", type=int, metavar="NS", help="Before this time, UTC nanoseconds.")
@click.option("--filter", "filters", multiple=True, metavar="BPF", help="tcpdump's language.")
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Of this route.")
@click.option("--mode", "modes", multiple=True, type=click.Choice(tuple(_MODES)))
@click.option("--direction", type=click.Choice(tuple(_DIRECTIONS)))
@click.option("--snaplen", type=click.IntRange(0, abi.PCAP_SNAPLEN), default=0, metavar="N")
@click.option("--gzip", type=click.IntRange(0, 9), default=0, metavar="LEVEL", help="1 to 9.")
@place_options
def export(
    stream: str,
    output: str,
    format_: Format,
    start: int | None,
    stop: int | None,
    filters: tuple[str, ...],
    routes: tuple[str, ...],
    modes: tuple[str, ...],
    direction: str | None,
    snaplen: int,
    gzip: int,
    file: Path | None,
    store: Path | None,
) -> None:
    """Write STREAM, or the part of it that the options name, as pcap or pcapng.

    Several filters must all match; several routes or modes are alternatives.
    """
    wanted = Export(
        format=format_,
        start_ns=start,
        stop_ns=stop,
        filters=filters,
        routes=routes,
        modes=frozenset(_MODES[mode] for mode in modes),
        direction=None if direction is None else _DIRECTIONS[direction],
        snaplen=snaplen,
        gzip=gzip,
    )
    if output == "-" and sys.stdout.isatty():
        raise click.UsageError("Packets are not for a terminal: name a file with --output.")
    with open_export(where(file, store)[0], stream, wanted) as process:
        if output == "-":
            _copy(process, sys.stdout.buffer)
            return
        try:
            with open(output, "wb") as out:
                written = _copy(process, out)
        except OSError as error:
            raise _cannot_write(output, error) from error
    click.echo(f"{written:,} bytes in {output}", err=True)


def _copy(process: ExportProcess, file: BinaryIO) -> int:
    written = 0
    for chunk in process:
        written += file.write(chunk)
        file.flush()
    return written


def _cannot_write(output: str, error: OSError) -> FwdcapError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"The disk of {output} is full: the export is not whole.",
            code="output-full",
            hint="Write it to another disk, or less of it.",
        )
    return Invalid(
        f"{output} cannot be written: {error.strerror}.",
        code="output-unwritable",
        hint="Name a file that you may write with --output.",
    )
