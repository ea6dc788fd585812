"""Collections are paused in the context, and resumed if they were on before."""

import gc

import pytest

from laion_dask.runtime import garbage_collection


def test_collections_resume():
    with garbage_collection.paused():
        assert not gc.isenabled()
        with garbage_collection.paused():
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()


def test_collections_resume_after_an_error():
    with pytest.raises(KeyError), garbage_collection.paused():
        raise KeyError
    assert gc.isenabled()


def test_collections_that_are_off_stay_off():
    gc.disable()
    try:
        with garbage_collection.paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
