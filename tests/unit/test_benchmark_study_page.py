from benchmarks import study_page


def test_the_committed_page_is_what_the_committed_results_make() -> None:
    assert study_page.PAGE.read_text("utf-8") == study_page.page_of_the_files()


def test_the_worst_change_is_named_by_balanced_accuracy() -> None:
    def found(auroc: float, balanced: float) -> dict[str, float]:
        return {"auroc": auroc, "balanced_accuracy": balanced, "sensitivity": 0.9, "specificity": 0.8}

    of = {
        study_page.AS_THEY_ARE: found(0.99, 0.95),
        study_page.CHANGED: found(0.97, 0.85),
        "changed": {"grainy": found(0.95, 0.9), "darker": found(0.99, 0.8)},
    }
    row = study_page.variants_table({"plain": of}).splitlines()[-1]
    assert row == "| plain | 0.990 | 0.970 | 0.900 | 0.800 | darker, 0.80 |"
