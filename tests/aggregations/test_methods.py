"""Every statistic carries its method and caveats, and can share a pass with others."""

import inspect
import pkgutil
from importlib import import_module

import numpy as np
import pytest
from support.shards import collection, laion_table, write_shard

import laion_dask as ld
from laion_dask import aggregations
from laion_dask.aggregations import Statistic
from laion_dask.aggregations.describe import Describe
from laion_dask.aggregations.distribution import Distributions
from laion_dask.aggregations.methods import STATISTICS, methods
from laion_dask.aggregations.perceived import Perceived
from laion_dask.aggregations.perceived_prompts import axes_of
from laion_dask.caveats import CAVEATS
from laion_dask.frame.provenance import Provenance
from laion_dask.runtime import graph

MODULES = [
    import_module(f"laion_dask.aggregations.{module.name}")
    for module in pkgutil.iter_modules(aggregations.__path__)
    if not module.ispkg
]
EVERY = {
    value
    for module in MODULES
    for value in vars(module).values()
    if inspect.isclass(value) and issubclass(value, Statistic) and value is not Statistic
}


@pytest.mark.parametrize("statistic", sorted(EVERY, key=lambda each: each.name))
def test_every_statistic_carries_its_method(statistic):
    assert statistic.method and all(isinstance(text, str) for text in statistic.method)
    assert methods()[statistic.name] == statistic.method
    assert statistic in STATISTICS


@pytest.fixture
def frame(tmp_path):
    for i, n in enumerate((40, 0, 333)):
        write_shard(tmp_path / "a" / f"part_{i}.parquet", laion_table(n, i))
    return ld.read_shards(tmp_path / "a", backend="pandas")


def test_distributions_share_a_pass(frame, monkeypatch):
    alone = ld.distributions(frame, "similarity", "punsafe")
    described = ld.statistics(frame, ld.describe())
    labels = []
    compute = graph.compute
    monkeypatch.setattr(
        graph, "compute", lambda *c, label: labels.append(label) or compute(*c, label=label)
    )
    both = ld.statistics(frame, Distributions(("similarity", "punsafe")), ld.describe())
    assert labels == ["statistics"]
    assert both.of("describe").equals(described.of("describe"))
    result = both.of("distributions")
    for name, distribution in alone.items():
        rows, kept = result[result["term"] == name], distribution.thresholds()
        assert rows["k"].tolist() == kept["kept"].tolist()
        assert rows["threshold"].tolist() == kept["threshold"].tolist()
        assert rows["lo"].tolist() == kept["lo"].tolist()
        assert set(rows["unscored"]) == {distribution.n_unscored}


def test_a_summary_is_the_statistic_of_everything(frame):
    whole = ld.statistics(frame, Describe(everything=True), min_n=0)
    nulls = frame.laion.summary().nulls["nulls"]
    missing = whole[whole["group"] == "missing"].set_index("term")["k"]
    assert missing[nulls.index].to_dict() == nulls.to_dict()
    assert {"shard", "row"} <= set(missing.index)


def test_perceived_attributes_share_a_pass(tmp_path):
    c = collection(tmp_path, (90, 0, 31))
    frame = ld.read_shards(c.metadata, backend="pandas")
    embeddings = ld.open_embeddings(c.img_emb, model=c.model)
    prompts = {"gender": {"one": np.eye(8)[0], "other": np.eye(8)[1]}}
    alone = ld.perceived(frame, embeddings, prompts)
    axes, scale = axes_of(prompts, c.model)
    both = ld.statistics(
        frame,
        ld.describe(),
        Perceived(embeddings.paired_with(Provenance.of(frame).shards), axes, scale, margin=0.2),
    )
    result = both.of(Perceived.name)
    for name in ("term", "group", "n", "k", "rate", "lo", "hi", "unscored", "method"):
        assert result[name].tolist() == alone[name].tolist()
    assert CAVEATS["model-assigned"] in both.attrs["caveats"]
    assert both.attrs["rows"] == alone.attrs["rows"]
