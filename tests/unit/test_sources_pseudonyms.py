import hashlib
import hmac
import os
import stat
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.sources.pseudonyms import NO_PSEUDONYMS, Pseudonyms, read_or_make_key

KEY = bytes(range(32))


def test_names_become_the_beginning_of_an_hmac() -> None:
    names = Pseudonyms(KEY)
    expected = hmac.new(KEY, b"file:a/M\xc3\xbcller.DCM", hashlib.sha256).hexdigest()[:20]
    assert names.of_file("a/Müller.DCM") == f"{expected}.dcm"
    expected = hmac.new(KEY, b"patient:M", hashlib.sha256).hexdigest()[:20]
    assert names.of_patient("M", "a/Müller.DCM") == expected
    assert Pseudonyms(KEY[::-1]).of_patient("M", "") != expected


def test_an_ending_that_may_be_a_name_is_dropped() -> None:
    assert "." not in Pseudonyms(KEY).of_file("scan.mueller")


def test_an_unknown_patient_stays_unknown() -> None:
    assert Pseudonyms(KEY).of_patient("a.png", "a.png") == Pseudonyms(KEY).of_file("a.png")


def test_without_a_key_names_stay() -> None:
    assert NO_PSEUDONYMS.of_file("a.png") == "a.png"
    assert NO_PSEUDONYMS.of_patient("P", "a.png") == "P"


def test_the_key_is_made_once_for_the_owner_alone(tmp_path: Path) -> None:
    key = read_or_make_key(tmp_path)
    assert len(key) == 32
    assert read_or_make_key(tmp_path) == key
    if os.name != "nt":
        assert stat.S_IMODE((tmp_path / "pseudonym.key").stat().st_mode) & 0o077 == 0
    (tmp_path / "other").mkdir()
    assert read_or_make_key(tmp_path / "other") != key


def test_a_full_disk_leaves_no_half_a_key(tmp_path: Path) -> None:
    (tmp_path / "pseudonym.key.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="no space left"):
        read_or_make_key(tmp_path)
    assert len(read_or_make_key(tmp_path)) == 32


@pytest.mark.parametrize("content", ["", "00", "secret"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "pseudonym.key").write_text(content)
    with pytest.raises(UserError, match="must hold 64 hexadecimal digits"):
        read_or_make_key(tmp_path)


def test_git_ignores_the_key() -> None:
    assert "/pseudonym.key" in (Path(__file__).parents[2] / ".gitignore").read_text().splitlines()
