"""Exports of a filtered source, and the same rows from a plain loop."""

from pathlib import Path

import dask.dataframe as dd
import pyarrow.parquet as pq

import laion_dask as ld

SIZES = (40, 0, 25, 31)


def kept_by_hand(source: str) -> list[tuple]:
    """(shard, row, url) of the rows with similarity > 0.25 and width >= 300."""
    kept = []
    for shard, path in enumerate(sorted(Path(source).glob("*.parquet"))):
        for row, line in enumerate(pq.read_table(path).to_pylist()):
            similarity, width = line["similarity"], line["WIDTH"]
            if similarity is not None and similarity > 0.25 and (width or 0) >= 300:
                kept.append((shard, row, line["URL"]))
    return kept


def carve(source: str, **options) -> dd.DataFrame:
    return ld.read_shards(source, where="similarity > 0.25 and width >= 300", **options)


def rows_of(folder) -> list[tuple]:
    got = ld.read_shards(folder).compute()
    return list(zip(got["source_shard"], got["source_row"], got["url"], strict=True))


def files_of(folder) -> dict[str, bytes]:
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()
    }


#: The files beside the parts of an export to Parquet.
BESIDE = {"_recipe.json", "_croissant.json", "_datasheet.md"}
