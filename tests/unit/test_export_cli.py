"""`fwdcap stream export` writes a file or its standard output, or says why not."""

from __future__ import annotations

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from export_kit import exported, retag, stream, traffic

from fwdcap import abi
from fwdcap.cli.export import export
from fwdcap.errors import FwdcapError, Invalid, NotFound
from fwdcap.store.export import Export

pytestmark = pytest.mark.unit


def run(root: Path, *arguments: str) -> bytes:
    """Its standard output; raises what the command line's root would print."""
    done = CliRunner().invoke(
        export, [*arguments, "--store", str(root)], catch_exceptions=False, standalone_mode=False
    )
    return done.stdout_bytes


def test_output_is_the_export(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    assert run(tmp_path, built.stream) == built.single()


def test_file_gets_what_every_option_asks_for(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    retag(built)
    start = built.started_ns + 5 * 10**9
    path = tmp_path / "x.pcapng.gz"
    words = f"--format pcapng --start {start} --stop {start + 40 * 10**9} --filter tcp --route web"
    more = "--mode inline --mode egress --direction to-client --snaplen 60 --gzip 3"
    assert run(tmp_path, built.stream, "-o", str(path), *words.split(), *more.split()) == b""
    wanted = Export(
        format="pcapng",
        start_ns=start,
        stop_ns=start + 40 * 10**9,
        filters=("tcp",),
        routes=("web",),
        modes=frozenset({abi.Mode.INLINE, abi.Mode.EGRESS}),
        direction=abi.Direction.TO_CLIENT,
        snaplen=60,
    )
    assert gzip.decompress(path.read_bytes()) == exported(tmp_path, built, wanted)


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [(("--filter", "tcp prt"), Invalid), (("--route", "nosuch"), Invalid), ((), NotFound)],
)
def test_refusal_leaves_no_file(
    tmp_path: Path, arguments: tuple[str, ...], kind: type[FwdcapError]
) -> None:
    built = stream(tmp_path, traffic())
    name = built.stream if arguments else "nosuch"
    with pytest.raises(kind):
        run(tmp_path, name, *arguments, "--output", str(tmp_path / "x.pcap"))
    assert not (tmp_path / "x.pcap").exists()


@pytest.mark.parametrize("output", ["/dev/full", "/nonexistent/x.pcap"])
def test_output_that_cannot_be_written_is_said(tmp_path: Path, output: str) -> None:
    built = stream(tmp_path, traffic())
    with pytest.raises(FwdcapError) as refused:
        run(tmp_path, built.stream, "--output", output)
    assert output in refused.value.message


def test_terminal_gets_no_packets(tmp_path: Path) -> None:
    built = stream(tmp_path, traffic())
    code = "from fwdcap.cli.export import export; export()"
    spawned = f"[sys.executable, '-c', {code!r}, *sys.argv[1:]]"
    wrapped = f"import pty, sys; sys.exit(pty.spawn({spawned}) >> 8)"
    done = subprocess.run(
        [sys.executable, "-c", wrapped, built.stream, "--store", tmp_path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
    )
    assert done.returncode == 2
    assert b"not for a terminal" in done.stdout
