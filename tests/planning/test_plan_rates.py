"""The rates of a plan: those that ship, those of a user, and steps that were never measured."""

from __future__ import annotations

import importlib.util
import json
import math

import numpy as np
import pytest
from support.paths import ROOT
from support.plan_rates import DIM, RATES

import laion_dask as ld
from laion_dask.errors import OptionError
from laion_dask.planning.measured_rates import open_rates


def test_memory_of_steps_that_were_not_measured(frame, emb):
    def memory(verb, device=None):
        return ld.plan(frame, verb, embeddings=emb, workers=1, device=device, rates=RATES)

    held = 40 * DIM * 2 + 30 * 2 * 12
    # Taken from the same kind of step on the CPU, else from the smallest measured process.
    score = memory("score", "Test GPU")
    assert score.memory_bytes == 1000 + held
    assert "Memory of unmeasured steps" in " ".join(score.notes())
    assert memory(("embed", "ViT-L-14")).memory_bytes == 2139686912
    assert "0 bytes/s" not in str(memory(("embed", "ViT-L-14")))
    # A query has 128 float32 values, and 10 results with 8 candidates of 20 bytes and a cosine.
    query = DIM * 4 + 10 * (8 * 20 + 4)
    assert memory(("search", 11)).memory_bytes == 1000 + held
    assert memory(("search", np.int64(100_000))).memory_bytes == 1000 + held + 99_989 * query
    on_gpu = memory(("search", 100_000), "Test GPU")
    assert on_gpu.memory_bytes == 1000 + held + 100_000 * query


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ({"rate": []}, "Did you mean 'rates'"),
        ({"rates": [{"stap": 1}]}, "Did you mean 'step'"),
        ({"rates": [{"step": "where"}]}, "Expected step, device"),
        ({"rates": [{**RATES["rates"][0], "slowest": 150.0}]}, "0 < slowest"),
        ({"rates": [{**RATES["rates"][0], "slowest": 0.0}]}, "slowest of the rate of 'where' is 0"),
        ({"rates": [{**RATES["rates"][0], "rows_per_s": "1e9"}]}, "rows_per_s .* is '1e9'"),
        ({"rates": [{**RATES["rates"][0], "queries": True}]}, "queries .* is True"),
        ({"rates": [{**RATES["rates"][0], "step": 3}]}, "step .* is 3. Expected text"),
        ({"gpus": [{**RATES["gpus"][0], "memory_bytes": "80GB"}]}, "of the GPU 'Test GPU'"),
        ({"rates": 3}, "'rates' of rates is 3. Expected a list"),
        ({"rates": [7]}, "An entry of rates is 7"),
        (7, "rates is 7"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_wrong_rates_are_refused(frame, rates, said):
    with pytest.raises(OptionError, match=said):
        ld.plan(frame, "where", rates=rates)


def test_rates_of_ones_own_come_first_and_from_a_file(frame, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(RATES))
    found = ld.plan(frame, ["where", "summary"], workers=1, rates=path)
    assert found.table["seconds"].iloc[0] == 40 / 100
    assert found.table["source"].tolist() == ["where.json", "benchmarks/results/verbs.json"]
    path.write_text("{")
    with pytest.raises(OptionError, match="cannot be read"):
        ld.plan(frame, "where", rates=path)


def test_what_was_never_measured_is_said_to_be(frame):
    found = ld.plan(frame, [("embed", "ViT-L-14"), "where"], workers=1, rates=RATES)
    assert math.isnan(found.seconds) and "not measured" in str(found)
    assert "on a core of 'embed ViT-L-14': give your own rates=" in str(found)
    assert " + ?" in str(found)  # in the total


def benchmark_rates() -> dict:
    spec = importlib.util.spec_from_file_location("rates", ROOT / "benchmarks/rates.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.rates()


def test_the_rates_that_ship_are_those_of_the_results():
    shipped = json.loads((ROOT / "laion_dask/planning/rates.json").read_text())
    assert shipped == json.loads(json.dumps(benchmark_rates()))


def test_some_rates_by_hand():
    """Calculated without the script: rows over the median wall time on two cores, halved."""

    def result(name):
        return json.loads((ROOT / "benchmarks/results" / f"{name}.json").read_text())

    rates = open_rates(None)
    carve, heads, embed, verbs = map(result, ("carve-32000000", "heads-262144", "embed", "verbs"))
    wall = carve["medians"]["laion_dask"]["wall_s"]
    assert rates.of("where", "cpu")[0].rows_per_s == pytest.approx(32e6 / wall / 2)
    wall = heads["nsfw"]["medians"]["laion_dask bfloat16"]["wall_s"]
    assert rates.of("nsfw bfloat16", "cpu")[0].rows_per_s == pytest.approx(262144 / wall / 2)
    wall = embed["medians"]["laion_dask"]["wall_s"]
    assert rates.of("embed ViT-B-32", "cpu")[0].rows_per_s == pytest.approx(256 / wall / 2)
    for step, n in (("summary", 4e6), ("export", 4e6), ("similarity", 1e6), ("zero_shot", 1e6)):
        (rate,) = rates.of(step, "cpu")
        assert rate.rows_per_s == pytest.approx(n / verbs["medians"][step]["wall_s"] / 2)
    one, many = rates.of("search", "cpu")
    assert (one.queries, many.queries) == (1, 1000)
    assert not [rate for rate in rates.rates if rate.device != "cpu"], "no GPU was measured"
    others = map(result, ("join-4000000", "join-16000000", "index", "language", "steps"))
    assert {rate.date for rate in rates.rates} == {
        *(r["date"] for r in (carve, heads, embed, verbs, *others))
    }
    (language,) = rates.of("language", "cpu")
    assert language.rows_per_s == pytest.approx(result("language")["medians"]["laion_dask"]["rate"])
    (describe,) = rates.of("statistic describe", "cpu")
    step = result("steps")["steps"]["statistic describe"]
    best = min(run["wall_s"] for run in step["runs"])
    assert describe.rows_per_s == pytest.approx(step["rows"] / best)
