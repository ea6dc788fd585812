"""Run the command-line interface: ``python -m laion_dask`` is the same as ``laion-dask``."""

from laion_dask.cli import main

if __name__ == "__main__":
    main()
