"""Projections in the user's cache folder."""

from __future__ import annotations

import os

import numpy as np
import pytest
from support.shards import npy, vectors

import laion_dask as ld
from laion_dask.io.storage.user_cache import user_cache
from laion_dask.projections import stored
from laion_dask.projections.stored import keep, path_of, stored_projection


@pytest.fixture
def emb(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    paths = [npy(tmp_path / "e" / f"{i}.npy", vectors(50, seed=i)) for i in range(3)]
    return ld.open_embeddings(paths, model=ld.EmbeddingSpace("small"))


def no_fit(*args, **kwargs):
    raise AssertionError("fitted again")


def test_a_projection_is_fitted_once(emb, monkeypatch):
    first = stored_projection(emb)
    assert first == ld.fit_projection(emb)
    assert len(list(user_cache("projections").iterdir())) == 2
    reordered = ld.Embeddings(emb.files[::-1], emb.model)
    with monkeypatch.context() as patch:
        patch.setattr(stored, "fit_projection", no_fit)
        assert stored_projection(emb) == first
        assert stored_projection(reordered) == first
        for options in ({"n": 20}, {"seed": 1}):
            with pytest.raises(AssertionError, match="fitted again"):
                stored_projection(emb, **options)
        other = ld.Embeddings(emb.files, ld.EmbeddingSpace("other", 8))
        with pytest.raises(AssertionError, match="fitted again"):
            stored_projection(other)
    assert ld.open_projection(path_of(first.digest)) == first == ld.open_projection(keep(first))


def test_a_changed_file_of_embeddings_is_fitted_again(emb):
    first = stored_projection(emb)
    path = emb.files[1].path
    np.save(path, vectors(50, seed=9))
    os.utime(path, (1, 1))
    assert stored_projection(emb) != first


def test_damaged_files_are_written_again(emb):
    first = stored_projection(emb)
    for content in (b"", b"x" * 999, b"sha256:../../etc/passwd"):
        for file in user_cache("projections").iterdir():
            file.write_bytes(content)
        assert stored_projection(emb) == first
    link, file = sorted(user_cache("projections").iterdir(), key=lambda path: path.suffix)
    assert stored_projection(emb) == first and ld.open_projection(file) == first
    other = stored_projection(emb, seed=2, n=20)
    file.write_bytes(path_of(other.digest).read_bytes())  # a valid file under another name
    assert stored_projection(emb) == first and link.exists()


def test_without_a_folder_that_can_be_written(emb, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert stored_projection(emb) == ld.fit_projection(emb)
