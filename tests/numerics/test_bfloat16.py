"""Which CPUs multiply bfloat16 is asked in one file, and the answer is torch's own."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest
from support.source_code import FILES, tree, where

torch = pytest.importorskip("torch")

PROGRAM = """
import torch
from laion_dask.numerics.bfloat16 import onednn_has_bfloat16
print(onednn_has_bfloat16(), torch.ops.mkldnn._is_mkldnn_bf16_supported())
"""


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch without oneDNN")
@pytest.mark.parametrize("instructions", ["DEFAULT", "AVX2"])
def test_onednn_is_asked_as_torch_asks_it(instructions):
    env = {**os.environ, "ONEDNN_MAX_CPU_ISA": instructions}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=True
    )
    ours, theirs = result.stdout.split()
    assert ours == theirs


def test_bfloat16_is_detected_in_one_file():
    names = {"get_capabilities", "_is_mkldnn_bf16_supported", "is_bf16_supported"}
    found = {
        where(path)
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in names
    }
    assert found == {"numerics/bfloat16.py"}
