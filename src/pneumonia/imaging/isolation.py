"""Calls in a process of their own, which may hang, crash or eat memory without harm to the run.

Decoders are C code that reads bytes from anywhere. An alarm or a thread cannot stop C code that does not
return; a process can be ended. Each worker, whatever joblib's backend, keeps one such process and talks with
it over two pipes, which works the same on Linux, macOS and Windows.
"""

import contextlib
import faulthandler
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from pneumonia.errors import UserError

SECONDS = 60.0
"""Of one call. The slowest valid file, 80 million pixels of JPEG 2000, takes 8 on a core of its own."""
MEMORY_BYTES = 4 * 2**30
"""Of address space for one process; on Linux, as other systems do not enforce it."""

_PROGRAM = f"from pneumonia.imaging.isolation import serve; serve({SECONDS}, {MEMORY_BYTES})"
_READY, _RETURNED, _RAISED = "ready", "returned", "raised"
_OUT_OF_TIME = 1  # what faulthandler exits with
_BROKEN = 70
_ENDED_FROM_OUTSIDE = (-9, -15)  # SIGKILL, as the kernel does when memory has run out, and SIGTERM

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""The processes are as many as the cores, and each thread of numpy's would take its share of MEMORY_BYTES."""

T = TypeVar("T")


class TimedOutError(Exception):
    """The call took longer than its time."""


class CrashedError(Exception):
    """The call ended its process."""


class Isolated:
    """A process that makes calls, one at a time; started at the first and anew after each that ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def call(self, function: Callable[..., T], *arguments: object) -> T:
        """Return function(*arguments), computed in the process; what it raises is raised here.

        Args:
            function: by its importable name, as pickle wants it.
            arguments: picklable.

        Raises:
            TimedOutError: it took more than SECONDS.
            CrashedError: it ended the process, as a decoder does that reads beyond its memory.
            UserError: the process was ended from outside, most likely because memory ran out.
        """
        process = self._process = self._process or _start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            pickle.dump((function, arguments), process.stdin, protocol=pickle.HIGHEST_PROTOCOL)
            process.stdin.flush()
            kind, result = pickle.load(process.stdout)  # noqa: S301  from our own process
        except (EOFError, OSError, pickle.UnpicklingError):
            self._process = None
            raise _reason_of(_end(process)) from None
        except BaseException:  # an interruption between question and answer: the next would get this answer
            self.close()
            raise
        if kind == _RAISED:
            raise result
        returned: T = result
        return returned

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            _end(self._process)
            self._process = None


def _start() -> subprocess.Popen[bytes]:
    environment = os.environ | _ONE_THREAD
    environment["PYTHONPATH"] = os.pathsep.join(part or str(Path.cwd()) for part in sys.path)
    command = [sys.executable, "-c", _PROGRAM]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)  # noqa: S603
    assert process.stdout is not None
    try:
        pickle.load(process.stdout)  # noqa: S301
    except (EOFError, pickle.UnpicklingError):
        raise RuntimeError(f"a decoding process did not start (status {_end(process)})") from None
    return process


def _end(process: subprocess.Popen[bytes]) -> int:
    for pipe in (process.stdin, process.stdout):
        assert pipe is not None
        with contextlib.suppress(OSError):  # what is left in its buffer has no reader
            pipe.close()
    return process.wait()


def _reason_of(status: int) -> Exception:
    if status == _OUT_OF_TIME:
        return TimedOutError()
    if status in _ENDED_FROM_OUTSIDE:
        return UserError(
            "A decoding process was killed, most likely because memory ran out; close other programs and "
            "run again."
        )
    return (
        RuntimeError("a decoding process ended by an error of ours") if status == _BROKEN else CrashedError()
    )


_idle: deque[Isolated] = deque()


@contextmanager
def isolated() -> Iterator[Isolated]:
    """Lend a process of this worker, a new one where all are busy."""
    try:
        lent = _idle.pop()
    except IndexError:
        lent = Isolated()
    try:
        yield lent
    except BaseException:
        lent.close()
        raise
    _idle.append(lent)


def close_idle() -> None:
    """End the processes that nobody uses."""
    with contextlib.suppress(IndexError):
        while True:
            _idle.pop().close()


def serve(seconds: float, memory_bytes: int) -> None:
    """Answer calls from standard input on standard output until it ends: the other side of Isolated."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches everybody; the parent decides
        _limit_memory(memory_bytes)
        answers = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # what a library prints must not get among the answers
        _answer(answers, _READY)
        _answer_all(sys.stdin.buffer, answers, seconds)
    except BrokenPipeError:
        os._exit(0)  # nobody listens any more
    except BaseException:  # noqa: BLE001  any other status than that of a call out of time
        traceback.print_exc()
        os._exit(_BROKEN)


def _answer_all(questions: BinaryIO, answers: BinaryIO, seconds: float) -> None:
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123
        while True:
            try:
                function, arguments = pickle.load(questions)  # noqa: S301
            except EOFError:
                return
            # A thread of C that ends the process, whoever holds the interpreter's lock.
            faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
            outcome = _outcome(function, arguments)
            faulthandler.cancel_dump_traceback_later()
            _answer(answers, outcome)


def _answer(answers: BinaryIO, answer: object) -> None:
    pickle.dump(answer, answers, protocol=pickle.HIGHEST_PROTOCOL)
    answers.flush()


def _outcome(function: Callable[..., object], arguments: tuple[object, ...]) -> tuple[str, object]:
    try:
        return _RETURNED, function(*arguments)
    except Exception as error:  # noqa: BLE001  raised again on the other side
        error.add_note(traceback.format_exc())
        return _RAISED, error


def _limit_memory(memory_bytes: int) -> None:
    try:
        import resource  # noqa: PLC0415  not on Windows
    except ImportError:
        return
    with contextlib.suppress(ValueError, OSError):  # a lower limit is in force already
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
