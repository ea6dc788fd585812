"""``backend="auto"`` follows the workers, and warns if a GPU is left unused."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import dask
import pytest

import laion_dask as ld
from laion_dask import backend as backends
from laion_dask.backend import GPU_WITHOUT_CUDF, NO_CUDF, NO_GPU, resolve_backend
from laion_dask.errors import BackendWarning, MissingExtraError, OptionError
from laion_dask.runtime import worker_backends as asking


class Workers:
    """A client whose workers give prepared answers, one list after the other."""

    asynchronous = False

    def __init__(self, *answers, scheduler=""):
        self.answers, self.times, self.scheduler = list(answers), 0, scheduler

    def run(self, function, *, on_error):
        assert (function, on_error) == (backends.why_no_cudf, "return")
        self.times += 1
        said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {f"tcp://{n}": answer for n, answer in enumerate(said)}

    def submit(self, function, *args, pure):
        return SimpleNamespace(cancel=lambda: None)

    def run_on_scheduler(self, function):
        assert function is backends.why_no_cudf
        return self.scheduler


def choose(monkeypatch, workers, here=""):
    monkeypatch.setattr(asking, "current_client", lambda: workers)
    monkeypatch.setattr(asking, "why_no_cudf", lambda: here)
    # The function passed to `client.run` is looked up in the same place.
    monkeypatch.setattr(backends, "why_no_cudf", asking.why_no_cudf)
    return asking.choose_backend("auto")


@pytest.mark.parametrize(
    ("workers", "here", "chosen", "said"),
    [
        (["", ""], "", "cudf", None),
        ([NO_GPU, NO_CUDF], "", "pandas", None),
        ([NO_CUDF], NO_CUDF, "pandas", None),
        (["", NO_GPU, ""], "", "pandas", "2 of 3 workers can .* no CUDA device is visible"),
        (["", ""], NO_GPU, "pandas", "All 2 workers can .* this process.* no CUDA device"),
        ([GPU_WITHOUT_CUDF, NO_GPU], NO_CUDF, "pandas", "workers, a CUDA device is visible but"),
    ],
)
def test_the_workers_decide(monkeypatch, workers, here, chosen, said):
    if said is None:
        assert choose(monkeypatch, Workers(workers), here) == chosen
    else:
        with pytest.warns(BackendWarning, match=said):
            assert choose(monkeypatch, Workers(workers), here) == chosen


def test_nothing_is_remembered(monkeypatch):
    client = Workers([""], [NO_GPU])
    assert choose(monkeypatch, client) == "cudf"
    assert choose(monkeypatch, client) == "pandas"


def test_a_worker_on_its_way_is_waited_for(monkeypatch):
    lost = OSError("it was just ended")
    assert choose(monkeypatch, Workers([], [lost], [lost, ""])) == "cudf"
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "10ms"}),
        pytest.raises(OptionError, match="none has joined"),
    ):
        choose(monkeypatch, Workers([]))


def test_workers_that_cannot_be_asked(monkeypatch):
    with pytest.raises(MissingExtraError, match=r"tcp://1 cannot import.*laion_dask"):
        choose(monkeypatch, Workers(["", ModuleNotFoundError("No module named 'laion_dask'")]))
    client = Workers([""])
    client.asynchronous = True
    with pytest.raises(OptionError, match="asynchronous"):
        choose(monkeypatch, client)


def test_a_backend_by_name_asks_nobody(monkeypatch):
    client = Workers([""])
    monkeypatch.setattr(asking, "current_client", lambda: client)
    monkeypatch.setattr(backends, "why_no_cudf", lambda: NO_GPU)
    assert asking.choose_backend("pandas") == "pandas"
    with pytest.raises(MissingExtraError, match=f"backend='cudf' .* {NO_GPU}"):
        asking.choose_backend("cudf")
    with pytest.raises(OptionError, match="polars"):
        asking.choose_backend("polars")
    assert not client.times


def test_the_scheduler_is_sent_an_empty_frame_too(monkeypatch):
    workers = Workers(["", ""], scheduler=NO_GPU)
    with pytest.warns(BackendWarning, match=r"the scheduler, which receives .*no CUDA device"):
        assert choose(monkeypatch, workers) == "pandas"
    monkeypatch.setattr(asking, "resolve_backend", lambda name: name)
    with pytest.raises(
        MissingExtraError, match=r"the scheduler receives .*on the scheduler no CUDA device"
    ):
        asking.choose_backend("cudf")
    workers.scheduler = ""
    assert asking.choose_backend("cudf") == "cudf"


def test_a_reader_says_so_where_it_was_called(monkeypatch, write):
    path = write("a.parquet", {"url": ["a"]})
    monkeypatch.setattr(asking, "current_client", lambda: Workers(["", NO_GPU]))
    ld.set_options(backend="auto")  # until the end of the test, see conftest
    with pytest.warns(BackendWarning, match="1 of 2 workers") as caught:
        ld.read_shards(path)
    assert caught[0].filename == __file__
    monkeypatch.setattr(asking, "current_client", lambda: None)
    monkeypatch.setattr(backends, "why_no_cudf", lambda: GPU_WITHOUT_CUDF)
    with pytest.warns(BackendWarning, match=r"but cuDF is not installed.*laion_dask\[gpu\]") as one:
        ld.read_shards(path)
    assert one[0].filename == __file__
    with warnings.catch_warnings(action="error"):
        ld.read_shards(path, backend="pandas")


@pytest.mark.parametrize(
    ("installed", "files", "n_gpus", "lacks"),
    [
        (True, [], 1, ""),
        (True, [], 0, NO_GPU),
        (False, [], 1, NO_CUDF),  # torch is not queried
        (False, ["nvidia0"], 0, NO_CUDF),  # hidden by CUDA_VISIBLE_DEVICES
        (False, ["nvidia0"], 2, GPU_WITHOUT_CUDF),
        (False, ["dxg"], 1, GPU_WITHOUT_CUDF),
        (False, ["nvidiactl", "null"], 1, NO_CUDF),
    ],
)
def test_what_a_process_lacks(monkeypatch, tmp_path, installed, files, n_gpus, lacks):
    for name in files:
        (tmp_path / name).touch()
    monkeypatch.setattr(
        backends, "Path", lambda given: tmp_path if given == "/dev" else Path(given)
    )
    monkeypatch.setattr(backends, "gpu_count", lambda: n_gpus)
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: installed or None)
    assert backends.why_no_cudf() == lacks
    if lacks == GPU_WITHOUT_CUDF:
        with pytest.warns(BackendWarning):
            assert resolve_backend("auto") == "pandas"
    else:
        assert resolve_backend("auto") == ("pandas" if lacks else "cudf")
