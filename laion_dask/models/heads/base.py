"""What every head is: a spec that names its column, its model and its weights, and can predict.

A head reads embeddings, images or captions (``reads``). It is usable without Dask:
``head.predict(x)`` returns the very numbers that ``score`` and ``embed`` write.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from laion_dask.cost import EMBEDDINGS, Cost
from laion_dask.errors import EmbeddingsError, OptionError
from laion_dask.extras import require_extra
from laion_dask.models.clip import ClipModel, as_model, check_same_space
from laion_dask.models.heads.batching import as_array, filled, lengths, moved, padded, tame
from laion_dask.models.vectors import Vectors
from laion_dask.numerics.gpu.memory import retry_after_release, run_with_oom_backoff
from laion_dask.numerics.torch_threads import spread
from laion_dask.runtime.process_cache import ProcessCache

#: How far a row's length may be from 1 for a head that takes unit-norm rows as they are; float16
#: storage moves it by less than 0.001.
UNIT_TOLERANCE = 0.01

_loaded = ProcessCache()
#: By head and device.
_moved = ProcessCache()


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
    #: The verb that applies it to a frame.
    verb: ClassVar[str]

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise OptionError(
                f"The output column is {self.name!r}. Expected a name, such as 'aesthetic'."
            )

    def to(self, name: str) -> Self:
        """The same head with another output column."""
        return replace(self, name=name)

    @property
    @abstractmethod
    def cost(self) -> Cost:
        """The cost of one row, for `laion_dask.plan`; see `laion_dask.cost`."""

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

    A subclass says how its weights are read (``load``) and what they make of a block of rows
    (``_scores``).

    Attributes
    ----------
    name : str
        The output column.
    clip : ClipModel
        The CLIP model whose embeddings it reads; made from a name where one is given.
    """

    clip: ClipModel
    reads: ClassVar[str] = "embeddings"
    verb: ClassVar[str] = "score"
    #: Whether ``predict`` scales rows to length 1; a head that cannot refuses other rows.
    scales: ClassVar[bool] = True
    #: Rows that are scored at a time. A block always has as many: the last is filled up with
    #: zeros, so that a matrix product is the same for a row whatever stands beside it.
    block: ClassVar[int] = 512
    #: The same of a tensor, in `on_device`: a GPU needs more of them to be busy. It is halved while
    #: memory is short, down to ``least_block``.
    device_block: ClassVar[int] = 1 << 16
    least_block: ClassVar[int] = 1 << 10

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "clip", as_model(self.clip))

    @property
    def cost(self) -> Cost:
        """The cost of one row; here of a network whose speed is not known, at least a product."""
        return self._cost("layers")

    def _cost(self, rate: str, flop: float | None = None, *notes: str) -> Cost:
        """The cost at a measured rate; ``flop`` defaults to one dot product a row."""
        flop = 2.0 * self.clip.dim if flop is None else flop
        return Cost((rate,), reads=EMBEDDINGS, flop=flop, label=self.name, notes=notes)

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
        """`scored` of a tensor, as a tensor on its own device, which is not waited for. Eager.

        A row's score does not depend on the rows beside it. It may differ from the one that the
        processor gives an array, and from the one of another block size, by 1e-5, in bfloat16 by
        2e-3: blocks are halved while the memory does not suffice for one.

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
            When the shape or the kind of numbers is wrong.
        DeviceMemoryError
            When not even ``least_block`` rows fit into memory, or the scores do not.
        WeightsError
            When the weight file is gone, altered or damaged.
        """
        import torch

        self._check(x, x.is_floating_point())
        with torch.no_grad():
            return retry_after_release(
                lambda: self._on_device(x, self._state_on(x.device)), f"{len(x):,} scores"
            )

    def _on_device(self, x, state):
        """`on_device` of a checked tensor, with what ``_state_on`` returned for its device."""
        import torch

        scores = torch.empty(len(x), dtype=torch.float32, device=x.device)

        def score(start: int, stop: int) -> None:
            rows = x[start:stop]
            if len(rows):
                of_block = self._tensor_block(padded(rows, stop - start), state)
                scores[start:stop] = of_block[: len(rows)]

        size = self.device_block  # of every block, whatever the number of rows
        run_with_oom_backoff(score, -(-len(x) // size) * size, size, least=self.least_block)
        return scores

    def _state_on(self, device):
        """What ``load`` returns, on a device; made once for each."""
        return _moved.get((self, str(device)), lambda: moved(self.load(), device))

    def _tensor_block(self, rows, state):
        """Scores of a block of float32 rows, on their device."""
        import torch

        # Lengths in float64 need no second look at rows so long or short that float32 fails,
        # which would have to wait for the device. Heads that do not scale drop such rows anyway.
        kind = torch.float64 if self.scales else torch.float32
        length = torch.linalg.vector_norm(rows, dim=1, dtype=kind).double()
        return self._where_good(self._scores(rows, length, state), length)

    def _where_good(self, scores, length):
        """Scores as float32, NaN where a row has no length, or none that the head takes."""
        import torch

        good = torch.isfinite(length) & (length > 0)
        if not self.scales:
            good &= (length - 1).abs() <= UNIT_TOLERANCE
        return torch.where(good, scores.float(), torch.nan)

    def _block(self, rows: np.ndarray, state) -> np.ndarray:
        """Scores of at most ``block`` rows of an array."""
        n = len(rows)
        rows = filled(rows, self.block)
        length = lengths(rows)
        if self.scales:
            tame(rows, length)
        return self._where_good(self._scores(rows, length, state), length)[:n].numpy()

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
        self._check(x, fine)
        return x

    def _check(self, x, fine: bool) -> None:
        """Refuse numbers that are not fine, and a shape that its model does not make."""
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
