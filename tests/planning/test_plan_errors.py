"""What a plan refuses or warns of: wrong verbs, missing shards, partitions that do not fit."""

import numpy as np
import pandas as pd
import pytest
from support.plan_rates import DIM, RATES

import laion_dask as ld
from laion_dask.errors import (
    ColumnError,
    ModelMismatchError,
    OptionError,
    PairingError,
    PredicateError,
    ProvenanceError,
    ShardError,
)
from laion_dask.formatting import in_bytes


@pytest.mark.parametrize(
    ("verbs", "error", "said"),
    [
        ("serch", OptionError, "Did you mean 'search'"),
        ([], OptionError, "verbs is empty"),
        (["where", 7], OptionError, "A verb is 7"),
        (("summary", 3), OptionError, "takes no argument"),
        (("search", 0), OptionError, "at least 1"),
        (("search", "bird"), OptionError, "number of queries"),
        (("search", True), OptionError, "is True"),
        (("distributions", 3), OptionError, "argument is 3"),
        (("distributions", [3]), OptionError, "A column of distributions is 3"),
        (("distributions", "text"), OptionError, "'text' holds none"),
        (("distributions", ["similarty"]), ColumnError, "Did you mean 'similarity'"),
        (("where", "similarty > 1"), (PredicateError, ColumnError), "similarity"),
        (("embed", "ViT-Z"), Exception, "ViT"),
    ],
)
def test_wrong_verbs_are_refused(frame, verbs, error, said):
    with pytest.raises(error, match=said):
        ld.plan(frame, verbs)


def test_what_else_is_refused(folder, frame, emb):
    with pytest.raises(OptionError, match="workers is 0"):
        ld.plan(frame, "where", workers=0)
    with pytest.raises(OptionError, match="Did you mean 'NVIDIA H200'"):
        ld.plan(frame, "where", device="NVIDIA H20")
    with pytest.raises(OptionError, match="storage is -1"):
        ld.plan(frame, "where", storage=-1)
    for wrong in (True, "2e9"):
        with pytest.raises(OptionError, match="storage is"):
            ld.plan(frame, "where", storage=wrong)
        with pytest.raises(OptionError, match="workers is"):
            ld.plan(frame, "where", workers=wrong)
        with pytest.raises(OptionError, match="rows is"):
            ld.plan(frame, "where").scaled(rows=wrong)
    for wrong in ("lots", 0, -1, True, None.__class__, 1.5e400):
        with pytest.raises(OptionError, match="memory_limit is"):
            ld.plan(frame, "where", memory_limit=wrong)
    with pytest.raises(OptionError, match="rows is 0"):
        ld.plan(frame, "where").scaled(rows=0)
    with pytest.raises(ProvenanceError):
        import dask.dataframe as dd

        ld.plan(dd.from_pandas(pd.DataFrame({"a": [1]}), npartitions=1), "where")
    np.save(folder / "img_emb/part_1.npy", np.ones((9, DIM), np.float16))
    short = ld.open_embeddings(folder / "img_emb", model="demo")
    with pytest.raises(PairingError, match="9 rows"):
        ld.plan(frame, "score", embeddings=short)
    vectors = np.eye(2, 768, dtype=np.float32).tobytes()
    other = ld.heads.PromptHead("p", ld.ClipModel("ViT-L-14", "openai"), ("a", "b"), 0, vectors)
    with pytest.raises(ModelMismatchError):
        ld.plan(frame, other, embeddings=emb)


def test_a_shard_that_is_gone_is_an_error_of_its_own(folder, frame):
    (folder / "shards/part_1.parquet").write_bytes(b"PAR1")
    with pytest.raises(ShardError, match="part_1"):
        ld.plan(frame, "where")


def test_a_partition_that_does_not_fit_is_told_with_the_remedy(laion_shards):
    frame = ld.read_shards(laion_shards(5000, row_group_size=500))
    found = ld.plan(frame, "export", workers=1, rates=RATES)
    a_row = found.steps[0].row_memory
    assert found.memory_bytes == round(1000 + 5000 * a_row)
    limit = round(1000 + 2500 * a_row)
    tight = found.scaled(memory_limit=limit)
    assert "read_shards(max_rows_per_partition=2_000)" in str(tight)
    assert f"needs {in_bytes(found.memory_bytes)} and has {in_bytes(limit)}" in str(tight)
    none = ld.plan(frame, "export", workers=1, memory_limit="500 B", rates=RATES)
    assert "Give each more memory" in str(none)
    coarse = ld.read_shards(laion_shards(5000, row_group_size=2400, folder="coarse"))
    kept = ld.plan(coarse, "export", workers=1, memory_limit=limit + 9000, rates=RATES)
    (remedy,) = [note for note in kept.notes() if "max_rows_per_partition" in note]
    rows = int(remedy.partition("=")[2].rstrip(".)"))
    assert 2400 <= rows <= 2600, "2_000 would leave row groups of 2,400 as they are"


def test_row_groups_that_are_too_large_are_told_with_another_remedy(laion_shards):
    frame = ld.read_shards(laion_shards(5000))
    found = ld.plan(frame, "export", workers=1, rates=RATES)
    limit = round(1000 + 2500 * found.steps[0].row_memory)
    note = found.scaled(memory_limit=limit).notes()[0]
    assert "some row groups have 5,000 rows" in note and "row groups of at most 2,000 rows" in note
    assert "max_rows_per_partition" not in note
