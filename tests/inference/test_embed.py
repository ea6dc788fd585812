"""``embed`` equals a plain loop; its output is aligned, counted, and resumable to the byte."""

import hashlib
import json
import os
import pickle
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from support.paths import SHARED
from support.small_clip import make_small_clip, picture, write_tar

from laion_dask.errors import (
    ExportError,
    ImageError,
    ModelMismatchError,
    OptionError,
    WeightsError,
)
from laion_dask.inference import embed as verb
from laion_dask.inference import output_folder
from laion_dask.inference import shard as kernel
from laion_dask.inference.embed import embed
from laion_dask.models import ClipModel, clip_loading, heads, weights

PHOTOS = SHARED / "data" / "photos_tars"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_small_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def model(files):
    return ClipModel(*files)


@pytest.fixture
def head(model, tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "head.safetensors"
    save_file({"weight": torch.ones(1, 32), "bias": torch.zeros(1)}, path)
    return heads.LinearHead("total", model.arch, str(path), weights.sha256_of(path))


def captioned(folder, n_tars=3, n=7):
    """Tar archives with captions and JSON; each has one broken image and one stray text."""
    folder.mkdir(exist_ok=True)
    for t in range(n_tars):
        members = {}
        for i in range(n):
            members[f"{t}_{i}.png"] = b"broken" if i == 2 else picture(10 * t + i)
            members[f"{t}_{i}.txt"] = b"" if i == 4 else f"caption {t} {i}".encode()
            members[f"{t}_{i}.json"] = json.dumps(
                {"url": f"http://a/{i}", "n": i if t else i + 0.5, "odd": [i] if t else "x"}
            ).encode()
        members["stray.txt"] = b"no image here"
        write_tar(folder / f"{t:05d}.tar", members)
    return folder


def digest(folder):
    """A digest of every file's name and content."""
    files = sorted(p for p in Path(folder).rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def plain_loop(files, folder):
    """Unit float32 embeddings from open_clip, one image at a time, in the order of the archives."""
    import io
    import tarfile

    import open_clip
    import torch
    from PIL import Image

    clip, _, preprocess = open_clip.create_model_and_transforms("tiny", str(files[1]))
    clip.eval()
    embeddings = []
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path) as archive, torch.no_grad():
            for member in archive:
                image = Image.open(io.BytesIO(archive.extractfile(member).read()))
                embeddings.append(
                    clip.encode_image(preprocess(image)[None], normalize=True)[0].numpy()
                )
    return np.stack(embeddings)


@pytest.mark.skipif(not PHOTOS.is_dir(), reason="the real photographs are not available")
def test_real_photographs_against_a_plain_loop(model, files, tmp_path):
    result = embed(PHOTOS, tmp_path / "out", model, batch_size=2)
    assert (result.n_read, result.n_kept, result.n_rejected) == (9, 9, 0)
    arrays = [np.load(f) for f in sorted(result.img_emb.glob("*.npy"))]
    assert [a.shape for a in arrays] == [(4, 32), (3, 32), (2, 32)]
    assert all(a.dtype == np.float16 for a in arrays)
    embeddings = np.concatenate(arrays).astype("f4")
    cosine = (embeddings * plain_loop(files, PHOTOS)).sum(1) / np.linalg.norm(embeddings, axis=1)
    assert (cosine >= 0.9999).all()
    assert result.text_emb is None and not (tmp_path / "out" / "text_emb").exists()


def test_rows_are_aligned_and_counted(model, head, tmp_path):
    source = captioned(tmp_path / "in")
    result = embed(source, tmp_path / "out", model, batch_size=3, heads=[head], precision="float32")
    assert str(result).startswith("24 read = 18 kept + 6 rejected, in 3 shards")
    for t in range(3):
        name = f"{t:04d}"
        images = np.load(result.img_emb / f"img_emb_{name}.npy")
        texts = np.load(result.text_emb / f"text_emb_{name}.npy")
        table = pq.read_table(result.metadata / f"metadata_{name}.parquet")
        rejects = pq.read_table(result.rejects / f"rejects_{name}.parquet").to_pylist()
        rows = table.to_pylist()
        assert [row["key"] for row in rows] == [f"{t}_{i}" for i in (0, 1, 3, 4, 5, 6)]
        assert rows[0]["image_path"] == f"0000{t}.tar/{t}_0.png"
        assert [r["key"] for r in rejects] == [f"{t}_2", "stray"]
        assert "known format" in rejects[0]["reason"] and "no image" in rejects[1]["reason"]
        expected = model.image([picture(10 * t + i) for i in (0, 1, 3, 4, 5, 6)])
        np.testing.assert_allclose(images, expected, atol=1e-3)
        captions = [row["caption"] for row in rows]
        assert captions[3] is None and np.isnan(texts[3]).all()
        spoken = [at for at in range(6) if at != 3]
        np.testing.assert_allclose(
            texts[spoken], model.text([captions[at] for at in spoken]), atol=1e-3
        )
        np.testing.assert_array_equal(table["total"].to_numpy(), head.predict(images))
        cosine = (images.astype("f8") * texts.astype("f8")).sum(1)
        cosine /= np.linalg.norm(images.astype("f8"), axis=1)
        cosine /= np.linalg.norm(texts.astype("f8"), axis=1)
        np.testing.assert_allclose(table["clip_score"].to_numpy(), cosine, atol=1e-6)
        assert table.schema.field("clip_score").type == "float" and np.isnan(cosine[3])


def test_one_schema_over_all_shards(model, tmp_path):
    result = embed(captioned(tmp_path / "in"), tmp_path / "out", model)
    schemas = {pq.read_schema(f).to_string() for f in result.metadata.glob("*")}
    assert len(schemas) == 1
    schema = pq.read_schema(result.metadata / "metadata_0000.parquet")
    assert [(f.name, str(f.type)) for f in schema] == [
        ("key", "string"),
        ("image_path", "string"),
        ("image_sha256", "string"),
        ("caption", "string"),
        ("url", "string"),
        ("n", "double"),
        ("odd", "string"),
        ("clip_score", "float"),
    ]
    last = pq.read_table(result.metadata / "metadata_0002.parquet").to_pylist()[1]
    assert last["n"] == 1.0 and last["odd"] == "[1]"


def test_laion_names_stay(model, tmp_path):
    record = {"URL": "u", "TEXT": "a star", "hash": 2**62 + 1, "big": 2**70, "key": "other"}
    members = {"1.png": picture(), "1.json": json.dumps(record).encode(), "2.png": picture(2)}
    members["2.json"] = b'{"hash": null, "NSFW": true, "TEXT": null}'
    result = embed(write_tar(tmp_path / "a.tar", members), tmp_path / "out", model)
    table = pq.read_table(result.metadata / "metadata_0000.parquet")
    names = [
        "key",
        "image_path",
        "image_sha256",
        "TEXT",
        "URL",
        "hash",
        "big",
        "NSFW",
        "clip_score",
    ]
    assert table.column_names == names
    one, two = table.to_pylist()
    assert one["hash"] == 2**62 + 1 and one["big"] == str(2**70) and one["key"] == "1"
    assert (two["hash"], two["NSFW"], two["TEXT"]) == (None, True, None)
    texts = np.load(result.text_emb / "text_emb_0000.npy")
    assert np.isfinite(texts[0]).all() and np.isnan(texts[1]).all()


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
    monkeypatch.setattr(verb, "_lanes", lambda n: 3)
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
    with pytest.raises(OptionError, match="which the samples have already"):
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


def test_nothing_but_rejects_and_nothing_at_all(model, head, tmp_path):
    write_tar(tmp_path / "a.tar", {"1.png": b"broken", "2.txt": b"x"})
    write_tar(tmp_path / "b.tar", {})
    result = embed(tmp_path, tmp_path / "out", model, heads=[head])
    assert (result.n_read, result.n_kept, result.n_rejected) == (2, 0, 2)
    for number in range(2):
        assert np.load(result.img_emb / f"img_emb_000{number}.npy").shape == (0, 32)
        assert pq.read_table(result.metadata / f"metadata_000{number}.parquet").num_rows == 0


def test_a_folder_of_images(model, tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(5):
        (tmp_path / "in" / f"{i}.png").write_bytes(picture(i))
    result = embed(tmp_path / "in", tmp_path / "out", model, batch_size=2, precision="float32")
    embeddings = np.load(result.img_emb / "img_emb_0000.npy")
    np.testing.assert_allclose(embeddings, model.image([picture(i) for i in range(5)]), atol=1e-3)


def test_the_manifest(model, head, tmp_path):
    source = captioned(tmp_path / "in", n_tars=2)
    result = embed(str(source / "*.tar"), tmp_path / "out", model, heads=[head])
    manifest = json.loads(result.manifest.read_text())
    assert manifest["counts"] == {"read": 16, "kept": 12, "rejected": 4}
    assert manifest["model"] == model.recipe() and manifest["heads"] == [head.recipe()]
    assert manifest["sources"][0]["n_bytes"] == (source / "00000.tar").stat().st_size
    assert [shard["source"] for shard in manifest["shards"]] == ["00000.tar", "00001.tar"]
    assert str(tmp_path) not in result.manifest.read_text()


def test_progress_and_torch_threads_are_as_before(model, tmp_path, capsys):
    import torch

    before = torch.get_num_threads()
    source = captioned(tmp_path / "in", n_tars=2)
    embed(source, tmp_path / "a", model, progress=False)
    assert capsys.readouterr().err == ""
    embed(source, tmp_path / "b", model, progress=True)
    assert "embed: 100%" in capsys.readouterr().err
    assert torch.get_num_threads() == before


class Numbers:
    """An encoder that maps the image b'7' to the vector (1, 7), and b'0' to NaN."""

    def decode(self, data):
        if data == b"bad":
            raise ImageError("bad")
        return float(data)

    def prepare(self, picture):
        return picture

    def images(self, prepared):
        vectors = np.array([[1, x] for x in prepared], np.float32)
        return np.where(vectors[:, 1:] == 0, np.nan, vectors)

    def texts(self, texts):
        return np.array([[2, float(t)] for t in texts], np.float32)


def stream(n):
    from laion_dask.io.images.samples import Sample

    for i in range(n):
        data = b"bad" if i % 7 == 3 else b"%d" % i
        caption = str(i) if i % 2 else None
        yield Sample(str(i), image=data, caption=caption, reason="read" if i % 11 == 5 else None)


@pytest.mark.parametrize("n, batch_size, lanes", [(0, 4, 1), (1, 4, 2), (50, 4, 1), (50, 7, 3)])
def test_kernel_against_a_slow_loop(n, batch_size, lanes, monkeypatch):
    monkeypatch.setattr(kernel, "MAX_BATCH_BYTES", 9)
    seen = []
    result = kernel.embed_samples(
        stream(n),
        Numbers(),
        dim=2,
        batch_size=batch_size,
        texts=True,
        lanes=lanes,
        after_batch=seen.append,
    )
    bad = [i for i in range(n) if i % 7 == 3 or i % 11 == 5 or i == 0]
    good = [i for i in range(n) if i not in bad]
    assert [int(s.key) for s in result.kept] == good and sum(seen) == n
    assert [int(s.key) for s in result.rejected] == bad
    np.testing.assert_array_equal(result.images, np.array([[1, i] for i in good]).reshape(-1, 2))
    expected = [[2, i] if i % 2 else [np.nan] * 2 for i in good]
    np.testing.assert_array_equal(result.texts, np.array(expected, "f2").reshape(-1, 2))
    assert all(s.image is None for s in result.kept + result.rejected)


def test_stopped_by_the_caller_between_batches():
    class Stop(BaseException):
        pass

    def stop(n):
        raise Stop

    with pytest.raises(Stop):
        kernel.embed_samples(stream(50), Numbers(), dim=2, batch_size=4, after_batch=stop)


def test_the_work_pickles(model, head):
    folder = output_folder.EmbedFolder("out", 3, True)
    columns = [["key", "string"]]
    work = verb._Work(model, "bfloat16", (head,), None, columns, folder, 64, 1)
    assert pickle.loads(pickle.dumps(work)).heads == (head,)
