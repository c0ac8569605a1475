"""What a process of its own may do without harm; hangs, crashes and greed are in test_imaging_packing.py."""

import os
import threading
from collections.abc import Iterator

import pytest

from pneumonia.errors import UserError
from pneumonia.imaging import isolation
from pneumonia.imaging.isolation import Isolated


@pytest.fixture
def process() -> Iterator[Isolated]:
    isolated = Isolated()
    yield isolated
    isolated.close()


def loud(text: str) -> str:
    print(text)
    os.write(1, b"from a library in C")
    return text.upper()


def fail() -> None:
    raise UserError("a sentence")


def end(status: int) -> None:
    os._exit(status)


def interrupt() -> None:
    with isolation.isolated():
        raise KeyboardInterrupt


def unsendable() -> object:
    return threading.Lock()


def test_it_returns_what_the_function_returns_call_after_call(process: Isolated) -> None:
    assert [process.call(divmod, number, 3) for number in range(5)] == [divmod(n, 3) for n in range(5)]
    assert process.call(os.getpid) == process.call(os.getpid) != os.getpid()


def test_what_is_printed_is_no_answer(process: Isolated, capfd: pytest.CaptureFixture[str]) -> None:
    assert process.call(loud, "words") == "WORDS"
    assert process.call(loud, "again") == "AGAIN"
    out, err = capfd.readouterr()
    assert out == ""
    assert "from a library in C" in err


def test_what_is_raised_is_raised_and_the_process_goes_on(process: Isolated) -> None:
    before = process.call(os.getpid)
    with pytest.raises(UserError, match="a sentence"):
        process.call(fail)
    assert process.call(os.getpid) == before


def test_after_a_crash_there_is_a_new_process(process: Isolated) -> None:
    before = process.call(os.getpid)
    with pytest.raises(isolation.CrashedError):
        process.call(end, 7)
    assert process.call(os.getpid) != before


def test_an_error_of_ours_is_no_rejection(process: Isolated, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="an error of ours"):
        process.call(unsendable)
    assert "pickle" in capfd.readouterr().err


def test_a_process_that_cannot_start_says_so(process: Isolated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_PROGRAM", "raise SystemExit(3)")
    with pytest.raises(RuntimeError, match=r"did not start \(status 3\)"):
        process.call(os.getpid)


def test_it_reads_with_one_thread(process: Isolated) -> None:
    assert process.call(os.getenv, "OPENBLAS_NUM_THREADS") == "1"


def test_a_lent_process_is_lent_again_unless_it_was_interrupted() -> None:
    isolation.close_idle()
    with isolation.isolated() as first:
        first.call(os.getpid)
    with isolation.isolated() as second:
        assert second is first
    with pytest.raises(KeyboardInterrupt):
        interrupt()
    with isolation.isolated() as third:
        assert third is not first
    isolation.close_idle()
