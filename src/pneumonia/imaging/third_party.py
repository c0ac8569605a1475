"""What the libraries raise, warn and log when they are given a damaged file."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from pydicom.errors import BytesLengthException, InvalidDicomError

from pneumonia.imaging.rejection import Reason, Rejected

_MALFORMED = (
    BytesLengthException,
    Image.DecompressionBombError,
    InvalidDicomError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""Parsers written for valid files fail on damaged ones in all these ways. For parsers only."""

# The messages repeat header values, which may name a patient.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)


class failing:  # noqa: N801  a context manager, written as the others are
    """As `parsing`, for what cannot warn: to silence warnings and to let them speak again takes its time.

    Raises:
        Rejected: the library failed.
    """

    __slots__ = ("_detail", "_reason")

    def __init__(self, reason: Reason, detail: str) -> None:
        self._reason = reason
        self._detail = detail

    def __enter__(self) -> None:
        """Nothing is prepared."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Turn what the library raised into Rejected."""
        if isinstance(error, _MALFORMED):
            raise Rejected(self._reason, f"{self._detail} ({type(error).__name__})") from None


@contextmanager
def parsing(reason: Reason, detail: str) -> Iterator[None]:
    """Turn a library's failure on damaged input into Rejected, silence its warnings.

    The library's own message is dropped, not chained: it may repeat header text.

    Args:
        reason: of the rejection.
        detail: what was being read, in our own words.

    Raises:
        Rejected: the library failed.
    """
    with warnings.catch_warnings(), failing(reason, detail):
        warnings.simplefilter("ignore")
        yield
