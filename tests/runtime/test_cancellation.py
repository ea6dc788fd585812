"""An interrupt stops all tasks of its own computation soon, and none of any other computation."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial

import dask
import distributed
import numpy as np
import pytest
from dask.callbacks import Callback
from support.embeddings import set_block_rows
from support.searches import check, opened
from support.shards import collection

import laion_dask as ld
from laion_dask.retrieval.exact import candidates
from laion_dask.runtime import cancellation, graph
from laion_dask.runtime.tasks import run_each
from laion_dask.scoring import embedding_kernel as score

#: Seconds that a wait may take on a busy machine; the work that is cut short would take longer.
PATIENCE = 60
HERE = {
    "n_workers": 1,
    "threads_per_worker": 1,
    "processes": False,
    "dashboard_address": "127.0.0.1:0",
}


@contextmanager
def in_process_cluster():
    cluster = distributed.LocalCluster(host="127.0.0.1", protocol="tcp", **HERE)
    with cluster, distributed.Client(cluster):
        yield


SCHEDULERS = {"threads": nullcontext, "distributed": in_process_cluster}


@pytest.fixture(params=SCHEDULERS)
def scheduler(request):
    with SCHEDULERS[request.param]():
        yield request.param


SLOW: dict[int, Slow] = {}


def of_this_process(number: int) -> Slow:
    """Return the test's own object to a worker, which is a thread of the same process."""
    return SLOW[number]


class Slow:
    """A slow kernel block, and the outcome of the task that it belongs to."""

    def __init__(self):
        self.started, self.ended, self.outcomes = threading.Event(), threading.Event(), []
        self.go_on = threading.Event()
        SLOW[id(self)] = self

    def __reduce__(self):
        return of_this_process, (id(self),)

    def block(self, *_):
        self.started.set()
        time.sleep(0.05)

    def watched(self, kernel):
        return partial(self.watch, kernel)

    def watch(self, kernel, *args, **options):
        try:
            result = kernel(*args, **options)
        except BaseException as error:
            self.outcomes.append(error)
            raise
        else:
            self.outcomes.append(result)
            return result
        finally:
            self.ended.set()

    @contextmanager
    def interrupted(self):
        """Send Ctrl-C once the first block has started; then the task must end by itself."""
        caught = threading.Event()
        sending = threading.Thread(target=self._send, args=(threading.get_ident(), caught))
        before = signal.signal(signal.SIGINT, lambda *_: caught.is_set() or raise_in(caught))
        sending.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                yield
        finally:
            caught.set()
            sending.join()
            signal.signal(signal.SIGINT, before)
        assert self.ended.wait(PATIENCE), "the task is still running"
        assert all(isinstance(one, cancellation.Cancelled) for one in self.outcomes)

    def _send(self, thread: int, caught: threading.Event) -> None:
        """Send repeatedly: Python misses a signal that arrives just before it waits for a lock."""
        if self.started.wait(PATIENCE):
            while not caught.wait(0.1):
                signal.pthread_kill(thread, signal.SIGINT)


def raise_in(caught: threading.Event) -> None:
    caught.set()
    raise KeyboardInterrupt


@pytest.fixture
def slow():
    yield Slow()
    SLOW.clear()


def test_a_search_that_is_interrupted_stops(scheduler, slow, tmp_path, monkeypatch):
    c = collection(tmp_path, (40,))
    frame, emb = opened(c)
    queries = np.random.default_rng(0).standard_normal((2_000, 8))
    with monkeypatch.context() as patch:
        patch.setattr(candidates, "QUERIES_PER_BATCH", 1)
        for batch in (candidates.CpuQueryBatch, candidates.Int8QueryBatch):
            patch.setattr(batch, "add", slow.block)
        patch.setattr(candidates, "_select_on_cpu", slow.watched(candidates._select_on_cpu))
        with slow.interrupted():
            frame.laion.search(emb, queries, k=3)
    check(frame.laion.search(emb, queries[:2], 3, columns=[]), c.images, queries[:2], 3)


def test_what_a_user_computes_stops_too(scheduler, slow, tmp_path, monkeypatch):
    frame, emb = opened(collection(tmp_path, (3_000,)))
    scored = frame.laion.similarity(emb, np.ones(8, np.float32), to="cosine")
    expected = scored["cosine"].compute()
    real = score.cosines
    with monkeypatch.context() as patch:
        set_block_rows(patch, 1)
        patch.setattr(score, "cosines", lambda *given: slow.block() or real(*given))
        patch.setattr(score, "fill_columns", slow.watched(score.fill_columns))
        with slow.interrupted():
            scored["cosine"].compute()
    np.testing.assert_array_equal(scored["cosine"].compute(), expected)


def advance(run, slow):
    with run:
        for _ in range(2_000):
            run.advance(1)
            slow.block()


def test_tasks_that_write_stop_too(scheduler, slow):
    with slow.interrupted():
        run_each(
            slow.watched(advance), [(slow,)], sizes=[1], label="work", unit="row", progress=False
        )


def wait_in_blocks(slow: Slow):
    while not slow.go_on.wait(0.01):
        slow.started.set()
        cancellation.check()
    cancellation.check()
    return "whole"


def test_another_threads_computation_goes_on(scheduler, slow):
    if scheduler == "distributed":
        client = distributed.get_client()
        client.cluster.scale(2)
        client.wait_for_workers(2, PATIENCE)
    other, found = Slow(), []
    its = dask.delayed(wait_in_blocks, pure=False)(other)
    thread = threading.Thread(target=lambda: found.append(graph.compute(its, label="other")))
    thread.start()
    assert other.started.wait(PATIENCE)
    with slow.interrupted():
        graph.compute(dask.delayed(slow.watched(wait_in_blocks))(slow), label="main")
    other.go_on.set()
    thread.join(PATIENCE)
    assert found == [("whole",)]


def fail(slow: Slow):
    assert slow.started.wait(PATIENCE)
    raise ValueError("of one task")


def test_an_error_stops_the_tasks_beside_it(slow):
    both = dask.delayed(slow.watched(wait_in_blocks))(slow), dask.delayed(fail)(slow)
    with pytest.raises(ValueError, match="of one task"), dask.config.set(num_workers=2):
        graph.compute(*both, label="both")
    assert slow.ended.wait(PATIENCE) and isinstance(slow.outcomes[0], cancellation.Cancelled)


def stop_late(slow: Slow):
    slow.started.set()
    while not slow.ended.is_set():
        try:
            cancellation.check()
        except cancellation.Cancelled:
            slow.ended.set()
            assert slow.go_on.wait(PATIENCE)
            raise
        time.sleep(0.01)
    return "whole"


def test_a_task_that_is_asked_for_again_gives_its_result(slow):
    """It has the same key as a task that the worker has not yet stopped."""
    with in_process_cluster():
        client = distributed.get_client()
        first = client.submit(stop_late, slow, key="task")
        assert slow.started.wait(PATIENCE)
        first.release()
        assert slow.ended.wait(PATIENCE)
        second = client.submit(stop_late, slow, key="task")
        slow.go_on.set()
        assert second.result(PATIENCE) == "whole"


def test_inner_threads_know_their_task_and_nothing_is_left_behind():
    with pytest.raises(ValueError, match="no"), cancellation.cancelled_on_error():
        inner = cancellation.carried(cancellation.check)
        inner()
        with cancellation.cancelled_on_error():
            innermost = cancellation.carried(cancellation.check)
        innermost()
        raise ValueError("no")
    cancellation.check()
    for one in (inner, innermost):
        with pytest.raises(cancellation.Cancelled):
            one()
    assert not issubclass(cancellation.Cancelled, Exception)


def test_however_many_frames_are_read_each_computation_is_one(laion_shards, scheduler):
    """One callback; nothing of a computation that ended or failed is left in its thread."""
    path, seen = laion_shards(3)[0], []

    def look(part, number, fails):
        here = cancellation._current.get()
        while here is not None:
            seen.append(here)
            here = getattr(here, "within", None)
        return 1 // (not fails)

    for fails in (False, True, False):
        frame = [ld.read_shards(path) for _ in range(30)][-1]
        frame.compute()
        with pytest.raises(ZeroDivisionError) if fails else nullcontext():
            graph.compute(graph.tasks(look, graph.parts(frame), fails), label="look")
        assert cancellation._current.get() is None
    assert len([c for c in Callback.active if c[0].__module__ == "laion_dask.runtime.graph"]) == 1
    assert len(seen) <= 2 * 3
