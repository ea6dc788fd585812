"""The head's numbers against the selection; jobs, errors and the code of the selection."""

import threading

import pytest
from support.explorations import exploration_of, state_of
from support.shards import laion_table

from laion_dask.errors import OptionError
from laion_dask.explorer.filters import NumberRange
from laion_dask.explorer.jobs import Jobs
from laion_dask.explorer.views.head import HeadView, estimated_rows
from laion_dask.runtime import cancellation
from laion_dask.stats import wilson


def test_all_rows_and_a_sample(tmp_path):
    exploration = exploration_of(tmp_path)
    view = HeadView(Jobs())
    assert state_of(view)["rows"] == "No rows were read." and not state_of(view)["is_ready"]
    view.show(exploration)
    state = state_of(view)
    assert (state["rows"], state["selected"]) == ("all 400 rows", "400 selected (100 %)")
    assert state["estimate"] == "" and state["is_ready"]
    (tmp_path / "s").mkdir()
    sampled = exploration_of(tmp_path / "s", laion_table(4000), sample=500)
    sampled.selection.set("width", NumberRange("width", 1000, None))
    view.show(sampled)
    k = sampled.selection.n
    low, high = (bound * 4000 for bound in wilson(k, 500))
    state = state_of(view)
    assert state["rows"] == "sample 500 of 4,000 rows"
    assert state["selected"] == f"{k:,} selected ({100 * k / 500:.3g} %)"
    assert state["estimate"] == f"about {8 * k:,} of all rows ({int(low):,} to {int(high) + 1:,})"
    assert state["can_undo"] and not state["can_redo"]


def test_estimates_stay_within_what_was_seen():
    assert estimated_rows(0, 0, 0) == (0, 0, 0)
    assert estimated_rows(0, 10, 11) == (0, 0, 1)
    assert estimated_rows(10, 10, 11) == (11, 10, 11)
    likely, low, high = estimated_rows(250, 1000, 10**9)
    assert likely == 250_000_000 and low < likely < high and low > 2 * 10**8


def test_the_interval_covers_the_truth_in_about_95_of_100_samples():
    import numpy as np

    draw = np.random.default_rng(0)
    n_rows, passing, n = 20_000, 3_000, 400
    seen = draw.hypergeometric(passing, n_rows - passing, n, 2_000)
    bounds = {k: estimated_rows(int(k), n, n_rows)[1:] for k in np.unique(seen)}
    covered = np.mean([bounds[k][0] <= passing <= bounds[k][1] for k in seen])
    assert 0.94 < covered < 0.97


def test_undo_and_redo(tmp_path):
    exploration = exploration_of(tmp_path)
    view = HeadView(Jobs())
    view._receive({"kind": "undo"})  # nothing to undo yet
    view.show(exploration)
    exploration.selection.set("width", NumberRange("width", 1000, None))
    n = exploration.selection.n
    view._receive({"kind": "undo"})
    assert exploration.selection.n == 400 and state_of(view)["can_redo"]
    view._receive({"kind": "redo"})
    assert exploration.selection.n == n


def test_a_job_is_shown_and_canceled():
    jobs = Jobs()
    view, started = HeadView(jobs), threading.Event()

    def work(job):
        job.progress(3, 7, "read\nrows")
        started.set()
        while True:
            cancellation.check()

    job = jobs.start("work", work)
    assert started.wait(60)
    view.refresh()
    state = state_of(view)
    assert state["rows"] == "Reading the rows…"
    expected = {"label": "read\\u000arows: 3 of 7", "done": 3, "total": 7, "can_cancel": True}
    assert state["job"] == expected
    question = jobs.start("compare the rows", lambda job: None)  # it waits for the other
    view.refresh()
    assert state_of(view)["job"]["label"] == "read\\u000arows: 3 of 7; then compare the rows"
    view._receive({"kind": "cancel"})
    job.wait(60)
    question.wait(60)
    assert job.state == question.state == "canceled"
    assert state_of(view)["job"] is None and state_of(view)["error"] == ""


def test_an_error_is_one_line_and_dismissed():
    jobs = Jobs()
    view = HeadView(jobs)

    def work(job):
        raise OptionError("two\nlines")

    with pytest.raises(OptionError):
        jobs.start("work", work).wait(60)
    assert state_of(view)["error"] == "two lines" and state_of(view)["job"] is None
    view._receive({"kind": "dismiss"})
    assert state_of(view)["error"] == ""
    view.fail(ValueError("x"))
    assert state_of(view)["error"] == "ValueError: x"


def test_code_is_shown_each_time_and_closed(tmp_path):
    def fails(exploration):
        raise OptionError("There is no code.")

    view = HeadView(Jobs(), {"python": lambda exploration: "x = 1\n", "recipe": fails})
    view._receive({"kind": "python"})
    assert state_of(view)["code"] is None
    view.show(exploration_of(tmp_path))
    view._receive({"kind": "python"})
    view._receive({"kind": "python"})
    assert state_of(view)["code"]["text"] == "x = 1\n" and state_of(view)["code"]["number"] == 2
    view._receive({"kind": "recipe"})
    assert state_of(view)["error"] == "There is no code."
    view._receive({"kind": "close"})
    for odd in ("__init__", [], {"python": 1}, None):
        view._receive({"kind": odd})
    assert state_of(view)["code"] is None
