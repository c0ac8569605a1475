"""What the commands beside the pipeline share: the option -S, and how they end when something is wrong."""

import sys
from argparse import ArgumentParser
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


def take_settings(parser: ArgumentParser) -> None:
    """Add the option -S of `dvc exp run`; its values come as a list, `set_param`."""
    parser.add_argument(
        "-S",
        "--set-param",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="set a key of params.yaml; repeatable",
    )
