"""The settings file in docs/settings.md: it names every key, is valid, and shows the defaults."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from fwdcap import config
from fwdcap.capture.rows import parse_rows

pytestmark = pytest.mark.unit

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
EXAMPLE = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.M | re.S)[0]
# A setting that is commented out, unlike a remark.
UNSET = re.compile(r"^# (?=\[|\w+ = )", re.M)


def keys_of(model: type[config.Settings]) -> set[str]:
    """`table.key` of every setting; the rows of the schedule are tables in a list."""
    return {
        f"{name}.{key}"
        for name, field in model.model_fields.items()
        for table in (field.annotation, *get_args(field.annotation))
        for key in getattr(table, "model_fields", ())
    }


def written(path: Path, text: str) -> config.Settings:
    path.write_text(text)
    return config.load(path, {})


def test_as_it_stands_it_changes_nothing(tmp_path: Path) -> None:
    assert written(tmp_path / "fwdcap.toml", EXAMPLE) == config.load(None, {})


def test_it_names_every_key_with_a_value_that_is_taken(tmp_path: Path) -> None:
    whole = UNSET.sub("", EXAMPLE)
    written(tmp_path / "fwdcap.toml", whole)
    named = {
        f"{table}.{key}"
        for table, content in tomllib.loads(whole).items()
        for row in (content if isinstance(content, list) else [content])
        for key in row
    }
    assert named == keys_of(config.Settings), "docs/settings.md must name every key"


def test_only_what_has_no_default_is_commented_out(tmp_path: Path) -> None:
    shown = written(tmp_path / "fwdcap.toml", EXAMPLE).model_dump(exclude_unset=True)
    every = config.load(None, {}).model_dump(exclude_none=True)
    every.pop("schedule")
    assert {table: set(content) for table, content in shown.items() if content} == {
        table: set(content) for table, content in every.items() if content
    }


def test_its_rows_are_rows() -> None:
    rows = tomllib.loads(UNSET.sub("", EXAMPLE))["schedule"]
    assert [row.always for row in parse_rows(rows)] == [False, True]
