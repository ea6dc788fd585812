"""Fine-tuning by open_clip: the arguments, and two steps of a tiny model."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
from support.small_clip import make_small_clip, picture, write_tar

import laion_dask as ld
from laion_dask.errors import MissingExtraError, OptionError, WeightsError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    config, weights = make_small_clip(tmp_path_factory.mktemp("tiny"))
    return ld.ClipModel(str(config), str(weights))


@pytest.fixture
def pairs(tmp_path):
    lines = ["filepath,title"]
    for i in range(8):
        path = tmp_path / f"{i}.png"
        path.write_bytes(picture(i))
        lines.append(f"{path},picture {i}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    return tmp_path / "pairs.csv"


def test_two_steps_change_the_weights_and_nothing_else(tiny, pairs, tmp_path):
    root = logging.getLogger()
    before = list(root.handlers), root.level
    options = {"batch": 4, "workers": 0, "rate": 1e-2, "device": "cpu"}
    options["arguments"] = ("--warmup", "1")
    tuned = ld.fine_tune_clip(pairs, tmp_path / "out", tiny, **options)
    assert (list(root.handlers), root.level) == before
    assert (tmp_path / "out" / "model.safetensors").is_file()
    old, new = (np.asarray(model.text("a bird")) for model in (tiny, tuned))
    assert new.shape == old.shape and not np.allclose(old, new, atol=1e-3)
    assert tuned.image(picture(0)).shape == (tuned.dim,)
    with pytest.raises(OptionError, match="not an empty folder"):
        ld.fine_tune_clip(pairs, tmp_path / "out", tiny, **options)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its open tars
def test_a_webdataset_is_learned(tiny, tmp_path):
    """Four pairs, again and again: the loss falls, though a step this long may raise it again."""
    for number in range(2):
        pairs = range(2 * number, 2 * number + 2)
        members = {}
        for i in pairs:
            members |= {f"{i}.png": picture(i), f"{i}.txt": f"picture {i}".encode()}
        write_tar(tmp_path / f"{number}.tar", members)
    options = {"n_pairs": 4, "batch": 4, "epochs": 12, "rate": 1e-2, "device": "cpu"}
    more = ("--warmup", "1", "--log-every-n-steps", "1")
    tuned = ld.fine_tune_clip(
        tmp_path, tmp_path / "out", tiny, workers=0, arguments=more, **options
    )
    log = (tmp_path / "out/open_clip/out.log").read_text()
    losses = [float(found) for found in re.findall(r"Contrastive_loss: ([\d.]+)", log)]
    assert len(losses) == 12, losses
    assert min(losses) < 0.7 * losses[0], losses
    assert tuned.image(picture(0)).shape == (tuned.dim,)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_data_without_a_full_batch_are_told(tiny, tmp_path):
    write_tar(tmp_path / "0.tar", {"0.png": picture(0), "1.txt": b"a", "2.png": picture(1)})
    with pytest.raises(WeightsError, match=r"took no step\. Expected members such as"):
        ld.fine_tune_clip(
            tmp_path, tmp_path / "out", tiny, n_pairs=2, batch=2, workers=0, device="cpu"
        )


def test_a_missing_package_is_told(tiny, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("laion_dask.training.fine_tune.is_installed", lambda name: False)
    with pytest.raises(MissingExtraError, match=r"needs open_clip_train.*pip install open_clip"):
        ld.fine_tune_clip(pairs, tmp_path / "out", tiny, device="cpu")


def test_arguments_of_a_webdataset(tiny, tmp_path):
    for number in range(2):
        write_tar(tmp_path / f"{number}.tar", {"a.png": picture(0), "a.txt": b"a"})
    given = ld.fine_tune_arguments(tmp_path, tmp_path / "out", tiny, n_pairs=2, batch=2)
    value = dict(zip(given[::2], given[1::2], strict=True))
    assert value["--dataset-type"] == "webdataset" and value["--train-num-samples"] == "2"
    assert value["--train-data"] == f"{{{tmp_path}/0.tar,{tmp_path}/1.tar}}"
    with pytest.raises(OptionError, match="does not count"):
        ld.fine_tune_arguments(tmp_path, "out", tiny)
    with pytest.raises(OptionError, match="n_pairs is 2 and batch 3"):
        ld.fine_tune_arguments(tmp_path, "out", tiny, n_pairs=2, batch=3)
    assert value["--workers"] == "1"  # of one batch


def test_the_files_of_a_pattern_are_counted_and_looked_for(tiny, tmp_path):
    for number in range(2):
        write_tar(tmp_path / f"{number:02}.tar", {"a.png": picture(0), "a.txt": b"a"})
    options = {"n_pairs": 50, "batch": 2, "workers": 9}
    for pattern, n in (("{00..01}", 2), ("{00..41}", 9), ("0{0..1}", 2), ("{00,01}", 9)):
        given = ld.fine_tune_arguments(f"{tmp_path}/{pattern}.tar", "out", tiny, **options)
        assert given[given.index("--workers") + 1] == str(n)
    with pytest.raises(OptionError, match=r"40 of the 42 files of .*/02\.tar\. Expected"):
        ld.fine_tune_clip(f"{tmp_path}/{{00..41}}.tar", tmp_path / "out", tiny, **options)


@pytest.mark.parametrize(
    "data, options, message",
    [
        ("missing.csv", {}, "does not exist"),
        ("missing.tar", {"n_pairs": 3}, "does not exist"),
        ("pairs.parquet", {}, "Expected a .csv"),
        ("pairs.csv", {"rate": 0}, "rate is 0"),
        ("pairs.csv", {"epochs": 0}, "epochs"),
    ],
)
def test_wrong_arguments_are_told(tiny, data, options, message):
    with pytest.raises(OptionError, match=message):
        ld.fine_tune_arguments(data, "out", tiny, **options)


def test_a_missing_gpu_is_told(tiny, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(OptionError, match="finds no GPU"):
        ld.fine_tune_clip(pairs, tmp_path / "out", tiny)


def test_a_model_without_weights_is_told(pairs):
    with pytest.raises(WeightsError):
        ld.fine_tune_clip(pairs, "out", "ViT-B-32")
