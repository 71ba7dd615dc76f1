"""The Python twin of abi.h: freshly generated, and laid out as the C compiler lays it out."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fwdcap import abi
from fwdcap.native import generate_abi

pytestmark = pytest.mark.unit


def structures() -> dict[str, type[ctypes.Structure]]:
    """C name → ctypes class, of every struct in the header."""
    parsed = generate_abi.parse(generate_abi.HEADER.read_text(encoding="utf-8"))
    names = ["".join(map(str.capitalize, name.split("_"))) for name in parsed.structs]
    return {name: getattr(abi, twin) for name, twin in zip(parsed.structs, names, strict=True)}


def test_abi_is_what_the_generator_writes_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate_abi.main(["--check"]) == 0, capsys.readouterr().err


def test_check_notices_a_twin_that_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "abi.py"
    stale.write_text(generate_abi.TWIN.read_text(encoding="utf-8").replace("ABI = 1", "ABI = 2"))
    monkeypatch.setattr(generate_abi, "TWIN", stale)
    assert generate_abi.main(["--check"]) == 1
    assert "out of date" in capsys.readouterr().err


def test_every_block_of_the_header_has_its_twin() -> None:
    text = generate_abi.HEADER.read_text(encoding="utf-8")
    blocks = re.findall(r"^(?:struct|enum) fwdcap_(\w+) \{", text, re.MULTILINE)
    assert len(blocks) > 15
    for block in blocks:
        assert hasattr(abi, "".join(map(str.capitalize, block.split("_"))))


def questions() -> Iterator[tuple[str, int]]:
    """Every C expression about a layout or a value, with what Python says it is."""
    for name, twin in structures().items():
        yield f"sizeof(struct fwdcap_{name})", ctypes.sizeof(twin)
        for field, *_ in twin._fields_:
            descriptor = getattr(twin, field)
            yield f"offsetof(struct fwdcap_{name}, {field})", descriptor.offset
            yield f"sizeof(((struct fwdcap_{name} *)0)->{field})", descriptor.size
    header = generate_abi.HEADER.read_text(encoding="utf-8")
    parsed = generate_abi.parse(header)
    for constant in parsed.constants:
        yield f"FWDCAP_{constant}", getattr(abi, constant)
    for enum, members in parsed.enums.items():
        twin_enum = getattr(abi, "".join(map(str.capitalize, enum.split("_"))))
        for member in members:
            ending = rf"\bFWDCAP_(?:\w+_)?{member}\b(?=\s*=)"
            block = header[header.index(f"enum fwdcap_{enum} {{") :]
            found = re.search(ending, block)
            assert found is not None
            yield found[0], twin_enum[member].value


def test_layout_and_values_are_what_the_c_compiler_says(tmp_path: Path) -> None:
    compiler = shutil.which("cc")
    assert compiler is not None, "a C compiler is needed: apt-get install gcc"
    expected = dict(questions())
    prints = "\n".join(
        f'printf("%llu\\n", (unsigned long long)({expression}));' for expression in expected
    )
    source = tmp_path / "layout.c"
    source.write_text(
        f'#include <stddef.h>\n#include <stdio.h>\n#include "{generate_abi.HEADER}"\n'
        f"int main(void)\n{{\n{prints}\nreturn 0;\n}}\n"
    )
    program = tmp_path / "layout"
    subprocess.run([compiler, "-Wall", "-Werror", "-o", program, source], check=True)
    printed = subprocess.run([program], check=True, capture_output=True, text=True).stdout
    assert dict(zip(expected, map(int, printed.split()), strict=True)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "struct fwdcap_x { int a; };",
        "struct fwdcap_x { __u8 *a; };",
        "struct fwdcap_x { __u8 a : 3; };",
        "enum fwdcap_x { FWDCAP_X_A };",
        "#define FWDCAP_X (1 << 3)",
        "typedef int fwdcap_x;",
        "struct fwdcap_x { struct { __u8 a; } b; };",
    ],
)
def test_c_the_generator_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not understood|not an integer"):
        generate_abi.parse(text)


def test_a_count_at_the_end_of_an_enum_is_a_constant_not_a_member() -> None:
    assert len(abi.Reason) == abi.REASONS
    assert len(abi.Loss) == abi.LOSSES
    assert [reason.value for reason in abi.Reason] == list(range(abi.REASONS))


def test_a_checkpoint_fits_its_slot() -> None:
    assert ctypes.sizeof(abi.Checkpoint) <= abi.CHECKPOINT_SLOT
