"""``ld.heads``: all heads, and the function that trains new ones."""

from laion_dask.models import heads as _heads
from laion_dask.models.heads import *  # noqa: F403
from laion_dask.training.train import train

__all__ = ["train"]
__all__ += _heads.__all__


def __dir__() -> list[str]:
    return sorted(__all__)
