"""What a CPU multiplies is asked in one file for each dtype, and the answer is torch's own."""

from __future__ import annotations

import ast
import os
import platform
import subprocess
import sys

import pytest
from support.source_code import FILES, tree, where

from laion_dask.numerics.bfloat16 import onednn_has_bfloat16

torch = pytest.importorskip("torch")

PROGRAM = """
from laion_dask.numerics.bfloat16 import onednn_has_bfloat16
from laion_dask.numerics.int8 import multiplies_int8
print(onednn_has_bfloat16(), multiplies_int8())
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
def test_onednn_is_asked_as_torch_asks_it():
    assert onednn_has_bfloat16() == torch.ops.mkldnn._is_mkldnn_bf16_supported()


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() != "x86_64", reason="instructions of x86")
def test_onednn_limited_to_fewer_instructions():
    """oneDNN reads its limit once, when it is loaded."""
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX2"}
    program = [sys.executable, "-c", PROGRAM]
    result = subprocess.run(program, env=env, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False False"


def test_what_a_cpu_multiplies_is_asked_in_one_file_for_each_dtype():
    names = {"get_capabilities", "_is_mkldnn_bf16_supported", "is_bf16_supported"}
    found = {
        where(path)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in names
    }
    assert found == {"numerics/bfloat16.py", "numerics/int8.py"}
