"""Jobs run one after another, show progress, can be canceled, and deliver on the owner's thread."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError

import dask
import distributed
import pytest

from laion_dask.errors import OptionError
from laion_dask.explorer.jobs import Jobs, error_line
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.workers import current_client, lost_workers_named


def double(part, number):
    return 2 * part


def test_results_are_delivered_to_the_thread_that_waits():
    """In a script there is no event loop."""
    delivered, jobs = [], Jobs()
    first = jobs.start(
        "double",
        lambda job: graph.compute(*graph.tasks(double, [1, 2]), label="double 2"),
        then=lambda result: delivered.append((result, threading.current_thread())),
    )
    second = jobs.start("second", lambda job: 5, then=delivered.append)
    second.wait(60)
    assert delivered == [((2, 4), threading.current_thread()), 5]
    assert (first.state, first.label, first.done, first.total) == ("done", "double 2", 2, 2)
    assert second.result == 5 and jobs.current is second


def test_results_are_delivered_on_the_event_loop():
    async def page():
        jobs, ended, here = Jobs(), asyncio.Event(), []
        seen = []
        jobs.subscribe(lambda: seen.append(jobs.current.state))
        jobs.start("work", lambda job: 3, then=lambda _: here.append(threading.current_thread()))
        jobs.start("more", lambda job: 4, then=lambda _: ended.set())
        await asyncio.wait_for(ended.wait(), 60)
        await asyncio.sleep(0.05)
        return here, seen

    here, seen = asyncio.run(page())
    assert here == [threading.current_thread()] and seen[-1] == "done"


def test_cancel_stops_the_job_and_those_that_wait():
    started, jobs, delivered = threading.Event(), Jobs(), []

    def work(job):
        started.set()
        while True:
            cancellation.check()

    first = jobs.start("first", work, then=delivered.append, failed=delivered.append)
    second = jobs.start("second", work, then=delivered.append, failed=delivered.append)
    assert started.wait(60)
    jobs.cancel()
    first.wait(60)
    second.wait(60)
    assert (first.state, second.state, delivered) == ("canceled", "canceled", [])
    third = jobs.start("third", lambda job: 1, then=delivered.append)
    third.wait(60)
    assert delivered == [1]


def test_a_result_that_came_after_cancel_is_not_delivered():
    jobs, delivered, go_on = Jobs(), [], threading.Event()
    job = jobs.start("deaf", lambda job: go_on.wait(60), then=delivered.append)
    job.cancel()
    assert job.state == "canceling"
    go_on.set()
    job.wait(60)
    assert (job.state, delivered) == ("canceled", [])


def test_a_job_that_is_canceled_before_its_result_is_delivered_delivers_nothing():
    jobs, delivered = Jobs(), []
    job = jobs.start("quick", lambda job: 1, then=delivered.append)
    assert job._ended.wait(60)
    job.cancel()
    job.wait(60)
    assert (job.state, delivered) == ("canceled", [])


def test_progress_is_told_and_raises_once_canceled():
    jobs, steps = Jobs(), []

    def work(job):
        job.progress(3, 9, "read")
        steps.append((job.label, job.done, job.total))
        job.observer.cancel()
        job.progress(4, 9)
        steps.append("not reached")

    job = jobs.start("work", work)
    job.wait(60)
    assert steps == [("read", 3, 9)] and job.state == "canceled"


def test_an_error_is_one_line_and_is_raised_by_wait():
    jobs, failures = Jobs(), []

    def work(job):
        raise OptionError("A bad\nvalue \x1b[31m was given.")

    job = jobs.start("work", work, failed=failures.append)
    with pytest.raises(OptionError):
        job.wait(60)
    assert failures == [job.exception] and job.state == "failed"
    assert job.error == r"A bad value \u001b[31m was given."
    assert error_line(KeyError("x")) == "KeyError: 'x'"
    assert len(error_line(ValueError("x" * 10_000))) < 500
    assert jobs.start("next", lambda job: 1).wait(60) is None


def test_an_error_of_a_delivery_is_one_of_the_job():
    jobs, failures = Jobs(), []
    job = jobs.start("work", lambda job: 1, then=lambda _: 1 // 0, failed=failures.append)
    with pytest.raises(ZeroDivisionError):
        job.wait(60)
    assert job.state == "failed" and failures == [job.exception]


def test_after_close_nothing_runs_or_is_delivered():
    jobs, started, delivered = Jobs(), threading.Event(), []

    def work(job):
        started.set()
        while True:
            cancellation.check()

    job = jobs.start("work", work, then=delivered.append)
    assert started.wait(60)
    jobs.close()
    job.wait(60)
    late = jobs.start("late", lambda job: 1, then=delivered.append)
    late.wait(60)
    assert (job.state, late.state, delivered) == ("canceled", "canceled", [])


def test_a_loop_that_was_closed_is_no_error():
    def wake(callback):
        raise RuntimeError("Event loop is closed")

    job = Jobs(wake).start("work", lambda job: 1)
    job.wait(60)
    assert job.state == "done"


def doubled(job):
    return graph.compute(*graph.tasks(double, [1, 2]), label="double 2")


HERE = {"processes": False, "n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}


def test_a_job_leaves_a_client_that_was_closed():
    jobs = Jobs()
    with distributed.Client(**HERE) as client:
        client.close()
        assert dask.config.get("scheduler", None) == "dask.distributed"  # it has no client
        job = jobs.start("double", doubled)
        job.wait(60)
        assert job.result == (2, 4)
        other = distributed.Client(**HERE)
        job = jobs.start("client", lambda job: current_client() is other)
        job.wait(60)
        assert job.result is True
    other.close()
    assert dask.config.get("scheduler", None) is None


def test_a_client_that_is_closed_during_a_job_is_named():
    jobs = Jobs()
    with distributed.Client(**HERE) as client:

        def closed_meanwhile(job):
            with lost_workers_named():
                client.close()
                raise CancelledError

        job = jobs.start("double", closed_meanwhile)
        with pytest.raises(OptionError, match="client was closed before this had ended"):
            job.wait(60)
        jobs.start("double", doubled).wait(60)


def test_a_job_that_has_ended_needs_no_wait_under_an_asynchronous_client():
    async def page():
        async with distributed.Client(**HERE, asynchronous=True):
            jobs, go_on = Jobs(), threading.Event()
            job = jobs.start("work", lambda job: go_on.wait(60))
            with pytest.raises(OptionError, match="asynchronous"):
                job.wait()
            go_on.set()
            while not job.has_ended:
                await asyncio.sleep(0.01)
            job.wait()
            return job.state

    assert asyncio.run(page()) == "done"
