"""Library code prints nothing: it returns or logs. Only the command prints."""

from __future__ import annotations

import ast

from support.paths import PACKAGE

#: Calls that print.
PRINTING = {
    *("print", "tqdm.write", "typer.echo", "click.echo", "pprint", "pprint.pprint"),
    *("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write", "sys.stderr.buffer.write"),
}


def test_library_code_prints_nothing():
    printing = []
    for path in sorted(PACKAGE.rglob("*.py")):
        where = path.relative_to(PACKAGE).as_posix()
        if where.startswith("cli/") or where == "__main__.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if called in PRINTING:
                printing.append(f"{where}:{node.lineno}")
    assert printing == []
