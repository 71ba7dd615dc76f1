"""Routes: what a user writes, and how it becomes rules in the kernel.

All of it is pure: values in, values out. `file` reads routes.toml, `check`
refuses what would not work on this machine, `model` expands a route into its
two rules, `plan` orders the steps from the rules that are in the kernel to those
that should be, `ids` gives routes their numbers. Only `file.read` opens a file.
"""
