"""Optional GPU packages: imported on demand, with a clear error if missing."""

from __future__ import annotations

import importlib
import importlib.util
import os
from functools import cache

from laion_dask.backend import gpu_count
from laion_dask.errors import MissingExtraError, argument
from laion_dask.extras import installation


def require_dask_cuda():
    """Import and return the ``dask_cuda`` module.

    Raises
    ------
    MissingExtraError
        When dask-cuda is not installed.
    """
    try:
        return importlib.import_module("dask_cuda")
    except ImportError as error:
        raise MissingExtraError(
            "A GPU is visible but dask-cuda is not installed. "
            f"{installation('gpu')}, or ask for CPU workers with start_cluster(gpu=False)."
        ) from error


def require_ucx() -> None:
    """Raise unless the package that enables UCX in Dask is installed.

    Raises
    ------
    MissingExtraError
        When distributed-ucxx is not installed.
    """
    if importlib.util.find_spec("distributed_ucxx") is None:
        raise MissingExtraError(
            "The protocol 'ucx' needs distributed-ucxx, which is not installed. Install "
            "distributed-ucxx-cu13 (distributed-ucxx from conda-forge), or leave protocol out."
        )


def require_cuvs():
    """The module ``cuvs.neighbors.ivf_pq``.

    Raises
    ------
    MissingExtraError
        When cuVS is not installed, or no CUDA device is visible.
    """
    if not gpu_count():
        raise MissingExtraError(
            f"{argument('device', 'cuda')} was requested, but no CUDA device is visible. Leave it "
            "out to build on the CPU."
        )
    try:
        return importlib.import_module("cuvs.neighbors.ivf_pq")
    except ImportError as error:
        raise MissingExtraError(
            f"{argument('device', 'cuda')} needs cuVS, which is not installed. "
            f"{installation('index-gpu')}, or leave device out to build on the CPU."
        ) from error


@cache
def kvikio():
    """The ``kvikio`` module, which reads files directly into GPU memory; None if not installed.

    Uses 8 threads unless ``KVIKIO_NTHREADS`` is set; the default of kvikio is 1.
    """
    try:
        module = importlib.import_module("kvikio")
        defaults = importlib.import_module("kvikio.defaults")
    except (ImportError, OSError):  # not installed, or one of its shared libraries is missing
        return None
    if not {"KVIKIO_NTHREADS", "KVIKIO_NUM_THREADS"} & os.environ.keys():
        defaults.set("num_threads", max(8, defaults.get("num_threads")))
    return module
