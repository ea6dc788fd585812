"""What the tests of perceived attributes share: the sizes of their shards, and the caveat."""

from laion_dask.caveats import CAVEATS

CAVEAT = CAVEATS["model-assigned"]
SIZES = (230, 0, 120, 1)
