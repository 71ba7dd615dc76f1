"""The store: streams on disk, readable without a daemon.

One directory per stream under `<store>/streams`, laid out as docs/architecture.md
says. fwdcapd writes stream.json, the recorder everything else; whoever reads
(web, command line, recovery) comes through here and takes what it finds: a
missing or torn file makes a stream poorer, never unreadable.
"""
