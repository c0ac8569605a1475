"""Python runs this when it starts, where this folder is on its path: the process may have to end at a moment.

The moment is the n-th audit event (PEP 578) of the process, of all or of a kind. No clock: the same number is
the same moment on a slow machine.
"""

import os
import signal
import sys
from collections import Counter

CHANGES = {
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.link",
    "os.symlink",
    "os.chmod",
}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT

KILL = "KILL"
"""Environment variable: a word in the command line of the process that is meant, kind, number, signal."""


def arm(kind: str, number: int, name: str) -> Counter[str]:
    """Count events; at the `number`-th of a kind send the signal to all processes of the group.

    The kinds: `any`; `disk`, that change what is there; `state`, where a state of the
    training is about to get its name.
    """
    counts: Counter[str] = Counter()

    def count(event: str, arguments: tuple[object, ...]) -> None:
        changes = event in CHANGES or (event == "open" and _writes(arguments))
        state = event == "os.rename" and str(arguments[1]).endswith(".state")
        happened = {"any": True, "disk": changes, "state": state}
        counts.update(happened)
        if happened[kind] and counts[kind] == number:
            os.killpg(0, signal.Signals[name])

    sys.addaudithook(count)
    return counts


def _writes(arguments: tuple[object, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & WRITES)


if KILL in os.environ:
    word, *moment = os.environ[KILL].split()
    if word in " ".join(sys.orig_argv):
        del os.environ[KILL]
        arm(moment[0], int(moment[1]), moment[2])
