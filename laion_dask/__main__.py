"""Run the command-line interface: ``python -m laion_dask`` is the same as ``laion-dask``."""

import sys


def main() -> None:
    """Run the command; Ctrl-C ends it without a traceback, also while it is being imported."""
    try:
        from laion_dask.cli import main as run

        run()
    except KeyboardInterrupt:
        print("laion-dask: canceled", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
