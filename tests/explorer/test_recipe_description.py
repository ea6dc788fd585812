"""A copied recipe says what it was made from, and what a run needs besides it."""

from __future__ import annotations

import numpy as np
from support.shards import laion_table, write_shard

import laion_dask as ld
from laion_dask.explorer.as_code import as_recipe
from laion_dask.explorer.embedding_filters import Score
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.views.ask import KEY


def description_of(exploration: Exploration) -> str:
    return ld.Recipe.parse(as_recipe(exploration)).description


def test_the_shards_the_rows_and_the_embeddings_are_named(demo_folder):
    metadata = demo_folder / "embedded" / "metadata"
    n = len(list(metadata.glob("*.parquet")))
    assert n > 1
    frame = ld.read_shards(metadata)
    emb = ld.open_embeddings(demo_folder / "embedded" / "img_emb", model="demo", like=frame)
    assert description_of(Exploration(draw_sample(frame), emb)) == (
        f"Selected in the explorer, among all {len(frame):,} rows of the {n} shards in {metadata}."
    )
    part = Exploration(draw_sample(frame, 200), emb)
    part.selection.set(KEY, Score((1.0,) * emb.dim, 0.1, np.ones(200, np.float32)))
    about = description_of(part)
    assert f"among 200 of {len(frame):,} rows" in about
    assert "--embeddings FOLDER --model demo." in about and "recipe.run(" in about


def test_the_command_is_named_only_if_it_can_name_the_model(demo_folder):
    frame = ld.read_shards(demo_folder / "embedded" / "metadata")
    for model, is_named in (
        ("demo", True),
        (ld.EmbeddingSpace("mine", 128), False),
        (ld.EmbeddingSpace("demo", 128), False),
    ):
        folder = demo_folder / "embedded" / "img_emb"
        emb = ld.open_embeddings(folder, model=model, like=frame)
        exploration = Exploration(draw_sample(frame, 200), emb)
        exploration.selection.set(KEY, Score((1.0,) * 128, 0.1, np.ones(200, np.float32)))
        about = description_of(exploration)
        assert "recipe.run(frame, out, embeddings)" in about
        assert ("laion-dask carve" in about) == is_named


def test_lists_of_the_filters_that_the_frame_had_are_named(tmp_path):
    listed = tmp_path / "urls.txt"
    listed.write_text("https://a.de/1")
    (tmp_path / "a $b").mkdir()
    frame = ld.read_shards([write_shard(tmp_path / "a $b" / "0.parquet", laion_table(50))])
    where = f"url not in file({str(listed)!r})"
    about = description_of(Exploration(draw_sample(frame.laion.where(where))))
    assert about.endswith("0.parquet. To move it, also move the files that its steps name.")
    assert str(tmp_path / "a $b") in about
