"""Rows in a region of a projection, compared with shapely row by row."""

from __future__ import annotations

import dask
import numpy as np
import pytest
from support.partitionings import partition_per_shard
from support.shards import collection, npy, vectors

import laion_dask as ld
from laion_dask.errors import (
    ModelMismatchError,
    OptionError,
    PairingError,
    ProjectionError,
    RecipeError,
)

EIGHT = [[-0.8, -0.7], [0.9, 0.6], [0.9, -0.6], [-0.8, 0.75]]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("region")
    written = collection(folder, (40, 0, 25), dtype="float16")
    written.images[0][3], written.images[2][7, 1] = 0, np.nan
    for i in (0, 2):
        npy(f"{written.img_emb}/img_emb_{i}.npy", written.images[i])
    frame = ld.read_shards(written.metadata)
    images = ld.open_embeddings(written.img_emb, model=written.model, like=frame)
    projection = ld.fit_projection(images)
    projection.save(folder / "map.projection")
    return written, frame, images, projection, folder


def rows_inside(written, projection, polygon) -> tuple[set, int]:
    """The rows inside, row by row, and how many have no point."""
    shapely = pytest.importorskip("shapely")
    area, inside, without = shapely.Polygon(polygon), set(), 0
    for shard, array in enumerate(written.images):
        for row, vector in enumerate(array):
            x, y = projection.project(vector[None])[0].tolist()
            without += np.isnan(x)
            if not np.isnan(x) and shapely.contains_xy(area, x, y):
                inside.add((shard, row))
    return inside, without


def test_the_rows_are_those_of_shapely(data, tmp_path):
    written, frame, images, projection, folder = data
    inside, without = rows_inside(written, projection, EIGHT)
    assert 5 < len(inside) < 50 and without == 2
    for given in (projection, folder / "map.projection", str(folder / "map.projection")):
        kept = frame.laion.in_region(images, EIGHT, given, digest=projection.digest)
        found = kept.compute()
        assert set(zip(found.shard, found.row, strict=True)) == inside
        assert list(kept.columns) == list(frame.columns)
    account = kept.laion.rows()
    assert (account.kept, account.unscored) == (len(inside), 2)
    assert account.dropped == 65 - len(inside) - 2
    assert kept.laion.funnel()["clause"][0].startswith("in_region(4 points of sha256 ")
    assert len(kept.laion.excluded()) == account.dropped + 2
    done = kept.laion.export(tmp_path / "out")
    (entry,) = [one for one in done.manifest["models"] if "in_region" in one]
    assert entry["in_region"] == EIGHT and entry["digest"] == projection.digest


def test_a_row_is_on_the_same_side_in_every_partitioning_and_filter(data):
    written, frame, images, projection, _ = data
    points = projection.project(written.images[0])
    corners = points[[1, 8, 20, 30]]  # four rows are exactly on the boundary
    expected = None
    with partition_per_shard():
        frames = [frame, ld.read_shards(written.metadata), frame.repartition(npartitions=5)]
    frames += [ld.read_shards(written.metadata, max_rows_per_partition=n) for n in (1, 7, 20)]
    for one in frames:
        for scheduler in ("threads", "synchronous"):
            with dask.config.set(scheduler=scheduler):
                kept = one.laion.in_region(images, corners, projection)[["shard", "row"]].compute()
            found = set(zip(kept.shard, kept.row, strict=True))
            expected = expected or found
            assert found == expected
    assert {(0, 1), (0, 8), (0, 20), (0, 30)} <= expected
    wide = frame.laion.where("width > 900")
    kept = wide.laion.in_region(images, corners, projection)[["shard", "row"]].compute()
    there = wide[["shard", "row"]].compute()
    both = set(zip(there.shard, there.row, strict=True)) & expected
    assert set(zip(kept.shard, kept.row, strict=True)) == both


def test_no_rows_and_none_inside(data):
    _, frame, images, projection, _ = data
    far = [[8, 8], [9, 8], [8, 9]]
    assert len(frame.laion.in_region(images, far, projection)) == 0
    none = frame.laion.where("width > 999999").laion.in_region(images, EIGHT, projection)
    assert len(none) == 0 and none.laion.rows().read == 65


def test_wrong_arguments_are_refused_before_data_is_read(data, tmp_path):
    written, frame, images, projection, folder = data
    with pytest.raises(OptionError, match="2 different points"):
        frame.laion.in_region(images, [[0, 0], [1, 1]], projection)
    with pytest.raises(OptionError, match="projection is None"):
        frame.laion.in_region(images, EIGHT, None)
    with pytest.raises(ProjectionError, match="No such file"):
        frame.laion.in_region(images, EIGHT, tmp_path / "missing")
    for given in (projection, folder / "map.projection"):
        with pytest.raises(ProjectionError, match="a polygon means other rows"):
            frame.laion.in_region(images, EIGHT, given, digest="sha256:" + "0" * 64)
    other = ld.Embeddings(images.files, ld.EmbeddingSpace("other", 8))
    with pytest.raises(ModelMismatchError):
        frame.laion.in_region(other, EIGHT, projection)
    npy(tmp_path / "e" / "img_emb_0.npy", vectors(5))
    short = ld.open_embeddings(tmp_path / "e", model=written.model)
    with pytest.raises(PairingError):
        frame.laion.in_region(short, EIGHT, projection)


def test_a_recipe_runs_and_replays_and_notices_another_projection(data, tmp_path):
    written, _, images, projection, _ = data
    file = tmp_path / "map.projection"
    projection.save(file)
    text = f"""
name: lasso
steps:
  - in_region:
      polygon: {EIGHT}
      projection: {file}
      digest: {projection.digest}
"""
    (tmp_path / "lasso.yaml").write_text(text)
    recipe = ld.recipe(tmp_path / "lasso.yaml")
    carve = recipe.run(written.metadata, tmp_path / "out", embeddings=images)
    inside, _ = rows_inside(written, projection, EIGHT)
    assert carve.rows.kept == len(inside)
    assert ld.replay(tmp_path / "out").rows == carve.rows
    by_call = ld.Recipe("lasso").in_region(polygon=EIGHT, projection=str(file))
    assert len(by_call.plan(written.metadata, embeddings=images).steps) == 1
    ld.fit_projection(images, n=20).save(file)
    with pytest.raises(RecipeError, match=r"map\.projection"):
        ld.replay(tmp_path / "out")
    with pytest.raises(RecipeError, match="has the digest"):
        recipe.run(written.metadata, tmp_path / "three", embeddings=images)
