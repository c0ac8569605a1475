import pytest

from pneumonia.command_line import ended_in_words
from pneumonia.errors import UserError


def test_a_mistake_is_a_sentence() -> None:
    with pytest.raises(SystemExit) as ended, ended_in_words("not said"):
        raise UserError("lr is too high.")
    assert ended.value.code == "error: lr is too high."


@pytest.mark.parametrize(("said", "shown"), [("", ""), ("It goes on.", "It goes on.\n")])
def test_an_interruption_leaves_no_traceback(
    said: str, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, ended_in_words(said):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == shown


def test_an_error_of_ours_stays_one() -> None:
    with pytest.raises(ZeroDivisionError), ended_in_words():
        print(1 / 0)
