"""Tracebacks of package errors in notebooks: the message, then only the user's own lines."""

from __future__ import annotations

import os
import subprocess
import sys

import dask
import pytest

import laion_dask as ld
from laion_dask import notebook_traceback
from laion_dask.errors import LaionDaskError, PredicateError
from laion_dask.runtime import graph


def call_that_raises(frame):
    return frame.laion.where("widht > 3 and (")


def test_the_message_comes_first_and_the_frames_are_the_users(laion_shards):
    frame = ld.read_shards(laion_shards(5))
    with pytest.raises(PredicateError) as raised:
        call_that_raises(frame)
    lines = raised.value._render_traceback_()
    assert lines[0].startswith("PredicateError: where='widht > 3 and ('")
    text = "\n".join(lines)
    assert 'frame.laion.where("widht > 3 and (")' in text and "call_that_raises(frame)" in text
    assert "parser.py" not in text and "accessor.py" not in text and len(lines) < 12


def test_a_message_steers_no_page():
    with pytest.raises(LaionDaskError) as raised:
        raise LaionDaskError("\x1b[31mred")
    assert raised.value._render_traceback_()[0] == "LaionDaskError: \\u001b[31mred"


def test_an_error_that_was_never_raised_has_no_frames():
    assert notebook_traceback.render(LaionDaskError("no"))[0] == "LaionDaskError: no"


def test_an_interrupt_is_shown_as_the_users_lines():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), dask.config.set(scheduler="sync"):
        try:
            graph.compute(dask.delayed(interrupt)(), label="work")
        except KeyboardInterrupt as error:
            lines = error._render_traceback_()
            raise
    assert lines[0] == "KeyboardInterrupt" and "graph.compute(" in "\n".join(lines)
    assert not any("site-packages" in line or "in interrupt" in line for line in lines)
    assert len(lines) < 8


CELLS = '''
import warnings
warnings.simplefilter("ignore")  # of IPython, which is not a terminal's here
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance(colors="nocolor")
shell.run_cell("from laion_dask.errors import OptionError, must_be")
shell.run_cell("must_be('k', 'many', int, 'a number')")
shell.run_cell("1 / 0")
shell.run_cell("""
import dask
from laion_dask.runtime import graph
def interrupt():
    raise KeyboardInterrupt
with dask.config.set(scheduler="sync"):
    graph.compute(dask.delayed(interrupt)(), label="work")
""")
shell.run_cell("%xmode Verbose")
shell.run_cell("must_be('k', 'few', int, 'a number')")
'''


def test_ipython_shows_it(tmp_path):
    pytest.importorskip("IPython")
    completed = subprocess.run(
        [sys.executable, "-c", CELLS],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "IPYTHONDIR": str(tmp_path)},
    )
    short, rest = completed.stdout.split("ZeroDivisionError", 1)
    assert short.startswith("OptionError: k is 'many'. Expected a number.")
    assert "errors.py" not in short and "must_be('k', 'many', int, 'a number')" in short
    interrupt, rest = rest.split("KeyboardInterrupt\n", 1)[1].split("(%xmode", 1)
    assert 'graph.compute(dask.delayed(interrupt)(), label="work")' in interrupt
    assert "graph.py" not in interrupt and "threading.py" not in interrupt
    assert "errors.py" in rest and "OptionError: k is 'few'" in rest
