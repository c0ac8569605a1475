"""How the commands beside the pipeline end when something is wrong, or somebody has enough."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from pneumonia.errors import UserError

INTERRUPTED = 130
"""Exit status of what SIGINT has ended, by the shells' convention."""


@contextmanager
def ended_in_words(interrupted: str = "") -> Iterator[None]:
    """Exit with a sentence and status 1 after a user's mistake, without a traceback after Ctrl-C.

    Args:
        interrupted: what to say after Ctrl-C; nothing where nothing is to be known.
    """
    try:
        yield
    except UserError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        if interrupted:
            sys.stderr.write(f"{interrupted}\n")
        sys.exit(INTERRUPTED)
