"""The scores and the files of exports that are reopened with their source's embeddings."""

from pathlib import Path

import numpy as np
import pytest

import laion_dask as ld
from laion_dask.errors import PairingError
from support.embeddings import pair

SIZES = (40, 0, 25, 33)
QUERY = np.arange(8) - 2.5


def paths(c, *numbers) -> list[str]:
    return [f"{c.img_emb}/img_emb_{i}.npy" for i in numbers]


def part_paths(folder) -> list[Path]:
    return sorted((Path(folder) / "shards").glob("*.parquet"))


def bits(frame, embeddings, texts=None, *heads):
    """The bit patterns of the scores, by shard and row of the first source."""
    frame = ld.similarity(frame, embeddings, QUERY, to="found")
    if texts is not None:
        frame = ld.similarity(frame, embeddings, texts, to="caption")
    frame = ld.score(frame, embeddings, *heads) if heads else frame
    computed = frame.compute()
    names = ["found", "caption", "linear"]
    values = (
        computed[[name for name in names if name in computed]].to_numpy(np.float32).view(np.uint32)
    )
    where = ("source_shard", "source_row") if "source_shard" in computed else ("shard", "row")
    keys = zip(*(computed[name].tolist() for name in where), strict=True)
    result = dict(zip(keys, values.tolist(), strict=True))
    assert len(result) == len(computed)
    return result


def check(before, *after):
    """Check that the scores of an export are a subset of those of its source."""
    assert after[-1] and after[-1].items() <= before.items()


def refused(frame, images, says):
    with pytest.raises(PairingError, match=says) as caught:
        pair(images, frame)
    assert "\n" not in str(caught.value)
