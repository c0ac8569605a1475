"""The leaderboard: its table, its figure, and that the committed one is what the committed results make."""

import shutil
from pathlib import Path

import pytest
from results_examples import made_up, make_checkout

from pneumonia import leaderboard
from pneumonia.errors import UserError
from pneumonia.recipes import recipe_names, recipe_params
from pneumonia.results.figure import figure
from pneumonia.results.matching import parameters_that_matter
from pneumonia.results.page import page
from pneumonia.results.record import Result, write_result
from pneumonia.results.reported import Figures, Reported, read_reported
from pneumonia.sources.kermany import SHA256

ROOT = Path(__file__).parents[2]
ENTRIES = {
    "b": Reported(
        setup="a net",
        figures=[
            Figures(accuracy=0.9, f1=0.95, chosen="best epoch"),
            Figures(accuracy=0.8, chosen="one run"),
        ],
        differs="the rate is ours",
    ),
    "a": Reported(setup="another", figures=[]),
    "c": Reported(setup="a third", figures=[], needs="a GPU"),
    "d": Reported(setup="a fourth", figures=[]),
}
RESULTS: dict[str, list[Result]] = {
    "a": [made_up("a", 0, 0.75, 0.875)],
    "b": [made_up("b", 0, 0.8, 0.9), made_up("b", 1, 0.9, 0.9)],
    "c": [],
}

GOLDEN = """
| recipe | seeds | test accuracy | test AUROC | sensitivity | specificity | validation accuracy | validation AUROC | reported |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
| `b` | 2 | 0.850 ± 0.071 (0.830 to 0.870) | 0.900 ± 0.000 | 0.990 ± 0.000 | 0.500 ± 0.000 | 0.950 ± 0.000 (0.930 to 0.970) | 0.990 ± 0.000 | accuracy 0.900, F1 0.950 (best epoch); accuracy 0.800 (one run) |
| `a` | 1 | 0.750 (0.730 to 0.770) | 0.875 | 0.990 | 0.500 | 0.950 (0.930 to 0.970) | 0.990 | no figure |
"""  # noqa: E501

NOTES = """
- `b`: a net. Differs: the rate is ours.
- `a`: another.
"""

NOT_RUN = """
| recipe | set-up | reported | why |
| --- | --- | --- | --- |
| `c` | a third | no figure | needs a GPU |
| `d` | a fourth | no figure | not run yet |
"""

COMMANDS = """
```
make recipes RECIPES="b" SEEDS="0 1" SET="-S threads=2 -S precision=bf16"
make recipes RECIPES="a" SEEDS="0" SET="-S threads=2 -S precision=bf16"
make leaderboard
```
"""


def test_the_page() -> None:
    text = page(ENTRIES, RESULTS)
    for part in (GOLDEN, NOTES, NOT_RUN, COMMANDS):
        assert part in text
    assert "- `b`, `a`: cpu, bf16, 2 threads; Some CPU (2 cores), Linux x86_64; torch 2.13.\n" in text


def test_a_gpu_is_named_where_it_was_used() -> None:
    one = made_up("a", 0, 0.75, 0.875)
    machine = one.collected_on.model_copy(update={"gpu": "Some GPU"})
    for device, expected in (("cpu", "2 threads; Some CPU"), ("gpu", "2 threads; Some GPU, Some CPU")):
        training = one.training.model_copy(update={"device": device})
        result = one.model_copy(update={"collected_on": machine, "training": training})
        assert expected in page(ENTRIES, {"a": [result]})


@pytest.mark.parametrize(
    ("source", "digest", "expected"),
    [
        ("kermany", SHA256, f"- `a`: the archive with the SHA-256 {SHA256}, as published.\n"),
        ("kermany", "12ab", "- `a`: the archive with the SHA-256 12ab, not the file as published.\n"),
        ("folder", "12ab", "- `a`: the archive with the SHA-256 12ab.\n"),
        ("kermany", None, "- `a`: from which archive is not known.\n"),
    ],
)
def test_it_says_which_archive_was_read(source: str, digest: str | None, expected: str) -> None:
    one = made_up("a", 0, 0.75, 0.875)
    parameters = one.parameters | {"source": {"name": source}}
    result = one.model_copy(update={"archive_sha256": digest, "parameters": parameters})
    assert expected in page(ENTRIES, {"a": [result]})


def test_the_page_without_results() -> None:
    text = page(ENTRIES, {})
    assert "not run yet" in text
    assert "leaderboard.png" not in text


def test_the_figure_is_a_picture_and_the_same_each_time() -> None:
    first = figure(ENTRIES, RESULTS)
    assert first.startswith(b"\x89PNG")
    assert figure(ENTRIES, RESULTS) == first
    assert figure(ENTRIES, {**RESULTS, "a": [made_up("a", 0, 0.5, 0.875)]}) != first


def test_the_committed_page_and_figure_are_what_the_committed_results_make() -> None:
    entries, results = leaderboard.kept_results(ROOT)
    assert (ROOT / leaderboard.PAGE).read_text("utf-8") == page(entries, results)
    assert (ROOT / leaderboard.FIGURE).is_file() == any(results.values())


def test_every_recipe_has_an_entry_and_the_file_is_no_recipe() -> None:
    assert set(read_reported(ROOT)) == set(recipe_names(ROOT)) - {"plain"}
    assert "reported" not in recipe_names(ROOT)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("singh-baseline:", "singh-basis:", "has no entry for the recipe singh-baseline; add or remove it."),
        ("accuracy: 0.83,", "accuracy: 83,", "singh-baseline.figures.0.accuracy: Input should be less than"),
        ("accuracy: 0.83,", "accurracy: 0.83,", "singh-baseline.figures.0.accurracy: Extra inputs"),
        (
            "\n# needs",
            "\nold: {setup: a, figures: []}\n# needs",
            "has an entry for a recipe that is not there, old",
        ),
    ],
)
def test_a_mistake_in_the_table_is_one_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    root = make_checkout(tmp_path)
    path = root / "recipes/reported.yaml"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    with pytest.raises(UserError, match=r"recipes/reported\.yaml") as caught:
        read_reported(root)
    assert sentence in str(caught.value)


def test_it_is_made_without_git_too(tmp_path: Path) -> None:
    root = make_checkout(tmp_path)
    shutil.rmtree(root / ".git")
    assert leaderboard.main(root) == 0
    assert (root / leaderboard.PAGE).is_file()


def test_a_result_of_other_parameters_is_not_shown(tmp_path: Path) -> None:
    root = make_checkout(tmp_path)
    write_result(root, made_up("singh-baseline", 0, 0.8, 0.9))  # those of plain.yaml, which are the same
    assert leaderboard.main(root) == 0
    assert "`singh-baseline` | 1 |" in (root / "docs/leaderboard.md").read_text("utf-8")
    write_result(root, made_up("singh-augmented", 0, 0.8, 0.9))
    with pytest.raises(
        UserError, match=r"singh-augmented/seed-0.json was made with other par.*: weight_decay is 0"
    ):
        leaderboard.main(root)


def test_what_params_yaml_says_otherwise_makes_no_result_anothers(tmp_path: Path) -> None:
    root = make_checkout(tmp_path)
    parameters = parameters_that_matter(recipe_params("singh-baseline", root))
    result = made_up("singh-baseline", 0, 0.8, 0.9).model_copy(update={"parameters": parameters})
    write_result(root, result)
    params = root / "params.yaml"
    text = params.read_text("utf-8")
    for old, new in [
        ("phantom_images: 900", "phantom_images: 96"),
        ("pneumoniamnist_size: 224", "pneumoniamnist_size: 64"),
        ("val_fraction: 0.15", "val_fraction: 0.2"),
        ("frontal_only: true", "frontal_only: false"),
        ("\n  seed: 0\n\nevaluate", "\n  seed: 1\n\nevaluate"),
        ("lr: 2e-3", "lr: 1e-3"),
    ]:
        assert old in text
        params.write_text(text.replace(old, new), "utf-8")
        assert leaderboard.main(root) == 0
