from typing import Literal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.errors import UserError
from pneumonia.params import Split
from pneumonia.split_table import EXCLUDED, SPLITS
from pneumonia.splitting.assign import assign, require_consistent
from pneumonia.splitting.units import tie_together


def fractions(
    val: float = 0.2, test: float = 0.25, seed: int = 0, validation: Literal["drawn", "first"] = "drawn"
) -> Split:
    return Split(official="auto", validation=validation, val_fraction=val, test_fraction=test, seed=seed)


def make_index(rows: list[dict[str, str]]) -> pd.DataFrame:
    """Of rows that give some columns; the other columns are unique to each row."""
    return pd.DataFrame(
        [
            {
                "file": f"{number:04d}.png",
                "label": "normal",
                "patient": f"patient{number}",
                "official_split": "",
                "group": "",
                "sha256": f"file{number}",
                "pixels_sha256": f"pixels{number}",
                "near_duplicate": f"set{number}",
                **row,
            }
            for number, row in enumerate(rows)
        ]
    )


def two_classes(normal: int = 40, pneumonia: int = 60) -> list[dict[str, str]]:
    return [{"label": "normal"}] * normal + [{"label": "pneumonia"}] * pneumonia


IMAGE = st.fixed_dictionaries(
    {
        "label": st.sampled_from(["normal", "pneumonia"]),
        "patient": st.integers(0, 40).map("p{}".format),
        "group": st.sampled_from(["", "bacterial", "viral"]),
        "sha256": st.integers(0, 400).map("f{}".format),
        "pixels_sha256": st.integers(0, 400).map("x{}".format),
        "near_duplicate": st.integers(0, 400).map("n{}".format),
        "official_split": st.just(""),
    }
)
PLENTY = two_classes(6, 6)  # so that every drawn index can be split
OFFICIAL = st.sampled_from(["train", "val", "test"])


@st.composite
def indices(draw, official=None):
    rows = draw(st.lists(IMAGE, max_size=40))
    if draw(st.booleans()) if official is None else official:
        rows = [row | {"official_split": draw(OFFICIAL)} for row in rows]
    return make_index(PLENTY + rows)


@settings(max_examples=60, deadline=None)
@given(indices(), st.integers(0, 5))
def test_no_patient_and_no_copy_in_two_splits(index, seed) -> None:
    split = assign(index, fractions(seed=seed)).split
    for column in ("patient", "sha256", "pixels_sha256", "near_duplicate"):
        used = index.assign(split=split)[split != EXCLUDED]
        assert used.groupby(column)["split"].nunique().max() == 1
    assert set(split) <= {*SPLITS, EXCLUDED}
    drawn = [name for name in SPLITS if name == "train" or name not in set(index["official_split"])]
    for name in drawn:
        assert set(index.loc[split == name, "label"]) == {"normal", "pneumonia"}


@settings(max_examples=60, deadline=None)
@given(indices(official=True))
def test_official_sets_are_kept_and_what_is_tied_to_them_is_left_out(index) -> None:
    split = assign(index, fractions()).split
    official = index["official_split"]
    unit = pd.Series(tie_together(index))
    tied_to_test = unit.isin(unit[official == "test"])
    tied_to_val = unit.isin(unit[official == "val"])
    if (official == "test").any():
        assert ((split == "test") == (official == "test")).all()
    if (official == "val").any():
        assert ((split == "val") == ((official == "val") & ~tied_to_test)).all()
    left_out = (tied_to_test & (official != "test")) | (tied_to_val & (official != "val") & ~tied_to_test)
    assert ((split == EXCLUDED) == left_out).all()


@settings(max_examples=20, deadline=None)
@given(indices(official=True))
def test_official_sets_count_for_nothing_when_they_shall_not(index) -> None:
    unofficial = index.assign(official_split="")
    pd.testing.assert_series_equal(
        assign(index, fractions(), official=False).split, assign(unofficial, fractions()).split
    )


@settings(max_examples=40, deadline=None)
@given(indices(), st.randoms(use_true_random=False))
def test_the_order_of_rows_has_no_influence(index, random) -> None:
    order = list(index.index)
    random.shuffle(order)
    shuffled = index.loc[order].reset_index(drop=True)
    one, other = assign(index, fractions()), assign(shuffled, fractions())
    assert other.split.index.equals(shuffled.index)
    by_file = dict(zip(shuffled["file"], other.split, strict=True))
    assert dict(zip(index["file"], one.split, strict=True)) == by_file
    assert one.stratified_by == other.stratified_by


@settings(max_examples=40, deadline=None)
@given(
    st.integers(3, 60), st.integers(3, 60), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 3)
)
def test_fractions_are_of_the_patients_of_each_class(normal, pneumonia, val, test, seed) -> None:
    index = make_index(two_classes(normal, pneumonia))
    split = assign(index, fractions(val, test, seed)).split
    for label, total in (("normal", normal), ("pneumonia", pneumonia)):
        counts = split[index["label"] == label].value_counts()
        wanted_test = min(max(1, round(test * total)), total - 2)
        assert counts["test"] == wanted_test
        assert counts["val"] == min(max(1, round(val * (total - wanted_test))), total - wanted_test - 1)
        assert counts["train"] >= 1


def test_fractions_count_patients_not_images() -> None:
    # Half of the patients have nine images each.
    rows = [
        {"patient": f"{label}{number}", "label": label}
        for label in ("normal", "pneumonia")
        for number in range(40)
        for _ in range(9 if number % 2 else 1)
    ]
    index = make_index(rows)
    split = assign(index, fractions(val=0.2, test=0.25)).split
    patients = index.assign(split=split).groupby("split")["patient"].nunique()
    assert patients.to_dict() == {"test": 20, "train": 48, "val": 12}


def test_groups_keep_their_proportion() -> None:
    rows = [{"label": "normal"}] * 20
    rows += [{"label": "pneumonia", "group": "bacterial"}] * 60 + [
        {"label": "pneumonia", "group": "viral"}
    ] * 20
    index = make_index(rows)
    for seed in range(5):
        assignment = assign(index, fractions(val=0.2, test=0.25, seed=seed))
        counts = index.assign(split=assignment.split).groupby(["split", "group"]).size()
        assert counts["test"].to_dict() == {"": 5, "bacterial": 15, "viral": 5}
        assert counts["val"].to_dict() == {"": 3, "bacterial": 9, "viral": 3}
        assert assignment.stratified_by == {"normal": "class and group", "pneumonia": "class and group"}


def test_a_group_too_small_to_be_split_falls_back_to_its_class() -> None:
    rows = [*two_classes(20, 20), {"label": "pneumonia", "group": "fungal"}]
    assignment = assign(make_index(rows), fractions())
    assert assignment.stratified_by == {"normal": "class and group", "pneumonia": "class"}


def test_the_seed_decides() -> None:
    index = make_index(two_classes())
    one, same, other = (assign(index, fractions(seed=seed)).split for seed in (1, 1, 2))
    pd.testing.assert_series_equal(one, same)
    assert (one != other).any()


def test_only_what_is_not_official_is_drawn() -> None:
    train = [row | {"official_split": "train"} for row in two_classes(30, 50)]
    val = [row | {"official_split": "val"} for row in two_classes(10, 10)]
    test = [row | {"official_split": "test"} for row in two_classes(5, 7)]
    for rows, others, counts in (
        (train + test, {"test": 0.9}, {"train": 64, "val": 16, "test": 12}),
        (train + val, {"val": 0.9}, {"train": 60, "val": 20, "test": 20}),
        (train + val + test, {"val": 0.9, "test": 0.9}, {"train": 80, "val": 20, "test": 12}),
    ):
        index = make_index(rows)
        split = assign(index, fractions(val=0.2, test=0.25)).split
        assert split.value_counts().to_dict() == counts
        # The fraction of what is official has nothing to say.
        pd.testing.assert_series_equal(
            split, assign(index, fractions(**{"val": 0.2, "test": 0.25} | others)).split
        )


def test_what_is_said_to_be_for_training_is_not_drawn_while_there_are_others() -> None:
    train = [row | {"official_split": "train"} for row in two_classes(30, 30)]
    others = two_classes(20, 20)
    tied = [{"patient": "both", "official_split": "train"}, {"patient": "both"}]
    for held_out in ([], [row | {"official_split": "test"} for row in two_classes(5, 5)]):
        index = make_index(train + others + tied + held_out)
        for seed in range(5):
            split = assign(index, fractions(val=0.2, test=0.25, seed=seed)).split
            assert set(split[:60]) == {"train"}
            assert set(split[100:102]) == {"train"}
            assert split[60:100].value_counts()["val"] == (8 if held_out else 6)
            assert (split == "test").sum() == 10


@pytest.mark.parametrize("held_out", [("test",), ("test", "val")])
def test_where_training_has_its_films_one_of_a_class_is_enough_for_a_set(held_out: tuple[str, ...]) -> None:
    given = [row | {"official_split": name} for name in ("train", *held_out) for row in two_classes(9, 9)]
    split = assign(make_index(given + two_classes(1, 1)), fractions()).split
    assert split[: len(given)].tolist() == [row["official_split"] for row in given]
    assert set(split[len(given) :]) == {"val" if len(held_out) == 1 else "train"}


def test_one_film_without_a_mark_in_a_split_that_is_given_is_for_training() -> None:
    given = [row | {"official_split": name} for name in SPLITS for row in two_classes(2, 2)]
    assert assign(make_index([*given, {"label": "normal"}]), fractions()).split.iloc[-1] == "train"


def test_too_few_beside_what_is_said_to_be_for_training_is_named() -> None:
    train = [row | {"official_split": "train"} for row in two_classes(30, 30)]
    with pytest.raises(UserError, match="class pneumonia outside the official training set: 1, where"):
        assign(make_index(train + two_classes(9, 1)), fractions())


def test_nothing_is_left_to_be_drawn_when_both_sets_are_official() -> None:
    rows = [row | {"official_split": name} for name in SPLITS for row in two_classes(1, 1)]
    assignment = assign(make_index(rows), fractions())
    assert list(assignment.split) == [row["official_split"] for row in rows]
    assert assignment.stratified_by == {"normal": "given", "pneumonia": "given"}


def test_a_split_of_the_owner_must_keep_patients_together() -> None:
    rows = [row | {"official_split": name} for name in SPLITS for row in two_classes(2, 2)]
    require_consistent(make_index([*rows, {"patient": "new"}]))
    torn = [{"patient": "a", "official_split": "train"}, {"patient": "a", "official_split": "test"}]
    with pytest.raises(UserError, match=r"has 1 patients in several of its parts, for example a; put all"):
        require_consistent(make_index(rows + torn))
    with pytest.raises(UserError, match=r"none of the class pneumonia in val; add some, or set"):
        require_consistent(make_index(rows[:4] + rows[8:] + [{"official_split": "val"}]))


def test_whatever_is_tied_to_an_official_test_image_is_in_no_split() -> None:
    rows = [row | {"official_split": "train"} for row in two_classes(10, 10)]
    first = len(rows)
    rows += [
        {"official_split": "test", "patient": "a", "pixels_sha256": "same"},
        {"official_split": "train", "patient": "b", "pixels_sha256": "same"},  # a copy of it
        {"official_split": "train", "patient": "b"},  # the same patient, then
        {"official_split": "val", "patient": "a"},
        {"official_split": "test", "patient": "c", "sha256": "twice"},
        {"official_split": "test", "patient": "d", "sha256": "twice"},  # within the test set: not ours
    ]
    split = assign(make_index(rows), fractions()).split
    assert split.tolist()[first:] == ["test", EXCLUDED, EXCLUDED, EXCLUDED, "test", "test"]
    assert EXCLUDED not in split.tolist()[:first]


def test_a_patient_of_both_classes_counts_as_pneumonia() -> None:
    rows = [
        *two_classes(5, 2),
        {"patient": "both", "label": "normal", "group": "z"},
        {"patient": "both", "label": "normal", "group": "z"},
        {"patient": "both", "label": "pneumonia"},
    ]
    split = assign(make_index(rows), fractions(val=0.01, test=0.01)).split
    # Three pneumonia units, one for each split, the mixed patient being one of them.
    assert sorted(split[5:8]) == sorted(SPLITS)
    assert split[7] == split[8] == split[9]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (two_classes(0, 9), "class normal: 0, where"),
        (two_classes(9, 2), "class pneumonia: 2, where"),
        (
            [{"patient": "one", "label": "pneumonia"}] * 9 + two_classes(9, 0),
            "class pneumonia: 1, where",
        ),
        (
            two_classes(9, 1) + [{"label": "pneumonia", "official_split": "test"}] * 9,
            "class pneumonia outside the official test set: 1, where splitting needs at least 2",
        ),
        ([{"label": "normal", "official_split": "test"}], "class normal outside the official test set: 0"),
    ],
)
def test_a_class_too_small_for_three_splits_is_named(rows, message) -> None:
    with pytest.raises(UserError, match=message):
        assign(make_index(rows), fractions())


SHARED = {"patient": "ANONYMOUS"}
PLACEHOLDER = (
    "if that patient's ID is a placeholder that an anonymiser wrote into every file, give the patients in a "
    "column `patient` of labels.csv or of the table at source.labels"
)


@pytest.mark.parametrize(
    ("rows", "label", "count", "remedy"),
    [
        (
            [row | SHARED for row in two_classes(50, 50)],
            "normal",
            0,
            "50 of its 50 images are of one patient, which has images of both classes and so counts as "
            f"pneumonia; {PLACEHOLDER}, else add images of other patients of that class.",
        ),
        (
            two_classes(9, 1) + [{"label": "pneumonia"} | SHARED] * 1200,
            "pneumonia",
            2,
            f"1,200 of its 1,201 images are of one patient; {PLACEHOLDER}, else add images of other patients "
            "of that class.",
        ),
        (
            two_classes(9, 1) + [{"label": "pneumonia"} | SHARED] * 2,
            "pneumonia",
            2,
            "add images of other patients of that class.",
        ),
        (two_classes(9, 0), "pneumonia", 0, "add images of other patients of that class."),
    ],
)
def test_an_id_that_an_anonymiser_wrote_into_every_file_is_suspected(rows, label, count, remedy) -> None:
    with pytest.raises(UserError) as caught:
        assign(make_index(rows), fractions())
    assert str(caught.value) == (
        f"Too few patients of the class {label}: {count}, where splitting needs at least 3, one for each "
        f"split to be made; {remedy}"
    )


@pytest.mark.parametrize(("images", "suspected"), [(2, False), (3, True)])
def test_such_an_id_is_suspected_in_a_split_of_the_owner_too(images: int, suspected: bool) -> None:
    others = [row | {"official_split": name} for name in ("train", "test") for row in two_classes(1, 1)]
    shared = [SHARED | {"official_split": name} for name in ("train", "test") for _ in range(images)]
    with pytest.raises(UserError, match="has 1 patients in several of its parts") as caught:
        require_consistent(make_index(others + shared[:-1]))
    said = f" One patient has {2 * images - 1} of the {2 * images + 3} images; {PLACEHOLDER}."
    assert str(caught.value).endswith(said) == suspected


def test_a_file_that_is_listed_twice_is_refused() -> None:
    index = make_index(two_classes())
    with pytest.raises(ValueError, match="twice"):
        assign(pd.concat([index, index], ignore_index=True), fractions())
