"""Images that must stay on one side of a split."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

TIES = ("patient", "sha256", "pixels_sha256", "near_duplicate")


def tie_together(index: pd.DataFrame) -> NDArray[np.int64]:
    """Number the units: images tied, directly or through others, by patient, file, pixels or looks.

    Args:
        index: N rows with the columns patient, sha256, pixels_sha256, near_duplicate.

    Returns:
        int64 (N,), the unit of each image, numbered in the order of their first image.
    """
    count = len(index)
    images, keys = np.arange(count), [pd.factorize(index[column])[0] for column in TIES]
    # A graph with a node an image and a node a key: its edges grow with the images, while edges between
    # the images of one patient would grow with their square.
    offsets = count + np.cumsum([0, *(key.max(initial=-1) + 1 for key in keys)])
    rows = np.tile(images, len(keys))
    columns = np.concatenate([key + offset for key, offset in zip(keys, offsets, strict=False)])
    graph = coo_array((np.ones(len(rows), dtype=bool), (rows, columns)), shape=(offsets[-1], offsets[-1]))
    _, component = connected_components(graph, directed=False)
    numbers: NDArray[np.int64] = pd.factorize(component[:count])[0].astype(np.int64)
    return numbers
