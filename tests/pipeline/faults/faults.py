"""What can go wrong with a disk, done to this process for real, at the moment at which it is to happen."""

import ctypes
import os
import resource
import socket
import sys
from collections.abc import Callable
from pathlib import Path


def when_written(name: str, happen: Callable[[], None]) -> None:
    """Call `happen` once, just before Python opens a file for writing whose name starts with `name`."""
    waiting = [happen]

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and waiting and isinstance(arguments[0], str | bytes | os.PathLike):
            path, _, flags = arguments
            if flags & (os.O_WRONLY | os.O_RDWR) and Path(os.fsdecode(path)).name.startswith(name):
                waiting.pop()()

    sys.addaudithook(hook)


def fill_disk(room: int) -> None:
    """From now on no file of this process grows beyond `room` bytes: what comes after them is refused.

    The system refuses it as it does on a full disk, after it has taken what fits. Pipes have no limit.
    """
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def make_room() -> None:
    """Take the limit of `fill_disk` back."""
    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def drop_privileges() -> None:
    """From now on permissions count for root as they do for others (capset(2), all sets empty)."""
    if os.geteuid() != 0:
        return
    version_3, this_process = 0x20080522, 0
    header = (ctypes.c_uint32 * 2)(version_3, this_process)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(header, (ctypes.c_uint32 * 6)()) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def wait_for_test(port: int) -> None:
    """Tell the test that listens at the port that this point is reached, and go on when it hangs up."""
    with socket.create_connection(("127.0.0.1", port)) as test:
        test.recv(1)
