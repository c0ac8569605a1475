"""A few hundred of the cases of `python -m tests.fuzz`, in the process that it uses."""

import os
from collections import Counter

import pytest

from pneumonia.imaging import isolation

if os.name != "posix":
    pytest.skip("limits of memory are POSIX's", allow_module_level=True)

from tests.fuzz import is_fault, kinds, outcomes, use_limits


def test_damage_of_every_kind_ends_as_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_PROGRAM", isolation._PROGRAM)  # put back afterwards
    use_limits()
    tables = [kind for kind in kinds() if kind.startswith(("csv", "zip"))]
    images = [kind for kind in kinds() if kind not in tables]
    counts = Counter([*outcomes(range(50), tables), *outcomes(range(4), images)])
    assert counts.total() == 50 * 5 + 4 * len(images) + 2
    assert [case for case in counts if is_fault(case[1])] == []
    for kind in tables:
        good = sum(number for (name, end), number in counts.items() if name == kind and end != "a sentence")
        assert 0 < good < 50, kind


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ("picture", False),
        ("a sentence", False),
        ("not_an_image", False),
        ("peak memory 98 MiB", False),
        ("peak memory 9800 MiB, TOO MUCH", True),
        ("HANGS at 3", True),
        ("CRASHES at 3", True),
        ("KEYERROR at 3: 'file'", True),
        ("wants more than 4294967296 bytes at 3", True),
    ],
)
def test_what_counts_as_a_fault(result: str, fault: bool) -> None:
    assert is_fault(result) == fault
