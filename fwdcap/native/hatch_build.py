"""Build hook of the package: compiles the BPF objects and C programs with make.

hatchling calls it for wheels and editable installs; the products land in
fwdcap/native/build and travel in the wheel.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeBuildHook(BuildHookInterface):  # type: ignore[misc]
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        subprocess.run(["make", "-s", "-C", str(Path(self.root, "fwdcap", "native"))], check=True)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
