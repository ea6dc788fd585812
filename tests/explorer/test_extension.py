"""What a notebook's page is given to run Bokeh and Panel; `tests/browser` runs it."""

from __future__ import annotations

import base64
import gzip
import json
import re
from types import SimpleNamespace

import IPython
import pytest
from IPython.core.interactiveshell import InteractiveShell

import laion_dask as ld
from laion_dask import extras
from laion_dask.explorer import extension


def test_outside_of_a_notebook_it_does_nothing(capfd):
    assert ld.notebook() is None
    assert capfd.readouterr() == ("", "")


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(extras, "is_installed", lambda module: module != "panel")
    with pytest.raises(ld.LaionDaskError, match=r"panel.*extra 'explore'.*pip install"):
        ld.notebook()


def test_scripts_are_published_once_a_cell(monkeypatch):
    published = []
    shell = SimpleNamespace(kernel=None, execution_count=1)
    monkeypatch.setattr(extension, "notebook_shell", lambda: shell)
    monkeypatch.setattr(extension, "_page_script", lambda: "scripts")
    monkeypatch.setattr(extension, "_published_by", [])
    monkeypatch.setattr(IPython.display, "publish_display_data", published.append)
    extension.load_in_page()
    extension.load_in_page()
    assert published == [{"application/javascript": "scripts"}]
    shell.execution_count = 2
    extension.load_in_page()
    assert len(published) == 2


def test_scripts_have_no_address_that_a_page_would_load():
    InteractiveShell.instance()  # captures what Panel publishes
    script = extension._page_script()
    packed = json.loads(re.search(r'const packed = ("[^"]*")', script)[1])
    unpacked = gzip.decompress(base64.b64decode(packed)).decode()
    for list_ in ("js_urls", "js_modules", "css_urls"):
        assert f"const {list_} = [];" in unpacked
    assert "const js_exports = {};" in unpacked
    assert unpacked.index("PyViz.comm_manager =") < unpacked.index("const inline_js")
    for library in ("BEGIN bokeh.min.js", "BEGIN panel.min.js", "Tabulator v", "importShim"):
        assert library in unpacked
    assert len(script) < 1_500_000
