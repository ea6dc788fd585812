"""The base class of heads over embeddings: in blocks, on a CPU or a GPU, row by row."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from laion_dask.cost import EMBEDDINGS, Cost
from laion_dask.errors import EmbeddingsError, OptionError
from laion_dask.extras import require_extra
from laion_dask.models.clip import ClipModel, as_model
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.heads.base import Head
from laion_dask.models.heads.batching import (
    filled,
    first_scaled,
    lengths,
    moved,
    padded,
    rows_of,
    scale_extreme_rows,
    stored_lengths,
)
from laion_dask.models.same_space import check_same_space
from laion_dask.models.vectors import Vectors
from laion_dask.numerics.gpu.memory import retry_after_release, run_with_oom_backoff
from laion_dask.numerics.torch_threads import spread
from laion_dask.runtime.process_cache import ProcessCache

#: Largest deviation of a row's length from 1 for a head that does not normalize rows; float16
#: storage changes the length by less than 0.001.
UNIT_TOLERANCE = 0.01

_loaded = ProcessCache()
#: Head states by head and device.
_moved = ProcessCache()


@dataclass(frozen=True)
class EmbeddingHead(Head):
    """A head over the embeddings of one CLIP model.

    A subclass defines how to read its weights (``load``) and how to score a block of rows
    (``_scores``).

    Attributes
    ----------
    name : str
        The output column.
    clip : ClipModel or EmbeddingSpace
        The model whose embeddings it reads; a name is converted to a `ClipModel`.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> head = ld.heads.demo_safety()
    >>> isinstance(head, ld.heads.EmbeddingHead), head.clip == images.model
    (True, True)
    """

    clip: ClipModel | EmbeddingSpace
    reads: ClassVar[str] = "embeddings"
    verb: ClassVar[str] = "score"
    #: Whether ``predict`` normalizes rows to length 1; a head that does not rejects other rows.
    scales: ClassVar[bool] = True
    #: Rows per block. The last block is padded with zeros to this size, so that the matrix product
    #: of a row does not depend on the other rows.
    block: ClassVar[int] = 512
    #: Rows per block of a tensor, in `on_device`: a GPU needs larger blocks. Halved while memory is
    #: short, down to ``least_block``.
    device_block: ClassVar[int] = 1 << 16
    least_block: ClassVar[int] = 1 << 10

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "clip", as_model(self.clip))
        if isinstance(self.clip, EmbeddingSpace) and self.clip.dim is None:
            raise OptionError(
                f"The head {self.name!r} reads embeddings of {self.clip.name!r}, whose dimension "
                f"is unknown. Give it: EmbeddingSpace({self.clip.name!r}, dim)."
            )

    @property
    def _dim(self) -> int:
        dim = self.clip.dim
        assert dim is not None  # checked when the head was made
        return dim

    @property
    def cost(self) -> Cost:
        """The cost of one row; for a network of unknown speed, a lower bound of one product."""
        return self._cost("layers")

    def _cost(self, rate: str, flop: float | None = None, *notes: str) -> Cost:
        """The cost at a measured rate; ``flop`` defaults to one dot product per row."""
        flop = 2.0 * self._dim if flop is None else flop
        return Cost((rate,), reads=EMBEDDINGS, flop=flop, label=self.name, notes=notes)

    def predict(self, x) -> np.ndarray:
        """The scores of embeddings, (n,) float32. Eager.

        A row's score does not depend on the other rows, nor on the number of threads. The score is
        NaN for a row with a NaN or an infinity, or of length zero; every other row has a score. A
        head that needs rows of length 1 gives NaN for other rows, and raises if an array has no row
        of length 1. As this can happen in a part of a data set, `score` calls `scored` instead.

        Parameters
        ----------
        x : (n, dim) NumPy array or torch tensor
            float16 or float32 embeddings; n may be 0. A tensor is scored on its own device.

        Raises
        ------
        EmbeddingsError
            When the shape or the dtype is wrong, or the head needs rows of length 1 and there is
            none.
        ModelMismatchError
            When ``x`` is known to come from another CLIP model.
        WeightsError
            When the weight file is missing, altered or damaged.
        """
        scores = self.scored(x)
        if not self.scales and np.isnan(scores).all():
            self._refuse_scaled(self._checked(x))
        return scores

    def scored(self, x) -> np.ndarray:
        """`predict`, but never raises because of the rows' lengths: such rows are NaN. Eager."""
        require_extra("clip", f"The head {self.name!r}")
        import torch

        if isinstance(x, Vectors) and x.model is not None:
            check_same_space(self.clip, x.model, f"The head {self.name!r} and the vectors")
        x = self._checked(x)
        if not isinstance(x, np.ndarray):
            return self.on_device(x).cpu().numpy()
        state = self.load()
        scores = np.empty(len(x), np.float32)

        def score(at: int) -> None:
            with torch.inference_mode():
                rows = x[at : at + self.block]
                scores[at : at + len(rows)] = self._block(rows, state)

        spread(score, range(0, len(x), self.block))
        return scores

    def on_device(self, x):
        """`scored` for a tensor, as a tensor on the same device, without synchronizing. Eager.

        A row's score does not depend on the other rows. It may differ by 1e-5 (by 2e-3 in bfloat16)
        from the score of a NumPy array on the CPU, and between block sizes: blocks are halved while
        they do not fit in memory.

        Parameters
        ----------
        x : (n, dim) tensor
            Embeddings as they are stored, float16 or float32, on any device; n may be 0.

        Returns
        -------
        (n,) float32 tensor
            NaN for a row without a score.

        Raises
        ------
        EmbeddingsError
            When the shape or the dtype is wrong.
        DeviceMemoryError
            When not even ``least_block`` rows fit in memory, or the scores do not.
        WeightsError
            When the weight file is missing, altered or damaged.
        """
        import torch

        self._check(x, x.is_floating_point())
        with torch.no_grad():
            return retry_after_release(
                lambda: self._on_device(x, self._state_on(x.device)), f"{len(x):,} scores"
            )

    def _on_device(self, x, state):
        """`on_device` for a checked tensor and the result of ``_state_on`` for its device."""
        import torch

        scores = torch.empty(len(x), dtype=torch.float32, device=x.device)

        def score(start: int, stop: int) -> None:
            rows = x[start:stop]
            if len(rows):
                of_block = self._tensor_block(padded(rows, stop - start), state)
                scores[start:stop] = of_block[: len(rows)]

        size = self.device_block  # the size of every block, whatever the number of rows
        run_with_oom_backoff(score, -(-len(x) // size) * size, size, min_size=self.least_block)
        return scores

    def _state_on(self, device):
        """The result of ``load`` on a device, cached per device."""
        return _moved.get((self, str(device)), lambda: moved(self.load(), device))

    def _tensor_block(self, rows, state):
        """Scores of a block of float32 rows, on their device."""
        import torch

        # With lengths in float64, rows too long or short for float32 need no second pass, which
        # would have to wait for the device. Heads that do not normalize drop such rows anyway.
        kind = torch.float64 if self.scales else torch.float32
        length = torch.linalg.vector_norm(rows, dim=1, dtype=kind).double()
        return self._valid_scores(self._scores(rows, length, state), length)

    def _valid_scores(self, scores, length):
        """Scores as float32, NaN for a row without a length, or with one that the head rejects."""
        import torch

        valid = torch.isfinite(length) & (length > 0)
        if not self.scales:
            valid &= (length - 1).abs() <= UNIT_TOLERANCE
        return torch.where(valid, scores.float(), torch.nan)

    def _block(self, rows: np.ndarray, state) -> np.ndarray:
        """Scores of at most ``block`` rows of an array."""
        x, n = rows, len(rows)
        rows = filled(x, self.block)
        is_stored = x.dtype in (np.float16, np.float32)
        length = stored_lengths(x, self.block) if is_stored else lengths(rows)
        if self.scales:
            scale_extreme_rows(rows, length)
        return self._valid_scores(self._scores(rows, length, state), length)[:n].numpy()

    @abstractmethod
    def load(self):
        """The state that ``_scores`` needs; read once per process."""

    @abstractmethod
    def _scores(self, rows, length, state):
        """Scores of a block.

        Parameters
        ----------
        rows : (block, dim) float32 tensor
        length : (block,) float64 tensor
            The rows' lengths; results of rows with a zero or non-finite length are dropped.
        state
            The result of ``load``.

        Returns
        -------
        (block,) tensor
        """

    def _checked(self, x):
        """The rows as a NumPy array, or unchanged if they are a tensor on a GPU."""
        rows, is_float = rows_of(x)
        self._check(rows, is_float)
        return rows

    def _check(self, x, is_float: bool) -> None:
        """Raise for a dtype other than float, or a shape that its model does not produce."""
        if not is_float:
            raise EmbeddingsError(
                f"The head {self.name!r} was given {x.dtype}. Expected float16 or float32 "
                "embeddings."
            )
        dim, model = self._dim, self.clip.name
        if x.ndim != 2 or x.shape[1] != dim:
            raise EmbeddingsError(
                f"The head {self.name!r} was given an array of shape {tuple(x.shape)}. Expected "
                f"(n, {dim}), as {model} produces them; one vector is x[None]."
            )

    def _refuse_scaled(self, x) -> None:
        """Raise that no row has length 1, if any row has a direction."""
        if scaled := first_scaled(x, self.block, UNIT_TOLERANCE):
            row, length = scaled
            raise EmbeddingsError(
                f"The head {self.name!r} needs embeddings of length 1, and none of the {len(x)} "
                f"given is; row {row} has length {length:.4g}. Divide each row by its length first."
            )
