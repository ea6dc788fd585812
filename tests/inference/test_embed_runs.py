"""Runs of ``embed``: killed ones resume to the same bytes, and other runs are refused."""

import os
import re
import signal
import threading
import time

import pytest
from support.digests import digest
from support.small_clip import captioned, make_small_clip, picture, write_tar

from laion_dask.errors import ExportError, ImageError, ModelMismatchError, OptionError, WeightsError
from laion_dask.inference import embed as verb
from laion_dask.inference import output_folder
from laion_dask.inference.embed import embed
from laion_dask.models import ClipModel, clip_loading, heads


def test_killed_anywhere_it_resumes_to_the_same_bytes(model, head, tmp_path, monkeypatch):
    source = captioned(tmp_path / "in")
    whole = embed(source, tmp_path / "whole", model, batch_size=3, heads=[head])
    expected = digest(whole.out)
    assert not [name for name in expected if "partial" in name or "plan" in name]
    real, n_files = output_folder.os.replace, len(expected) + 1  # plus the plan
    for dies_at in range(n_files):
        out, renames = tmp_path / f"out{dies_at}", []

        def replace(a, b, dies_at=dies_at, renames=renames):
            if len(renames) == dies_at:
                raise KeyboardInterrupt  # the most abrupt exception
            renames.append(b)
            real(a, b)

        with monkeypatch.context() as patch:
            patch.setattr(output_folder.os, "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                embed(source, out, model, batch_size=3, heads=[head])
        assert not list(out.rglob("*.partial")) and not (out / "embed.json").exists()
        left = out / f".left_{dies_at}.partial"
        left.write_bytes(b"what a killed process leaves")
        os.utime(left, (0, 0))
        embed(source, out, model, batch_size=3, heads=[head])
        assert digest(out) == expected


def test_ctrl_c_stops_and_leaves_nothing_half_written(model, tmp_path, monkeypatch):
    source = captioned(tmp_path / "in", n_tars=6)
    expected = digest(embed(source, tmp_path / "whole", model, batch_size=2).out)
    real, calls = clip_loading.LoadedClip.images, []

    def images(self, prepared):
        calls.append(1)
        if len(calls) == 5:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        time.sleep(0.5 if len(calls) >= 5 else 0.05)  # time for the interrupt to arrive
        return real(self, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(clip_loading.LoadedClip, "images", images)
        with pytest.raises(KeyboardInterrupt):
            embed(source, tmp_path / "out", model, batch_size=2)
    left, n_calls = digest(tmp_path / "out"), len(calls)
    assert not [name for name in left if "partial" in name] and "embed.json" not in left
    time.sleep(0.3)
    assert digest(tmp_path / "out") == left and len(calls) == n_calls < 18
    assert digest(embed(source, tmp_path / "out", model, batch_size=2).out) == expected


def test_a_finished_run_is_left_alone(model, tmp_path, monkeypatch):
    source = captioned(tmp_path / "in", n_tars=2)
    first = embed(source, tmp_path / "out", model)
    before = digest(first.out)
    monkeypatch.setattr(verb, "embed_samples", None)  # fails if anything is computed
    again = embed(source, tmp_path / "out", model, batch_size=2)
    assert digest(again.out) == before and str(again) == str(first)


def test_the_result_does_not_depend_on_workers(model, tmp_path, monkeypatch):
    import dask

    source = captioned(tmp_path / "in")
    expected = digest(embed(source, tmp_path / "a", model, batch_size=2).out)
    with dask.config.set(scheduler="synchronous"):
        assert digest(embed(source, tmp_path / "b", model, batch_size=2).out) == expected
    monkeypatch.setattr(verb, "_n_concurrent_batches", lambda n: 3)
    assert digest(embed(source, tmp_path / "c", model, batch_size=2).out) == expected


@pytest.mark.slow
def test_on_a_cluster(model, head, tmp_path, worker_processes):
    from distributed import Client

    source = captioned(tmp_path / "in")
    expected = digest(embed(source, tmp_path / "a", model, heads=[head]).out)
    with Client(worker_processes):
        assert digest(embed(source, tmp_path / "b", model, heads=[head]).out) == expected
        with pytest.raises(ImageError):
            write_tar(source / "9.tar", {"1.png": picture()}).write_bytes(b"")
            embed(source, tmp_path / "c", model)


def test_another_run_is_refused(model, files, head, tmp_path):
    source = captioned(tmp_path / "in", n_tars=2)
    out = tmp_path / "out"
    before = digest(embed(source, out, model).out)
    other = ClipModel(*make_small_clip(tmp_path, seed=1, name="tiny"))
    with pytest.raises(ExportError, match="another model"):
        embed(source, out, other)
    with pytest.raises(ExportError, match="other heads and other columns"):
        embed(source, out, model, heads=[head])
    captioned(source, n_tars=3)
    with pytest.raises(ExportError, match="other source files"):
        embed(source, out, model)
    assert digest(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(ExportError, match=re.escape("not empty (notes.txt)")):
        embed(source, tmp_path / "mine", model)
    with pytest.raises(ExportError, match="is a file"):
        embed(source, tmp_path / "mine" / "notes.txt", model)


def test_refused_before_anything_is_computed(model, head, tmp_path):
    source = captioned(tmp_path / "in", n_tars=1)
    out = tmp_path / "out"
    with pytest.raises(ModelMismatchError):
        embed(source, out, model, heads=[heads.LinearHead("a", "RN50", "w", "0")])
    with pytest.raises(OptionError, match="which the samples already have"):
        embed(source, out, model, heads=[head.to("url")])
    with pytest.raises(OptionError, match="batch_size is 0"):
        embed(source, out, model, batch_size=0)
    with pytest.raises(OptionError, match="batch_size is True"):
        embed(source, out, model, batch_size=True)
    with pytest.raises(WeightsError, match="architecture without weights"):
        embed(source, out, "ViT-L-14")
    (source / "1.tar").write_bytes(b"no tar")
    with pytest.raises(ImageError, match=r"1\.tar"):
        embed(source, out, model)
    assert not out.exists()
