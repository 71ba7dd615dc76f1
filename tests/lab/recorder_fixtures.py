"""Fixtures of the recorder's tests, named by each of their modules in pytest_plugins."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from recorder_rig import (
    NATIVE,
    RING_BYTES,
    Mount,
    Producer,
    Record,
    Recorder,
    make_stream,
    tool,
)


@pytest.fixture(scope="session")
def built() -> None:
    products = ["build/fwdcap-recorder", "build/emit.bpf.o"]
    subprocess.run(["make", "-s", "-C", NATIVE, *products], check=True)


@pytest.fixture
def producer(built: None) -> Iterator[Producer]:
    """One ring."""
    with Producer(RING_BYTES) as made:
        yield made


@pytest.fixture
def stream(tmp_path: Path) -> Path:
    return make_stream(tmp_path)


@pytest.fixture
def record(producer: Producer, stream: Path) -> Iterator[Record]:
    """Starts recorders on the producer's rings; none outlives the test."""
    started: list[Recorder] = []

    def start(
        *args: str,
        pins: Path = producer.pins,
        stream: Path = stream,
        environment: Mapping[str, str] | None = None,
    ) -> Recorder:
        started.append(Recorder(pins, stream, *args, environment=environment))
        return started[-1]

    yield start
    for recorder in started:
        recorder.process.kill()
        recorder.process.communicate()


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a filesystem for the test and makes a stream's directory there."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(kind: str, options: str, source: str | Path = "none") -> Path:
        tool("mount", "-t", kind, "-o", options, source, place)
        return make_stream(place)

    yield mount
    subprocess.run(["umount", "-l", place], check=False, capture_output=True)


@pytest.fixture
def ext4(tmp_path: Path) -> Path:
    """The image of an ext4 filesystem of 64 MB, to be mounted with the option loop."""
    image = tmp_path / "ext4.image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    tool("mkfs.ext4", "-q", "-F", image)
    return image
