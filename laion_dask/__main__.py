"""``python -m laion_dask`` is ``laion-dask``."""

from laion_dask.cli import main

if __name__ == "__main__":
    main()
