"""What import-linter's contracts cannot say: see [tool.importlinter] in pyproject.toml."""

from __future__ import annotations

import grimp

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
