"""Torch's thread count: one inside the context, the previous number afterwards, in all threads."""

import threading

import pytest

torch = pytest.importorskip("torch")

from laion_dask.numerics.torch_threads import one_torch_thread, spread  # noqa: E402


def in_thread(call, *args):
    """Return what a call returns in a new thread."""
    results = []
    thread = threading.Thread(target=lambda: results.append(call(*args)))
    thread.start()
    thread.join()
    return results[0]


@pytest.fixture
def three():
    """Set torch to three threads, in this thread and in new ones."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_one_inside_and_all_afterwards(three):
    with one_torch_thread():
        with one_torch_thread():
            assert in_thread(torch.get_num_threads) == 1
        assert in_thread(torch.get_num_threads) == 1
        assert torch.get_num_threads() == three
    assert in_thread(torch.get_num_threads) == three == torch.get_num_threads()


def test_a_thread_that_began_inside_leaves_torch_as_it_was(three):
    started, go = threading.Event(), threading.Event()

    def late():
        assert torch.get_num_threads() == 1  # in this thread, from now on
        started.set()
        go.wait()
        with one_torch_thread():
            pass

    thread = threading.Thread(target=late)
    with one_torch_thread():
        thread.start()
        started.wait()
    go.set()
    thread.join()
    assert in_thread(torch.get_num_threads) == three


def test_spread_uses_as_many_threads_as_torch_would(three):
    used, meet = set(), threading.Barrier(three, timeout=250)

    def work(item):
        used.add(threading.get_ident())
        assert torch.get_num_threads() == 1
        meet.wait()

    spread(work, range(2 * three))
    assert len(used) == three and threading.get_ident() not in used
    assert in_thread(torch.get_num_threads) == three
