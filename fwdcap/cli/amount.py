"""Sizes on the command line: the same texts as everywhere (fwdcap.amounts)."""

from __future__ import annotations

from typing import Any

import click

from fwdcap import amounts
from fwdcap.errors import Invalid


class SizeType(click.ParamType[int]):
    """A number of bytes, such as 10GB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return amounts.size(value).bytes
        except Invalid as error:
            self.fail(f"{error.message} {error.hint}", param, ctx)


SIZE = SizeType()
