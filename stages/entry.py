"""How every stage starts and how it ends when something is wrong."""

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from pneumonia.errors import UserError
from pneumonia.params import Params, load_params

# What the person at the keyboard can put right: no traceback for these.
ENVIRONMENT_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)


def run(stage: Callable[[Params], None]) -> None:
    """Check params.yaml, run the stage, and turn what a user can mend into a sentence and exit status 1."""
    # As an exception, an end from outside lets half-written files be removed and workers be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        stage(load_params())
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        if error.errno not in ENVIRONMENT_ERRORS:
            raise
        sys.exit(f"error: {error.strerror}: {error.filename or Path.cwd()}")
    except KeyboardInterrupt:
        sys.exit(130)


def repository_root() -> Path:
    """Root of the repository that the person works in.

    In a queued or temporary experiment the working directory is a copy that will be deleted; DVC_ROOT
    names the original. Relative paths of params.yaml and the MLflow store hang on this.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
