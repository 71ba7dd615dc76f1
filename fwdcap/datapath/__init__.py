"""The kernel's side of fwdcap: program, maps, interfaces, neighbours, settings."""

from fwdcap.datapath.datapath import Datapath, pinned_interfaces
from fwdcap.datapath.links import (
    InterfaceInfo,
    facts,
    interface_info,
    interface_names,
    xdp_info,
)

__all__ = [
    "Datapath",
    "InterfaceInfo",
    "facts",
    "interface_info",
    "interface_names",
    "pinned_interfaces",
    "xdp_info",
]
