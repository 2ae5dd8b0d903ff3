"""The command line: ``ppl-vae``, or ``python -m ppl_vae`` without an installation."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> None:
    """Runs the command line; ctrl-C while it is imported ends it in a line, too."""
    try:
        from ppl_vae.cli.main import main
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(130)
    main()


if __name__ == "__main__":
    run()
