"""What every head is: a spec that names its column, its model and its weights, and can predict.

A head reads embeddings, images or captions (``reads``). It is usable without Dask:
``head.predict(x)`` returns the very numbers that ``score`` and ``embed`` write.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from laion_dask.errors import (
    EmbeddingsError,
    ModelMismatchError,
    OptionError,
    WeightsError,
    must_be,
    one_of,
)
from laion_dask.models import weights as weight_files
from laion_dask.models.clip import ClipModel, as_model, check_same_space
from laion_dask.models.process_cache import ProcessCache
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


@dataclass(frozen=True)
class EmbeddingHead(Head):
    """A head over the embeddings of one CLIP model.

    A subclass says how its weights are read (``_read``) and what they make of a block of rows
    (``_scores``).

    Attributes
    ----------
    name : str
        The output column.
    clip : ClipModel or str
        The CLIP model whose embeddings it reads, as ``as_model`` takes it.
    unit_norm : bool
        Whether it is meant for rows of length 1.
    """

    clip: ClipModel | str
    reads: ClassVar[str] = "embeddings"
    unit_norm: ClassVar[bool] = True
    #: Whether ``predict`` scales rows to length 1; a head that cannot refuses other rows.
    scales: ClassVar[bool] = True
    #: Rows that are scored at a time. A block always has as many: the last is filled up with
    #: zeros, so that a matrix product is the same for a row whatever stands beside it.
    block: ClassVar[int] = 512

    def predict(self, x) -> np.ndarray:
        """The scores of embeddings, (n,) float32. Eager.

        A row's score does not depend on the rows beside it. A row with a NaN or an infinity, or of
        length zero, has no score: NaN.

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
        import torch

        if isinstance(x, Vectors) and x.model is not None:
            check_same_space(self.clip, x.model, f"The head {self.name!r} and the vectors")
        x = self._checked(x)
        state = self.load()
        scores = np.empty(len(x), np.float32)
        lengths = np.empty(len(x), np.float64)
        with torch.inference_mode():
            for at in range(0, len(x), self.block):
                rows = x[at : at + self.block]
                here = slice(at, at + len(rows))
                scores[here], lengths[here] = self._block(rows, state)
        if not self.scales and len(x):
            self._refuse_scaled(lengths)
        return scores

    def _block(self, rows, state) -> tuple[np.ndarray, np.ndarray]:
        """Scores and lengths of at most ``block`` rows."""
        import torch

        n = len(rows)
        if n < self.block:
            rows = torch.cat([rows, rows.new_zeros(self.block - n, rows.shape[1])])
        rows = rows.float()
        length = _lengths(rows)
        scores = self._scores(rows, length, state).float()
        good = torch.isfinite(length) & (length > 0)
        if not self.scales:
            good &= (length - 1).abs() <= UNIT_TOLERANCE
        scores = torch.where(good, scores, torch.nan)
        return scores[:n].cpu().numpy(), length[:n].cpu().numpy()

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
        import torch

        if not isinstance(x, torch.Tensor):
            x = np.asarray(x)
            if x.dtype.kind == "f" and x.dtype.itemsize <= 8:
                x = torch.from_numpy(np.require(x, requirements=["C", "W"]))
        kind, shape, dim = x.dtype, tuple(x.shape), as_model(self.clip).dim
        if not isinstance(x, torch.Tensor) or not x.is_floating_point():
            raise EmbeddingsError(
                f"The head {self.name!r} was given {kind}. Expected float16 or float32 embeddings."
            )
        if x.ndim != 2 or x.shape[1] != dim:
            raise EmbeddingsError(
                f"The head {self.name!r} was given an array of shape {shape}. Expected "
                f"(n, {dim}), as {as_model(self.clip).name} makes them; one vector is x[None]."
            )
        return x

    def _refuse_scaled(self, lengths: np.ndarray) -> None:
        known = np.flatnonzero(np.isfinite(lengths) & (lengths > 0))
        if len(known) and (np.abs(lengths[known] - 1) > UNIT_TOLERANCE).all():
            raise EmbeddingsError(
                f"The head {self.name!r} needs embeddings of length 1, and none of the "
                f"{len(known)} given is; row {known[0]} has length {lengths[known[0]]:.4g}. Divide "
                "each row by its length first."
            )


def _lengths(rows):
    """Lengths of float32 rows, (n,) float64; NaN or infinite where the row is."""
    import torch

    length = torch.linalg.vector_norm(rows, dim=1).double()
    odd = ~(length > 1e-18) | torch.isinf(length)  # squares that under- or overflow, NaN, zero
    length[odd] = torch.linalg.vector_norm(rows[odd].double(), dim=1)
    return length


@dataclass(frozen=True)
class FileHead(EmbeddingHead):
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
        return {
            "name": self.name,
            "clip": as_model(self.clip).name,
            "weights": Path(self.weights).name,
            "sha256": self.sha256,
        }

    def load(self):
        """What is in its weight file; read once per process.

        Raises
        ------
        WeightsError
            When the file is gone, altered or damaged.
        """
        return _loaded.get((type(self), self.clip, self.weights, self.sha256), self._load)

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


def check_heads(
    heads: Iterable, model: ClipModel, reads: tuple[str, ...] = ("embeddings",)
) -> Iterator[Head]:
    """The heads one by one, each known to fit the model and to write a column of its own.

    Parameters
    ----------
    heads : iterable of heads
    model : ClipModel
        Of the embeddings at hand.
    reads : tuple of str
        What is at hand: ``"embeddings"``, ``"images"``, ``"captions"``.

    Raises
    ------
    ModelMismatchError
        When a head reads embeddings of another CLIP model.
    OptionError
        When two write the same column, or one reads what is not at hand.
    """
    seen: set[str] = set()
    for head in heads:
        must_be("A head", head, Head, "one such as ld.heads.aesthetic('ViT-L-14')")
        if head.reads not in reads:
            where = {"images": "embed(heads=…)", "captions": "score_captions"}[head.reads]
            raise OptionError(
                f"The head {head.name!r} reads {head.reads}; here are {' and '.join(reads)} only. "
                f"Give it to {where}."
            )
        if isinstance(head, EmbeddingHead):
            check_same_space(head.clip, model, f"The head {head.name!r} and the embeddings")
        if head.name in seen:
            raise OptionError(
                f"Two heads write the column {head.name!r}. Rename one with head.to('…')."
            )
        seen.add(head.name)
        yield head


def published_for(clip: ClipModel | str, files: dict[str, str], what: str) -> tuple[str, str]:
    """The model that published weights belong to, and their file's name.

    Parameters
    ----------
    clip : ClipModel or str
        As the user gave it.
    files : dict of str to str
        Model (``"ViT-L-14:openai"``) → published file name.
    what : str
        The head in words, for the message.

    Raises
    ------
    OptionError
        When there is no such head for the architecture.
    ModelMismatchError
        When there is one, but for other weights.
    """
    model = as_model(clip)
    homes = [as_model(name) for name in files]
    same = [h for h in homes if h.arch == model.arch.removesuffix("-quickgelu")]
    if not same:
        raise one_of("clip", model.name, [h.arch for h in homes])
    if not same[0].same_space(model):
        raise ModelMismatchError(
            f"The {what} for {same[0].arch} was fitted on the weights {same[0].pretrained!r}, and "
            f"clip is {model.name}. Use embeddings of {same[0]!r}."
        )
    return same[0].name, files[same[0].name]
