"""`python -m tiebreak`, and the `tiebreak` command."""

import sys

from tiebreak.cli.entry import main as run_command


def main() -> None:
    """Run the command line of this process and leave with its exit code."""
    sys.exit(run_command(sys.argv[1:]))


if __name__ == "__main__":
    main()
