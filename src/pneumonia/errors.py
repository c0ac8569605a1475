"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """Something that the user can put right.

    The message is one sentence or two: what is wrong, in which file or which key of params.yaml, and
    what to do. Stages print it without a traceback and exit with status 1.
    """


class SharedError(UserError):
    """Ends all processes of a training alike; the first one says it."""
