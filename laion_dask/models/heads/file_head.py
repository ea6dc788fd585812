"""Heads whose weights are stored in one file, identified by its digest."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path

from laion_dask.errors import WeightsError
from laion_dask.models import weights as weight_files
from laion_dask.models.heads.embedding_head import EmbeddingHead, _loaded


class FromFile:
    """A head whose weights are in one file, given by the fields ``weights`` (a path) and ``sha256``
    (its digest). A worker that finds a different file raises. A subclass defines ``_read``.
    """

    weights: str
    sha256: str

    def load(self):
        """The contents of its weight file; read once per process.

        Raises
        ------
        WeightsError
            When the file is missing, altered or damaged.
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
        """The weights, from the verified file."""

    def _file(self) -> dict:
        return {"weights": Path(self.weights).name, "sha256": self.sha256}


@dataclass(frozen=True)
class FileHead(FromFile, EmbeddingHead):
    """An embedding head whose weights are in one file.

    Attributes
    ----------
    weights : str
        The path of its weight file.
    sha256 : str
        The digest of that file; a worker that finds a different file raises.
    """

    weights: str
    sha256: str

    def recipe(self) -> dict:
        """The manifest entry: ``name``, ``clip``, the weight file's name and its sha256."""
        return {"name": self.name, "clip": self.clip.name, **self._file()}

    def _key(self) -> tuple:
        return *super()._key(), self.clip
