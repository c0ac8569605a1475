"""What a run was made of, and when: all that recording it needs beside the files of its stages."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from pneumonia import paths
from pneumonia.params import Params
from pneumonia.tracking import provenance
from pneumonia.tracking.run import flatten_params
from pneumonia.tracking.store import experiment_name, repository_root, shown, tracking_uri


@dataclass(slots=True)
class Origin:
    """Captured when a stage runs, and the same when the run is sent a week later. Times: ms since 1970."""

    store: str
    """Where the run is to go, without user name and password."""
    experiment: str
    """MLflow's experiment."""
    params: dict[str, str]
    identity: dict[str, str]
    """Tags by which the run is found again, with the digest of the weights once there are any."""
    git: dict[str, str]
    trained: bool
    """Whether the run has trained its weights itself."""
    started: int
    epochs: dict[int, int] = field(default_factory=dict)
    """When each epoch ended."""
    ended: dict[str, int] = field(default_factory=dict)
    """When each stage ended; stages that DVC took from its cache are not there."""
    run_id: str | None = None
    """MLflow's, from the moment on when it is known."""

    @classmethod
    def of(cls, checkout: Path, params: Params, *, trained: bool) -> "Origin":
        """The origin of what is in a checkout, without weights."""
        return cls(
            store=shown(tracking_uri(repository_root(checkout))),
            experiment=experiment_name(),
            params=flatten_params(params.model_dump()),
            identity=provenance.identity_tags(checkout),
            git=provenance.git_tags(checkout),
            trained=trained,
            started=milliseconds(),
        )

    @property
    def name(self) -> str:
        """Of the DVC experiment, or `workspace`."""
        return self.identity[provenance.EXPERIMENT]

    @property
    def key(self) -> str:
        """Digest that two origins of the same run have in common."""
        content = [self.store, self.experiment, self.params, self.identity]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def add_stage(self, stage: str, checkout: Path) -> None:
        """Note that a stage has ended, and its weights."""
        self.identity[provenance.WEIGHTS] = provenance.file_md5(checkout / paths.WEIGHTS)
        self.ended[stage] = milliseconds()


def milliseconds() -> int:
    """Since 1970, as MLflow counts."""
    return time.time_ns() // 1_000_000
