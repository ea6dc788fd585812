"""Perceived attributes: no row's label appears anywhere, and the caveat cannot be switched off."""

import pickle

import numpy as np
import pandas as pd
import pytest
from support.perceived_attributes import CAVEAT

import laion_dask as ld
from laion_dask.aggregations import Partition
from laion_dask.aggregations import perceived_kernel as kernels
from laion_dask.aggregations.perceived import Perceived, perceived
from laion_dask.backend import frame_to_arrow
from laion_dask.errors import OptionError
from laion_dask.reports.page_tables import result_table
from laion_dask.runtime import graph
from laion_dask.stats import Table


def test_no_label_of_a_row_is_anywhere(prompted_shards, monkeypatch, tmp_path):
    """Only counts are computed and returned, and nothing that an export could contain."""
    computed, compute = [], graph.compute

    def spy(*collections, **rest):
        results = compute(*collections, **rest)
        computed.extend(results)
        return results

    monkeypatch.setattr(graph, "compute", spy)
    names = list(prompted_shards.frame.columns)
    result = perceived(prompted_shards.frame, prompted_shards.embeddings, prompted_shards.prompts)
    assert isinstance(result, pd.DataFrame) and list(prompted_shards.frame.columns) == names
    assert not {"shard", "row", "url", "text", "key"} & set(result.columns)
    assert (result["n"] >= 30).all()
    (total,) = computed
    states = [counts for measure in total.value for state in measure for counts in state.values()]
    assert states and all(state.dtype == np.int64 and state.size < 10 for state in states)
    # A task returns one count per label, here for 230 rows.
    part = prompted_shards.frame.partitions[0].compute()
    axis = kernels.Axis("gender", ("a", "b"), np.eye(8, dtype=np.float32)[:2])
    question = Perceived(prompted_shards.embeddings, (axis,), 100.0, 0.2)
    (state,) = question.chunk(Partition(frame_to_arrow(part)))
    ((label, counts),) = state.items()
    assert label == "" and counts.shape == (4,) and counts.sum() == 230
    pickle.loads(pickle.dumps(question))
    monkeypatch.undo()
    prompted_shards.frame.laion.export(str(tmp_path / "out"))
    exported = ld.read_shards(str(tmp_path / "out"))
    assert not [name for name in exported.columns if "perceived" in name or "gender" in name]
    with pytest.raises(OptionError):  # a Table cannot be exported
        ld.export(result, str(tmp_path / "other"))


def test_the_caveat_cannot_be_switched_off(prompted_shards):
    result = perceived(prompted_shards.frame, prompted_shards.embeddings, prompted_shards.prompts)
    other = ld.statistics(prompted_shards.frame, ld.describe())
    assert CAVEAT not in repr(other) and other.caveats == ()
    without = result.copy()
    without.attrs.clear()
    for shown in (
        result,
        without,
        result[result["k"] > 10],
        result[["k", "rate"]],
        result[["term", "rate"]],
        result.head(1),
        result.sort_values("rate"),
        result.of("perceived, model-assigned"),
        pd.concat([other, result]),
        pd.concat([other, result])[["statistic", "rate"]],
        pickle.loads(pickle.dumps(result)),
    ):
        assert shown.caveats == (CAVEAT,), shown
        assert CAVEAT in repr(shown) and CAVEAT in str(shown)
        assert CAVEAT in shown._repr_html_() and CAVEAT in shown.to_markdown()
        assert CAVEAT in result_table(shown).notes  # as shown in reports
    assert all("(model-assigned)" in term for term in result["term"])
    # Columns of booleans, nulls or lists do not break the lookup of caveats.
    assert Table({"term": [None, 1, True, np.nan], "group": pd.NA}).caveats == ()
    assert Table({"term": [["a list"], {}]}).caveats == () == Table({}).caveats


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_caveat_is_beneath_a_plot(prompted_shards):
    pytest.importorskip("holoviews")
    result = perceived(prompted_shards.frame, prompted_shards.embeddings, prompted_shards.prompts)
    for shown in (result, result.head(1), result.iloc[:0]):
        words = str(list(shown.plot())[-1].data[2])
        assert words.replace("\n", " ") == CAVEAT
