"""Data filtering networks: small towers over the embeddings of images and of captions."""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from laion_dask.cost import EMBEDDINGS, Cost
from laion_dask.display.overview import Displayed, Overview
from laion_dask.errors import EmbeddingsError, OptionError, WeightsError
from laion_dask.extras import require_extra
from laion_dask.io.storage.atomic_file import committed, writing
from laion_dask.models.clip import ClipModel, as_model
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.heads.batching import as_array
from laion_dask.models.heads.embedding_head import _loaded
from laion_dask.models.heads.filter_report import FilterReport
from laion_dask.models.heads.filter_towers import BLOCK, PARTS, block_cosines, mapped, weights_of
from laion_dask.models.heads.trained import _metadata, _named, _read, _written
from laion_dask.models.same_space import check_same_space
from laion_dask.models.vectors import Vectors
from laion_dask.numerics.normalization import unit
from laion_dask.numerics.torch_threads import spread

if TYPE_CHECKING:
    import torch

FILE = "filter_network.safetensors"
_FORMAT = "laion_dask filter network 1"


@dataclass(frozen=True)
class FilterNetwork(Displayed):
    """A data filtering network (Fang et al. 2024): the cosine of two trained towers, as a spec.

    Each tower maps the unit embedding x of an image or a caption to ``x + up @ relu(down @ x +
    bias)``. Created by `train_filter` and `load_filter`; ``score`` applies it to a frame. It can be
    compared, hashed and pickled.

    Attributes
    ----------
    name : str
        The output column.
    clip : ClipModel or EmbeddingSpace
        The model whose embeddings it reads.
    tensors : bytes
        Its safetensors file: ``image.down`` (hidden, dim), ``image.bias`` (hidden,), ``image.up``
        (dim, hidden), and the same for ``text``, float32.
    report : FilterReport

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> texts = ld.open_embeddings("demo-corpus/embedded/text_emb", model="demo", like=frame)
    >>> trusted = frame.laion.where("similarity > 0.3")
    >>> network = ld.train_filter(images, texts, trusted=trusted, steps=5, batch=64)
    >>> scored = frame.laion.score(images, network, texts=texts)
    >>> str(scored["filter_score"].dtype)
    'float32'
    """

    name: str
    clip: ClipModel | EmbeddingSpace
    tensors: bytes
    report: FilterReport
    #: The verb that applies it to a frame.
    verb: ClassVar[str] = "score"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise OptionError(
                f"The output column is {self.name!r}. Expected a name, such as 'filter_score'."
            )

    def __repr__(self) -> str:
        return f"FilterNetwork({self.name!r}, {self.clip.name}, {self.report})"

    def _overview(self) -> Overview:
        facts = {"name": self.name, "clip": self.clip.name, "report": self.report}
        return Overview("FilterNetwork", facts)

    def to(self, name: str) -> Self:
        """The same network with a different output column, which its file also names."""
        renamed = replace(self, name=name)
        description = _metadata(self.tensors, _FORMAT)
        return replace(renamed, tensors=_written(_read(self.tensors), name, description))

    @property
    def cost(self) -> Cost:
        """The cost of one row: both towers, and a dot product; see `laion_dask.cost`."""
        dim = self.clip.dim or 0
        flop = 2.0 * dim * (4 * self.report.hidden + 1)
        return Cost(("layers", "clip_score"), reads=EMBEDDINGS, flop=flop, label=self.name)

    def recipe(self) -> dict:
        """The manifest entry: ``name``, ``clip``, and the sha256 of the safetensors file."""
        sha256 = hashlib.sha256(self.tensors).hexdigest()
        return {"name": self.name, "clip": self.clip.name, "weights": FILE, "sha256": sha256}

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the safetensors file, with the report, into a folder, atomically. Eager.

        Returns
        -------
        Path
            The file, for `load_filter`.
        """
        folder = Path(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with committed(folder / FILE) as file:
            file.write(self.tensors)
        return folder / FILE

    def predict(self, images, texts) -> np.ndarray:
        """The scores of pairs of embeddings, (n,) float32 in [-1, 1]. Eager.

        A row's score does not depend on the other rows, nor on the number of threads.

        Parameters
        ----------
        images, texts : (n, dim) NumPy array or torch tensor
            float16 or float32 embeddings; n may be 0. Rows are scaled to length one; the score is
            NaN where either row has no direction (zero, NaN or infinite).

        Raises
        ------
        EmbeddingsError
            When a shape or dtype is wrong.
        ModelMismatchError
            When the embeddings are known to come from another CLIP model.
        """
        require_extra("clip", f"The filter network {self.name!r}")
        import torch

        x, y = (self._checked(rows) for rows in (images, texts))
        if len(x) != len(y):
            raise EmbeddingsError(
                f"The filter network {self.name!r} was given {len(x):,} images and {len(y):,} "
                "captions. Expected a caption for every image."
            )
        state = self._load()
        x, y, out = unit(x), unit(y), np.full(len(x), np.nan, np.float32)
        known = np.flatnonzero(~(np.isnan(x).any(axis=1) | np.isnan(y).any(axis=1)))

        def fill(at: int) -> None:
            rows = known[at : at + BLOCK]
            with torch.inference_mode():
                out[rows] = block_cosines(x[rows], y[rows], state)

        spread(fill, range(0, len(known), BLOCK))
        return out

    def towers(self, images: np.ndarray, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The outputs of both towers for unit rows, (n, dim) float64 of length one. Eager."""
        import torch

        outputs = []
        for name, rows in (("image", images), ("text", texts)):
            weights = (self._load()[f"{name}.{part}"] for part in PARTS)
            mapped_rows = mapped(torch.from_numpy(rows).double(), *weights)
            outputs.append(torch.nn.functional.normalize(mapped_rows, dim=1).numpy())
        return outputs[0], outputs[1]

    def with_accuracy(self, accuracy: float) -> Self:
        """The same network, with the held-out accuracy in its report and file."""
        report = replace(self.report, accuracy=accuracy)
        description = {**_metadata(self.tensors, _FORMAT), "report": asdict(report)}
        tensors = _written(_read(self.tensors), self.name, description)
        return replace(self, tensors=tensors, report=report)

    def on_device(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """`predict` for tensors on a device, as a (n,) float32 tensor there, within 1e-5. Eager."""
        import torch

        state = {name: tensor.to(images.device) for name, tensor in self._load().items()}
        towers = []
        for name, rows in (("image", images), ("text", texts)):
            length = torch.linalg.vector_norm(rows.double(), dim=1, keepdim=True)
            known = torch.isfinite(length) & (length > 0)
            x = torch.where(known, rows.double() / length, torch.nan)
            towers.append(mapped(x, *(state[f"{name}.{part}"] for part in PARTS)))
        return torch.nn.functional.cosine_similarity(towers[0], towers[1], dim=1).float()

    def _checked(self, x) -> np.ndarray:
        if isinstance(x, Vectors) and x.model is not None:
            check_same_space(
                self.clip, x.model, f"The filter network {self.name!r} and the vectors"
            )
        rows = as_array(x)
        if rows.dtype.kind != "f" or rows.ndim != 2 or rows.shape[1] != self.clip.dim:
            raise EmbeddingsError(
                f"The filter network {self.name!r} was given {rows.dtype} of shape {rows.shape}. "
                f"Expected floats of shape (n, {self.clip.dim}), as {self.clip.name} makes them."
            )
        return rows

    def _load(self) -> dict[str, torch.Tensor]:
        """Its weights as float64 tensors; read once per process."""
        key = hashlib.sha256(self.tensors).hexdigest()
        return _loaded.get((FilterNetwork, key), lambda: weights_of(self.tensors))

    @classmethod
    def of(
        cls,
        name: str,
        clip: ClipModel | EmbeddingSpace,
        weights: dict[str, np.ndarray],
        report: FilterReport,
    ) -> Self:
        """A network from float32 arrays; see ``tensors``."""
        import torch

        tensors = {key: torch.from_numpy(value).contiguous() for key, value in weights.items()}
        description = {"format": _FORMAT, "clip": clip.recipe(), "report": asdict(report)}
        return cls(name, clip, _written(tensors, name, description), report)


def load_filter(
    path: str | os.PathLike, clip: ClipModel | EmbeddingSpace | str | None = None
) -> FilterNetwork:
    """A filter network saved by ``FilterNetwork.save``. Eager.

    Parameters
    ----------
    path : path
        The safetensors file, or its folder.
    clip : ClipModel, EmbeddingSpace or str, optional
        The model of its embeddings; by default the one it was trained with. Required if that is a
        model from your own weight file.

    Raises
    ------
    WeightsError
        When the file is missing, damaged, or not a filter network.
    ModelMismatchError
        When ``clip`` is not the model it was trained with.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> texts = ld.open_embeddings("demo-corpus/embedded/text_emb", model="demo", like=frame)
    >>> network = ld.train_filter(images, texts, trusted=frame, steps=5, batch=64)
    >>> ld.load_filter(network.save("my-filter")) == network
    True
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    require_extra("clip", "Loading a filter network")
    model = None if clip is None else as_model(clip)
    try:
        data = path.read_bytes()
        description = _metadata(data, _FORMAT)
        weights, report = weights_of(data), FilterReport(**description["report"])
        trained_with = description["clip"]
        name, widths = description["name"], {weights[f"{t}.up"].shape[0] for t in ("image", "text")}
    except Exception as error:  # a foreign file may fail in any of these steps
        raise WeightsError(
            f"{path} is not a filter network ({type(error).__name__}: {str(error)[:200]}). Give "
            f"the {FILE} that FilterNetwork.save wrote."
        ) from error
    model = model or _named(path, trained_with)
    digests = {model.recipe().get("weights_sha256"), trained_with.get("weights_sha256")} - {None}
    if "space" in trained_with:
        named = _named(path, trained_with)
        check_same_space(named, model, f"The filter network {path} and clip")
        model = named
    if widths != {model.dim} or len(digests) > 1:
        raise WeightsError(
            f"{path} was trained on embeddings of {trained_with}, which differs from {model!r}. "
            "Give the model that it was trained with as clip=."
        )
    return FilterNetwork(name, model, data, report)
