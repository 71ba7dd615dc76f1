"""A testbed of network namespaces: two hosts, a bridge, and the appliance.

Demo, tests, benchmarks and people all use this one. Every lab has a name and
shares nothing with another, so several can run on a machine at the same time.

    with Lab("mine") as lab:
        lab.start_appliance()
        lab.host("a").run("ping -c 3 10.77.0.100")
"""

from fwdcap.lab.appliance import Appliance
from fwdcap.lab.host import Host
from fwdcap.lab.sniff import Frame, Sniff, read_pcap
from fwdcap.lab.testbed import CAPTURE, CLIENT, DEFAULT_NAME, MANAGEMENT, SERVER, STRANGER, Lab

__all__ = [
    "CAPTURE",
    "CLIENT",
    "DEFAULT_NAME",
    "MANAGEMENT",
    "SERVER",
    "STRANGER",
    "Appliance",
    "Frame",
    "Host",
    "Lab",
    "Sniff",
    "read_pcap",
]
