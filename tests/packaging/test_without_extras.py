"""Metadata work loads no packages of extras; a verb that needs one says so in one line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from support.metadata_work import OF_EXTRAS
from support.paths import ROOT

#: Each verb that needs an extra, and the extra. The scripts define `frame`, `images` and `ld`.
NEEDS = {
    "frame.laion.search(images, [(0, 1)], k=3)": "clip",
    "frame.laion.search(images, 'a red star', k=3)": "clip",
    "frame.laion.similarity(images, images.model.text('a red star'))": "clip",
    "frame.laion.score(images, ld.heads.demo_safety())": "clip",
    "frame.laion.perceived(images, {'a': 'a cat', 'b': 'a dog'})": "clip",
    "ld.ClipModel('ViT-L-14', 'openai')": "clip",
    "ld.ClipModel('demo').text('a red star')": "clip",
    "ld.ClipModel('demo').require()": "clip",
    "ld.heads.aesthetic('ViT-L-14')": "clip",
    "ld.heads.demo_safety().predict(np.ones((1, 64), 'float32'))": "clip",
    "ld.heads.load('head.safetensors')": "clip",
    "ld.heads.train(images, frame, label='punsafe')": "clip",
    "ld.embed('demo-corpus/images', 'out', 'demo')": "clip",
    "ld.demo_corpus('another')": "clip",
    "ld.build_index(images, 'index')": "index",
    "ld.heads.toxicity()": "toxicity",
    "ld.histogram([0.1, 0.2])": "explore",
    "ld.read_shards('s3://bucket/shards')": "s3",
}

#: Prefix of each script: packages of extras can neither be imported nor found.
WITHOUT = f"""
import importlib.metadata
import sys
from importlib.machinery import PathFinder

extras = {OF_EXTRAS!r}


class Without:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name.split(".")[0] in extras else PathFinder.find_spec(name, path, target)


def requires(name):
    raise importlib.metadata.PackageNotFoundError(name)


importlib.metadata.requires = requires
sys.meta_path[:] = [Without if finder is PathFinder else finder for finder in sys.meta_path]
"""


def run(code: str, *words: object, cwd=ROOT) -> str:
    completed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT + code, *map(str, words)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "HOME": str(cwd)},
    )
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_metadata_work_needs_no_extra(demo_folder, tmp_path):
    code = """
from pathlib import Path
from support.metadata_work import work
work(sys.argv[1], Path(sys.argv[2]))
print(*set(extras) & set(sys.modules))
"""
    said = run(code, demo_folder / "embedded" / "metadata", tmp_path, cwd=tmp_path)
    assert said.split() == []


@pytest.fixture(scope="module")
def answers(demo_folder, tmp_path_factory) -> dict[str, list[str]]:
    """The class and message of each error, from a single process."""
    folder = tmp_path_factory.mktemp("extras")
    (folder / "demo-corpus").symlink_to(demo_folder)
    code = """
import json
import numpy as np
import laion_dask as ld
frame = ld.read_shards("demo-corpus/embedded/metadata")
images = ld.open_embeddings("demo-corpus/embedded/img_emb", model="demo", like=frame)
answers = {}
for verb in sys.argv[1:]:
    try:
        answers[verb] = ["nothing", repr(eval(verb))]
    except Exception as error:
        answers[verb] = [type(error).__name__, str(error)]
print(json.dumps(answers))
"""
    return json.loads(run(code, *NEEDS, cwd=folder).splitlines()[-1])


@pytest.mark.parametrize("verb", NEEDS)
def test_a_missing_extra_is_one_line_with_the_pip_command(answers, verb):
    kind, message = answers[verb]
    assert kind == "MissingExtraError", message
    assert f"pip install 'laion_dask[{NEEDS[verb]}]'" in message and "\n" not in message
