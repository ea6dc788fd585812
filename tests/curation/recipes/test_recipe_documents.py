"""Recipes as YAML: what is refused, with its line, and that trees survive a round trip."""

from __future__ import annotations

import json
import pickle

import jsonschema
import pytest
import yaml

import laion_dask as ld
from laion_dask.curation.recipes import library
from laion_dask.curation.recipes.document import read_document
from laion_dask.curation.recipes.schema import recipe_schema, schema_path
from laion_dask.errors import RecipeError

STEPS = "steps:\n- where: width > 1\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("name: x\nstep:\n- where: a\n", 2, "Did you mean 'steps'"),
        ("name: x\nsteps:\n- wher: a\n", 3, "Did you mean 'where'"),
        ("name: x\nsteps:\n- where: a\n  if_mising: a\n", 4, "Did you mean 'if_missing'"),
        ("name: x\nsteps:\n- where: a\n  language: b\n", 3, "one name"),
        ("name: x\nsteps:\n- language: {colum: a}\n", 3, "Did you mean 'column'"),
        ("name: x\nsteps:\n- score: {}\n", 3, "needs heads"),
        ("name: x\nsteps:\n- width > 1\n", 3, "not a step"),
        ("name: x\nsteps:\n- where: width > $low\n", 3, "not a parameter"),
        ("name: x\nsteps: 3\n", 2, "Expected a list"),
        ("name: x\nseed: true\n" + STEPS, 2, "Expected a whole number"),
        ("name: x\nname: y\n" + STEPS, 2, "twice"),
        ("name: &a x\ntitle: *a\n" + STEPS, 2, "no aliases"),
        ("name: !!python/object:os.system x\n" + STEPS, 1, "tag"),
        ("name: x\nsource:\n  colums: [url]\n" + STEPS, 3, "Did you mean 'columns'"),
        ("name: x\nparameters:\n  a: 3\n" + STEPS, 3, "'default'"),
        ("name: x\nsteps: [}\n", 2, "YAML"),
        ("name: x\nexport: {frmat: csv}\n" + STEPS, 2, "Did you mean 'format'"),
        ("name: x\nexport: {path: a}\n" + STEPS, 2, "unknown argument of export"),
        ("name: x\nremoval_lists:\n- {list: a, foo: 1}\n" + STEPS, 3, "unknown argument"),
        ("name: x\nremoval_lists:\n- 3\n" + STEPS, 3, "not a removal list"),
        ("name: x\ntitle: a\x07\n" + STEPS, 2, "not allowed in YAML"),
        ("name: x\n---\nname: y\n", 2, "YAML"),
        ("name: x\nsteps:\n- where: width >> 3\n", 3, "not supported"),
        ("name: x\nsteps:\n- where: text.matches('(') and width > 1\n", 3, "matches"),
        ("name: x\nsteps:\n- where: 3\n", 3, "Expected text"),
        ("name: x\nsteps:\n- dedup: url\n- top: {column: a, fraction: 1.5}\n", 4, "a number in"),
        ("name: x\nsteps:\n- sample: {fraction: half}\n", 3, "Expected a number"),
        ("name: x\nsteps:\n- top: {column: a, fraction: 0.5, n: 3}\n", 3, "one of them"),
        ("name: x\nsteps:\n- where: !!python/object/apply:os.system ['ls']\n", 3, "the tag"),
        ("name: x\nexport: {format: parket}\n" + STEPS, 2, "Did you mean 'parquet'"),
    ],
)
def test_a_wrong_recipe_names_the_line(text, line, message):
    with pytest.raises(RecipeError, match=rf"my\.yaml, line {line}: .*{message}"):
        ld.Recipe.parse(text, "my.yaml")


@pytest.mark.parametrize(
    "text",
    ["", "- a\n", "[" * 5000, "a: " * 5000, "x" * 1_000_001, "name: x\n", "steps: []\nname: a\n"],
    ids=["empty", "a list", "deep", "nested", "long", "no steps", "empty steps"],
)
def test_what_is_no_recipe_is_refused(text):
    with pytest.raises(RecipeError):
        ld.Recipe.parse(text)


def test_scalars_are_those_of_yaml_1_2():
    tree = read_document(
        "[no, yes, 1:30, 010, 1e-3, 0.5, -7, 2024-01-01, ~, true, '1', .5]", "x"
    ).tree
    assert tree == ["no", "yes", "1:30", 10, 1e-3, 0.5, -7, "2024-01-01", None, True, "1", 0.5]


@pytest.mark.parametrize("name", library.names())
def test_shipped_recipes_fit_the_schema_and_survive_a_round_trip(name, tmp_path):
    recipe = ld.Recipe.load(name)
    assert recipe.name == name and recipe.paper and recipe.title
    jsonschema.validate(yaml.safe_load(library.text_of(name)[0]), recipe_schema())
    path = tmp_path / "again.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert ld.Recipe.load(path).tree == recipe.tree
    assert ld.Recipe.from_tree(json.loads(json.dumps(recipe.tree))).tree == recipe.tree
    assert pickle.loads(pickle.dumps(recipe)).tree == recipe.tree


def test_the_schema_file_is_what_the_verbs_say():
    assert json.loads(schema_path().read_text()) == recipe_schema()


def test_the_schema_refuses_an_unknown_argument():
    tree = {"name": "x", "steps": [{"language": {"tp": "language"}}]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, recipe_schema())


def test_steps_chained_in_python_are_the_same_tree():
    chained = ld.Recipe("x").where("width > 1").language(to="l", if_missing="l").score("aesthetic")
    text = """
        name: x
        steps:
        - where: width > 1
        - language: l
          if_missing: l
        - score: aesthetic
    """
    assert chained.tree == ld.Recipe.parse(text).tree
    with pytest.raises(AttributeError, match="Did you mean 'where'"):
        ld.Recipe("x").wher("width > 1")
    with pytest.raises(RecipeError, match="Did you mean 'column'"):
        ld.Recipe("x").language(colum="text")


def test_parameters_are_checked_and_cannot_change_an_expression():
    recipe = ld.Recipe.parse(
        "name: x\nparameters:\n  lang: {default: en}\n  low: {default: 0.5}\n  must: {}\n"
        "steps:\n- where: language == $lang and punsafe < $low and text.contains($must)\n"
    )
    with pytest.raises(RecipeError, match="needs the parameter 'must'"):
        recipe.resolved()
    hostile = "en' or 1 == 1 or language == '"
    (step,) = recipe.with_parameters(lang=hostile, must="a$b").resolved().steps
    assert step["where"]["expression"] == (
        f"language == {hostile!r} and punsafe < 0.5 and text.contains('a$b')"
    )
    for wrong in ({"low": "a"}, {"lang": 3}, {"low": True}):
        with pytest.raises(RecipeError, match="Expected"):
            recipe.with_parameters(**wrong)
    with pytest.raises(RecipeError, match="Did you mean 'lang'"):
        recipe.with_parameters(lnag="de")


def test_a_name_that_is_near_is_suggested():
    with pytest.raises(RecipeError, match="Did you mean 'datacomp-basic'"):
        ld.recipe("datacomp-basics")
    with pytest.raises(RecipeError, match="cannot be read"):
        ld.Recipe.load("nowhere/mine.yaml")


def test_the_table_of_recipes_says_what_each_needs():
    needs = ld.recipes().set_index("name")["needs"]
    assert needs["datacomp-clip-score"] == "clip_l14_similarity_score"
    assert needs["dfn"] == "image embeddings, text embeddings, --set network"
    assert needs["laion-400m"] == "text, url, similarity (or image embeddings and text embeddings)"
    assert needs["metaclip"] == "text, --set entries"
    parameters = ld.recipes().set_index("name")["parameters"]
    assert parameters["datacomp-image"] == "centroids (required), targets (required)"
    assert parameters["datacomp-clip-score"].endswith("fraction=0.3, threshold (optional)")
    assert needs["coyo-700m"] == "height, width, text"  # image_phash and bytes only if present


NUMBERS = ("1e3", "1.5e3", "08", "yes", "~", "", "12:30", "# a", "$x", " a ", "a\n\tb", ".inf")


@pytest.mark.parametrize("value", [*NUMBERS, 1e300, float("inf"), -0.0, [1, "2"], {"a": "1e3"}])
def test_values_survive_a_round_trip(value):
    recipe = ld.Recipe("x", [{"where": "width > 1"}], parameters={"a": {"default": value}})
    (again,) = ld.Recipe.parse(recipe.to_yaml()).parameters.values()
    assert again == {"default": value} and type(again["default"]) is type(value)


def test_an_expression_is_checked_whatever_the_types_of_its_columns():
    for text in ("nsfw == 'UNLIKELY'", "a == b and is_rgb", "a.contains('x') or min(b, c) > d"):
        ld.Recipe("x").where(text)
    with pytest.raises(RecipeError, match="fraction is 2"):
        ld.recipe("datacomp-clip-score", fraction=2)


def test_a_mapping_as_the_main_argument_is_a_value():
    for step in (
        ld.Recipe("x").decontaminate(against={"uid": "u.npy"}),
        ld.Recipe("x").decontaminate({"uid": "u.npy"}),
        ld.Recipe("x").step("decontaminate", {"against": {"uid": "u.npy"}}),
    ):
        assert step.steps == [{"decontaminate": {"against": {"uid": "u.npy"}}}]
        assert ld.Recipe.parse(step.to_yaml()) == step
    assert ld.Recipe("x").mix(weights={"a": 1.0}).steps == [{"mix": {"weights": {"a": 1.0}}}]


def test_a_recipe_in_a_notebook_is_escaped():
    recipe = ld.Recipe("<b>x</b>", title="a & b", paper="<i>P</i>").where(
        "width < 9 and url != '<s>'"
    )
    page = recipe._repr_html_()
    for text in ("&lt;b&gt;x&lt;/b&gt;", "a &amp; b", "&lt;i&gt;P&lt;/i&gt;"):
        assert f">{text}</" in page
    assert "<pre>steps:\n- where: width &lt; 9 and url != &#39;&lt;s&gt;&#39;" in page
    assert "threshold: 0.2" in ld.recipe("datacomp-clip-score", threshold=0.2)._repr_html_()
