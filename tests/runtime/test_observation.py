"""Another thread sees how far a computation is, and cancels it; others are left alone."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager, nullcontext

import distributed
import pytest

from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.observation import Observer, observed
from laion_dask.runtime.progress import ProgressBar
from laion_dask.runtime.tasks import run_each


@contextmanager
def in_process_cluster():
    cluster = distributed.LocalCluster(
        n_workers=1,
        threads_per_worker=2,
        processes=False,
        dashboard_address="127.0.0.1:0",
        host="127.0.0.1",
        protocol="tcp",
    )
    with cluster, distributed.Client(cluster):
        yield


SCHEDULERS = {"threads": nullcontext, "distributed": in_process_cluster}


@pytest.fixture(params=SCHEDULERS)
def scheduler(request):
    with SCHEDULERS[request.param]():
        yield request.param


def double(part, number):
    return 2 * part


STARTED = threading.Event()
RUN: list[int] = []


def waits(part, number):
    STARTED.set()
    while True:  # ends only when it is canceled
        time.sleep(0.01)
        cancellation.check()


def sleeps(part, number):
    STARTED.set()
    time.sleep(0.2)
    RUN.append(number)


def test_each_computation_reports_its_tasks(scheduler):
    reports = []
    with observed(Observer(lambda *report: reports.append(report))):
        results = graph.compute(*graph.tasks(double, range(5)), label="double")
    assert results == (0, 2, 4, 6, 8)
    label, done, total = reports[-1]
    assert (label, done) == ("double", total) and total >= 5
    assert [done for _, done, _ in reports] == sorted(done for _, done, _ in reports)


@pytest.mark.parametrize("kernel", [waits, sleeps])
def test_a_canceled_computation_stops(scheduler, kernel):
    """Running tasks at their next check, and those that have not started, at once."""
    STARTED.clear()
    RUN.clear()
    observer, outcome = Observer(lambda *_: None), []

    def work():
        try:
            with observed(observer):
                graph.compute(*graph.tasks(kernel, range(60)), label="wait")
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert STARTED.wait(60), outcome
    observer.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert isinstance(outcome[0], cancellation.Cancelled)
    assert len(RUN) < 60
    assert graph.compute(*graph.tasks(double, [4]), label="later") == (8,)


def test_computations_of_other_threads_are_not_reported():
    reports = []
    inside, other_is_done = threading.Event(), threading.Event()

    def kernel(part, number):
        inside.set()
        assert other_is_done.wait(60)

    def work():
        with observed(Observer(lambda *report: reports.append(report))):
            graph.compute(*graph.tasks(kernel, [0]), label="observed")

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert inside.wait(60)
    graph.compute(*graph.tasks(double, range(9)), label="other")
    other_is_done.set()
    thread.join(60)
    assert {label for label, _, _ in reports} == {"observed"}
    assert reports[-1] == ("observed", 1, 1)


def advance(run, n):
    with run:
        run.advance(n)
    return n


def test_tasks_that_write_files_report_what_they_advance():
    reports = []
    with observed(Observer(lambda *report: reports.append(report))):
        results = run_each(
            advance, [(3,), (4,)], sizes=[3, 4], label="write", unit="rows", progress=None
        )
    assert results == [3, 4] and reports[-1] == ("write", 7, 7)


def test_a_bar_of_an_observed_thread_is_not_shown(capsys):
    reports = []
    with (
        observed(Observer(lambda *report: reports.append(report))),
        ProgressBar(total=3, desc="read", delay=0) as bar,
    ):
        bar.update(2)
    assert reports == [("read", 0, 3), ("read", 2, 3)]
    assert capsys.readouterr() == ("", "")


def test_nothing_starts_once_it_was_canceled(scheduler):
    observer = Observer(lambda *_: None)
    observer.cancel()
    with observed(observer), pytest.raises(cancellation.Cancelled):
        graph.compute(*graph.tasks(double, [1]), label="double")
