"""A warning a person should see: not an error, nothing was refused."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Notice:
    """`message` is one sentence, `hint` what to do, `code` what programs compare."""

    code: str
    message: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)
