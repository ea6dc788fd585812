"""Tasks that write files: their results in order, and the callback for each."""

import dask
import pytest
from distributed import Client

from laion_dask.runtime.tasks import Run, run_each


def square(run: Run, number: int) -> int:
    with run:
        run.advance(1)
    return number * number


def check(scheduler_is: str, n: int = 12) -> None:
    done: list[int] = []
    items = [(number,) for number in range(n)]
    options = {"sizes": [1] * n, "label": "square", "unit": "number", "progress": False}
    assert run_each(square, items, **options, after=done.append) == [i * i for i in range(n)]
    assert sorted(done) == list(range(n)), scheduler_is
    if scheduler_is == "sync":
        assert done in (sorted(done), sorted(done, reverse=True))


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_each_result_is_told_once(scheduler):
    with dask.config.set(scheduler=scheduler):
        check(scheduler)


def test_each_result_of_a_worker_is_told_once(worker_processes):
    with Client(worker_processes):
        check("workers")


def test_other_processes_tell_nothing():
    """Nor is the callback sent to them."""
    done: list[int] = []
    items = [(number,) for number in range(3)]
    with dask.config.set(scheduler="processes", num_workers=1):
        options = {"sizes": [1] * 3, "label": "square", "unit": "number", "progress": False}
        assert run_each(square, items, **options, after=done.append) == [0, 1, 4]
    assert done == []
