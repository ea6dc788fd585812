"""Fused kernels that read rows once: in Triton's interpreter, in plain torch and on a GPU."""

import subprocess
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from support.failing_memory import Full
from support.forked_runs import forked_runs
from support.heads import FILES
from support.paths import ROOT, SHARED

from laion_dask import backend
from laion_dask.errors import BackendWarning, DeviceMemoryError, EmbeddingsError
from laion_dask.models import heads
from laion_dask.numerics.gpu import fused, memory

INTERPRETED = ROOT / "tests" / "support" / "interpreted_kernels.py"
DTYPES = [torch.float16, torch.bfloat16, torch.float32]


@pytest.fixture
def nothing_failed(monkeypatch):
    monkeypatch.setattr(fused, "_failed", set())


@pytest.fixture
def cuda(nothing_failed) -> torch.device:
    """A GPU on which no kernel has failed yet."""
    if not backend.gpu_count():
        pytest.skip("no CUDA device that torch can use is on this machine")
    return torch.device("cuda")


class OnGpu(torch.Tensor):
    """A tensor that claims to be on a GPU; Triton's launch then finds none."""

    is_cuda = True


@pytest.fixture(scope="module")
def interpreted(tmp_path_factory) -> dict[str, subprocess.CompletedProcess]:
    """The outcome of each check in Triton's interpreter, whose mode is fixed on import."""
    pytest.importorskip("triton")
    checks = {"dots": ["dots"], "dense": ["dense"]}
    if SHARED.is_dir():
        weights, reference = SHARED / "weights", SHARED / "reference"
        for name, (file, answers) in FILES.items():
            checks[name] = ["published", weights / file, name, reference / answers]
    completed = forked_runs(
        [[INTERPRETED, *words] for words in checks.values()],
        tmp_path_factory.mktemp("interpreted"),
        preload="import os; os.environ['TRITON_INTERPRET'] = '1'; import torch, triton.language\n",
        flags=("-W", "error"),
    )
    return dict(zip(checks, completed, strict=True))


def difficult_rows(n: int, dim: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    x = torch.nn.functional.normalize(torch.randn(n, dim, generator=draw))
    x[0], x[1, 12], x[2, 20], x[3] = 0, torch.nan, -torch.inf, 6e-8
    return x.to(dtype)


def layers(*sizes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.ones((after, before)), np.ones(after)) for before, after in pairwise(sizes)]


def check_dots(x: torch.Tensor, w: torch.Tensor) -> None:
    dots, squares = (part.cpu().double() for part in fused.dot_and_squares(x, w))
    wide, dim = x.cpu().double(), x.shape[1]
    true, lengths = wide @ w.cpu().double().T, wide.square().sum(1)
    fine = torch.isfinite(lengths)
    assert fine.sum() == len(x) - 2
    bound = dim * 2.0**-24 * lengths.sqrt()[:, None] * w.cpu().double().norm(dim=1)
    assert ((dots - true).abs() <= bound)[fine].all()
    assert ((squares - lengths).abs() <= dim * 2.0**-24 * lengths)[fine].all()
    assert not torch.isfinite(dots[~fine]).any() and not torch.isfinite(squares[~fine]).any()


@pytest.mark.parametrize("kernel", ["dots", "dense"])
def test_kernels_against_float64(interpreted, kernel):
    assert not interpreted[kernel].returncode, interpreted[kernel].stderr


@pytest.mark.parametrize("name", FILES)
def test_tensorflows_answers_through_the_kernel(interpreted, shared, name):
    assert not interpreted[name].returncode, interpreted[name].stderr


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile(capability, monkeypatch, tmp_path):
    triton = pytest.importorskip("triton")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from laion_dask.numerics.gpu import triton_kernels

    monkeypatch.setattr(triton.knobs.cache, "dir", str(tmp_path))
    floats = dict.fromkeys(["vectors", "dots", "squares", "numbers", "bias1", "bias2", "bias3"])
    floats |= dict.fromkeys(["last", "shift", "table", "ours"])
    kinds = {name: "*fp32" for name in floats} | {"n": "i32", "scale": "fp32", "dims": "*i64"}
    kinds |= {"rows": "*fp16", "first": "*fp16", "second": "*bf16", "third": "*bf16"}
    kinds |= {"spans": "*fp64"}
    sizes = dict(DIM=768, H1=64, H2=512, H3=256, L=5, BLOCK=128, STEP=64, CHUNK=64)
    for kernel, fixed, options in [
        (triton_kernels.dots_and_squares, dict(DIM=768, M=4, BLOCK=4, STEP=256), dict(num_warps=1)),
        (triton_kernels.dense, sizes, dict(num_warps=8, num_stages=3)),
    ]:
        arguments = {a: "constexpr" if a in fixed else kinds[a] for a in kernel.arg_names}
        aligned = {
            (at,): [["tt.divisibility", 16]]
            for at, kind in enumerate(arguments.values())
            if kind.startswith("*")
        }
        built = triton.compile(
            ASTSource(kernel, arguments, fixed, aligned),
            target=GPUTarget("cuda", capability, 32),
            options=dict(options, enable_fp_fusion=False),
        )
        assert built.asm["cubin"] and built.metadata.shared <= triton_kernels.THREE_STAGES


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 4])
def test_plain_torch_against_float64(dtype, m):
    x, w = difficult_rows(90, 72, dtype), torch.randn(m, 72)
    check_dots(x, w)
    check_dots(x[:, ::2], w[:, ::2])
    all_rows = fused.dot_and_squares(x, w)
    for at in (0, 1, 50, 89):
        for part, one in zip(all_rows, fused.dot_and_squares(x[at : at + 1], w), strict=True):
            torch.testing.assert_close(part[at : at + 1], one, rtol=0, atol=0, equal_nan=True)
    assert [tuple(part.shape) for part in fused.dot_and_squares(x[:0], w)] == [(0, m), (0,)]


def test_plain_torch_when_memory_is_short():
    x, w = difficult_rows(5000, 64, torch.float16), torch.randn(2, 64)
    wanted = fused.dot_and_squares(x, w)
    with Full(8 * 64 * 1300) as full:
        found = fused.dot_and_squares(x, w)
    assert full.failures == 2
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9, equal_nan=True)
    with Full(8 * 64 * 1000), pytest.raises(DeviceMemoryError, match="a block of 1,024 rows"):
        fused.dot_and_squares(x[:3072], w)
    torch.testing.assert_close(fused.dot_and_squares(x, w), wanted, equal_nan=True)


def test_what_is_refused():
    x, w = torch.ones(3, 8), torch.ones(1, 8)
    for rows in (x.double(), x[0], x.int(), x[:, :0]):
        with pytest.raises(EmbeddingsError, match=r"Expected \(n, dim\)"):
            fused.dot_and_squares(rows, w)
    for vectors in (w[0], w[:, :4], w.half(), torch.ones(5, 8), w[:0]):
        with pytest.raises(EmbeddingsError, match="1 to 4 of 8 dimensions"):
            fused.dot_and_squares(x, vectors)
    with pytest.raises(EmbeddingsError, match="Rows are on cpu and vectors on meta"):
        fused.dot_and_squares(x, w.to("meta"))


def test_without_a_kernel_it_is_plain_torch_and_said_once(nothing_failed):
    x, w = torch.randn(20, 64), torch.randn(1, 64)
    with pytest.warns(BackendWarning, match="'dots_and_squares' cannot be used here") as caught:
        found = fused.dot_and_squares(x.as_subclass(OnGpu), w)
    assert len(caught) == 1
    torch.testing.assert_close(torch.Tensor(found[0]), fused.dot_and_squares(x, w)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused.dot_and_squares(x.as_subclass(OnGpu), w)
        network = fused.Dense(layers(64, 16, 16, 1), None, x.device)
        assert fused.dense(x.half().as_subclass(OnGpu), network) is None
    assert fused._failed == {"run_dots_and_squares", "run_dense"}


@pytest.mark.parametrize("message", ["CUDA error: out of memory", "an illegal memory access"])
def test_a_full_or_corrupted_gpu_is_no_missing_kernel(nothing_failed, monkeypatch, message):
    triton_kernels = pytest.importorskip("laion_dask.numerics.gpu.triton_kernels")

    def broken(*args):
        raise RuntimeError(f"CUDA error: {message}")

    monkeypatch.setattr(triton_kernels, "run_dots_and_squares", broken)
    with pytest.raises(RuntimeError, match=message):
        fused.dot_and_squares(torch.ones(4, 8).as_subclass(OnGpu), torch.ones(1, 8))
    assert not fused._failed


def test_what_fits():
    for sizes in [(768, 64, 512, 256, 1), (512, 32, 32, 1), (640, 10, 3000, 5, 1)]:
        assert fused.fits(layers(*sizes))
    for sizes in [(1024, 1024, 2048, 1, 1), (768, 64, 1), (768, 64, 64, 257, 1), (72, 16, 16, 1)]:
        assert not fused.fits(layers(*sizes))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_one_pass_on_a_gpu(cuda, dtype, m):
    for n, dim in [(70_001, 768), (9, 512), (4, 1024), (333, 640)]:
        x, w = difficult_rows(n, dim, dtype).to(cuda), torch.randn(m, dim, device=cuda)
        check_dots(x, w)
        all_rows = fused.dot_and_squares(x, w)
        for at in (0, 1, 3, n - 1):
            for part, one in zip(all_rows, fused.dot_and_squares(x[at : at + 1], w), strict=True):
                torch.testing.assert_close(part[at : at + 1], one, rtol=0, atol=0, equal_nan=True)
        assert [tuple(part.shape) for part in fused.dot_and_squares(x[:0], w)] == [(0, m), (0,)]
    check_dots(x[:, 8:], w[:, 8:])  # rows that are not contiguous
    assert not fused._failed  # so the kernel ran


@pytest.mark.gpu
@pytest.mark.parametrize("name", FILES)
def test_the_fused_network_on_a_gpu(cuda, shared, name):
    file, answers = FILES[name]
    head = heads.nsfw(name, weights=shared / "weights" / file, precision="bfloat16")
    with np.load(shared / "reference" / answers, allow_pickle=False) as known:
        x, wanted = torch.from_numpy(known["embedding_f16"]).to(cuda), known["p_from_f16"]
    network, _ = head.load()
    numbers, squares = network.in_one_pass(x)
    assert not fused._failed
    np.testing.assert_allclose(squares.cpu(), x.double().square().sum(1).cpu(), rtol=1e-4)
    np.testing.assert_allclose(torch.sigmoid(numbers).cpu(), wanted, atol=5e-3)
    unfused = network(x.float(), "bfloat16")
    np.testing.assert_allclose(torch.sigmoid(numbers).cpu(), unfused.sigmoid().cpu(), atol=2e-3)
    order = torch.randint(0, len(x), (5000,), generator=torch.Generator().manual_seed(0))
    mixed, _ = network.in_one_pass(x[order.to(cuda)])
    assert torch.equal(mixed, numbers[order.to(cuda)])  # results depend on the row alone


@pytest.mark.gpu
def test_a_full_gpu_and_the_next_job(cuda, monkeypatch):
    monkeypatch.setattr(fused, "_failed", {"run_dots_and_squares"})  # the path that takes memory
    x, w = difficult_rows(200_000, 768, torch.float16).to(cuda), torch.randn(1, 768, device=cuda)
    wanted = fused.dot_and_squares(x, w)
    memory.release()
    free, _ = torch.cuda.mem_get_info()
    held = torch.empty(free - (160 << 20), dtype=torch.uint8, device=cuda)
    for one, other in zip(fused.dot_and_squares(x, w), wanted, strict=True):
        torch.testing.assert_close(one, other, equal_nan=True)
    del held
    check_dots(x, w)
