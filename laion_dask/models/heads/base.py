"""What every head is: a spec that names its column, its model and its weights, and can predict.

A head reads embeddings, images or captions (``reads``). It is usable without Dask:
``head.predict(x)`` returns the very numbers that ``score`` and ``embed`` write.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from laion_dask.errors import (
    EmbeddingsError,
    OptionError,
    WeightsError,
)
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import ClipModel, as_model, check_same_space
from laion_dask.models.heads.rows import as_array, filled, lengths, tame
from laion_dask.models.process_cache import ProcessCache
from laion_dask.models.torch_threads import spread
from laion_dask.models.vectors import Vectors

#: How far a row's length may be from 1 for a head that takes unit-norm rows as they are; float16
#: storage moves it by less than 0.001.
UNIT_TOLERANCE = 0.01

_loaded = ProcessCache()


@dataclass(frozen=True)
class Head:
    """A small classifier as a spec: it compares, hashes and pickles.

    Attributes
    ----------
    name : str
        The output column.
    reads : str
        What ``predict`` takes: ``"embeddings"``, ``"images"`` or ``"captions"``.
    """

    name: str
    reads: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise OptionError(
                f"The output column is {self.name!r}. Expected a name, such as 'aesthetic'."
            )

    def to(self, name: str) -> Self:
        """The same head with another output column."""
        return replace(self, name=name)

    @abstractmethod
    def recipe(self) -> dict:
        """What a manifest records of the head."""

    @abstractmethod
    def predict(self, x) -> np.ndarray:
        """The scores, (n,) float32; NaN where there is none. Eager."""

    def scored(self, x) -> np.ndarray:
        """`predict` for a part of a whole: what it says of a row, the row alone decides. Eager."""
        return self.predict(x)


@dataclass(frozen=True)
class EmbeddingHead(Head):
    """A head over the embeddings of one CLIP model.

    A subclass says how its weights are read (``_read``) and what they make of a block of rows
    (``_scores``).

    Attributes
    ----------
    name : str
        The output column.
    clip : ClipModel
        The CLIP model whose embeddings it reads; made from a name where one is given.
    unit_norm : bool
        Whether it is meant for rows of length 1.
    """

    clip: ClipModel
    reads: ClassVar[str] = "embeddings"
    unit_norm: ClassVar[bool] = True
    #: Whether ``predict`` scales rows to length 1; a head that cannot refuses other rows.
    scales: ClassVar[bool] = True
    #: Rows that are scored at a time. A block always has as many: the last is filled up with
    #: zeros, so that a matrix product is the same for a row whatever stands beside it.
    block: ClassVar[int] = 512
    #: The same on a GPU, which needs more of them to be busy.
    device_block: ClassVar[int] = 1 << 16

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "clip", as_model(self.clip))

    def predict(self, x) -> np.ndarray:
        """The scores of embeddings, (n,) float32. Eager.

        A row's score does not depend on the rows beside it, nor on the number of threads. A row
        with a NaN or an infinity, or of length zero, has no score: NaN; every other has one. A
        head that needs rows of length 1 gives NaN for others, and refuses an array that has no
        other; a part of a data set may be such an array, so `score` calls `scored`.

        Parameters
        ----------
        x : (n, dim) NumPy array or torch tensor
            float16 or float32 embeddings; n may be 0. A tensor is scored on its own device.

        Raises
        ------
        EmbeddingsError
            When the shape or the kind of numbers is wrong, or no row is of length 1 and the head
            needs that.
        ModelMismatchError
            When ``x`` is known to come from another CLIP model.
        WeightsError
            When the weight file is gone, altered or damaged.
        """
        scores = self.scored(x)
        if not self.scales and np.isnan(scores).all():
            self._refuse_scaled(self._checked(x))
        return scores

    def scored(self, x) -> np.ndarray:
        """`predict`, but never an error because of the rows' lengths: such a row is NaN. Eager."""
        import torch

        if isinstance(x, Vectors) and x.model is not None:
            check_same_space(self.clip, x.model, f"The head {self.name!r} and the vectors")
        x = self._checked(x)
        state = self.load()
        scores = np.empty(len(x), np.float32)
        on_cpu = isinstance(x, np.ndarray)
        size = self.block if on_cpu else self.device_block

        def score(at: int) -> None:
            with torch.inference_mode():
                rows = x[at : at + size]
                scores[at : at + len(rows)] = self._block(rows, size, state)

        spread(score, range(0, len(x), size), lanes=None if on_cpu else 1)
        return scores

    def _block(self, rows, size: int, state) -> np.ndarray:
        """Scores of at most ``size`` rows."""
        import torch

        n = len(rows)
        rows = filled(rows, size)
        length = lengths(rows)
        if self.scales:
            tame(rows, length)
        scores = self._scores(rows, length, state).float()
        good = torch.isfinite(length) & (length > 0)
        if not self.scales:
            good &= (length - 1).abs() <= UNIT_TOLERANCE
        scores = torch.where(good, scores, torch.nan)
        return scores[:n].cpu().numpy()

    @abstractmethod
    def load(self):
        """What ``_scores`` needs; read once per process."""

    @abstractmethod
    def _scores(self, rows, length, state):
        """Scores of a block.

        Parameters
        ----------
        rows : (block, dim) float32 tensor
        length : (block,) float64 tensor
            The rows' lengths; what comes of a row whose length is zero or not finite is dropped.
        state
            What ``load`` returned.

        Returns
        -------
        (block,) tensor
        """

    def _checked(self, x):
        """The rows as a NumPy array, or as the tensor on a GPU that they are."""
        import torch

        if isinstance(x, torch.Tensor):
            fine = x.is_floating_point()
            x = x.detach() if x.device.type != "cpu" or not fine else as_array(x)
        else:
            x = np.asarray(x)
            fine = x.dtype.kind == "f" and x.dtype.itemsize <= 8
        if not fine:
            raise EmbeddingsError(
                f"The head {self.name!r} was given {x.dtype}. Expected float16 or float32 "
                "embeddings."
            )
        dim, model = self.clip.dim, self.clip.name
        if x.ndim != 2 or x.shape[1] != dim:
            raise EmbeddingsError(
                f"The head {self.name!r} was given an array of shape {tuple(x.shape)}. Expected "
                f"(n, {dim}), as {model} makes them; one vector is x[None]."
            )
        return x

    def _refuse_scaled(self, x) -> None:
        """Say that no row is of length 1, where there is one that has a length at all."""
        for at in range(0, len(x), self.block):
            rows = x[at : at + self.block]
            length = lengths(filled(rows, len(rows))).cpu().numpy()
            known = np.isfinite(length) & (length > 0) & (np.abs(length - 1) > UNIT_TOLERANCE)
            if known.any():
                first = int(np.argmax(known))
                raise EmbeddingsError(
                    f"The head {self.name!r} needs embeddings of length 1, and none of the "
                    f"{len(x)} given is; row {at + first} has length {length[first]:.4g}. Divide "
                    "each row by its length first."
                )


class FromFile:
    """A head whose weights lie in one file: its fields ``weights`` and ``sha256``, a path and a
    digest. A worker that finds another file refuses it. A subclass says how it is read (``_read``).
    """

    weights: str
    sha256: str

    def load(self):
        """What is in its weight file; read once per process.

        Raises
        ------
        WeightsError
            When the file is gone, altered or damaged.
        """
        return _loaded.get(self._key(), self._load)

    def _key(self) -> tuple:
        return type(self), self.weights, self.sha256

    def _load(self):
        if not Path(self.weights).is_file() or weight_files.sha256_of(self.weights) != self.sha256:
            raise WeightsError(
                f"The head {self.name!r} was made from {Path(self.weights).name} with sha256 "
                f"{self.sha256[:12]}…; {self.weights} is missing here or is another file. Put the "
                "same file there on every worker."
            )
        return self._read()

    @abstractmethod
    def _read(self):
        """The weights, from the file whose digest has been checked."""

    def _file(self) -> dict:
        return {"weights": Path(self.weights).name, "sha256": self.sha256}


@dataclass(frozen=True)
class FileHead(FromFile, EmbeddingHead):
    """An embedding head whose weights lie in one file.

    Attributes
    ----------
    weights : str
        The path of its weight file.
    sha256 : str
        The digest of that file; a worker that finds another file refuses it.
    """

    weights: str
    sha256: str

    def recipe(self) -> dict:
        """What a manifest records: ``name``, ``clip``, the weight file's name and its sha256."""
        return {"name": self.name, "clip": self.clip.name, **self._file()}

    def _key(self) -> tuple:
        return *super()._key(), self.clip
