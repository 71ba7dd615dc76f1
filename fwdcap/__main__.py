"""`fwdcap` and `python -m fwdcap`: the command line, with its errors as sentences."""

from __future__ import annotations

import sys

from fwdcap.cli.main import run


def main() -> None:
    """Run the command line and leave with its exit code: 0 fine, 1 refused, 2 usage."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
