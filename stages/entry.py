"""How every stage starts and how it ends when something is wrong."""

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from pneumonia.atomic import disk_errors_in_words, in_words
from pneumonia.errors import SharedError, UserError
from pneumonia.params import Params, load_params
from pneumonia.processes import ALONE, end_with_parent, this_process
from stages.recorded import recorded

LOCKS = Path(".cache")


def run(stage: Callable[[Params], None], *, together: bool = False) -> None:
    """Check params.yaml, run the stage, and turn what a user can mend into a sentence and exit status 1.

    Args:
        stage: the stage.
        together: whether it runs in as many processes as params.yaml says. The first one answers for all.
    """
    # As an exception, an end from outside lets half-written files be removed and workers be stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    process = ALONE
    try:
        params = load_params()
        if together:
            process = this_process(params.devices, params.nodes)
        if process.first:
            with _alone(stage.__name__):
                before = recorded(stage.__name__)
                stage(params)
                before.require_unchanged()
        else:
            if process.launcher == "trainer":
                end_with_parent()
            stage(params)
    except SharedError as error:
        # Whoever has started the processes ends them all when one has failed: the first is to say why.
        sys.exit(f"error: {error}" if process.first else 0)
    except UserError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        # Where the error does not say it: temporary files of libraries are the likeliest.
        sentence = in_words(error, Path(error.filename or f"{tempfile.gettempdir()}/temporary files"))
        if sentence is None:
            raise
        sys.exit(f"error: {sentence}")
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def _alone(stage: str) -> Iterator[None]:
    """Refuse to run a stage that is running in this checkout: both would write the same unfinished files.

    Two `dvc repro` do not get here, DVC sees to that; one and a stage that is run by hand would.
    """
    path = LOCKS / f"{stage}.lock"
    with disk_errors_in_words(path):
        LOCKS.mkdir(exist_ok=True)
        try:
            lock = FileLock(path).acquire(timeout=0)
        except Timeout:
            raise UserError(
                f"The stage {stage} is already running in {Path.cwd()}; wait for its end and run again."
            ) from None
    with lock:
        yield


def repository_root() -> Path:
    """Root of the repository that the person works in.

    In a queued or temporary experiment the working directory is a copy that will be deleted; DVC_ROOT
    names the original. Relative paths of params.yaml and the MLflow store hang on this.
    """
    return Path(os.environ.get("DVC_ROOT", ".")).resolve()
