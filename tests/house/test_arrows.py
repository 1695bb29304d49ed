"""What import-linter's contracts cannot say: see [tool.importlinter] in pyproject.toml."""

from __future__ import annotations

import ast

import grimp

from panel.config import ROOT

FACES = {"routes", "forms", "cli"}


def test_a_feature_never_imports_the_routes_forms_or_commands_of_another() -> None:
    graph = grimp.build_graph("panel", exclude_type_checking_imports=True)
    faces = {name for name in graph.modules if FACES & set(name.split(".")[2:3])}
    assert {"panel.encryption.routes", "panel.encryption.cli.commands"} <= faces
    wrong = [
        f"{importer} → {face}"
        for face in sorted(faces)
        for importer in graph.find_modules_that_directly_import(face)
        if importer != "panel" and importer.split(".")[1] != face.split(".")[1]
    ]
    assert wrong == []


OPENS = {  # what opens a record, and who may call it
    "record.unseal": {"panel/crypto/keyring.py"},
    "keyring.unseal": {"panel/vault/credential.py", "panel/vault/sweep.py"},
    "credential.unseal": {"panel/vault/verification.py"},
    "credential.unseal_record": {"panel/vault/forget.py", "panel/vault/foreign.py", "panel/vault/sweep.py"},
}


def test_a_record_is_opened_where_the_guide_says_and_nowhere_else() -> None:
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "panel").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr.startswith("unseal"):
                found.setdefault(ast.unparse(node), set()).add(str(path.relative_to(ROOT)))
    assert {name: files for name, files in found.items() if name != "age.unseal"} == OPENS
