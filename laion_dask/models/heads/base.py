"""The base class of heads: specs with an output column and an input, that can predict.

A head reads embeddings, images or captions (``reads``). It works without Dask:
``head.predict(x)`` returns the same values that ``score`` and ``embed`` write.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from laion_dask.cost import Cost
from laion_dask.display.overview import Displayed
from laion_dask.errors import OptionError


@dataclass(frozen=True)
class Head(Displayed):
    """A small classifier as a spec; it can be compared, hashed and pickled.

    Attributes
    ----------
    name : str
        The output column.
    reads : str
        The input of ``predict``: ``"embeddings"``, ``"images"`` or ``"captions"``.

    Examples
    --------
    >>> import laion_dask as ld
    >>> head = ld.heads.demo_safety()
    >>> isinstance(head, ld.heads.Head), head.reads
    (True, 'embeddings')
    """

    name: str
    reads: ClassVar[str]
    #: The verb that applies it to a frame.
    verb: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise OptionError(
                f"The output column is {self.name!r}. Expected a name, such as 'aesthetic'."
            )

    def to(self, name: str) -> Self:
        """The same head with a different output column."""
        return replace(self, name=name)

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """The cost of one row, for `laion_dask.plan`; see `laion_dask.cost`."""

    @abstractmethod
    def recipe(self) -> dict:
        """The manifest entry of the head."""

    @abstractmethod
    def predict(self, x) -> np.ndarray:
        """The scores, (n,) float32; NaN for a row without a score. Eager."""

    def scored(self, x) -> np.ndarray:
        """`predict` for a part of a data set: a row's result never depends on other rows. Eager."""
        return self.predict(x)
