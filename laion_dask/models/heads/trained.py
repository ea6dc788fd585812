"""Heads trained with this package: layers are part of the spec and saved as a safetensors file."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from laion_dask.cost import Cost
from laion_dask.display.overview import Overview
from laion_dask.errors import ModelMismatchError, WeightsError
from laion_dask.extras import require_extra
from laion_dask.io.storage.atomic_file import committed, writing
from laion_dask.models.clip import ClipModel, as_model
from laion_dask.models.clip_loading import is_path
from laion_dask.models.embedding_space import EmbeddingSpace
from laion_dask.models.heads.embedding_head import EmbeddingHead, _loaded
from laion_dask.models.heads.model_card import Report, model_card

FILE, CARD = "head.safetensors", "MODEL_CARD.md"
_FORMAT = "laion_dask head 1"


@dataclass(frozen=True)
class TrainedHead(EmbeddingHead):
    """A logistic head over embeddings, linear or with hidden layers, as fitted by ``train``.

    Attributes
    ----------
    name, clip
        As for every embedding head.
    tensors : bytes
        Its safetensors file: ``<i>.weight`` (out, in) and ``<i>.bias`` (out,), float32, layer by
        layer, with ReLU between them and a final logistic.
    report : Report
        Its training data and held-out metrics.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> labeled = frame.laion.where("punsafe is not None").assign(unsafe=lambda f: f.punsafe >= 0.5)
    >>> head = ld.heads.train(images, labeled, label="unsafe")
    >>> head.to("unsafe").name
    'unsafe'
    """

    tensors: bytes
    report: Report

    def __repr__(self) -> str:
        return f"TrainedHead({self.name!r}, {self.clip.name}, {self.report})"

    def _overview(self) -> Overview:
        facts = {"name": self.name, "clip": self.clip.name, "report": self.report}
        return Overview("TrainedHead", facts)

    def to(self, name: str) -> Self:
        """The same head with a different output column, which its file also names."""
        renamed = super().to(name)
        return replace(
            renamed, tensors=_written(_read(self.tensors), name, _metadata(self.tensors))
        )

    @property
    def cost(self) -> Cost:
        """The cost of one dot product per row, or of its layers."""
        return self._cost("layers" if self.report.hidden else "linear")

    def recipe(self) -> dict:
        """The manifest entry: ``name``, ``clip``, and the sha256 of the safetensors file."""
        sha256 = hashlib.sha256(self.tensors).hexdigest()
        return {
            "name": self.name,
            "clip": self.clip.name,
            "weights": FILE,
            "sha256": sha256,
        }

    def save(self, folder: str | os.PathLike) -> Path:
        """Write the weights and the model card into a folder, each file atomically. Eager.

        Returns
        -------
        Path
            The safetensors file, for ``load``.
        """
        folder = Path(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        card = model_card(self.name, self.clip.name, self.report)
        contents = {CARD: card.encode(), FILE: self.tensors}
        for name, content in contents.items():  # the weights last, since `load` reads them
            with committed(folder / name) as file:
                file.write(content)
        return folder / FILE

    def load(self) -> list[tuple]:
        """Its layers as float64 tensors; read once per process."""
        key = hashlib.sha256(self.tensors).hexdigest()
        return _loaded.get((TrainedHead, key), lambda: _layers(self.tensors))

    def _scores(self, rows, length, state):
        import torch

        # In float64, so that the last digit of the float32 result depends only on the row.
        x = rows.double() / length[:, None]
        *hidden, (weight, bias) = state
        for w, b in hidden:
            x = torch.relu(x @ w.T + b)
        return torch.sigmoid(x @ weight.T + bias)[:, 0]

    @classmethod
    def of(
        cls, name: str, clip: ClipModel | EmbeddingSpace, layers: list[tuple], report: Report
    ) -> Self:
        """A head from layers of float arrays, each (weight (out, in), bias (out,))."""
        import torch

        tensors = {}
        for number, (weight, bias) in enumerate(layers):
            tensors[f"{number}.weight"] = torch.as_tensor(weight).float().contiguous()
            tensors[f"{number}.bias"] = torch.as_tensor(bias).float().contiguous()
        description = {
            "format": _FORMAT,
            "name": name,
            "clip": clip.recipe(),
            "report": report.as_dict(),
        }
        return cls(name, clip, _written(tensors, name, description), report)


def load(
    path: str | os.PathLike, clip: ClipModel | EmbeddingSpace | str | None = None
) -> TrainedHead:
    """A head saved by ``TrainedHead.save``. Eager.

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
        When the file is missing, damaged, or not a trained head; or when it was trained with a
        model from your own file and ``clip`` is not given.
    ModelMismatchError
        When ``clip`` is not the model it was trained with.

    Examples
    --------
    >>> import laion_dask as ld
    >>> frame = ld.read_shards("demo-corpus/embedded/metadata")
    >>> images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
    >>> labeled = frame.laion.where("punsafe is not None").assign(unsafe=lambda f: f.punsafe >= 0.5)
    >>> path = ld.heads.train(images, labeled, label="unsafe").save("my-head")
    >>> ld.heads.load(path).name
    'p_unsafe'
    """
    path = Path(path)
    path = path / FILE if path.is_dir() else path
    require_extra("clip", "Loading a trained head")
    model = None if clip is None else as_model(clip)
    try:
        data = path.read_bytes()
        description = _metadata(data)
        layers, name = _layers(data), description["name"]
        report, trained_with = Report(**description["report"]), description["clip"]
        model = model or _named(path, trained_with)
        width, sha256 = model.dim, model.recipe().get("weights_sha256")
    except WeightsError:
        raise
    except Exception as error:  # a foreign file may fail in any of these steps
        raise WeightsError(
            f"{path} is not a head saved by train ({type(error).__name__}: "
            f"{str(error)[:200]}). Give its {FILE}."
        ) from error
    digests = {sha256, trained_with.get("weights_sha256")} - {None}
    space = trained_with.get("space")
    if space is not None:
        named = _named(path, trained_with)
        if not model.same_space(named):
            raise ModelMismatchError(
                f"{path} was trained on embeddings of {space!r}, and clip is {model.name}. Leave "
                "clip out."
            )
        model, width = named, named.dim  # a space may be given without its dimension
    if layers[0][0].shape[1] != width or len(digests) > 1:
        raise WeightsError(
            f"{path} was trained on embeddings of {trained_with}, which differs from {model!r}. "
            "Give the model that it was trained with as clip=."
        )
    return TrainedHead(name, model, data, report)


def _named(path: Path, recipe: dict) -> ClipModel | EmbeddingSpace:
    """The model that a recipe names; raises for a model from a file, whose path is unknown."""
    if "space" in recipe:
        return EmbeddingSpace(recipe["space"], recipe["dim"])
    arch, pretrained = recipe["arch"], recipe["pretrained"]
    if is_path(pretrained or "") or ("config_sha256" in recipe and arch != "demo"):
        raise WeightsError(
            f"{path} was trained on embeddings of {arch!r} with {pretrained!r}, a model from a "
            "local file whose location is unknown. Give that model as clip=."
        )
    return ClipModel(arch, pretrained)


def _metadata(data: bytes, format_: str = _FORMAT) -> dict:
    # A safetensors file is the header's length in 8 bytes, the header as JSON, and the data.
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    description = json.loads(header["__metadata__"]["laion_dask"])
    if description["format"] != format_:
        raise ValueError(f"its format is {description['format']!r}, not {format_!r}")
    return description


def _read(data: bytes) -> dict:
    from safetensors.torch import load as from_bytes

    return from_bytes(data)


def _written(tensors: dict, name: str, description: dict) -> bytes:
    """A safetensors file with the head's description and name in its metadata."""
    from safetensors.torch import save

    return save(tensors, metadata={"laion_dask": json.dumps({**description, "name": name})})


def _layers(data: bytes) -> list[tuple]:
    tensors = _read(data)
    layers = [
        (tensors.pop(f"{i}.weight").double(), tensors.pop(f"{i}.bias").double())
        for i in range(len(tensors) // 2)
    ]
    if tensors or not layers or len(layers[-1][0]) != 1:
        raise ValueError("its last layer has more than one output")
    return layers
