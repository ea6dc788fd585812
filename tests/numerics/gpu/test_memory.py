"""Out of memory: smaller blocks down to a floor, then an error; the next job succeeds."""

import pytest
import torch
from support.failing_memory import Full

from laion_dask import cuda_errors
from laion_dask.errors import DeviceLostError, DeviceMemoryError
from laion_dask.numerics.gpu import memory


def test_blocks_are_halved_and_nothing_is_left_out():
    x, out, tried = torch.arange(1000.0), torch.full((1000,), -1.0), []

    def double(start, stop):
        tried.append(stop - start)
        out[start:stop] = x[start:stop] * 2

    with Full(4 * 100) as full:
        memory.run_with_oom_backoff(double, 1000, 512, min_size=8)
    assert torch.equal(out, x * 2)
    assert tried == [512, 256, 128, *[64] * 15, 40] and full.failures == 3


def test_at_the_floor_it_is_an_error_and_the_next_job_succeeds():
    blocks = []

    def work(start, stop):
        blocks.append(torch.ones(stop - start) * 2)

    with (
        Full(4 * 3),
        pytest.raises(DeviceMemoryError, match=r"a block of 4 rows, the smallest .*torch_share"),
    ):
        memory.run_with_oom_backoff(work, 100, 64, min_size=4)
    assert not blocks
    memory.run_with_oom_backoff(work, 100, 64, min_size=4)
    assert sum(map(len, blocks)) == 100
    with pytest.raises(MemoryError), Full(4):  # the builtin that a caller would expect to catch
        memory.run_with_oom_backoff(work, 3, 64, min_size=4)


def test_no_numbers_no_work_and_other_errors_pass():
    memory.run_with_oom_backoff(lambda start, stop: pytest.fail("called"), 0, 8, min_size=1)

    def wrong(start, stop):
        raise ValueError("no GPU in this")

    with pytest.raises(ValueError, match="no GPU in this"):
        memory.run_with_oom_backoff(wrong, 5, 8, min_size=1)


def test_what_is_made_whole():
    tried = []
    with Full(4 * 9), pytest.raises(DeviceMemoryError, match=r"does not hold ten numbers \(CUDA"):
        memory.retry_after_release(lambda: tried.append(1) or torch.ones(10), "ten numbers")
    assert len(tried) == 2
    assert len(memory.retry_after_release(lambda: torch.ones(10), "ten numbers")) == 10


def test_caches_are_dropped_before_the_next_try(monkeypatch):
    monkeypatch.setattr(memory, "_releasers", [])
    held = ["a cache"]
    memory.on_release(held.clear)

    def work(start, stop):
        if held:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    for least in (1, 10):  # a block at the floor is retried once
        held.append("a cache")
        memory.run_with_oom_backoff(work, 10, 10, min_size=least)
        assert not held


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError("std::bad_alloc: out_of_memory: RMM failure: Maximum pool size exceeded"),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    ],
)
def test_what_out_of_memory_looks_like(error):
    assert cuda_errors.is_out_of_memory(error) and not cuda_errors.is_context_corrupted(error)


@pytest.mark.parametrize(
    "error",
    [
        torch.AcceleratorError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("CUDA error at: copy.cu:12: cudaErrorIllegalAddress an illegal memory access"),
        RuntimeError("CUDA error: device-side assert triggered\nCompile with ..."),
        RuntimeError("cudaErrorLaunchFailure: unspecified launch failure"),
        DeviceLostError("The GPU can no longer be used"),
    ],
)
def test_what_a_corrupted_context_looks_like(error):
    assert cuda_errors.is_context_corrupted(error) and not cuda_errors.is_out_of_memory(error)

    def work(start, stop):
        raise error

    with pytest.raises(DeviceLostError):
        memory.run_with_oom_backoff(work, 1, 1, min_size=1)


def test_neither():
    for error in (ValueError("illegal memory access"), RuntimeError("no cuda here"), KeyError("x")):
        assert not cuda_errors.is_context_corrupted(error) and not cuda_errors.is_out_of_memory(
            error
        )
