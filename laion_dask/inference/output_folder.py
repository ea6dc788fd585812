"""The output folder of ``embed`` in clip-retrieval's layout, and how shards are committed.

::

    out/img_emb/img_emb_0000.npy           (n, dim) float16, unit norm
    out/text_emb/text_emb_0000.npy         the same for captions, NaN without a caption
    out/metadata/metadata_0000.parquet     row i describes row i of the arrays
    out/_rejects/rejects_0000.parquet      rejected samples and why; readers skip this folder
    out/embed.json                         the manifest, written last

Every file is written under a temporary name and renamed. A shard's metadata file is renamed last,
so a shard with metadata is complete. During a run, ``.embed_plan.json`` identifies the run; only
the same run can be resumed in the folder.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from laion_dask.display.overview import Displayed
from laion_dask.errors import ExportError
from laion_dask.inference.metadata_columns import RESCALED
from laion_dask.io.storage.atomic_file import PARTIAL, committed, json_bytes, sweep, writing

MANIFEST = "embed.json"
PLAN = ".embed_plan.json"

#: The parts of a plan that must match to resume a run, with their descriptions in errors.
_IDENTITY = {
    "model": "another model",
    "precision": "another precision",
    "sources": "other source files",
    "heads": "other heads",
    "columns": "other columns",
}

#: The same, but ignored for a complete run, to which no shards are added.
_SAME_BYTES = {"batch_size": "another batch_size", "format": "another version of embed"}

#: Seconds after which a file with a temporary name is considered abandoned.
_ABANDONED_S = 3600


@dataclass(frozen=True)
class EmbedResult(Displayed):
    """The result of ``embed``; printing it shows its counts.

    Attributes
    ----------
    out : Path
        The folder.
    n_shards : int
    n_read, n_kept, n_rejected : int
        The number of samples; read is the sum of kept and rejected.
    n_rescaled : int
        Kept images whose 16-bit gray was scaled to 8 bits; open_clip's own loading clips it.
    has_texts : bool
        Whether there were captions, which were then embedded.
    """

    out: Path
    n_shards: int
    n_read: int
    n_kept: int
    n_rejected: int
    has_texts: bool
    n_rescaled: int = 0

    @classmethod
    def of(cls, out: Path, manifest: dict) -> EmbedResult:
        """The result that a folder's manifest describes."""
        counts = {f"n_{name}": n for name, n in manifest["counts"].items()}
        rescaled = manifest["rescaled_16_bit"]
        has_texts = (out / "text_emb").is_dir()
        return cls(out, len(manifest["shards"]), **counts, has_texts=has_texts, n_rescaled=rescaled)

    @property
    def img_emb(self) -> Path:
        """The folder of image embeddings, for ``open_embeddings``."""
        return self.out / "img_emb"

    @property
    def text_emb(self) -> Path | None:
        """The folder of caption embeddings, or ``None``."""
        return self.out / "text_emb" if self.has_texts else None

    @property
    def metadata(self) -> Path:
        """The folder of metadata, for ``read_shards``."""
        return self.out / "metadata"

    @property
    def rejects(self) -> Path:
        """The folder that lists rejected samples with reasons."""
        return self.out / "_rejects"

    @property
    def manifest(self) -> Path:
        """The file with model, sources, columns and counts."""
        return self.out / MANIFEST

    def __str__(self) -> str:
        scaled = f" ({self.n_rescaled:,} scaled from 16 bits)" if self.n_rescaled else ""
        return (
            f"{self.n_read:,} read = {self.n_kept:,} kept{scaled} + {self.n_rejected:,} rejected, "
            f"in {self.n_shards:,} shard{'' if self.n_shards == 1 else 's'}, into {self.out}"
        )


class EmbedFolder:
    """The output folder of one call of ``embed``.

    Parameters
    ----------
    path : path
    n_shards : int
    texts : bool
        Whether there are text embeddings.
    """

    def __init__(self, path: str | os.PathLike, n_shards: int, texts: bool) -> None:
        self.path = Path(path)
        self.n_shards = n_shards
        self.texts = texts
        self._width = max(4, len(str(n_shards - 1)))

    def folder(self, role: str) -> Path:
        """The folder of the files of a role."""
        return self.path / ("_rejects" if role == "rejects" else role)

    def file(self, role: str, number: int) -> Path:
        """The file of a shard; role is img_emb, text_emb, metadata or rejects."""
        suffix = "npy" if role.endswith("emb") else "parquet"
        return self.folder(role) / f"{role}_{number:0{self._width}d}.{suffix}"

    def _roles(self) -> list[str]:
        return ["img_emb", *["text_emb"] * self.texts, "rejects", "metadata"]

    def begin(self, plan: dict) -> dict:
        """Start the run of a plan in the folder, or resume it.

        Returns
        -------
        dict
            The plan, with the batch size and library versions of the run that started it.

        Raises
        ------
        ExportError
            When the folder contains other files, the run of another plan, or an incomplete run with
            a different batch size or other library versions.
        """
        existing = _read_plan(self.path)
        if existing is None:
            self._start(plan)
        else:
            self._check_same(existing, plan)
            if not all(self.is_done(number) for number in range(self.n_shards)):
                self._check_same(existing, plan, _SAME_BYTES)
                self._check_versions(existing["versions"], plan["versions"])
            plan = {**plan, **{part: existing[part] for part in ("batch_size", "versions")}}
        with writing(self.path):
            for role in self._roles():
                (self.folder(role)).mkdir(exist_ok=True)
        self.sweep()
        return plan

    def _start(self, plan: dict) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise ExportError(f"{self.path} is a file. Expected a folder, new or empty.")
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        others = [p.name for p in self.path.iterdir() if not p.name.endswith(PARTIAL)]
        if others:
            raise ExportError(
                f"{self.path} is not empty ({', '.join(sorted(others)[:3])}) and was not written "
                "by embed. Name a new or an empty folder."
            )
        with committed(self.path / PLAN) as file:
            file.write(json_bytes(plan))

    def _check_same(self, existing: dict, plan: dict, parts: dict[str, str] = _IDENTITY) -> None:
        differing = {
            part: words for part, words in parts.items() if existing.get(part) != plan[part]
        }
        if differing:
            values = [
                f"{p}={existing.get(p)!r}" for p in ("precision", "batch_size") if p in differing
            ]
            how = f" (its own is {', '.join(values)})" if values else ""
            raise ExportError(
                f"{self.path} holds an embed run of {' and '.join(differing.values())}{how}. "
                "Expected the run to resume. Name another folder, or remove this one."
            )

    def _check_versions(self, existing: dict, current: dict) -> None:
        differing = [
            f"{name} {existing.get(name)} (here {version})"
            for name, version in current.items()
            if existing.get(name) != version
        ]
        if differing:
            raise ExportError(
                f"{self.path} holds an embed run started with {', '.join(differing)}. "
                "The remaining shards could differ in their last digits. Install those versions, "
                "name another folder, or remove this one."
            )

    def sweep(self) -> None:
        """Remove temporary files left by runs that were killed long ago."""
        sweep(self.path, _ABANDONED_S)

    def is_done(self, number: int) -> bool:
        """Whether a shard is committed."""
        return all(self.file(role, number).is_file() for role in self._roles())

    def write(self, number: int, arrays: dict, metadata: pa.Table, rejects: pa.Table) -> None:
        """Commit a shard: the arrays, the rejects and, last, the metadata."""
        for role, array in arrays.items():
            with committed(self.file(role, number)) as file:
                np.save(file, array, allow_pickle=False)
        for role, table in (("rejects", rejects), ("metadata", metadata)):
            with committed(self.file(role, number)) as file:
                pq.write_table(table, file, compression="zstd")

    def finish(self, plan: dict) -> dict:
        """Count the rows, write the manifest, and return it.

        Raises
        ------
        ExportError
            When the files of a shard have different numbers of rows, or a file is damaged.
        """
        shards = [
            {"source": source["name"], **self._count(number)}
            for number, source in enumerate(plan["sources"])
        ]
        counts = {n: sum(shard[n] for shard in shards) for n in ("read", "kept", "rejected")}
        rescaled = sum(self._rescaled(number) for number in range(len(shards)))
        manifest = {**plan, "counts": counts, "rescaled_16_bit": rescaled, "shards": shards}
        with committed(self.path / MANIFEST) as file:
            file.write(json_bytes(manifest))
        (self.path / PLAN).unlink(missing_ok=True)
        return manifest

    def _count(self, number: int) -> dict[str, int]:
        kept = _n_rows(self.file("metadata", number))
        rejected = _n_rows(self.file("rejects", number))
        for role in self._roles():
            if role.endswith("emb"):
                rows = _n_rows(self.file(role, number))
                if rows != kept:
                    raise ExportError(
                        f"{self.file(role, number)} has {rows} rows; its metadata has {kept}. "
                        "Remove both files and run embed again."
                    )
        return {"read": kept + rejected, "kept": kept, "rejected": rejected}

    def _rescaled(self, number: int) -> int:
        metadata = pq.read_schema(self.file("metadata", number)).metadata or {}
        return int(metadata.get(RESCALED.encode(), 0))


def _n_rows(path: Path) -> int:
    try:
        if path.suffix == ".parquet":
            return pq.read_metadata(path).num_rows
        return len(np.load(path, mmap_mode="r"))
    except (pa.ArrowException, OSError, ValueError, EOFError, TypeError) as error:
        raise ExportError(
            f"{path} is damaged ({error}). Remove that file and run embed again."
        ) from error


def _read_plan(path: Path) -> dict | None:
    file = next((path / name for name in (MANIFEST, PLAN) if (path / name).is_file()), None)
    if file is None:
        return None
    try:
        plan = json.loads(file.read_bytes())
        if not isinstance(plan, dict) or not isinstance(plan.get("versions"), dict):
            raise ValueError("it is not a plan of embed")
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(
            f"{file} is damaged ({error}). Remove the folder and run embed again."
        ) from error
    return {"batch_size": None, **plan}
