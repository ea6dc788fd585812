"""Captions that mention a synset, by a WordNet of a few words."""

from __future__ import annotations

import pyarrow as pa
import pytest
from support.shards import write_shard
from support.small_wordnet import write_wordnet

import laion_dask as ld
from laion_dask.errors import ColumnError, OptionError

TEXTS = [
    "two Dogs run",  # the base form, in lower case
    "a dog, barking",  # punctuation is part of the word
    "my cat",
    "an oak tree",  # white space splits the lemma oak_tree, but not oak
    "nothing at all",
    None,
    "",
    "ran quickly",
]


@pytest.fixture
def data(tmp_path):
    offsets = write_wordnet(tmp_path / "wordnet")
    table = pa.table({"url": [f"http://a/{i}" for i in range(len(TEXTS))], "text": TEXTS})
    write_shard(tmp_path / "in" / "0.parquet", table.slice(0, 5))
    write_shard(tmp_path / "in" / "1.parquet", table.slice(5))
    return tmp_path, offsets


def kept(frame) -> list[int]:
    return [int(url.rpartition("/")[2]) for url in frame["url"].compute()]


def write_list(folder, *offsets: int) -> str:
    path = folder / "synsets.txt"
    path.write_text("".join(f"n{offset:08d}\n" for offset in offsets))
    return str(path)


def test_the_first_synset_decides(data):
    folder, offsets = data
    frame = ld.read_shards(str(folder / "in"))
    wordnet = folder / "wordnet"
    dog, frump, cat, oak = offsets["n"]
    run = offsets["v"][1]
    for listed, expected in (((dog,), [0]), ((frump,), []), ((cat, oak), [2, 3]), ((run,), [0, 7])):
        found = frame.laion.mentions_synset(write_list(folder, *listed), wordnet=wordnet)
        assert kept(found) == expected
    assert found.laion.rows().unscored == 1
    assert found.laion.funnel()["after"].iloc[-1] == 2


def test_the_recipe(data):
    folder, offsets = data
    synsets = write_list(folder, offsets["n"][2])
    table = pa.table({"url": ["u0", "u1"], "text": ["my cat", "my cat"], "language": ["en", "de"]})
    write_shard(folder / "more" / "0.parquet", table)
    recipe = ld.recipe("datacomp-text", synsets=synsets, wordnet=str(folder / "wordnet"))
    carve = recipe.run(str(folder / "more"), folder / "out")
    assert carve.rows.kept == 1 and ld.replay(folder / "out").rows == carve.rows


def test_what_does_not_fit_is_refused(data):
    folder, _ = data
    frame = ld.read_shards(str(folder / "in"))
    wordnet, synsets = folder / "wordnet", write_list(folder, 1)
    with pytest.raises(OptionError, match="not a folder with WordNet"):
        frame.laion.mentions_synset(synsets, wordnet=folder / "in")
    with pytest.raises(ColumnError, match="texte"):
        frame.laion.mentions_synset(synsets, wordnet=wordnet, column="texte")
    (folder / "synsets.txt").write_text("dog.n.01\n")
    with pytest.raises(OptionError, match="n01440764"):
        frame.laion.mentions_synset(synsets, wordnet=wordnet)
    with pytest.raises(OptionError, match="cannot be read"):
        frame.laion.mentions_synset(folder / "missing.txt", wordnet=wordnet)
