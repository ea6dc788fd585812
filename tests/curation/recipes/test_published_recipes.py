"""Shipped recipes against what others' code keeps, and against loops written by hand."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.shards import collection, npy, write_shard

import laion_dask as ld
from laion_dask.errors import RecipeError

#: What DataComp's own code keeps of three shards; see ../shared/README.md.
DATACOMP = [
    ("datacomp-basic", {}, "basic"),
    ("datacomp-clip-score", {}, "clip_l14_30_percent"),
    ("datacomp-clip-score", {"column": "similarity"}, "clip_b32_30_percent"),
    ("datacomp-clip-score", {"threshold": 0.243}, "clip_l14_threshold_0.243"),
]


@pytest.mark.parametrize(("name", "parameters", "reference"), DATACOMP)
def test_the_uids_are_those_of_datacomp(name, parameters, reference, shared, tmp_path):
    folder = shared / "reference" / "carve" / "datacomp"
    ld.recipe(name, **parameters).run(str(folder), tmp_path / "out")
    kept = ld.read_shards(str(tmp_path / "out"))["uid"].compute()
    halves = np.load(folder / f"{reference}.npy").tolist()
    assert sorted(kept) == sorted(f"{high:016x}{low:016x}" for high, low in halves)


def rows(**columns) -> pa.Table:
    """A table; a column that is not given has plain values."""
    n = len(next(iter(columns.values())))
    plain = {
        "url": [f"http://a.example/{i}" for i in range(n)],
        "text": [f"a fine caption {i}" for i in range(n)],
        "width": [2000] * n,
        "height": [2000] * n,
        "similarity": [0.9] * n,
        "language": ["en"] * n,
        "punsafe": [0.0] * n,
        "pwatermark": [0.0] * n,
    }
    return pa.table({**plain, **columns})


def kept_rows(
    recipe: ld.Recipe, tmp_path, table: pa.Table, embeddings=None
) -> tuple[list, ld.Rows]:
    half = len(table) // 2
    for number, part in enumerate((table.slice(0, half), table.slice(half))):
        write_shard(tmp_path / "in" / f"{number}.parquet", part)
    carve = recipe.run(str(tmp_path / "in"), tmp_path / "out")
    found = ld.read_shards(str(tmp_path / "out"), columns=["url"]).compute()
    return [int(url.rpartition("/")[2]) for url in found["url"]], carve.rows


def test_laion_400m(tmp_path):
    table = rows(
        text=["four", "fives", None, "twice", "twice", "small one", "unknown size", "low one"],
        url=[f"http://a.example/{i}" for i in (0, 1, 2, 3, 3, 5, 6, 7)],
        similarity=[0.9, 0.3, 0.9, 0.9, 0.9, 0.9, 0.9, 0.2999],
        original_bytes=[9000, 5000, 9000, 9000, 9000, 4999, None, 9000],
    )
    kept, account = kept_rows(ld.recipe("laion-400m"), tmp_path, table)
    assert kept == [1, 3, 6]
    assert (account.dropped, account.unscored) == (4, 1)


def test_laion_5b_has_a_threshold_for_each_model(tmp_path):
    table = rows(
        similarity=[0.28, 0.27, 0.26, 0.25, 0.26, 0.259, float("nan"), 0.9],
        language=["en", "en", "de", "de", None, None, "de", "nolang"],
    )
    kept, account = kept_rows(ld.recipe("laion-5b"), tmp_path, table)
    assert kept == [0, 2, 4, 7]
    assert account.unscored == 1


@pytest.mark.parametrize(("name", "lowest"), [("laion-aesthetics-v1", 7), ("laion-art", 8)])
def test_the_first_aesthetic_subsets(name, lowest, tmp_path):
    table = rows(
        aesthetic=[lowest, lowest + 0.1, lowest + 1, lowest + 1, None],
        pwatermark=[0.1, 0.79, 0.8, 0.1, 0.1],
        punsafe=[0.1, 0.49, 0.1, None, 0.1],
    )
    kept, account = kept_rows(ld.recipe(name), tmp_path, table)
    assert kept == [1]
    assert account.unscored == 2


def test_the_second_aesthetic_subset_warns(tmp_path):
    table = rows(aesthetic=[4.4, 4.5, 6.5, 9.0], language=["en", "en", "en", "de"])
    kept, _ = kept_rows(ld.recipe("laion-aesthetics-v2"), tmp_path, table)
    assert kept == [1, 2]
    carve = ld.recipe("laion-aesthetics-v2", minimum=6.5).run(str(tmp_path / "in"), tmp_path / "o")
    assert carve.rows.kept == 1 and "warning: No safety" in str(carve)


@pytest.mark.parametrize(
    ("name", "expected"), [("relaion-research", [0, 1, 3]), ("relaion-research-safe", [0])]
)
def test_relaion(name, expected, tmp_path):
    table = rows(
        text=["a bad word here", "a bad word here", "a BAD word", "all good", "bad", "a bad word"],
        punsafe=[0.45, 0.95, 0.951, 0.99, None, float("nan")],
    )
    recipe = ld.recipe(name, keywords=r"(?i)\b(bad|worse)\b")
    kept, account = kept_rows(recipe, tmp_path, table)
    assert kept == expected
    assert account.unscored == 2 and account.kept + account.dropped == 4


def test_datacomp_laion2b(tmp_path):
    english = "a photograph of the old house on the hill"
    german = "ein Foto von dem alten Haus auf dem grünen Hügel"
    table = rows(text=[english, english, german, english], similarity=[0.28, 0.27, 0.9, None])
    kept, _ = kept_rows(ld.recipe("datacomp-laion2b"), tmp_path, table)
    assert kept == [0]


def test_datacomp_image_and_clip_together(tmp_path):
    data = collection(tmp_path / "c", (60, 40), odd=False)
    draw = np.random.default_rng(3)
    centroids, targets = draw.normal(size=(7, 8)), draw.normal(size=(3, 8))
    files = {
        "centroids": npy(tmp_path / "c.npy", centroids),
        "targets": npy(tmp_path / "t.npy", targets),
    }
    frame = ld.read_shards(data.metadata)
    images = ld.open_embeddings(data.img_emb, model=data.model, like=frame)
    recipe = ld.recipe("datacomp-image-clip", column="similarity", fraction=0.5, **files)
    carve = recipe.run(data.metadata, tmp_path / "out", images)

    def nearest(x):
        unit = x / np.linalg.norm(x, axis=1, keepdims=True)
        return (unit @ (centroids / np.linalg.norm(centroids, axis=1, keepdims=True)).T).argmax(1)

    pool = frame.compute()
    threshold = np.sort(pool["similarity"])[::-1][int(len(pool) * 0.5)]
    is_near = np.isin(nearest(np.concatenate(data.images)), nearest(targets))
    text = (pool["text"].str.split().str.len() > 1) & (pool["text"].str.len() > 5)
    by_hand = (pool["language"] == "en") & text & (pool["similarity"] >= threshold) & is_near
    found = ld.read_shards(str(tmp_path / "out"), columns=["hash"]).compute()
    assert sorted(found["hash"]) == sorted(pool[by_hand]["hash"])
    assert 0 < carve.rows.kept < 25 and ld.replay(tmp_path / "out").rows == carve.rows
    image = ld.recipe("datacomp-image", **files).run(data.metadata, tmp_path / "image", images)
    assert image.rows.kept == int(((pool["language"] == "en") & text & is_near).sum())


def test_high_resolution(tmp_path):
    table = rows(width=[1024, 1023, None, 9], height=[1024, 2000, 5000, 9])
    kept, account = kept_rows(ld.recipe("laion-high-resolution"), tmp_path, table)
    assert kept == [0] and account.unscored == 1


@pytest.mark.parametrize("name", ["semdedup", "density-pruning"])
def test_recipes_over_embeddings_run_and_replay(name, tmp_path):
    data = collection(tmp_path / "c", (60, 40), odd=False)
    images = ld.open_embeddings(data.img_emb, model=data.model)
    settings = {"eps": 0.4} if name == "semdedup" else {"fraction": 0.4}
    recipe = ld.recipe(name, n_clusters=3, **settings)
    carve = recipe.run(data.metadata, tmp_path / "out", images)
    assert 0 < carve.rows.kept < 100
    assert carve.funnel["kept"].iloc[-1] == carve.rows.kept
    assert ld.replay(tmp_path / "out").rows == carve.rows
    assert recipe.plan(data.metadata, images).needs_embeddings


def test_a_filter_network(tmp_path):
    data = collection(tmp_path / "c", (60, 40))
    data.texts[0][7] = np.nan
    npy(f"{data.text_emb}/text_emb_0.npy", data.texts[0])
    frame = ld.read_shards(data.metadata)
    vectors = {
        name: ld.open_embeddings(path, model=data.model, like=frame)
        for name, path in {"image": data.img_emb, "text": data.text_emb}.items()
    }
    settings = {"trusted": frame, "steps": 3, "batch": 32, "hidden": 4}
    network, other = (
        ld.train_filter(vectors["image"], vectors["text"], seed=seed, **settings) for seed in (0, 1)
    )
    file = network.save(tmp_path / "network")
    recipe = ld.recipe("dfn", network=f"filter={file}")
    carve = recipe.run(data.metadata, tmp_path / "out", vectors)
    pairs = zip(data.images, data.texts, strict=True)
    scores = np.concatenate([network.predict(image, text) for image, text in pairs])
    known = np.nan_to_num(scores, nan=-np.inf)
    best = known >= np.sort(known)[::-1][int(len(scores) * 0.15)]
    found = ld.read_shards(str(tmp_path / "out"), columns=["hash"]).compute()["hash"]
    hashes = np.concatenate([table["hash"].to_numpy() for table in data.tables])
    assert sorted(found) == sorted(hashes[best])
    assert carve.rows.unscored == np.isnan(scores).sum() == 1
    assert ld.replay(tmp_path / "out").rows == carve.rows

    other.save(file.parent)
    with pytest.raises(RecipeError, match="weight file of the run differs in sha256"):
        ld.replay(tmp_path / "out")


def test_metaclip(tmp_path):
    entries = tmp_path / "entries.txt"
    entries.write_text("caption 1\nnothing\n")
    table = rows(text=[f"a caption {i % 3}" for i in range(40)])
    recipe = ld.recipe("metaclip", entries=str(entries), t=5)
    kept, account = kept_rows(recipe, tmp_path, table)
    assert 0 < account.kept < 13 and all(i % 3 == 1 for i in kept)
    assert ld.replay(tmp_path / "out").rows == account


def test_coyo_700m(tmp_path):
    table = rows(
        text=[
            *["too few", "a good caption here", "a good caption here", "x" * 1001 + " a b"],
            *["frequent words here"] * 11,
            *["a small image here", "a narrow image here"],
        ],
        width=[300] * 15 + [199, 1000],
        height=[300] * 15 + [300, 300],
        image_phash=["a", "b", "b", "c", *"defghijklmn", "o", "p"],
    )
    kept, account = kept_rows(ld.recipe("coyo-700m"), tmp_path, table)
    assert kept == [1] and account.unscored == 0


def test_cc12m(tmp_path):
    table = rows(
        text=["a b c d e", "a b c d d", "a b c d d d", "two words", "a b c", "a b c", None],
        width=[401, 401, 401, 401, 400, 1010, 500],
        height=[401, 401, 401, 401, 401, 401, 500],
    )
    kept, account = kept_rows(ld.recipe("cc12m"), tmp_path, table)
    assert kept == [0, 1] and account.unscored == 1
