"""The command `fwdcap`: nouns read, verbs change.

Every command asks the daemon through its control socket and knows nothing of
the kernel. Results are tables for people and, with --json, values for programs.
"""
