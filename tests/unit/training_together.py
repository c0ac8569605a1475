"""`python training_together.py ROOT JSON` trains the small data; the trainer runs it again for each process.

Values of the JSON are hyperparameters, but for: `images` and `val`, how many of them there are; `still`, no
augmentation; `diverge`, the rank whose loss becomes infinite in the second epoch; `die`, the rank that kills
itself there; `full`, whether the disk takes nothing. What the process of a rank saw and ended with is in
ROOT/RANK.json and ROOT/RANK.safetensors.
"""

import errno
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor
from training_examples import STILL, small_data, training

from pneumonia.errors import SharedError
from pneumonia.processes import this_process
from pneumonia.training.classifier import Classifier
from pneumonia.training.loop import TrainingData, train


def part_of_the_data(images: int, val: int) -> TrainingData:
    data = small_data()
    return replace(
        data,
        train_rows=data.train_rows[:images],
        train_labels=data.train_labels[:images],
        val_rows=data.val_rows[:val],
        val_labels=data.val_labels[:val],
    )


def full_disk(descriptor: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def main(root: Path, values: dict[str, Any]) -> None:
    diverge, die = values.pop("diverge", None), values.pop("die", None)
    if values.pop("full", False):
        os.fsync = full_disk
    data = part_of_the_data(values.pop("images", 64), values.pop("val", 32))
    if values.pop("still", False):
        values["augment"] = STILL
    params = training(**values)
    rank = this_process(params.devices, params.nodes).rank
    seen: list[tuple[int, int, list[float]]] = []
    step = Classifier.training_step

    def spy(self: Classifier, batch: tuple[Tensor, Tensor], batch_index: int) -> Tensor:
        if self.parts is None or self.parts[0].shares[batch_index].own:
            seen.append((self.current_epoch, batch_index, batch[0].float().mean(dim=(1, 2)).tolist()))
        if self.current_epoch == 1 and rank == die:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.current_epoch == 1 and rank == diverge:
            self.objective.register_forward_hook(lambda module, inputs, loss: loss * float("inf"))
        return step(self, batch, batch_index)

    Classifier.training_step = spy  # type: ignore[method-assign]
    told: list[int] = []
    found: dict[str, Any] = {"seen": seen, "told": told}
    try:
        trained = train(params, data, root, on_epoch=lambda epoch, _: told.append(epoch))
        found |= {"history": trained.history, "best_epoch": trained.best_epoch}
        weights = {name: tensor.contiguous() for name, tensor in trained.module.state_dict().items()}
        save_file(weights, root / f"{rank}.safetensors")
    except SharedError as error:
        found["error"] = str(error)
    (root / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
