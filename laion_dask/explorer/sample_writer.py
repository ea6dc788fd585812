"""Write the rows of a sample in order: one Arrow file per number column, and one for the rest.

Numbers and codes are single uncompressed buffers, which views map into memory; texts are in batches
of which only the rows that a table shows are read.
"""

from __future__ import annotations

import itertools
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from laion_dask.dtypes import ColumnTypes
from laion_dask.explorer import bins
from laion_dask.explorer.arrow_file import ArrowFile, take
from laion_dask.explorer.columns import are_categories, is_category, number_names
from laion_dask.explorer.sample_pass import CODED, SITE, Parts
from laion_dask.runtime import cancellation
from laion_dask.schema import PROVENANCE

#: Rows per batch of texts.
BATCH = 1 << 16
#: The file with the columns that only tables show, a few rows at a time.
TEXTS = "values.arrow"
#: The file written last, which describes the others.
CONTENT = "content.json"


def write_sample(parts: Parts, folder: Path, types: ColumnTypes, sites: dict[str, str]) -> None:
    """Write the files of a sample to a folder, which exists. Eager.

    Parameters
    ----------
    parts : Parts
    folder : Path
    types : ColumnTypes
        Of the columns of the frame that the parts have.
    sites : dict of str to str
        Columns of URLs by level.
    """
    source = _Source.of(parts)
    content: dict[str, Any] = {"n": parts.n, "n_rows": parts.n_rows, "files": {}}
    names = [name for name in types if name not in PROVENANCE]
    for name, dtype in zip(PROVENANCE, (np.int32, np.int64), strict=True):
        _write_array(folder / f"{name}.arrow", source.numbers(name).astype(dtype))
    content["numbers"] = [_number(source, folder, types, n) for n in _numbers_in(source, types)]
    content["categories"] = list(_categories(source, folder, names, types, sites))
    as_numbers = {one["name"] for one in content["numbers"]}
    others = [name for name in names if name not in as_numbers]
    _write_batches(source, folder / TEXTS, others)
    content |= {"names": names, "types": dict(types), "half": sorted(types.half)}
    content["files"] = {path.name: checksum(path) for path in sorted(folder.iterdir())}
    text = json.dumps(content)
    (folder / CONTENT).write_text(f"{zlib.crc32(text.encode())}\n{text}")


@dataclass(frozen=True)
class _Source:
    """The parts, and the order in which their rows become those of the sample.

    Attributes
    ----------
    files : list of ArrowFile
        Those of no rows left out.
    order : (n,) int64 array or None
        Positions in all parts, one after the other; None: in their order.
    """

    files: list[ArrowFile]
    order: np.ndarray | None

    @classmethod
    def of(cls, parts: Parts) -> _Source:
        filled = sorted((part for part in parts.parts if part.n), key=lambda part: part.first)
        follows = all(a.last <= b.first for a, b in itertools.pairwise(filled))
        chosen = filled or list(parts.parts[:1])
        files = [ArrowFile(Path(parts.folder.path) / f"{p.number}.arrow") for p in chosen]
        found = cls(files, None)
        if follows and all(part.is_ordered for part in filled):
            return found
        shard, row = (found.numbers(name) for name in PROVENANCE)
        return cls(files, np.lexsort((row, shard)))

    @property
    def schema(self) -> pa.Schema:
        return self.files[0].schema

    @property
    def tables(self) -> list[pa.RecordBatch]:
        return [file.batches[0] for file in self.files]

    def release(self) -> None:
        """Release what has been read of the files."""
        for file in self.files:
            file.release()

    def column(self, name: str) -> list[pa.Array]:
        return [batch.column(name) for batch in self.tables]

    def numbers(self, name: str) -> np.ndarray:
        """The values of a column of numbers in the order of the sample; 0 or NaN for null."""
        found = np.concatenate([_filled(one) for one in self.column(name)])
        self.release()
        return found if self.order is None else found[self.order]

    def missing(self, name: str) -> np.ndarray | None:
        """Mask of a column's nulls in sample order; None without nulls."""
        columns = self.column(name)
        if not any(one.null_count for one in columns):
            return None
        found = np.concatenate([one.is_null().to_numpy(zero_copy_only=False) for one in columns])
        return found if self.order is None else found[self.order]

    def batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Some columns in the order of the sample, in batches of up to `BATCH` rows."""
        if self.order is not None:
            for start in range(0, len(self.order), BATCH):
                cancellation.check()
                taken = take(self.files, self.order[start : start + BATCH], names)
                yield taken.combine_chunks().to_batches()[0]
            return
        waiting: list[pa.RecordBatch] = []
        for file in self.files:
            (batch,) = file.batches
            if waiting and sum(map(len, waiting)) + len(batch) > BATCH:
                yield _joined(waiting)
                waiting = []
            for start in range(0, len(batch), BATCH):
                waiting.append(batch.select(names).slice(start, BATCH))
                if len(waiting[-1]) == BATCH:
                    yield waiting.pop()
            file.release()
        if waiting:
            yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """Batches as one; empty ones of other schemas are left out."""
    filled = [batch for batch in batches if len(batch)] or batches[:1]
    return filled[0] if len(filled) == 1 else pa.concat_batches(filled)


def _filled(column: pa.Array) -> np.ndarray:
    if pa.types.is_float16(column.type):
        column = column.cast(pa.float32())
    if column.null_count:
        missing = np.nan if pa.types.is_floating(column.type) else 0
        column = pc.fill_null(column, pa.scalar(missing, column.type))
    found: np.ndarray = column.to_numpy(zero_copy_only=False)
    return found


def _numbers_in(source: _Source, types: ColumnTypes) -> list[str]:
    return [name for name in number_names(types) if name in source.schema.names]


def _number(source: _Source, folder: Path, types: ColumnTypes, name: str) -> dict[str, Any]:
    """Write a number column and its codes; return its entry in `content.json`."""
    cancellation.check()
    values, missing = source.numbers(name), source.missing(name)
    seen = values if missing is None else values[~missing]
    edges, is_logarithmic = bins.edges_of(name, seen)
    codes = bins.codes_of(values, edges, missing, half=name in types.half)
    number = types_index(types, name)
    _write_array(folder / f"numbers-{number}.arrow", values)
    _write_array(folder / f"bins-{number}.arrow", codes)
    return {
        "name": name,
        "number": number,
        "edges": edges.tolist(),
        "n_missing": int((codes == len(edges) - 1).sum()),
        "is_logarithmic": is_logarithmic,
    }


def types_index(types: ColumnTypes, name: str) -> int:
    """The position of a column: column names are data, and never become names of files."""
    return list(types).index(name)


def _categories(
    source: _Source,
    folder: Path,
    names: list[str],
    types: ColumnTypes,
    sites: dict[str, str],
) -> Iterator[dict[str, Any]]:
    """Write the categories; what `content.json` says of them, ``language`` and sites first."""
    texts = [name for name in names if is_category(name, types[name])]
    texts = [name for name in texts if _is_coded(source, CODED + name)]
    first = [name for name in ("language",) if name in texts]
    kinds = [(CODED + name, name, "") for name in first]
    kinds += [(SITE + level, column, level) for level, column in sites.items()]
    kinds += [(CODED + name, name, "") for name in texts if name not in first]
    for number, (column, name, site) in enumerate(kinds):
        cancellation.check()
        labels, codes = _merged(source, column)
        if not site and not are_categories(len(labels), int((codes >= 0).sum())):
            continue
        _write_array(folder / f"codes-{number}.arrow", codes)
        _write(folder / f"labels-{number}.arrow", pa.table({"labels": labels}))
        shown = site if site and site not in names else f"{name}.{site}()" if site else name
        yield {
            "name": shown,
            "number": number,
            "source": name,
            "site": site,
            "is_boolean": types[name] == "boolean",
        }


def _is_coded(source: _Source, column: str) -> bool:
    """Whether every part has a column as a dictionary."""
    return all(column in batch.schema.names for batch in source.tables)


def _merged(source: _Source, column: str) -> tuple[pa.Array, np.ndarray]:
    """The labels of all parts, the most frequent first, and the code of each row."""
    parts = source.column(column)
    labels = pa.concat_arrays([part.dictionary.cast(pa.large_string()) for part in parts])
    merged = labels.dictionary_encode()
    positions = np.append(merged.indices.to_numpy(), -1).astype(np.int32)
    codes, start = [], 0
    for part in parts:
        own = pc.fill_null(part.indices.cast(pa.int32()), -1).to_numpy(zero_copy_only=False)
        codes.append(positions[np.where(own >= 0, own + start, -1)])
        start += len(part.dictionary)
    found = np.concatenate(codes)
    source.release()
    counts = np.bincount(found + 1, minlength=len(merged.dictionary) + 1)[1:]
    table = pa.table({"label": merged.dictionary, "n": pa.array(counts)})
    order = pc.sort_indices(table, [("n", "descending"), ("label", "ascending")]).to_numpy()
    order = order[: np.count_nonzero(counts)]  # labels of rows that were not drawn
    new = np.full(len(counts) + 1, -1, np.int32)
    new[order] = np.arange(len(order), dtype=np.int32)
    found = new[found]
    return merged.dictionary.take(pa.array(order)), (
        found if source.order is None else found[source.order]
    )


def checksum(path: Path) -> int:
    """The CRC-32 of a file, at 4 GB/s."""
    crc = 0
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            crc = zlib.crc32(data, crc)
    return crc


def read_content(folder: Path) -> dict[str, Any]:
    """What the other files of a sample hold.

    Raises
    ------
    OSError, ValueError
        When the file is missing or damaged.
    """
    crc, _, text = (folder / CONTENT).read_text().partition("\n")
    if int(crc) != zlib.crc32(text.encode()):
        raise ValueError(f"{folder / CONTENT} is damaged")
    content: dict[str, Any] = json.loads(text)
    return content


def _write_batches(source: _Source, path: Path, names: list[str]) -> None:
    schema = pa.schema([source.schema.field(name) for name in names])
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, schema) as writer:
        if names:
            for batch in source.batches(names):
                writer.write_batch(batch.cast(schema))


def _write_array(path: Path, values: np.ndarray) -> None:
    _write(path, pa.table({"values": pa.array(np.ascontiguousarray(values))}))


def _write(path: Path, table: pa.Table) -> None:
    """A table as an Arrow file of a single batch."""
    batches = table.combine_chunks().to_batches(max_chunksize=None)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
