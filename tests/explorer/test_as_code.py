"""Copied Python and recipes select the rows of the whole data set that the sample shows."""

import contextlib
import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import laion_dask as ld
from laion_dask.errors import LaionDaskError
from laion_dask.explorer.as_code import as_python, as_recipe, selected_frame
from laion_dask.explorer.embedding_filters import Region, Score, sample_scores, threshold_of
from laion_dask.explorer.exploration import Exploration
from laion_dask.explorer.filters import Categories, Condition, NumberRange
from laion_dask.explorer.sample import draw_sample
from laion_dask.explorer.sample_points import sample_points
from laion_dask.explorer.views.chips import ChipsView


def run_as_cell(text: str, **variables) -> tuple[list[tuple[int, int]], str]:
    """The rows that a copied text selects, and what it prints."""
    namespace, out = dict(variables), io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(text, "cell", "exec"), namespace)
    return pairs(namespace["selected"]), out.getvalue()


def pairs(frame) -> list[tuple[int, int]]:
    data = frame[["shard", "row"]].compute().sort_values(["shard", "row"])
    return list(zip(data["shard"].tolist(), data["row"].tolist(), strict=True))


def selected_pairs(exploration: Exploration) -> list[tuple[int, int]]:
    at = exploration.selection.positions()
    sample = exploration.sample
    return list(zip(sample.shard[at].tolist(), sample.row[at].tolist(), strict=True))


@pytest.fixture
def exploration(demo_folder) -> Exploration:
    frame = ld.read_shards(demo_folder / "embedded" / "metadata")
    images = ld.open_embeddings(demo_folder / "embedded" / "img_emb", model="demo", like=frame)
    projection = ld.fit_projection(images)
    sample = draw_sample(frame)
    points = sample_points(sample, images, projection)
    return Exploration(sample, images, projection=projection, points=points)


def set_filters(exploration: Exploration, draw: np.random.Generator, kinds: str) -> None:
    """Random filters of some kinds: a range, a category, a site, a region, a query."""
    sample, selection = exploration.sample, exploration.selection
    for kind in kinds:
        if kind == "n":
            name = draw.choice(["similarity", "punsafe", "width", "height"])
            edges = sample.columns[name].edges
            low, high = sorted(draw.choice(edges, 2, replace=False).tolist())
            selection.set(name, NumberRange(name, low, high, with_high=bool(draw.integers(2))))
        if kind in "ct":
            name = {"c": "language", "t": "domain"}[kind]
            labels = [*sample.columns[name].labels, None]
            chosen = [labels[at] for at in draw.integers(0, len(labels), len(labels) // 2)]
            selection.set(name, Categories.of(sample.columns[name], chosen))
        if kind == "r":
            center = exploration.points[draw.integers(0, sample.n)]
            corners = center + draw.normal(0, 0.4, (7, 2))
            polygon = tuple(map(tuple, corners.tolist()))
            selection.set("map", Region(polygon, exploration.projection, exploration.points))
        if kind == "s":
            query = draw.normal(size=exploration.embeddings.dim)
            scores = sample_scores(sample, exploration.embeddings, query)
            at_least = threshold_of(scores, sample.n // 2)
            selection.set("ask", Score(tuple(query.tolist()), at_least, scores))


@pytest.mark.parametrize("kinds", ["", "n", "c", "t", "r", "s", "nctrs", "nnr", "tcs"])
def test_every_way_selects_the_rows_of_the_sample(exploration, kinds, tmp_path, demo_folder):
    set_filters(exploration, np.random.default_rng(len(kinds)), kinds)
    expected = selected_pairs(exploration)
    found, printed = run_as_cell(as_python(exploration))
    assert found == expected
    assert printed == f"{len(expected):,} rows\n"
    assert pairs(selected_frame(exploration)) == expected
    (tmp_path / "selection.yaml").write_text(as_recipe(exploration))
    recipe = ld.recipe(tmp_path / "selection.yaml")
    assert pairs(recipe.apply(exploration.frame, exploration.embeddings)) == expected
    metadata = demo_folder / "embedded" / "metadata"
    if kinds == "nctrs":
        carved = recipe.run(metadata, tmp_path / "out", exploration.embeddings, by="language")
        assert carved.rows.kept == len(expected)


def test_a_sample_is_selected_as_the_whole_is(exploration):
    frame, images = exploration.frame, exploration.embeddings
    sample = draw_sample(frame, 200)
    points = sample_points(sample, images, exploration.projection)
    part = Exploration(sample, images, projection=exploration.projection, points=points)
    part.selection.set("similarity", NumberRange("similarity", 0.3, None))
    set_filters(part, np.random.default_rng(1), "c")
    drawn = set(zip(sample.shard.tolist(), sample.row.tolist(), strict=True))
    found, _ = run_as_cell(as_python(part))
    assert [pair for pair in found if pair in drawn] == selected_pairs(part)
    assert len(found) > part.selection.n > 0


def test_a_row_of_embeddings_is_read_again_as_the_query(exploration):
    images = exploration.embeddings
    query = images.read(0, [3])[0]
    scores = sample_scores(exploration.sample, images, query)
    chosen = Score(tuple(query.tolist()), threshold_of(scores, 5), scores, row=(0, 3))
    exploration.selection.set("ask", chosen)
    text = as_python(exploration)
    assert "images.read(0, [3])[0]" in text
    assert run_as_cell(text)[0] == selected_pairs(exploration)
    assert exploration.selection.n >= 5


HOSTILE = "a red\nstar: #'\"$x $$ \u2028\u202e{}"


@pytest.mark.parametrize("text", ["a red star", HOSTILE])
def test_the_text_of_a_question_stands_before_its_numbers(exploration, tmp_path, text):
    query = tuple(np.random.default_rng(0).normal(size=exploration.embeddings.dim).tolist())
    scores = sample_scores(exploration.sample, exploration.embeddings, query)
    exploration.selection.set("ask", Score(query, threshold_of(scores, 9), scores, text))
    code = as_python(exploration)
    at = [n for n, line in enumerate(code.split("\n")) if line.startswith("query = ")]
    assert code.split("\n")[at[0] - 1] == f"# query: the embedding of the text {text!r}"
    assert run_as_cell(code)[0] == selected_pairs(exploration)
    file = tmp_path / "r.yaml"
    file.write_text(as_recipe(exploration))
    assert file.read_text().index("why:") < file.read_text().index("similarity:")
    recipe = ld.Recipe.load(file)
    said = f"The query is the embedding of the text {text!r}."
    assert recipe.resolved().steps[0]["why"] == said
    assert pairs(recipe.apply(exploration.frame, exploration.embeddings)) == selected_pairs(
        exploration
    )
    recipe.run(exploration.frame, tmp_path / "out", exploration.embeddings, by="language")
    manifest = json.loads((tmp_path / "out" / "_recipe.json").read_text())
    assert repr(said)[1:-1] in repr(manifest).replace("$$", "$")


def test_scores_are_those_of_the_verb(exploration):
    query = np.random.default_rng(0).normal(size=exploration.embeddings.dim)
    scores = sample_scores(exploration.sample, exploration.embeddings, query)
    verb = exploration.frame.laion.similarity(exploration.embeddings, query, to="score")
    np.testing.assert_array_equal(scores, verb["score"].compute().to_numpy())


class Shell:
    def __init__(self, **variables):
        self.user_ns = variables


def test_variables_of_the_notebook_are_named(exploration, monkeypatch):
    frame, images = exploration.frame, exploration.embeddings
    set_filters(exploration, np.random.default_rng(0), "nr")
    shell = Shell(_1=frame, ld=ld, df=frame, emb=images, region="mine", selected=3)
    monkeypatch.setattr("laion_dask.explorer.source_text.running_shell", lambda: shell)
    text = as_python(exploration)
    assert "import" not in text and "read_shards" not in text
    assert "    df\n" in text and "in_region(emb, region_2, " in text
    assert run_as_cell(text, **shell.user_ns)[0] == selected_pairs(exploration)
    shell.user_ns = {"selected": frame}
    text = as_python(exploration)  # the frame's own variable is not overwritten
    assert "selected_rows = (\n    selected\n" in text


def test_a_filtered_frame_is_read_with_its_filter(exploration, tmp_path, demo_folder):
    metadata = demo_folder / "embedded" / "metadata"
    frame = ld.read_shards(metadata, where="width >= 300").laion.where("punsafe < 0.5")
    filtered = Exploration(draw_sample(frame), exploration.embeddings)
    filtered.selection.set("similarity", NumberRange("similarity", 0.3, None))
    expected = selected_pairs(filtered)
    assert 0 < len(expected) < filtered.sample.n
    assert run_as_cell(as_python(filtered))[0] == expected
    (tmp_path / "recipe.yaml").write_text(as_recipe(filtered))
    recipe = ld.recipe(tmp_path / "recipe.yaml")
    assert not recipe.warnings
    assert pairs(recipe.apply(ld.read_shards(metadata))) == expected
    assert pairs(recipe.apply(frame)) == expected


def test_another_frame_of_the_usual_name_is_not_taken_for_the_explored_one(
    exploration, monkeypatch
):
    frame = exploration.frame
    explored = Exploration(draw_sample(frame[frame["similarity"] > 0.3]), exploration.embeddings)
    set_filters(explored, np.random.default_rng(0), "n")
    shell = Shell(ld=ld, frame=frame)
    monkeypatch.setattr("laion_dask.explorer.source_text.running_shell", lambda: shell)
    text = as_python(explored)
    assert "# frame_2: the frame that was explored, which no variable holds" in text
    assert run_as_cell(text, **shell.user_ns, frame_2=explored.frame)[0] == selected_pairs(explored)
    again = shell.user_ns["mine"] = frame[frame["similarity"] > 0.3]
    assert again is not explored.frame  # a variable with the same steps is that frame
    assert "    mine\n" in as_python(explored)


def test_a_frame_with_other_steps_is_named_in_words(exploration, tmp_path):
    frame = exploration.frame.assign(area=exploration.frame["width"] * 2.0)
    frame = frame.laion.where("area > 500")
    computed = Exploration(draw_sample(frame))
    computed.selection.set("area", NumberRange("area", None, 900))
    expected = selected_pairs(computed)
    assert 0 < len(expected) < computed.sample.n
    text = as_python(computed)
    assert "# frame: the frame that was explored" in text
    assert run_as_cell(text, frame=frame)[0] == expected
    (tmp_path / "recipe.yaml").write_text(as_recipe(computed))
    recipe = ld.recipe(tmp_path / "recipe.yaml")
    assert "Run it on that frame" in recipe.warnings[0]
    assert pairs(recipe.apply(frame)) == expected


def test_a_row_that_is_unscored_is_not_selected(exploration):
    selection, sample = exploration.selection, exploration.sample
    missing = sample.columns["similarity"].n_missing
    selection.set("similarity", NumberRange("similarity"))
    assert 0 < missing == sample.n - selection.n
    assert len(selected_frame(exploration)) == selection.n


def test_lists_of_conditions_are_those_that_were_read(tmp_path, monkeypatch, write):
    """Also of the frame, in another folder with another list, and after the list has changed."""
    frame = ld.read_shards([write("0.parquet", pa.table({"url": [f"u{i}" for i in range(9)]}))])
    here, there = tmp_path / "it's $here", tmp_path / "there"
    for folder, text in ((here, "u1\nu2\nu5\n"), (there, "u7\n")):
        folder.mkdir()
        (folder / "list.txt").write_text(text)
    monkeypatch.chdir(here)
    condition = Condition("url in file('list.txt') and url != \"file('list.txt')\"")
    explored = frame.laion.where("url in file('list.txt') or url == 'u8'")
    exploration = Exploration(draw_sample(explored))
    selection = exploration.selection
    for text, rows in (("u1\nu2\nu5\n", 3), ("u1\nu8\n", 2)):
        (here / "list.txt").write_text(text)
        if rows == 2:
            exploration = Exploration(draw_sample(frame))
            selection.clear()
            selection.set("w", condition)
            assert selection.n == 2  # as the list is now, not as it is remembered
            selection = exploration.selection
        selection.set("w", condition)
        (there / "r.yaml").write_text(as_recipe(exploration))
        found = pairs(ld.recipe(there / "r.yaml").apply(frame))
        assert found == selected_pairs(exploration) == pairs(selected_frame(exploration))
        assert len(found) == rows


@pytest.mark.parametrize("write_code", [as_python, as_recipe, selected_frame])
def test_a_list_that_changes_under_a_filter_is_read_again(tmp_path, write, write_code):
    frame = ld.read_shards([write("0.parquet", pa.table({"url": [f"u{i}" for i in range(9)]}))])
    names = tmp_path / "list.txt"
    names.write_text("u1\nu2\nu5\n")
    exploration = Exploration(draw_sample(frame))
    selection, chips, seen = exploration.selection, ChipsView(exploration), []
    selection.set("row", Condition("row >= 2"))
    selection.set("w", Condition(f"url in file({str(names)!r})"))
    selection.subscribe(lambda changed: (seen.append(changed.n), chips.refresh()))
    write_code(exploration)
    assert seen == [] and selection.n == 2
    names.write_text("u2\nu5\nu7\nu0\n")
    write_code(exploration)
    assert seen == [3] and selected_pairs(exploration) == [(0, 2), (0, 5), (0, 7)]
    assert pairs(selected_frame(exploration)) == selected_pairs(exploration)
    assert "list had changed" in json.loads(chips.panel.state)["chips"][1]["label"]
    selection.set("row", None)
    assert selection.n == 4 and "changed" not in chips.panel.state
    names.unlink()
    with pytest.raises(LaionDaskError, match=r"list\.txt"):
        write_code(exploration)
    selection.set("w", None)
    assert selection.n == 9


def test_an_export_is_named_by_its_folder(tmp_path, write):
    paths = [write(f"{n}.parquet", pa.table({"url": [f"{n}{i}" for i in range(9)]})) for n in "ab"]
    out = tmp_path / "out"
    ld.read_shards(paths).laion.export(out, rows_per_part=9)
    parts = sorted((out / "shards").iterdir())
    assert len(parts) == 2
    for read, named in ((out, out), (parts, out), (out / "shards", out), (parts[:1], parts[0])):
        frame = ld.read_shards(read)
        text = as_python(Exploration(draw_sample(frame)))
        assert f"ld.read_shards({str(named)!r})" in text
        assert run_as_cell(text)[0] == pairs(frame)


@pytest.mark.parametrize(
    "options", [{"swap_width_height": True}, {"rename": {"width": "height", "height": "width"}}, {}]
)
def test_a_recipe_says_when_columns_were_read_under_other_names(tmp_path, options):
    """Run on the folder, it would compare other columns."""
    shape = {"url": ["a", "b"], "text": ["x", "y"], "width": [100, 900], "height": [900, 100]}
    pq.write_table(pa.table(shape), tmp_path / "part.parquet")
    frame = ld.read_shards(tmp_path, **options)
    exploration = Exploration(draw_sample(frame))
    exploration.selection.set("width", NumberRange("width", 500, None))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(as_recipe(exploration))
    warned = ld.Recipe.load(recipe).warnings
    assert bool(warned) == bool(options)
    assert pairs(ld.Recipe.load(recipe).apply(frame)) == selected_pairs(exploration)
    selected, _ = run_as_cell(as_python(exploration), frame=frame)
    assert selected == selected_pairs(exploration)


def test_a_recipe_of_names_that_differ_only_in_case(tmp_path):
    """Read without the renaming, the files raise an error."""
    table = pa.table({"url": ["a", "b"], "TEXT": ["x", "y"], "text": ["y", "x"]})
    pq.write_table(table, tmp_path / "part.parquet")
    frame = ld.read_shards(tmp_path, rename={"text": "lower"})
    exploration = Exploration(draw_sample(frame))
    exploration.selection.set("w", Condition("lower == 'x'"))
    (tmp_path / "recipe.yaml").write_text(as_recipe(exploration))
    recipe = ld.Recipe.load(tmp_path / "recipe.yaml")
    assert "other names of columns" in recipe.warnings[0]
    assert pairs(recipe.apply(frame)) == selected_pairs(exploration) == [(0, 1)]
