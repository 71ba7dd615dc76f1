"""A download is the header plus byte ranges, exact at every border."""

from __future__ import annotations

import contextlib
import io
import os
import socket
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_builder import StreamBuilder, example, packets

from fwdcap.errors import NotFound
from fwdcap.store.download import open_single

pytestmark = pytest.mark.unit


def test_single_is_one_header_and_all_records(tmp_path: Path) -> None:
    built = example(tmp_path)
    download = open_single(tmp_path, built.stream)
    with download.file as file:
        data = file.read()
    assert data == built.single()
    assert download.length == len(data)


def test_running_stream_ends_at_its_committed_length(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(10)).write(tail=packets(1)[0].record)
    download = open_single(tmp_path, built.stream)
    assert download.file.read() == built.single()
    assert download.length == 24 + built.checkpoint().bytes


def test_what_grows_after_opening_does_not_change_the_download(tmp_path: Path) -> None:
    built = StreamBuilder(tmp_path).add(packets(10)).write()
    before = built.single()
    download = open_single(tmp_path, built.stream)
    built.add(packets(5)).write()
    assert download.file.read() == before


@pytest.mark.parametrize("leave", ["stream.json", "checkpoint"])
def test_empty_stream_is_a_header(tmp_path: Path, leave: str) -> None:
    built = StreamBuilder(tmp_path).complete().write()
    for path in built.directory.iterdir():
        if path.name != leave:
            path.unlink()
    download = open_single(tmp_path, built.stream)
    assert (download.length, download.file.read()) == (24, built.single())


def test_no_such_stream(tmp_path: Path) -> None:
    (tmp_path / "streams" / "empty").mkdir(parents=True)
    for stream in ("none", "empty", "../streams/empty"):
        with pytest.raises(NotFound):
            open_single(tmp_path, stream)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(data=st.data())
def test_reads_seeks_and_windows_agree_with_one_file(tmp_path: Path, data: st.DataObject) -> None:
    built = StreamBuilder(tmp_path)
    if not built.directory.exists():
        example(tmp_path, count=12)
    download = open_single(tmp_path, built.stream)
    whole = download.file.read()
    position = st.integers(0, len(whole))
    start, stop = sorted((data.draw(position), data.draw(position)))
    with download.window(start, stop) as window, io.BytesIO(whole[start:stop]) as truth:
        for _ in range(data.draw(st.integers(1, 6))):
            size = data.draw(st.integers(-1, 300))
            if data.draw(st.booleans()):
                to = data.draw(st.integers(0, 200))
                assert window.seek(to) == truth.seek(to)
            assert window.read(size) == truth.read(size)
        assert window.seek(0, os.SEEK_END) == truth.seek(0, os.SEEK_END)
        assert window.tell() == stop - start


def test_segments_are_opened_as_they_are_reached_and_only_one_at_a_time(tmp_path: Path) -> None:
    built = example(tmp_path)
    held = len(os.listdir("/proc/self/fd"))
    file = open_single(tmp_path, built.stream).file
    assert len(os.listdir("/proc/self/fd")) == held
    while file.read(100):
        assert len(os.listdir("/proc/self/fd")) <= held + 1
    file.close()
    assert len(os.listdir("/proc/self/fd")) == held


@pytest.mark.parametrize("gone", [True, False])
def test_bytes_that_went_away_end_the_read_with_an_error(tmp_path: Path, gone: bool) -> None:
    built = example(tmp_path)
    file = open_single(tmp_path, built.stream).file
    assert len(file.read(100)) == 100
    last = built.directory / "000002.pcap"
    last.unlink() if gone else last.write_bytes(b"short")
    with pytest.raises(OSError, match=r"No such file|became shorter"):
        file.read()


def test_file_behaves_as_a_buffered_reader_expects(tmp_path: Path) -> None:
    built = example(tmp_path)
    with io.BufferedReader(open_single(tmp_path, built.stream).file) as reader:
        assert reader.read(7) + reader.read() == built.single()
    with pytest.raises(ValueError, match="before"):
        open_single(tmp_path, built.stream).file.seek(-1)


def test_it_goes_to_a_socket_without_being_read(tmp_path: Path) -> None:
    """Header and segments alike, in whatever pieces the socket takes."""
    built = example(tmp_path)
    whole = built.single()
    window = open_single(tmp_path, built.stream).window(7, len(whole) - 3)
    near, far = socket.socketpair()
    with near, far, window:
        received = b""
        while window.tell() < window.length:
            sent = window.send(near.fileno(), 1000)
            assert 0 < sent <= 1000
            received += far.recv(sent, socket.MSG_WAITALL)
    assert received == whole[7:-3]


@pytest.mark.parametrize("full", [False, True])
def test_a_socket_is_told_when_bytes_went_away_or_it_takes_no_more(
    tmp_path: Path, full: bool
) -> None:
    built = example(tmp_path)
    window = open_single(tmp_path, built.stream).window(24, len(built.single()))
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far, window:
        if full:
            with contextlib.suppress(BlockingIOError):
                while near.send(bytes(65536)):
                    pass
            with pytest.raises(BlockingIOError):
                window.send(near.fileno(), 1000)
            assert window.tell() == 0
            return
        for segment in built.directory.glob("*.pcap"):
            os.truncate(segment, 24)
        with pytest.raises(OSError, match="became shorter"):
            window.send(near.fileno(), 1000)
