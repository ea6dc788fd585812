"""Resuming ``embed``: batch sizes, library versions, damaged files, nested folders."""

import json
import os

import pyarrow.parquet as pq
import pytest
from support.small_clip import make_small_clip, picture, write_tar

from laion_dask.errors import ExportError, OptionError
from laion_dask.inference import embed as verb
from laion_dask.inference.embed import embed
from laion_dask.models import ClipModel, heads, weights


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return ClipModel(*make_small_clip(tmp_path_factory.mktemp("clip"), name="tiny-resume"))


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        write_tar(folder / f"{name}.tar", {f"{i}.png": picture(i) for i in range(3)})
    return folder


def lose_a_shard(result):
    """Reduce a result to what a run leaves if it is killed before its last shard."""
    (result.metadata / "metadata_0001.parquet").unlink()


def test_a_run_is_resumed_with_its_own_batch_size(model, source, tmp_path):
    result = embed(source, tmp_path / "out", model, batch_size=2)
    manifest = result.manifest.read_bytes()
    embed(source, tmp_path / "out", model, batch_size=3)  # the run is complete, so nothing is added
    assert result.manifest.read_bytes() == manifest and json.loads(manifest)["batch_size"] == 2
    lose_a_shard(result)
    with pytest.raises(ExportError, match=r"another batch_size \(its own is batch_size=2\)"):
        embed(source, tmp_path / "out", model, batch_size=3)
    embed(source, tmp_path / "out", model, batch_size=2)
    assert result.manifest.read_bytes() == manifest


def test_a_run_is_resumed_by_the_same_libraries(model, source, tmp_path, monkeypatch):
    result = embed(source, tmp_path / "out", model)
    manifest, real = result.manifest.read_bytes(), verb.version
    with monkeypatch.context() as patch:
        patch.setattr(verb, "version", lambda name: "9.9" if name == "pillow" else real(name))
        embed(source, tmp_path / "out", model)
        assert result.manifest.read_bytes() == manifest
        lose_a_shard(result)
        with pytest.raises(ExportError, match=rf"with pillow {real('pillow')} \(here 9.9\)"):
            embed(source, tmp_path / "out", model)
    embed(source, tmp_path / "out", model)
    assert result.manifest.read_bytes() == manifest


def cut(path, n_bytes):
    path.write_bytes(path.read_bytes()[:n_bytes])


@pytest.mark.parametrize(
    "name, n_bytes",
    [
        ("img_emb/img_emb_0001.npy", 140),
        ("img_emb/img_emb_0001.npy", 0),
        ("metadata/metadata_0001.parquet", -10),
        ("_rejects/rejects_0001.parquet", 3),
    ],
)
def test_a_damaged_file_is_named(model, source, tmp_path, name, n_bytes):
    out = embed(source, tmp_path / "out", model).out
    whole = (out / name).read_bytes()
    cut(out / name, n_bytes)
    with pytest.raises(ExportError, match=f"{name} is damaged .*Remove that file and run"):
        embed(source, out, model)
    (out / name).unlink()
    embed(source, out, model)
    assert (out / name).read_bytes() == whole


@pytest.mark.parametrize(
    "content", [b"[]", b"{}", b"", b"\xff", b"[" * 100_000, b'{"versions": 1}']
)
@pytest.mark.parametrize("name", ["embed.json", ".embed_plan.json"])
def test_a_damaged_plan_is_named(model, source, tmp_path, name, content):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(content)
    with pytest.raises(ExportError, match=f"{name} is damaged .*Remove the folder"):
        embed(source, tmp_path / "out", model)


def test_files_that_another_run_is_writing_are_left(model, source, tmp_path):
    result = embed(source, tmp_path / "out", model)
    young, old = (result.metadata / f".{name}.partial" for name in ("young", "old"))
    young.write_bytes(b"another run's")
    old.write_bytes(b"a killed run's")
    os.utime(old, (0, 0))
    embed(source, tmp_path / "out", model)
    assert young.exists() and not old.exists()


def images_in(folder):
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(picture(i))
    return folder


def test_out_lies_outside_of_what_is_searched(model, source, write, tmp_path):
    folder = images_in(tmp_path / "pictures")
    write("parquet/a.parquet", {"image": [picture()]})
    (tmp_path / "link").symlink_to(folder)
    for where in (folder, tmp_path / "parquet", tmp_path / "link"):
        for out in (where / "out", where, folder / ".." / where.name / "deep" / "out"):
            with pytest.raises(OptionError, match="which is in the source"):
                embed(where, out, model)
    with pytest.raises(OptionError, match="which is in the source"):
        embed([tmp_path / "parquet"], tmp_path / "parquet" / "out", model)
    assert len(list(folder.iterdir())) == 3
    for _ in range(2):  # the output folder beside archives is not read as input
        assert embed(source, source / "out", model).n_read == 6


def test_one_head_and_none(model, source, tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.ones(1, 32), "bias": torch.zeros(1)}, path)
    head = heads.LinearHead("total", model.arch, str(path), weights.sha256_of(path))
    result = embed(source, tmp_path / "one", model, heads=head)
    schema = pq.read_schema(result.metadata / "metadata_0000.parquet")
    assert schema.names == ["key", "image_path", "image_sha256", "total"]
    assert (
        json.loads(embed(source, tmp_path / "no", model, heads=None).manifest.read_text())["heads"]
        == []
    )
    for wrong in ("aesthetic", 5):
        with pytest.raises(OptionError, match=f"A head is {wrong!r}"):
            embed(source, tmp_path / "wrong", model, heads=wrong)
