"""A run computes each pass and each score once, and removes what it stored."""

from __future__ import annotations

import functools
import json
from collections import Counter
from pathlib import Path

import dask
import distributed
import pytest
from support.shards import collection

import laion_dask as ld
from laion_dask.curation import bucket_pass, smallest
from laion_dask.exports.plan import plan_of
from laion_dask.scoring import embedding_kernel


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return collection(tmp_path_factory.mktemp("once") / "c", (60, 0, 40, 80))


@pytest.fixture
def vectors(data):
    folders = {"image": data.img_emb, "text": data.text_emb}
    return {name: ld.open_embeddings(one, model=data.model) for name, one in folders.items()}


@pytest.fixture
def scratch(tmp_path):
    folder = tmp_path / "scratch"
    folder.mkdir()
    with dask.config.set(temporary_directory=str(folder)):
        yield folder


#: The rows that kernels have been called with.
ROWS: Counter = Counter()


def counting(kernel, label):
    @functools.wraps(kernel)
    def call(part, *args, **options):
        ROWS[label] += len(part)
        return kernel(part, *args, **options)

    return call


@pytest.fixture
def counted(monkeypatch) -> Counter:
    ROWS.clear()
    kernels = {"score": "similarity_to", "buckets": "_write", "thresholds": "_write"}
    modules = (embedding_kernel, bucket_pass, smallest)
    for module, (label, name) in zip(modules, kernels.items(), strict=True):
        monkeypatch.setattr(module, name, counting(getattr(module, name), label))
    return ROWS


SCORED = ld.Recipe("x").where("width > 300").similarity("text", to="clip")


def test_passes_and_scores_are_computed_once(data, vectors, scratch, counted, tmp_path):
    recipe = SCORED.where("clip > -0.5").dedup("text", missing="keep").top("clip", 0.5).sample(n=9)
    frame = ld.read_shards(data.metadata)
    wide = frame.laion.where("width > 300").compute()
    unknown = int(frame["width"].isna().sum().compute())
    carve = recipe.run(frame, tmp_path / "out", vectors, by="language")
    assert list(scratch.iterdir()) == []
    found = dict(counted)
    scored = SCORED.where("clip > -0.5").apply(frame, vectors)
    distinct = scored.laion.dedup("text", missing="keep")
    best = distinct.laion.top("clip", 0.5)
    assert found == {
        "score": len(wide) + unknown,
        "buckets": len(scored),
        "thresholds": len(distinct) + len(best),
    }
    by_verbs = recipe.apply(frame, vectors)
    assert by_verbs.laion.rows() == carve.rows
    funnel = by_verbs.laion.funnel()
    assert funnel["after"].tolist() == carve.funnel["kept"].tolist()[1:]
    assert funnel["unscored"].tolist() == carve.funnel["unscored"].tolist()[1:]
    by_verbs.laion.export(tmp_path / "verbs", seed=recipe.seed)
    manifests = [
        json.loads((tmp_path / name / "_recipe.json").read_text()) for name in ("out", "verbs")
    ]
    hashes = [[part["sha256"] for part in one["parts"]] for one in manifests]
    assert hashes[0] == hashes[1] and carve.rows.kept == 9
    assert manifests[0]["models"] == manifests[1]["models"] != []
    assert carve.audit.equals(carve.export.audit("language"))


def test_scores_of_the_audit_are_computed_for_every_row(data, tmp_path):
    recipe = ld.Recipe("x").where("width > 300").language(to="detected")
    frame = ld.read_shards(data.metadata)
    carve = recipe.run(frame, tmp_path / "out", by="detected")
    applied = recipe.apply(frame)
    expected = ld.audit(frame.laion.language(to="detected"), applied, by="detected")
    columns = ["group", "n", "kept", "rate"]
    found, expected = (
        one[[name for name in columns if name in one]] for one in (carve.audit, expected)
    )
    assert found.equals(expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_run_that_ends_early_leaves_nothing(data, vectors, scratch, tmp_path, monkeypatch, error):
    def fails(*args):
        assert list(scratch.iterdir())
        raise error

    monkeypatch.setattr("laion_dask.curation.recipes.carve.funnel_by_step", fails)
    recipe = SCORED.dedup("text").top("clip", 0.5)
    with pytest.raises(error) as raised:
        recipe.run(data.metadata, tmp_path / "out", vectors)
    assert list(scratch.iterdir()) == []
    assert raised.traceback  # which refers to what the run had stored
    assert not (tmp_path / "out" / "_recipe.json").exists()


def test_an_occupied_folder_is_refused_before_any_pass(data, vectors, counted, tmp_path):
    (tmp_path / "out").mkdir()
    Path(tmp_path / "out" / "mine.txt").write_text("")
    with pytest.raises(ld.errors.ExportError):
        SCORED.top("clip", 0.5).run(data.metadata, tmp_path / "out", vectors)
    assert not counted


def test_groups_of_the_audit_are_checked_before_any_pass(data, vectors, counted, tmp_path):
    with pytest.raises(ld.errors.ColumnError, match="language"):
        SCORED.top("clip", 0.5).run(data.metadata, tmp_path / "out", vectors, by="languge")
    assert not counted


def test_a_score_that_depends_on_the_other_rows_is_not_moved(data, vectors, tmp_path):
    pytest.importorskip("torch")
    recipe = ld.Recipe("x").neg_clip_loss(to="loss", batch=16, repeats=2).where("width > 300")
    frame = ld.read_shards(data.metadata)
    recipe.run(frame, tmp_path / "out", vectors)
    losses = frame.laion.neg_clip_loss(
        vectors["image"], vectors["text"], to="loss", batch=16, repeats=2
    )
    expected = losses.laion.where("width > 300")["loss"].compute()
    found = ld.read_shards(str(tmp_path / "out"))["loss"].compute()
    assert found.tolist() == pytest.approx(expected.tolist(), nan_ok=True, abs=0)


def test_workers_compute_the_same_and_leave_nothing(
    data, vectors, scratch, tmp_path, worker_processes
):
    recipe = SCORED.dedup("text").top("clip", 0.5)
    carves = [recipe.run(data.metadata, tmp_path / "threads", vectors, by=())]
    with distributed.Client(worker_processes):
        carves.append(recipe.run(data.metadata, tmp_path / "workers", vectors, by=()))
    assert [one for one in scratch.iterdir() if "spill" in one.name] == []
    one, other = ([part["sha256"] for part in carve.export.manifest["parts"]] for carve in carves)
    assert one == other and carves[0].funnel.equals(carves[1].funnel)


def test_a_plan_counts_the_embeddings_of_each_score_once(data, vectors):
    recipe = SCORED.where("clip > -0.5").dedup("text").top("clip", 0.5)
    plan = recipe.plan(data.metadata, vectors)
    steps = plan.cost.table.set_index("step")["bytes_read"]
    sizes = sum(len(one) * one.dim * 4 for one in vectors.values())
    assert steps["clip"] == sizes
    assert plan.steps["passes"].tolist() == [0, 1, 0, 1, 1]
    assert [name for name in steps.index if "clip, " in name or "in the frame" in name] == []


def test_a_killed_run_is_resumed_by_the_same_one_alone(data, vectors, tmp_path, monkeypatch):
    plans = []

    def planned(*args):
        plans.append(plan_of(*args))
        return plans[-1]

    monkeypatch.setattr("laion_dask.exports.export.plan_of", planned)
    recipe = SCORED.dedup("text").top("clip", 0.5)
    for number, one in enumerate((recipe, recipe, recipe.where("height > 9"))):
        one.run(data.metadata, tmp_path / str(number), vectors, by=())
    same, again, other = (plan.id for plan in plans)
    assert same == again != other and same is not None
