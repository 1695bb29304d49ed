"""`python -m bench` lists the benchmarks, `python -m bench NAME OPTION…` runs one.

A benchmark is a module of this package with a docstring, whose first line is the
question that it answers, and `main(arguments)`, which prints a table and may
write bench/results/NAME.json.
"""

from __future__ import annotations

import ast
import importlib
import sys
from pathlib import Path


def benchmarks() -> dict[str, str]:
    """The name of every benchmark, and its question. None is imported for it."""
    files = sorted(Path(__file__).parent.glob("[!_]*.py"))
    return {
        file.stem: (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "").partition("\n")[0]
        for file in files
    }


def main(arguments: list[str]) -> None:
    """List the benchmarks, or run the one that is named first."""
    known = benchmarks()
    if not arguments or arguments[0] not in known:
        print("usage: script/bench NAME [OPTION…]\n")
        for name, question in known.items():
            print(f"  {name:12} {question}")
        sys.exit(2 if arguments else 0)
    importlib.import_module(f"bench.{arguments[0]}").main(arguments[1:])


if __name__ == "__main__":
    main(sys.argv[1:])
