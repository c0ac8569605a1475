"""Ways that take turns within one run, so that whatever else the machine does meets all of them alike."""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

Block = Callable[[], float]
"""Does a short piece of work one way, and returns the seconds that it took."""

Clock = Callable[[], float]
"""time.perf_counter; for work of one thread on a busy machine time.process_time, what one core worked."""


def take_turns(blocks: Mapping[str, Block], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; another one goes first each time."""
    spent: dict[str, list[float]] = {name: [] for name in blocks}
    names = list(blocks)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            spent[name].append(blocks[name]())
    return spent


def seconds(work: Callable[[], Any], clock: Clock = time.perf_counter) -> float:
    """Time of the work, until the GPU has done its part too."""
    finish()
    start = clock()
    work()
    finish()
    return clock() - start


def finish() -> None:
    """Wait for the GPU, if there is one, to have done what it was given."""
    torch = sys.modules.get("torch")  # where nobody has loaded it, nothing runs on a GPU
    if torch is not None and torch.cuda.is_available():
        torch.cuda.synchronize()


def ratios(above: list[float], below: list[float]) -> dict[str, float]:
    """Of one way's time over another's, taken in each round."""
    return spread([one / other for one, other in zip(above, below, strict=True)], 3)


def spread(values: list[float], digits: int) -> dict[str, float]:
    """Median, smallest and largest."""
    found = {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}
    return {name: round(value, digits) for name, value in found.items()}
