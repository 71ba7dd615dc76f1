"""fwdcap: an inline packet capturer for networks that have no SPAN port."""

__version__ = "0.1.0"
