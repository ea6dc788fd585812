"""Library code prints nothing: it returns or logs. Only the command and scripts print."""

from __future__ import annotations

import ast

from support.paths import PACKAGE

#: The command, the hit list that it prints for ``--out -``, and two scripts for building the demo's
#: model that are run by hand.
PRINTERS = ("cli/", "reports/hit_list.py", "demo/evaluate.py", "demo/train.py")


def test_library_code_prints_nothing():
    printing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith(PRINTERS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in ("print", "tqdm.write", "sys.stdout.write", "sys.stderr.write"):
                printing.append(f"{where}:{node.lineno}")
    assert printing == []
