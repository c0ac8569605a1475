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
_PAIRS_AT_ONCE = 2**18
"""Of hashes: 2 MiB, which stays in the processor's cache."""
_SAMPLE, _AXES = 256, 64
"""Films whose structure tells the axes of the sketches, and how many axes these have."""
_ROUNDING = 1e-3
"""More than what 32 bits can change in a correlation."""

Pairs = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Places of the one and of the other film."""


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
    first, second = _verified(_likely(hashes, images, rows), images, rows)
    shape = (len(rows), len(rows))
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=shape)
    _, found = connected_components(graph, directed=False)
    numbers: NDArray[np.int64] = found[picture].astype(np.int64)
    return numbers


def _likely(hashes: NDArray[np.uint64], images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Pairs:
    """Candidate pairs, less those of which 64 numbers a film show that their structure cannot agree.

    By Cauchy and Schwarz the correlation is at most that of the sketches plus the product of what they leave.
    """
    sketches, left_out = _sketches(images, rows)
    kept: list[Pairs] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for first, second in _candidates(hashes):
        most = np.einsum("ij,ij->i", sketches[first], sketches[second]) + left_out[first] * left_out[second]
        likely = most >= MIN_CORRELATION - _ROUNDING
        kept.append((first[likely], second[likely]))
    firsts, seconds = zip(*kept, strict=True)
    return np.concatenate(firsts), np.concatenate(seconds)


def _sketches(
    images: NDArray[np.uint8], rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Fine structure of each film along the axes in which films differ most, and the length of the rest.

    Returns:
        Shapes (M, K) and (M,) for M rows, K at most _AXES.
    """
    if not len(rows):
        return np.zeros((0, 0), np.float32), np.zeros(0, np.float32)
    sample = rows[np.unique(np.linspace(0, len(rows) - 1, _SAMPLE).astype(np.int64))]
    axes = np.linalg.svd(_structures(images, sample), full_matrices=False)[2][:_AXES].T
    blocks = np.array_split(rows, 1 + len(rows) // 1024)
    sketches = np.concatenate([_structures(images, block) @ axes for block in blocks])
    left_out = np.sqrt((1 - np.square(sketches).sum(axis=1)).clip(min=0))
    return sketches, left_out


def _candidates(hashes: NDArray[np.uint64]) -> Iterator[Pairs]:
    """Pairs whose hashes agree in one byte at least, and differ in at most MAX_BITS bits; each once.

    Seven bits apart, two hashes cannot differ in all of their eight bytes; at eight it takes one in each.
    This part grows with the square of the films, slowly: 1.2 s of one core for 100,000.
    """
    for byte in range(8):
        keys = _byte(hashes, byte)
        order = np.argsort(keys, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(keys[order])) + 1):
            for start, left in _blocks(rows):
                right = rows[start:]
                difference = (hashes[left][:, None] ^ hashes[right][None]).ravel()
                near = np.flatnonzero(np.bitwise_count(difference) <= MAX_BITS)
                one, other = np.divmod(near, len(right))
                new = one < other
                for earlier in range(byte):
                    new &= _byte(difference[near], earlier) != 0
                yield left[one[new]], right[other[new]]


def _byte(hashes: NDArray[np.uint64], number: int) -> NDArray[np.uint8]:
    return (hashes >> np.uint64(8 * number)).astype(np.uint8)


def _blocks(rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    step = max(1, _PAIRS_AT_ONCE // max(1, len(rows)))
    for start in range(0, len(rows), step):
        yield start, rows[start : start + step]


def _verified(pairs: Pairs, images: NDArray[np.uint8], rows: NDArray[np.int64]) -> Pairs:
    """Keep the pairs, of places in `rows`, whose fine structure agrees."""
    first, second = pairs
    involved, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    structures = _structures(images, rows[involved])
    left, right = places[: len(first)], places[len(first) :]
    kept = np.zeros(len(first), dtype=bool)
    for block in np.array_split(np.arange(len(first)), 1 + len(first) // 4096):
        correlation = np.einsum("ij,ij->i", structures[left[block]], structures[right[block]])
        kept[block] = correlation >= MIN_CORRELATION
    return first[kept], second[kept]


def _structures(images: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Fine structure of these images, shape (len(rows), 1024)."""
    found = np.empty((len(rows), _THUMBNAIL**2), dtype=np.float32)
    for place, row in enumerate(rows):
        found[place] = fine_structure(images[row])
    return found


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
