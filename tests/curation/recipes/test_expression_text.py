"""What a recipe replaces in an expression: never what a text of the data says."""

import pandas as pd
import pytest

import laion_dask as ld

LABELS = ["file('x')", 'file("x")', "it's file('x') # not", "$price", "$$", "a\\file('x')", "en"]


@pytest.fixture
def folder(tmp_path):
    shard = tmp_path / "data" / "p.parquet"
    shard.parent.mkdir()
    pd.DataFrame({"url": [f"u{i}" for i in range(7)], "language": LABELS}).to_parquet(shard)
    return tmp_path


def kept(folder, text):
    """The labels that a recipe file keeps."""
    path = folder / "recipes" / "r.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    found = ld.recipe(path).apply(ld.read_shards(folder / "data")).compute()
    return list(found["language"])


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_data(folder, label):
    frame = ld.read_shards(folder / "data")
    for expression in (f"language in ({label!r},)", f"language == {label!r}  # it's file('x')"):
        expected = list(frame.laion.where(expression).compute()["language"])
        text = ld.Recipe("r").where(expression.replace("$", "$$")).to_yaml()
        assert kept(folder, text) == expected == [label]


@pytest.mark.parametrize(
    "written",
    ["file('%s')", 'file ( "%s" )', "file(r'%s',)", "file('''%s''')"],
)
@pytest.mark.parametrize("name", ["list.txt", "a $$1 list.txt"])
def test_lists_are_beside_the_recipe_however_they_are_written(folder, written, name):
    (folder / "recipes").mkdir()
    (folder / "recipes" / name.replace("$$", "$")).write_text("en\n$price\n")
    text = f"name: r\nsteps:\n- where: |\n    language in {written % name} or language == 'file(9)'"
    assert kept(folder, text) == ["$price", "en"]


def test_a_list_of_which_the_name_has_a_quote(folder):
    (folder / "recipes").mkdir()
    (folder / "recipes" / "it's.txt").write_text("en\n")
    assert kept(folder, 'name: r\nsteps:\n- where: language in file("it\'s.txt")\n') == ["en"]


def test_a_folder_with_a_dollar_sign_in_its_name(folder):
    folder = folder.rename(folder.with_name("a $name"))
    (folder / "recipes").mkdir()
    (folder / "recipes" / "list.txt").write_text("en\n")
    assert kept(folder, "name: r\nsteps:\n- where: language in file('list.txt')\n") == ["en"]


@pytest.mark.parametrize("value", ["file('x')", ") or url == ('u0'", "'", "\\"])
def test_a_parameter_within_quotes_is_text(folder, value):
    expected = [one for one in LABELS if value in one]
    recipe = ld.Recipe.parse(
        "name: r\nparameters: {part: {default: x}}\n"
        "steps:\n- where: language.contains('$part') and url != '$$part'\n"
    ).with_parameters(part=value)
    found = recipe.apply(ld.read_shards(folder / "data")).compute()
    assert list(found["language"]) == expected
