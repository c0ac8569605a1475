"""One thin file per DVC stage: read params, call src, write outputs.

They run as `python -m stages.NAME` with this checkout's own src first on the path: an experiment in a
temporary directory runs its own copy of the code, which an installed package would hide.
"""

import importlib.util
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

# OpenMP's threads wait for each other by spinning, by default for long: on cores that something else uses
# too, such as a second experiment, a training step then takes 20 times as long. A short spin costs
# a step 9 % on free cores; none at all 40 %. Read once, when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if importlib.util.find_spec("pydantic") is None:
    sys.exit(
        f"error: {sys.executable} lacks the pipeline's packages; activate the environment of `make install` "
        "(`. .venv/bin/activate`), or run `make repro`."
    )
