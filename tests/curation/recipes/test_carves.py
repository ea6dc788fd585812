"""Runs of recipes: rows by hand, the funnel, the manifest, and replays."""

from __future__ import annotations

import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import dask
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.shards import collection, refuse, write_shard

import laion_dask as ld
from laion_dask.errors import RecipeError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("carves") / "c", (60, 0, 40))


def rows_of(folder) -> int:
    return len(ld.read_shards(str(folder)))


def test_the_rows_are_those_of_the_filters_written_by_hand(data, tmp_path):
    recipe = ld.Recipe("x").where("width > 500 and similarity > 0.2").where("punsafe < 0.7")
    carve = recipe.run(data.metadata, tmp_path / "out")
    frame = ld.read_shards(data.metadata).compute()
    by_hand = (frame.width > 500) & (frame.similarity > 0.2) & (frame.punsafe < 0.7)
    assert carve.rows.kept == int(by_hand.fillna(False).sum())
    assert rows_of(tmp_path / "out") == carve.rows.kept


def test_the_funnel_adds_up_and_is_stored_with_the_audit(data, tmp_path):
    recipe = ld.Recipe("x").where("width > 500").where("punsafe < 0.7 and similarity > 0.2")
    carve = recipe.run(ld.read_shards(data.metadata).laion.where("height > 99"), tmp_path / "out")
    funnel, rows = carve.funnel, carve.rows
    assert list(funnel["step"]) == [0, 0, 1, 2, 2]
    assert list(funnel["before"][1:]) == list(funnel["kept"][:-1])
    assert funnel["before"][0] == rows.read and funnel["kept"].iloc[-1] == rows.kept
    for name in ("dropped", "unscored", "rejected"):
        assert funnel[name].sum() == getattr(rows, name)
    manifest = json.loads((tmp_path / "out" / "_recipe.json").read_text())
    assert manifest["recipe"] == recipe.tree
    assert manifest["funnel"] == funnel.to_dict("records")
    assert {one["axis"] for one in manifest["audit"]} >= {"language", "gender"}
    assert "punsafe < 0.7" in str(carve) and "Share of rows excluded" in str(carve)
    assert (
        "punsafe &lt; 0.7" in carve._repr_html_()
        and "Share of rows excluded" in carve._repr_html_()
    )


def test_cheap_filters_come_before_scores_and_keep_the_same_rows(data, tmp_path):
    images = ld.open_embeddings(data.img_emb, model=data.model)
    texts = ld.open_embeddings(data.text_emb, model=data.model)
    vectors = {"image": images, "text": texts}
    late = ld.Recipe("x").similarity("text", to="clip").where("clip > 0 and width > 900")
    plan = late.plan(data.metadata, vectors)
    assert [does.partition(":")[0] for does in plan.steps["does"]] == [
        "where",
        "similarity",
        "where",
    ]
    assert plan.needs_embeddings and plan.rows == 100
    early = ld.Recipe("x").where("width > 900").similarity("text", to="clip").where("clip > 0")
    for name, recipe in (("late", late), ("early", early)):
        recipe.run(data.metadata, tmp_path / name, vectors)
    tables = [pq.read_table(tmp_path / name / "shards") for name in ("late", "early")]
    assert tables[0].equals(tables[1]) and 0 < len(tables[0]) < 60


def test_a_plan_tells_which_embeddings_are_needed_without_having_them(data):
    recipe = ld.Recipe("x").where("width > 9").similarity("text", to="clip").where("clip > 0")
    plan = recipe.top("clip", 0.3).where("height > 9").plan(data.metadata)
    assert plan.needs_embeddings and plan.rows == 100
    assert [one.partition(":")[0] for one in plan.not_counted] == ["similarity", "where", "top"]
    assert "embeddings were not given" in str(plan) and "image, text" in str(plan)
    with pytest.raises(RecipeError, match="Did you mean 'width'"):
        ld.Recipe("x").where("widht > 9").plan(data.metadata)


def test_building_and_planning_compute_nothing(data):
    with dask.config.set(scheduler=refuse):
        recipe = ld.Recipe("x").where("width > 500").language(to="l", if_missing="l")
        recipe.plan(data.metadata)
        recipe.apply(ld.read_shards(data.metadata))


def test_a_plan_is_of_the_arguments_of_a_step(data):
    texts = ld.read_shards(data.metadata, columns=["text"])
    for recipe in (ld.Recipe("x").dedup("text"), ld.Recipe("x").dedup("text", similar=0.9)):
        assert recipe.plan(texts).rows == 100
    urls = ld.read_shards(data.metadata, columns=["url"])
    assert ld.Recipe("x").drop_frequent("url").plan(urls).steps["passes"].tolist() == [1]
    images = ld.open_embeddings(data.img_emb, model=data.model)
    semantic = ld.Recipe("x").dedup("embeddings:image").plan(texts, images)
    vectors = sum(file.size for file in images.files)
    by_text = ld.Recipe("x").dedup("text").plan(texts)
    one, other = (plan.cost.table.set_index("step")["bytes_read"] for plan in (semantic, by_text))
    assert one["dedup"] > vectors > other["dedup"]
    assert "audit" in one and "language" not in texts.columns  # by the people mentioned
    assert "audit" not in set(ld.Recipe("x").drop_frequent("url").plan(urls).cost.table["step"])


def test_a_plan_fits_on_a_page_and_counts_passes_once(data):
    images = ld.open_embeddings(data.img_emb, model=data.model)
    recipe = ld.Recipe("x").where("width > 9 and similarity > 0.2").similarity("image", to="near")
    plan = recipe.where("near > 0.1").top("near", 0.5).dedup("url").plan(data.metadata, images)
    shown = str(plan).splitlines()
    assert len([line for line in shown if line.startswith("- ")]) <= 6
    assert "again" not in " ".join(plan.notes()) and "more notes" in shown[-1]
    steps = plan.cost.table["step"].tolist()
    assert steps[:2] == ["near", "store near"] and steps.count("dedup") == steps.count("top") == 1
    assert not any(step.startswith("in the frame") for step in steps)
    assert "white-space:nowrap" in plan._repr_html_() and "<details>" in plan._repr_html_()


def test_conditions_depend_on_columns_and_parameters(data, tmp_path):
    text = """
        name: x
        parameters: {low: {default: null}, high: {default: 900}}
        steps:
        - where: width > 500
          if_present: width
        - where: nothing > 500
          if_present: nothing
        - language: {to: language}
          if_missing: language
        - where: height > $low
          if_set: low
        - where: height < $high
          if_unset: low
    """
    recipe = ld.Recipe.parse(text)
    carve = recipe.run(data.metadata, tmp_path / "out")
    assert list(carve.funnel["rule"]) == ["read", "width > 500", "height < 900"]
    carve = recipe.with_parameters(low=100).run(data.metadata, tmp_path / "out")
    assert list(carve.funnel["rule"]) == ["read", "width > 500", "height > 100"]


def test_an_error_of_a_step_names_its_line(data, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("name: x\nsteps:\n- where: width > 1\n- where: widht > 1\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml, line 4: .*Did you mean 'width'"):
        ld.Recipe.load(path).run(data.metadata, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    path.write_text(
        "name: x\nparameters:\n  a: {default: null}\nsteps:\n- where: width > $a\n  if_set: a\n"
        "- where: widht > 1\n"
    )
    with pytest.raises(RecipeError, match=r"mine\.yaml, line 7: .*Did you mean 'width'"):
        ld.Recipe.load(path).run(data.metadata, tmp_path / "out")
    with pytest.raises(RecipeError, match="needs image embeddings"):
        ld.Recipe("x").score("aesthetic").run(data.metadata, tmp_path / "out")
    with pytest.raises(RecipeError, match="model"):
        ld.Recipe("x").score("aesthetic").run(data.metadata, tmp_path / "out", data.img_emb)


class TestReplay:
    def test_the_same_bytes_again(self, data, tmp_path):
        recipe = ld.Recipe("x").similarity("text", to="clip").where("clip > 0")
        vectors = {
            name: ld.open_embeddings(folder, model=data.model)
            for name, folder in (("image", data.img_emb), ("text", data.text_emb))
        }
        carve = recipe.run(data.metadata, tmp_path / "out", vectors, rows_per_part=7)
        again = ld.replay(tmp_path / "out", tmp_path / "again")
        assert again.rows == carve.rows and again.parts > 2
        assert ld.replay(tmp_path / "again" / "_recipe.json").rows == carve.rows
        tables = [pq.read_table(tmp_path / name / "shards") for name in ("out", "again")]
        assert tables[0].equals(tables[1])

    def test_an_export_by_filters_alone(self, data, tmp_path):
        frame = ld.read_shards(data.metadata).laion.where("width > 500").laion.where("height > 9")
        done = frame.laion.export(tmp_path / "out")
        assert ld.replay(tmp_path / "out").rows == done.rows

    def test_what_cannot_be_replayed_says_why(self, data, tmp_path):
        frame = ld.read_shards(data.metadata)
        ld.Recipe("x").where("width > 5").run(frame, tmp_path / "frame")
        with pytest.raises(RecipeError, match="from a frame"):
            ld.replay(tmp_path / "frame")
        frame[frame.width > 5].laion.export(tmp_path / "mask")
        with pytest.raises(RecipeError, match="pandas mask"):
            ld.replay(tmp_path / "mask")
        with pytest.raises(RecipeError, match="not an export"):
            ld.replay(tmp_path)

    @pytest.mark.parametrize("change", ["rewritten", "added", "missing", "vectors"])
    def test_another_input_is_named(self, change, tmp_path):
        data = collection(tmp_path / "c", (30, 20))
        images = ld.open_embeddings(data.img_emb, model=data.model)
        recipe = ld.Recipe("x").where("width > 5").similarity("text", to="clip")
        texts = ld.open_embeddings(data.text_emb, model=data.model)
        recipe.run(data.metadata, tmp_path / "out", {"image": images, "text": texts})
        shard = Path(data.metadata) / "metadata_0001.parquet"
        if change == "rewritten":
            table = pq.read_table(shard)
            pq.write_table(table.slice(0, 20).sort_by("WIDTH"), shard)
        elif change == "added":
            shutil.copy(shard, shard.with_name("metadata_0002.parquet"))
        elif change == "missing":
            shard.unlink()
        else:
            file = Path(data.img_emb) / "img_emb_0.npy"
            np.save(file, np.load(file)[::-1])
        named = "img_emb_0.npy" if change == "vectors" else "metadata_0001|had 2 files"
        warned = pytest.warns() if change == "added" else nullcontext()
        with warned, pytest.raises(RecipeError, match=named):
            ld.replay(tmp_path / "out", tmp_path / "again")
        assert not (tmp_path / "again").exists()

    def test_another_list_or_table_is_named(self, data, tmp_path):
        table, listed = tmp_path / "scores.parquet", tmp_path / "removed.txt"
        frame = ld.read_shards(data.metadata)
        keys = frame["url"].compute().drop_duplicates().to_frame()
        keys.assign(s=1.0).to_parquet(table)
        listed.write_text("https://a.example/1\n")
        joined = ld.Recipe("x").join(str(table), on="url").where("s > 0")
        removing = ld.Recipe("y", removal_lists=[str(listed)]).where("width > 5")
        reading = ld.Recipe("z").where(f"url not in file({str(listed)!r})")
        for recipe in (joined, removing, reading):
            recipe.run(data.metadata, tmp_path / recipe.name)
            assert ld.replay(tmp_path / recipe.name).parts
        listed.write_text("https://a.example/2\n")
        keys.assign(s=2.0).to_parquet(table)
        for recipe, named in ((joined, "scores"), (removing, "removed"), (reading, "removed")):
            with pytest.raises(RecipeError, match=named):
                ld.replay(tmp_path / recipe.name)

    def test_other_rows_are_an_error_and_nothing_is_written(self, data, tmp_path, monkeypatch):
        ld.Recipe("x").where("width > 5").run(data.metadata, tmp_path / "out")
        path = tmp_path / "out" / "_recipe.json"
        manifest = json.loads(path.read_text())
        manifest["run"]["recipe"]["steps"][0]["where"]["expression"] = "width > 900"
        manifest["where"] = ["width > 900"]
        manifest["versions"]["duckdb"] = "1.0"
        path.write_text(json.dumps(manifest))
        with pytest.raises(RecipeError, match=r"The rows differ.*duckdb 1\.0"):
            ld.replay(tmp_path / "out", tmp_path / "again")
        assert not (tmp_path / "again").exists()


class TestRemovalLists:
    TEXT = """
        name: x
        parameters: {lists: {default: null}}
        removal_lists: [$lists]
        steps:
        - where: width > 100
    """

    def test_they_are_applied_first_and_again_at_the_end(self, data, tmp_path):
        frame = ld.read_shards(data.metadata).compute()
        gone = frame["hash"][:30]
        path = tmp_path / "gone.txt"
        path.write_text("\n".join(map(str, gone)))
        entry = {"list": str(path), "by": "hash"}
        recipe = ld.Recipe.parse(self.TEXT).with_parameters(lists=entry)
        carve = recipe.run(data.metadata, tmp_path / "out")
        kept = ld.read_shards(str(tmp_path / "out"))["hash"].compute()
        wide = (frame["width"] > 100).fillna(False)
        assert sorted(kept) == sorted(frame["hash"][wide & ~frame["hash"].isin(gone)])
        assert [rule.partition("(")[0] for rule in carve.funnel["rule"]] == [
            *("read", "exclude", "width > 100", "exclude")
        ]
        assert carve.funnel["dropped"].iloc[-1] == 0
        assert ld.replay(tmp_path / "out").rows == carve.rows
        path.write_text("\n".join(map(str, gone[:29])))
        with pytest.raises(RecipeError):
            ld.replay(tmp_path / "out")

    def test_none_is_applied_by_default(self, data, tmp_path):
        carve = ld.Recipe.parse(self.TEXT).run(data.metadata, tmp_path / "out")
        assert list(carve.funnel["rule"]) == ["read", "width > 100"]


def test_lists_in_expressions_are_beside_the_recipe_or_where_the_user_is(
    data, tmp_path, monkeypatch
):
    beside, here = tmp_path / "recipes", tmp_path / "here"
    for folder, lines in ((beside, "en\n"), (here, "de\n")):
        folder.mkdir()
        (folder / "languages.txt").write_text(lines)
    path = beside / "mine.yaml"
    path.write_text(
        "name: x\nparameters: {also: {default: languages.txt}}\n"
        "steps:\n- where: language in file('languages.txt') or language in file($also)\n"
    )
    monkeypatch.chdir(here)
    frame = ld.read_shards(data.metadata).compute()
    for settings, expected in (({}, ["en"]), ({"also": "languages.txt"}, ["en", "de"])):
        carve = ld.recipe(path, **settings).run(data.metadata, tmp_path / "out")
        assert carve.rows.kept == int(frame["language"].isin(expected).sum())
        assert ld.replay(tmp_path / "out").rows == carve.rows


def test_urls_of_a_removal_list_in_a_parameter_are_not_stored(data, tmp_path):
    frame = ld.read_shards(data.metadata).compute()
    gone = frame["url"].iloc[0]
    recipe = ld.Recipe.parse(TestRemovalLists.TEXT).with_parameters(lists=[gone])
    carve = recipe.run(data.metadata, tmp_path / "out", by=())
    wide = (frame["width"] > 100).fillna(False)
    assert carve.rows.kept == int((wide & (frame["url"] != gone)).sum())
    assert gone not in (tmp_path / "out" / "_recipe.json").read_text()
    assert ld.replay(tmp_path / "out").rows == carve.rows


NOTES = """name: x
title: "A <b>title</b> of `x` | y"
paper: "Nobody <script>alert(1)</script> 2026"
url: https://e.example/a_b
warnings: ["Look <img src=x>"]
not_applied: ["*one* part"]
not_reproduced: ["the list [of](http://e.example) others"]
steps:
- where: width > 500
"""


def test_what_to_know_of_a_recipe_is_beside_its_rows(data, tmp_path):
    carve = ld.Recipe.parse(NOTES).run(data.metadata, tmp_path / "out", format="huggingface")
    page = ld.write_report(carve.export, tmp_path / "page.html").read_text()
    for text in (
        "A &lt;b&gt;title&lt;/b&gt;",
        "Nobody &lt;script&gt;",
        "https://e.example/a_b",
        "warning: Look &lt;img",
        "not applied: *one* part",
        "not reproduced exactly: the list",
    ):
        assert text in page
    for name in ("_datasheet.md", "README.md"):
        sheet = (tmp_path / "out" / name).read_text()
        assert "# " in sheet and "A &lt;b&gt;title&lt;/b&gt; of \\`x\\` \\| y" in sheet
        for text in (
            "paper: Nobody &lt;script&gt;",
            "url: https://e.example/a_b\n",
            "warning: Look &lt;img src=x&gt;",
            "not applied: \\*one\\* part",
            "not reproduced exactly: the list \\[of\\](http",
        ):
            assert text in sheet
        assert "<script>" not in sheet


CONDITIONS = """name: x
parameters: {p: {default: null}, q: {default: 3}}
steps:
- where: width > 1
  if_set: p
- language: {to: language}
  if_missing: language
- where: width >= 100
- where: nope > 3
  if_present: nope
- where: height > 100
  if_set: q
- where: width > 0
  if_unset: q
- where: height > 120
"""
LEFT_OUT = (
    "step 1 left out: the parameter p is not set",
    "step 2 left out: there is a column language",
    "step 4 left out: no column nope",
    "step 6 left out: the parameter q is set",
)


def test_steps_have_their_number_in_the_yaml(data, tmp_path):
    recipe = ld.Recipe.parse(CONDITIONS)
    plan = recipe.plan(data.metadata)
    assert list(plan.steps["step"]) == [3, 5, 7] and plan.left_out == LEFT_OUT
    carve = recipe.run(data.metadata, tmp_path / "out")
    assert list(carve.funnel["step"]) == [0, 3, 5, 7] and carve.left_out == LEFT_OUT
    for text in (str(plan), str(carve), plan._repr_html_(), carve._repr_html_()):
        assert all(text.count(one) == 1 for one in LEFT_OUT)
    assert carve.export.manifest["left_out"] == list(LEFT_OUT)
    assert LEFT_OUT[2] in (tmp_path / "out" / "_datasheet.md").read_text()
    ld.replay(tmp_path / "out")
    with pytest.raises(RecipeError, match=r"line 11: step 5: .*unknown column 'heigt'"):
        ld.Recipe.parse(CONDITIONS.replace("height > 100", "heigt > 100")).plan(data.metadata)


def test_a_recipe_whose_columns_the_source_lacks_says_which(tmp_path):
    write_shard(tmp_path / "in" / "a.parquet", pa.table({"url": ["a"], "caption": ["a dog runs"]}))
    message = (
        r"the recipe datacomp-basic, line 13: step 3: .* needs height, width, which the source "
        r"does not have\. The source has text, url\. .*rename ITS_NAME=height"
    )
    for run in (ld.recipe("datacomp-basic").plan, ld.recipe("datacomp-basic").apply):
        source = ld.read_shards(str(tmp_path / "in"))
        with pytest.raises(RecipeError, match=message) as caught:
            run(source)
        assert str(tmp_path.parent) not in str(caught.value)
