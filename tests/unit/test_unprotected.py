"""The table of tests/unprotected.py is true of the code as it is; its long run is by hand."""

import ast
from pathlib import Path

import pytest

from tests.unprotected import CHECKOUT, PROTECTIONS, Protection, without

ROWS = [row for rows in PROTECTIONS.values() for row in rows]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_protection_and_its_test_are_there(row: Protection) -> None:
    assert (CHECKOUT / row.file).read_text(encoding="utf-8").count(row.old) == 1
    assert row.old != row.new
    file, _, name = row.test.partition("::")
    tree = ast.parse((CHECKOUT / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_a_protection_is_away_for_as_long_as_the_block(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("a = 1\nb = 2\n", encoding="utf-8")
    with without(Protection("", "code.py", "a = 1\n", "", ""), tmp_path):
        assert (tmp_path / "code.py").read_text(encoding="utf-8") == "b = 2\n"
    assert (tmp_path / "code.py").read_text(encoding="utf-8") == "a = 1\nb = 2\n"
