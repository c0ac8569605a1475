"""Send the runs that MLflow did not take: `python -m pneumonia.tracking.send`, in the repository's root.

Stages keep them in .mlflow-unsent when MLflow is down; the stage `gallery` of a run that MLflow takes sends
them as well. `--here` sends what was kept for another store to that of MLFLOW_TRACKING_URI.
"""

import argparse
import sys
from pathlib import Path

from filelock import Timeout

from pneumonia.errors import UserError
from pneumonia.tracking import unsent
from pneumonia.tracking.store import failures, reason, repository_root, shown, tracking_uri


def send(root: Path, *, anywhere: bool = False) -> None:
    """Send what is kept below `root`, and print of each run what became of it.

    Raises:
        UserError: not everything could be sent.
    """
    total = len(unsent.kept(root))
    if not total:
        print(f"Nothing is kept in {root / unsent.FOLDER}.")
        return
    try:
        with unsent.sending(root, unsent.LOCK_SECONDS):
            left = unsent.send(root, print, anywhere=anywhere)
    except Timeout as error:
        raise UserError("Another process is sending the runs; look again when it has ended.") from error
    except failures() as error:
        raise UserError(
            f"MLflow at {shown(tracking_uri(root))} failed ({reason(error)}); {len(unsent.kept(root))} of "
            f"{total} runs are still kept in {root / unsent.FOLDER}."
        ) from error
    if left:
        raise UserError(f"{left} of {total} runs are still kept in {root / unsent.FOLDER}.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m pneumonia.tracking.send", description=__doc__)
    parser.add_argument("--here", action="store_true", help="send what was kept for another store, too")
    arguments = parser.parse_args()
    try:
        send(repository_root(Path.cwd()), anywhere=arguments.here)
    except UserError as error:
        sys.exit(f"error: {error}")
