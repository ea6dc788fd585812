"""The user's cache folder."""

import os
import tempfile
from pathlib import Path

import pytest

from laion_dask.io.storage.user_cache import user_cache


def test_it_is_in_the_folder_of_caches_or_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache("explorer") == tmp_path / "home" / ".cache" / "laion_dask" / "explorer"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert user_cache("explorer") == tmp_path / "cache" / "laion_dask" / "explorer"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="users without numbers")
def test_without_a_home_it_is_a_temporary_folder_that_only_the_user_can_read(monkeypatch, tmp_path):
    def no_home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = user_cache("tags").parent
    assert folder == user_cache("explorer").parent == tmp_path / f"laion_dask-{os.getuid()}"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    private = user_cache("tags").parent
    assert folder != private == user_cache("explorer").parent
    assert private.stat().st_mode & 0o777 == 0o700
