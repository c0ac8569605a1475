from pathlib import Path

from benchmarks.summary import RESULTS, rows, table

CHECKOUT = Path(__file__).parents[2]


def test_the_readme_has_the_table_of_the_files() -> None:
    assert table() in (CHECKOUT / "README.md").read_text("utf-8")


def test_every_row_names_a_script_that_is_there() -> None:
    scripts = {row.script for row in rows()}
    assert len(scripts) > 5
    assert all((RESULTS.parent / f"{script}.py").is_file() for script in scripts)
