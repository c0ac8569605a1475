"""The check of licences, and what is installed here."""

from email.message import Message
from types import SimpleNamespace
from typing import Any

import pytest

from tests import licences
from tests.licences import EXCEPTIONS, is_agreed, is_allowed, locked, main, statement


def package(name: str = "numpy", **fields: str | list[str]) -> Any:
    """An installed package with this metadata."""
    metadata = Message()
    for field, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            metadata.add_header(field.replace("_", "-"), one)
    return SimpleNamespace(name=name, metadata=metadata)


def test_every_installed_package_has_a_licence_that_we_agree_to(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    counts = [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()]
    assert sum(counts) > 100


def test_a_package_under_the_gpl_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        package("NumPy", License="MIT"),
        package("SciPy", License="GPLv3"),
        package("ours", License="GPLv3"),
    ]
    monkeypatch.setattr(licences, "distributions", lambda: found)
    with pytest.raises(SystemExit, match=r"error: licences that nobody has agreed to.*\nscipy: GPLv3$"):
        main()


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("GPL-3.0-only", False),
        ("", False),
        ("MIT AND GPL-3.0-only", False),
        ("MIT OR GPL-3.0-only", True),
        ("GPL-3.0-only OR MIT", True),
        ("GPL-3.0-only OR MIT AND AGPL-3.0-only", False),
        ("(GPL-3.0-only OR MIT) AND ISC", True),
        ("(GPL-3.0-only OR MIT) AND LGPL-3.0-only", False),
        ("ISC AND (GPL-3.0-only OR (MIT AND Zlib))", True),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
    ],
)
def test_expressions(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) == allowed


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (package(License_Expression="MIT OR X", License="BSD"), "MIT OR X"),
        (package(License="Apache 2.0"), "Apache-2.0"),
        (package(License="Text\nof many lines", Classifier="License :: OSI Approved :: MIT License"), "MIT"),
        (package(Classifier=["License :: OSI Approved", "Topic :: Software"]), ""),
        (
            package(Classifier=[f"License :: OSI Approved :: {name}" for name in ("MIT License", "GPLv3")]),
            "MIT AND GPLv3",
        ),
    ],
)
def test_what_a_package_says(found: Any, says: str) -> None:
    assert statement(found) == says


def test_an_exception_is_for_one_package_and_one_licence() -> None:
    for name, (says, reason) in EXCEPTIONS.items():
        assert is_agreed(name, says)
        assert not is_agreed(name, f"{says}-or-another")
        assert not is_agreed("another", says)
        assert not is_allowed(says), "no exception is needed"
        assert name in locked()
        assert reason
