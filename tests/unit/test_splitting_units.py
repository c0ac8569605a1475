import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumonia.splitting.units import tie_together

KEYS = ("patient", "sha256", "pixels_sha256", "near_duplicate")


def table(rows) -> pd.DataFrame:
    return pd.DataFrame(map(list, rows), columns=list(KEYS), dtype=str)


def test_ties_reach_through_others() -> None:
    rows = [
        ("a", "f0", "x0", "n0"),
        ("b", "f1", "x1", "n1"),
        ("c", "f1", "x2", "n2"),  # the same file as b
        ("d", "f3", "x2", "n3"),  # the same pixels as c
        ("d", "f4", "x4", "n4"),
        ("e", "f0x", "x5", "n5"),
        ("f", "f6", "x6", "n4"),  # looks like an image of d
    ]
    assert tie_together(table(rows)).tolist() == [0, 1, 1, 1, 1, 2, 1]


def test_equal_words_in_different_columns_do_not_tie() -> None:
    assert tie_together(table(["1234", "2341", "3412"])).tolist() == [0, 1, 2]


def test_no_images_no_units() -> None:
    assert tie_together(table([])).tolist() == []


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 12).map(str)] * 4), max_size=25))
def test_equal_to_merging_until_nothing_changes(rows) -> None:
    expected = np.arange(len(rows))
    changed = True
    while changed:
        changed = False
        for i, one in enumerate(rows):
            for j, other in enumerate(rows):
                if expected[i] > expected[j] and any(map(str.__eq__, one, other)):
                    expected[i] = expected[j]
                    changed = True
    names = list(dict.fromkeys(expected.tolist()))
    assert tie_together(table(rows)).tolist() == [names.index(unit) for unit in expected.tolist()]
