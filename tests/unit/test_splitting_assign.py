import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.errors import UserError
from pneumonia.params import Split
from pneumonia.split_table import EXCLUDED, SPLITS
from pneumonia.splitting.assign import assign


def fractions(val: float = 0.2, test: float = 0.25, seed: int = 0) -> Split:
    return Split(val_fraction=val, test_fraction=test, seed=seed)


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
    for name in ("train", "val"):
        assert set(index.loc[split == name, "label"]) == {"normal", "pneumonia"}


@settings(max_examples=60, deadline=None)
@given(indices(official=True))
def test_the_official_test_set_is_the_test_set(index) -> None:
    split = assign(index, fractions()).split
    official = index["official_split"] == "test"
    if official.any():
        assert ((split == "test") == official).all()
    # Nothing is thrown away but what is tied to an official test image.
    assert EXCLUDED not in set(split) or official.any()


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


def test_official_train_and_val_are_pooled() -> None:
    rows = [row | {"official_split": "train"} for row in two_classes(30, 30)]
    rows += [row | {"official_split": "val"} for row in two_classes(10, 10)]
    rows += [row | {"official_split": "test"} for row in two_classes(5, 7)]
    index = make_index(rows)
    split = assign(index, fractions(val=0.2)).split
    assert split.value_counts().to_dict() == {"train": 64, "val": 16, "test": 12}
    assert {"train", "val"} == set(split[index["official_split"] == "train"])
    # test_fraction has nothing to say here.
    pd.testing.assert_series_equal(split, assign(index, fractions(val=0.2, test=0.9)).split)


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
            two_classes(9, 2) + [{"label": "pneumonia", "official_split": "test"}] * 9,
            "class pneumonia outside the official test set: 2",
        ),
        ([{"label": "normal", "official_split": "test"}], "class normal outside the official test set: 0"),
    ],
)
def test_a_class_too_small_for_three_splits_is_named(rows, message) -> None:
    with pytest.raises(UserError, match=message):
        assign(make_index(rows), fractions())


def test_a_file_that_is_listed_twice_is_refused() -> None:
    index = make_index(two_classes())
    with pytest.raises(ValueError, match="twice"):
        assign(pd.concat([index, index], ignore_index=True), fractions())
