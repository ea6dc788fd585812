"""Every object that a user gets to see shows itself: as HTML and as text, without reading."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path
from types import SimpleNamespace

import dask
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from support.public_classes import public_classes
from support.shards import collection, refuse

import laion_dask as ld
from laion_dask import stats
from laion_dask.cluster.client import Client
from laion_dask.display.overview import Displayed
from laion_dask.exports.garbage import Garbage
from laion_dask.inference.output_folder import EmbedResult
from laion_dask.io.embeddings.file import EmbeddingFile
from laion_dask.io.images.row_match import Match, RowImage
from laion_dask.io.images.shards import FolderShard
from laion_dask.models.heads.filter_report import FilterReport
from laion_dask.models.heads.model_card import Report
from laion_dask.plots.offline_page import Page
from laion_dask.text.term_list import TermList

BAD = "<script>alert(1)</script>\u202e</td>"
SPACE = ld.EmbeddingSpace(BAD, 4)
EMBEDDINGS = ld.Embeddings((EmbeddingFile(BAD, None, 9, 4, "float16", 72, 0),), SPACE)
ROWS = ld.Rows(10, 7, 2, 1, 0)
REPORT = Report(BAD, (), "", 9, 0, 0, 5, 2, 4, 2, 0.9, 0.1, 100, 0)
TABLE = pd.DataFrame({BAD: [BAD, None], "n": [1, 2]})


def _made(cls: type, **attributes):
    """An object whose constructor reads files."""
    made = object.__new__(cls)
    vars(made).update(attributes)
    return made


def _index():
    recall = {"k": 10, "queries": 5, "candidates": 1000, "steps": []}
    manifest = {
        "index": {"nlist": 4, "m": 2, "nbits": 8, "dim": 4},
        "counts": {"read": 9, "indexed": 9, "unscored": 0},
        "recall": recall,
        "groups": [],
        "trained": {"bytes": 1},
    }
    return _made(ld.Index, path=Path(BAD), manifest=manifest, nprobe=2)


def _diff():
    rows = pd.DataFrame({"rows": [2, 2], "keys": [1, 1]}, index=["a", "b"])
    rows = rows.assign(only_here=0, in_both=1, without_key=0)
    changed = pd.DataFrame({"column": [BAD], "changed": [1], "share": [0.5]})
    return ld.curation.duplicates.diff.Diff(rows, changed, (BAD,), (), (BAD,), TABLE)


def _export():
    manifest = {"parts": [], "joins": [], "where": [BAD]}
    return ld.Export(BAD, ROWS, manifest, None)


def _summary():
    empty = pd.DataFrame()
    domains = pd.DataFrame(
        {"count": [1], "share": [0.1], "undercount": [0]}, index=pd.Index([BAD], name="domain")
    )
    return ld.Summary(9, ROWS, empty, empty, empty, empty, empty, domains)


def _explorer():
    from laion_dask.explorer.app.explorer import Explorer

    drawing = SimpleNamespace(label=BAD, state="running")
    return _made(Explorer, _exploration=None, _drawing=drawing)


def _client():
    settings = {"cluster": BAD, "dashboard": "javascript:alert(1)"}
    return _made(Client, settings=settings, status="running")


#: An object of every class, with hostile text wherever it has text.
OBJECTS = {
    "aggregations.concentration.Concentration": lambda: ld.concentration(BAD),
    "aggregations.cooccurrence.Cooccurrence": lambda: ld.cooccurrence(BAD, by="b"),
    "aggregations.curve.Curve": lambda: ld.curve(BAD, by=BAD),
    "aggregations.describe.Describe": ld.describe,
    "aggregations.distribution.Distribution": lambda: ld.Distribution(
        BAD, np.array([0.0, 1.0]), np.array([0, 2, 0]), 1
    ),
    "aggregations.divergence.Divergence": lambda: ld.divergence(BAD, by="b"),
    "aggregations.duplicates.DuplicateShare": lambda: ld.duplicate_share(BAD),
    "aggregations.grouping.domains.BySite": lambda: ld.domains(column=BAD),
    "aggregations.grouping.languages.LanguageClass": lambda: ld.language_class(BAD),
    "aggregations.grouping.terms.Terms": lambda: ld.terms({BAD: ["word"]}, axis=BAD),
    "aggregations.hate.HateContentRate": lambda: ld.hate_content_rate(BAD),
    "aggregations.intersections.Intersections": lambda: ld.intersections(BAD, "b"),
    "aggregations.rates.Rates": lambda: ld.rates("a > 1", by=BAD),
    "aggregations.summary.Summary": _summary,
    "cluster.client.Client": _client,
    "curation.clusters.kmeans.Clusters": lambda: ld.Clusters(
        np.ones((2, 4), np.float32), np.array([1, 2]), 0.5, BAD
    ),
    "curation.duplicates.diff.Diff": _diff,
    "curation.recipes.replay.Replay": lambda: ld.curation.recipes.replay.Replay(BAD, BAD, ROWS, 3),
    "curation.recipes.recipe.Recipe": lambda: ld.Recipe(BAD, title=BAD).where(f"text == {BAD!r}"),
    "curation.tags.Tags": lambda: ld.Tags(BAD, (), BAD),
    "demo.job.DemoCorpus": lambda: ld.DemoCorpus(*[Path(BAD)] * 5, OBJECTS_EMBEDDED),
    "explorer.app.explorer.Explorer": _explorer,
    "exports.result.Export": _export,
    "exports.verify.Verification": lambda: ld.exports.verify.Verification(BAD, 1, 2, 3),
    "frame.accounting.Rows": lambda: ROWS,
    "inference.output_folder.EmbedResult": lambda: OBJECTS_EMBEDDED,
    "io.embeddings.embeddings.Embeddings": lambda: EMBEDDINGS,
    "io.images.images.Images": lambda: ld.Images([FolderShard(BAD.replace("/", "_"), (BAD,), 0)]),
    "io.images.row_match.RowImage": lambda: RowImage(b"x" * 10_000, Match.NAME),
    "models.clip.ClipModel": lambda: ld.ClipModel(f"/{BAD}.json", BAD, device=BAD),
    "models.embedding_space.EmbeddingSpace": lambda: SPACE,
    "models.heads.captions.CaptionHead": lambda: ld.heads.CaptionHead(BAD, len, BAD),
    "models.heads.filter_network.FilterNetwork": lambda: ld.heads.FilterNetwork(
        BAD, SPACE, b"x" * 10_000, FilterReport(*range(4), 0.5, 0.5, 0.5, *range(3), 0.5, 1, 0)
    ),
    "models.heads.linear.LinearHead": lambda: ld.heads.LinearHead(BAD, SPACE, BAD, BAD),
    "models.heads.nsfw.NsfwHead": lambda: ld.heads.NsfwHead(BAD, SPACE, BAD, BAD),
    "models.heads.trained.TrainedHead": lambda: ld.heads.TrainedHead(
        BAD, SPACE, b"x" * 10_000, REPORT
    ),
    "models.heads.watermark.WatermarkHead": lambda: ld.heads.WatermarkHead(BAD, BAD, BAD),
    "models.heads.zero_shot.PromptHead": lambda: ld.heads.PromptHead(
        BAD, SPACE, (BAD, "b"), 0, b"x" * 32
    ),
    "models.vectors.Vectors": lambda: ld.Vectors(np.ones((2, 4), np.float32), SPACE, BAD),
    "plots.offline_page.Page": lambda: Page("<p>plot</p>", 100),
    "projections.projection.Projection": lambda: ld.Projection("pca", BAD, 4, 9, 0, {}),
    "reports.gallery.Gallery": lambda: ld.gallery(pd.DataFrame({"text": [BAD], "url": [BAD]})),
    "retrieval.index.index.Index": _index,
    "retrieval.rerank.Rerank": lambda: ld.Rerank(EMBEDDINGS, BAD),
    "scoring.queries.Mix": lambda: ld.mix({BAD: 1.0, "b": 2.0}),
    "stats.hate.HateComparison": lambda: stats.HateComparison(*[0.5] * 10),
    "stats.sketches.heavy_hitters.HeavyHitters": lambda: stats.HeavyHitters.of(
        pa.array([BAD]), np.array([1])
    ),
    "stats.sketches.quantiles.Quantiles": lambda: stats.Quantiles.of(np.array([1.0, 2.0])),
    "stats.table.Table": lambda: stats.Table(TABLE),
    # Not the result of a public function, but of the command or part of another result.
    "exports.garbage.Garbage": lambda: Garbage(BAD, {BAD: 1}, True),
    "models.heads.model_card.Report": lambda: REPORT,
    "text.term_list.TermList": lambda: TermList(BAD, ((BAD, (BAD,)),)),
}
OBJECTS_EMBEDDED = EmbedResult(Path(BAD), 1, 9, 8, 1, True)
#: Built from shards that are then removed.
FROM_SHARDS = {
    "planning.plan.Plan": lambda data, out: ld.plan(
        ld.read_shards(data.metadata), ["summary", ("where", "width >= 256")]
    ),
    "curation.recipes.carve_plan.CarvePlan": lambda data, out: (
        ld.Recipe(BAD).where("width > 2").plan(data.metadata)
    ),
    "curation.recipes.carve_result.Carve": lambda data, out: (
        ld.Recipe(BAD).where("width > 2 and text != '<script>'").run(data.metadata, out)
    ),
}
#: Errors are shown by their traceback.
_NOT_SHOWN = {"errors.LaionDaskError"}
#: Base classes, which have no objects of their own.
_BASES = {"aggregations.engine.base.Statistic", "models.heads.base.Head"}
_BASES |= {"models.heads.embedding_head.EmbeddingHead"}


def test_every_public_class_is_shown():
    assert {*public_classes()} - {*OBJECTS, *FROM_SHARDS} == _NOT_SHOWN | _BASES


@pytest.mark.parametrize("name", sorted({*public_classes()} - _NOT_SHOWN))
def test_classes_have_both_representations(name):
    cls = public_classes()[name]
    assert callable(getattr(cls, "_repr_html_", None)), "no _repr_html_"
    assert name in _BASES or cls.__repr__ is not object.__repr__, "no __repr__"


@pytest.fixture
def reads_nothing(monkeypatch):
    def no_file(path, *_, **__):
        raise AssertionError(f"opened {path}")

    with dask.config.set(scheduler=refuse):
        for name in ("frame.accounting.Rows", "reports.gallery.Gallery"):
            OBJECTS[name]()._repr_html_()  # templates are read once a process
        monkeypatch.setattr(builtins, "open", no_file)
        yield
        monkeypatch.undo()


def check(shown) -> None:
    page = shown._repr_html_()
    assert "<script" not in page and "\u202e" not in page
    assert page.count("<td") == page.count("</td>")
    assert len(page) < 20_000
    for text in (repr(shown), str(shown)):
        assert isinstance(text, str) and text and len(text) < 20_000
    if isinstance(shown, (Displayed, stats.Table)):
        bundle = shown._repr_mimebundle_()
        assert bundle["text/html"].count("<script") <= 1 and bundle["text/plain"] == repr(shown)
        assert "\u202e" not in bundle["text/html"]


@pytest.mark.parametrize("name", OBJECTS)
def test_objects_are_shown_escaped_small_and_unread(name, reads_nothing):
    check(OBJECTS[name]())


@pytest.mark.parametrize("name", FROM_SHARDS)
def test_plans_and_results_are_shown_after_their_files_are_gone(name, tmp_path, request):
    data = collection(tmp_path / "data", (40, 25))
    shown = FROM_SHARDS[name](data, tmp_path / "out")
    assert f"{type(shown).__module__}.{type(shown).__qualname__}" == f"laion_dask.{name}"
    for folder in tmp_path.iterdir():
        shutil.rmtree(folder)
    request.getfixturevalue("reads_nothing")
    check(shown)
