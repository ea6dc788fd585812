"""What a run records, and what a replay compares: every input, whatever it is named."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from support.shards import collection

import laion_dask as ld
from laion_dask.errors import OptionError, RecipeError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("replays") / "c", (60, 0, 40))


def urls_of(data) -> list[str]:
    return ld.read_shards(data.metadata)["url"].compute().dropna().tolist()


def write_scores(path: Path, data, shift: int) -> None:
    urls = sorted(set(urls_of(data)))
    scores = (np.arange(len(urls)) + shift) % 10 / 10
    pd.DataFrame({"url": urls, "rating": scores}).to_parquet(path)


def write_lines(path: Path, data, shift: int) -> None:
    path.write_text("\n".join(urls_of(data)[shift : shift + 10]), encoding="utf-8")


def write_vectors(path: Path, data, shift: int) -> None:
    rows = np.random.default_rng(shift).normal(size=(4, data.model.dim))
    np.save(path, rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize(
    ("name", "write", "step"),
    [
        ("a.parquet", write_scores, lambda r, p: r.join(p, on="url").where("rating > 0.4")),
        ("a.txt", write_lines, lambda r, p: r.where(f"url in file('{p}')")),
        ("a.txt", write_lines, lambda r, p: r.exclude(p)),
        ("a.txt", write_lines, lambda r, p: r.decontaminate(against={"url": p})),
        ("a.txt", write_lines, lambda r, p: ld.Recipe("x", r.steps, removal_lists=[p])),
        ("a.npy", write_vectors, lambda r, p: r.nearest_centroid(p, to="c").where("c < 2")),
    ],
    ids=["join", "in file", "exclude", "decontaminate", "removal list", "centroids"],
)
def test_a_changed_file_is_named(name, write, step, data, tmp_path):
    path = tmp_path / name
    write(path, data, 0)
    recipe = step(ld.Recipe("x").where("width > 5"), str(path))
    images = ld.open_embeddings(data.img_emb, model=data.model)
    carve = recipe.run(data.metadata, tmp_path / "out", images)
    assert ld.replay(tmp_path / "out").rows == carve.rows
    write(path, data, 3)
    with pytest.raises(RecipeError, match=name):
        ld.replay(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_dollars_iterators_and_numpy_survive(data, tmp_path):
    recipe = ld.Recipe.parse(
        "name: x\nparameters: {word: {default: q}}\n"
        "steps:\n- where: not text.contains('a$$b$$$$') and not text.contains($word)\n"
    ).with_parameters(word='it\'s "$word" $5\n')
    paths = sorted(Path(data.metadata).glob("*.parquet"))
    carve = recipe.top("similarity", n=np.int64(30)).run(iter(paths), tmp_path / "out")
    assert carve.rows.kept == 30 and ld.replay(tmp_path / "out").rows == carve.rows
    with pytest.raises(RecipeError, match="'targets' is an object of type ndarray"):
        ld.Recipe("x").near_targets(targets=np.zeros((2, 3)), centroids="c.npy")


def test_paths_are_relative_to_the_recipe_and_those_of_parameters_to_the_folder(
    data, tmp_path, monkeypatch
):
    (tmp_path / "r").mkdir()
    one, two, *_ = counts = pd.Series(urls_of(data)).value_counts()
    first, second = counts.index[:2]
    (tmp_path / "r" / "list.txt").write_text(first)
    (tmp_path / "mine.txt").write_text(f"{first}\n{second}")
    (tmp_path / "r" / "my.yaml").write_text(
        "name: x\nsource: {paths: [../r/../c]}\nparameters: {list: {default: list.txt}}\n"
        "steps:\n- exclude: $list\n"
    )
    (tmp_path / "c").symlink_to(data.metadata)
    monkeypatch.chdir(tmp_path)
    recipe = ld.Recipe.load("r/my.yaml")
    assert recipe.run(None, "out").rows.dropped == one
    assert recipe.with_parameters(list="mine.txt").run(None, "out").rows.dropped == one + two
    monkeypatch.chdir("/")
    assert ld.replay(tmp_path / "out").rows.dropped == one + two


def test_urls_of_a_removal_list_are_not_stored(data, tmp_path):
    urls = urls_of(data)[:1]
    n = urls_of(data).count(urls[0])
    for recipe in (
        ld.Recipe("x").exclude(urls),
        ld.Recipe("x", [{"where": "width > 0"}], removal_lists=[{"list": urls}]),
    ):
        carve = recipe.run(data.metadata, tmp_path / "out")
        assert carve.rows.dropped == n and ld.replay(tmp_path / "out").rows == carve.rows
        assert urls[0] not in (tmp_path / "out" / "_recipe.json").read_text()
        assert ld.Recipe.parse(recipe.to_yaml()).tree == recipe.tree
    with pytest.raises(RecipeError, match="Expected the path of a file"):
        ld.Recipe("x").exclude(list=urls, by="normalized_url")


def test_the_embeddings_of_a_run_are_exported(data, tmp_path):
    images = ld.open_embeddings(data.img_emb, model=data.model)
    recipe = ld.Recipe("x", [{"where": "width > 500"}], export={"format": "embeddings"})
    carve = recipe.run(data.metadata, tmp_path / "out", images)
    assert len(np.load(next((tmp_path / "out").rglob("*.npy")))) == carve.rows.kept
    assert ld.replay(tmp_path / "out").rows == carve.rows
    with pytest.raises(RecipeError, match="needs image embeddings"):
        recipe.run(data.metadata, tmp_path / "none")


def test_arguments_of_the_export_are_checked_before_the_steps(data, tmp_path):
    recipe = ld.Recipe("x").dedup("embeddings:image", n_clusters=2)
    with pytest.raises(OptionError, match="no option frmat"):
        recipe.run(data.metadata, tmp_path / "out", frmat="csv")
    with pytest.raises(RecipeError, match="Expected the paths"):
        recipe.run(data.metadata, tmp_path / "out", format="webdataset", images=object())


def test_exports_without_a_recipe(data, tmp_path):
    frame = ld.read_shards(data.metadata).laion.where("width > 500")
    done = frame.laion.export(tmp_path / "out", "csv", rows_per_part=7)
    assert ld.replay(tmp_path / "out").rows == done.rows
    for name, other in (
        ("dedup", frame.laion.dedup("url")),
        ("'width' was dropped", frame[["url", "shard", "row"]]),
        ("assign added", frame.assign(added=1)),
    ):
        other.laion.export(tmp_path / "other")
        with pytest.raises(RecipeError, match=name):
            ld.replay(tmp_path / "other")


def test_a_run_that_keeps_nothing_is_printed(data, tmp_path):
    carve = ld.Recipe("x").where("width > 5").where("width > 99999").run(data.metadata, tmp_path)
    assert carve.rows.kept == 0 and "width > 99999: " in str(carve)


def test_a_manifest_of_an_earlier_release_is_replayed(data, tmp_path):
    ld.Recipe("x").where("width > 5").run(data.metadata, tmp_path / "out")
    path = tmp_path / "out" / "_recipe.json"
    manifest = json.loads(path.read_text())
    del manifest["run"]["files"]
    path.write_text(json.dumps(manifest))
    assert ld.replay(tmp_path / "out", tmp_path / "again").parts == 1
    assert len(pq.read_table(tmp_path / "again" / "shards")) > 0


def test_a_file_that_is_gone_is_named(data, tmp_path):
    folder = tmp_path / "metadata"
    shutil.copytree(data.metadata, folder)
    ld.Recipe("x").where("width > 5").run(folder, tmp_path / "out")
    gone = sorted(folder.iterdir())[0]
    gone.unlink()
    with pytest.raises(RecipeError, match=rf"now there are .*{gone.name} is missing"):
        ld.replay(tmp_path / "out")


def test_a_source_that_is_no_path_is_refused(tmp_path):
    for source in (3, pd.DataFrame({"url": ["a"]}), {"url": "a"}):
        with pytest.raises(OptionError, match=r"Expected (a file|files)"):
            ld.Recipe("x").where("width > 5").run(source, tmp_path / "out")


def test_a_damaged_export_is_told_though_its_rows_are_made_again(data, tmp_path):
    carve = ld.Recipe("x").where("width > 500").run(data.metadata, tmp_path / "out")
    part = next((tmp_path / "out").rglob("part-*.parquet"))
    written = bytearray(part.read_bytes())
    written[len(written) // 2] ^= 1
    part.write_bytes(written)
    with pytest.raises(RecipeError, match=f"files were altered: .*{part.name}"):
        ld.replay(tmp_path / "out", to=tmp_path / "new")
    assert ld.verify(tmp_path / "new").rows == carve.rows.kept
    assert ld.replay(tmp_path / "out" / "_recipe.json").rows == carve.rows


COMPUTED = {
    "assign": (
        lambda frame: frame.assign(text=frame["text"].str.lower()),
        "pandas step: assign text",
    ),
    "fillna": (lambda frame: frame.fillna({"punsafe": 0.5}), "pandas step: fillna"),
    "rename": (
        lambda frame: frame.drop(columns="url").rename(columns={"text": "url"}),
        "pandas step: rename text to url",
    ),
    "choose_caption": (
        lambda frame: frame.laion.choose_caption(["url", "text"], "longest", to="caption"),
        "one caption (choose_caption): caption from url, text, by longest",
    ),
    "explode_captions": (
        lambda frame: frame.laion.explode_captions(["url", "text"]),
        "one record for each caption (explode_captions): text, caption_number from url, text",
    ),
}


@pytest.mark.parametrize("name", COMPUTED)
def test_columns_computed_outside_recipes_are_named_and_not_replayed(data, tmp_path, name):
    step, text = COMPUTED[name]
    frame = step(ld.read_shards(data.metadata)).laion.where("width > 500")
    done = frame.laion.export(tmp_path / "out")
    assert done.manifest["computed"] == [text]
    assert f"`{text}`" in (tmp_path / "out" / "_datasheet.md").read_text()
    with pytest.raises(RecipeError, match=re.escape(f"({text}). Write the steps as a recipe")):
        ld.replay(tmp_path / "out")


def test_selections_are_not_computed_columns(data, tmp_path):
    frame = ld.read_shards(data.metadata).drop(columns=["hash"]).repartition(npartitions=2)
    done = frame.laion.dedup(by="url").laion.top("width", n=9).laion.export(tmp_path / "out")
    assert "computed" not in done.manifest
