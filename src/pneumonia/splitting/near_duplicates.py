"""Images that are the same film under another coat: saved again, scaled, windowed or brightened.

Chest films look alike, so a hash alone would tie strangers together. It only proposes; the pixels decide.
Measured on the 5,856 films of Kermany (17 million pairs) and on 300 of them changed:

- 10,600 pairs of different patients have hashes at most 8 bits apart; hashes alone would tie thousands.
- The fine structure of two different films correlates at most at 0.85 (but one pair: 0.90; synthetic films:
  0.90). Of a film and itself saved as JPEG of quality 40, halved in size, brightened, windowed, with a gamma
  of 0.7 or 1.4, or noisy it correlates at least at 0.965; turned by 1 degree or equalised locally (CLAHE), at
  0.947 in 95 of 100.

Not found: crops and shifts of 1 % and more, mirrored films, global histogram equalisation, large burned-in
text (these move or change the structure itself), and pictures almost without structure.
"""

from collections.abc import Iterator

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MAX_BITS = 8
"""Between the hashes of a candidate pair."""
MIN_CORRELATION = 0.94
"""Of the fine structure of a pair."""

_THUMBNAIL = 32
_BLUR = 1.5
"""Standard deviation in pixels of the thumbnail. What is coarser all chests have in common."""
_PAIRS_AT_ONCE = 2**22
"""Of hashes: 64 MiB."""


def near_duplicates(index: pd.DataFrame, images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Number the sets of near-duplicates; images of identical pixels are in one set.

    Args:
        index: N rows with the columns phash and pixels_sha256.
        images: shape (N, S, S), dtype uint8, in the order of the index; only candidates are read.

    Returns:
        int64 (N,), equal for near-duplicates, directly or through others.
    """
    picture, _ = pd.factorize(index["pixels_sha256"])
    rows = np.flatnonzero(~pd.Series(picture).duplicated())  # the first of each picture, in its order
    hashes = np.array([int(text, 16) for text in index["phash"].to_numpy()[rows]], dtype=np.uint64)
    first, second = _verified(_candidates(hashes), images, rows)
    shape = (len(rows), len(rows))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=shape)
    _, found = connected_components(graph, directed=False)
    numbers: NDArray[np.int64] = found[picture].astype(np.int64)
    return numbers


def _candidates(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs whose hashes agree in one byte at least, and differ in at most MAX_BITS bits.

    Seven bits apart, two hashes cannot differ in all of their eight bytes; at eight it takes one in each.
    """
    pairs = [np.zeros(0, dtype=np.int64)]
    for byte in range(8):
        keys = (hashes >> np.uint64(8 * byte)).astype(np.uint8)
        order = np.argsort(keys, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for start, left in _blocks(rows):
                near = np.bitwise_count(hashes[left][:, None] ^ hashes[rows][None]) <= MAX_BITS
                one, other = np.nonzero(np.triu(near, start + 1))
                pairs.append(left[one] * len(hashes) + rows[other])
    first, second = np.divmod(np.unique(np.concatenate(pairs)), max(1, len(hashes)))
    return first, second


def _blocks(rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    step = max(1, _PAIRS_AT_ONCE // max(1, len(rows)))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]


def _verified(
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]], images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Keep the pairs, of places in `rows`, whose fine structure agrees."""
    first, second = pairs
    involved, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    structure = np.empty((len(involved), _THUMBNAIL**2), dtype=np.float16)
    for place, row in enumerate(rows[involved]):
        structure[place] = fine_structure(images[row])
    left, right = places[: len(first)], places[len(first) :]
    kept = np.zeros(len(first), dtype=bool)
    for block in np.array_split(np.arange(len(first)), 1 + len(first) // 4096):
        one, other = structure[left[block]].astype(np.float32), structure[right[block]].astype(np.float32)
        kept[block] = np.einsum("ij,ij->i", one, other) >= MIN_CORRELATION
    return first[kept], second[kept]


def fine_structure(square: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What a 32 x 32 thumbnail shows beyond its blurred self, as a vector of length 1.

    The dot product of two is their normalised correlation. A picture without structure gives zeros.
    """
    shrinks = min(square.shape) >= _THUMBNAIL
    thumbnail = cv2.resize(
        square, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    ).astype(np.float32)
    fine = (thumbnail - cv2.GaussianBlur(thumbnail, (0, 0), _BLUR)).ravel()
    fine -= fine.mean()
    norm = float(np.linalg.norm(fine))
    result: NDArray[np.float32] = np.asarray(fine / norm if norm > 1 else np.zeros_like(fine), np.float32)
    return result
