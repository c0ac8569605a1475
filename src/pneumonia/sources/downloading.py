"""Downloads that go on after a break and are checked before anything sees them.

Ours, because pooch, otherwise the library for it, starts again from the first byte after every break.
HTTP is that of RFC 9110: Range and If-Range (sections 14.2, 13.1.5), 206 with Content-Range (15.3.7, 14.4)
and 416 (15.5.17).
"""

import errno
import hashlib
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from pneumonia.atomic import disk_errors_in_words, to_disk, whole_file
from pneumonia.errors import UserError

ATTEMPTS = 4
"""In a row without a new byte, before giving up."""
TIMEOUT = (15, 60)
"""Seconds to connect, and seconds without a byte after which a connection counts as stalled."""
CHUNK = 2**18


def download(  # noqa: PLR0913  what is published of a file differs
    url: str,
    target: Path,
    size: int | None,
    sha256: str | None,
    partial_folder: Path,
    *,
    md5: str | None = None,
    name: str | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch a file, check it, and move it to its place.

    What has come is kept in `partial_folder` until it is whole, and a later call goes on from there. Of
    several processes that want the same file one downloads and the others wait for it.

    Args:
        url: where the file is.
        target: where it goes; it appears there only when it is whole and right.
        size: in bytes as published, or None.
        sha256: as published, in hexadecimal, or None.
        partial_folder: where the unfinished file is kept.
        md5: as published, in hexadecimal, or None: against accidents, where there is nothing better.
        name: what people call the file; the last part of the URL when None.
        wait: called with the seconds to wait before another attempt.

    Raises:
        UserError: no network, a refusal by the server, a web page instead of the file, a wrong size or
            digest (what has come is removed then), a full disk; each in one sentence that says what to do.
    """
    name = name or Path(urlsplit(url).path).name
    key = hashlib.sha256(url.encode()).hexdigest()[:16]
    digests = {"SHA-256": sha256, "MD5": md5}
    published = {kind: digest.lower() for kind, digest in digests.items() if digest is not None}
    partial = _PartialFile(url, partial_folder / f"{key}.part", size, published, name)
    with disk_errors_in_words(partial_folder / name):
        partial_folder.mkdir(parents=True, exist_ok=True)
        with _locked(partial_folder / f"{key}.lock", name):
            try:
                partial.complete(wait)
                partial.check()
            except _RefusedError as refusal:
                raise UserError(
                    f"{name} could not be downloaded: {refusal}; fetch it by hand from {url} and set "
                    "source.path in params.yaml to where you put it."
                ) from refusal
            partial.move(target)


@contextmanager
def _locked(lock_file: Path, name: str) -> Iterator[None]:
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        tqdm.write(f"Another process is downloading {name}; waiting for it.", file=sys.stderr)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


class _RefusedError(Exception):
    """The download has failed for a reason that another attempt does not change."""


class _InterruptedError(Exception):
    """The transfer stopped before its end; another attempt may go on."""


@dataclass(frozen=True)
class _PartialFile:
    """A file on its way: its beginning, and beside it what tells its version on the server."""

    url: str
    path: Path
    size: int | None
    digests: Mapping[str, str]
    name: str

    def complete(self, wait: Callable[[float], None]) -> None:
        """Transfer until the file is whole; give up after several attempts without a new byte.

        Raises:
            _RefusedError: why it cannot be had.
        """
        failures = 0
        longest = self._length()
        while True:
            try:
                return self._transfer()
            except (_InterruptedError, requests.RequestException) as error:
                failures = failures + 1 if self._length() <= longest else 1
                longest = max(longest, self._length())
                if failures == ATTEMPTS:
                    raise _RefusedError(_in_words(error, self.url)) from error
            wait(2.0 ** (failures - 1))

    def check(self) -> None:
        """Compare size and digests with what was published; remove a file that differs.

        Raises:
            _RefusedError: it differs.
        """
        fault = None
        if self.size is not None and self._length() != self.size:
            fault = f"{self._length():,} bytes came and {self.size:,} were published"
        for kind, published in self.digests.items():
            if fault is None:
                with self.path.open("rb") as file:
                    digest = hashlib.file_digest(file, kind.replace("-", "").lower()).hexdigest()
                if digest != published:
                    fault = f"its {kind} is {digest} and {published} was published"
        if fault:
            self._discard()
            raise _RefusedError(fault)

    def move(self, target: Path) -> None:
        """Give the whole file its place."""
        with disk_errors_in_words(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            to_disk(self.path)
            try:
                self.path.replace(target)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                with whole_file(target) as copy:  # the folders are on two disks
                    shutil.copyfile(self.path, copy)
        self._discard()

    def _transfer(self) -> None:
        """Ask once for what is missing and append it.

        Raises:
            _InterruptedError, requests.RequestException: there is more to come.
            _RefusedError: there will be no more, or not of the right file.
        """
        validator = self._validator()
        may_resume = bool(validator or self.digests)  # else nobody would notice a changed file
        if not may_resume or (self.size is not None and self._length() > self.size):
            self._discard()
        have = self._length()
        if have and have == self.size:
            return

        headers = {"Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                # Should the file have changed, it is sent whole instead of a rest that does not fit.
                headers["If-Range"] = validator
        with requests.get(self.url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if (
                response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
                and _total(response) == have
            ):
                return  # there was no more to come
            self._require_wanted_part(response, have)
            chunks = response.iter_content(CHUNK)
            first = next(chunks, b"")
            # Before anything replaces what has come:
            _refuse_web_page(response, first)
            self._require_published_size(response)
            if response.status_code == HTTPStatus.OK:
                self._discard()
                self._keep_validator(response)
            expected = self.size if self.size is not None else _total(response)
            self._append(chain([first], chunks), expected)
        if expected is not None and self._length() < expected:
            raise _InterruptedError("the connection ended early")

    def _require_wanted_part(self, response: requests.Response, have: int) -> None:
        """Accept the whole file, or the part of it that starts at byte `have`, and no other answer."""
        status = response.status_code
        host = urlsplit(response.url).hostname
        if status in _TRANSIENT or status >= 500:
            raise _InterruptedError(f"{host} answered {status} {response.reason}")
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._discard()
            raise _InterruptedError(f"{host} does not have the rest of the file")
        if status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise _RefusedError(f"{host} answered {status} {response.reason}")
        if status == HTTPStatus.PARTIAL_CONTENT and _range_start(response) != have:
            self._discard()
            raise _InterruptedError(f"{host} sent another part of the file than the one it was asked for")

    def _require_published_size(self, response: requests.Response) -> None:
        total = _total(response)
        if self.size is not None and total is not None and total != self.size:
            self._discard()
            host = urlsplit(response.url).hostname
            raise _RefusedError(f"{host} offers {total:,} bytes and {self.size:,} were published")

    def _append(self, chunks: Iterable[bytes], expected: int | None) -> None:
        have = self._length()
        bar = tqdm(
            desc=self.name,
            initial=have,
            total=expected,
            unit="B",
            unit_scale=True,
            unit_divisor=1024,
            disable=None,
        )
        with self.path.open("ab") as file, bar:
            for chunk in chunks:
                file.write(chunk)
                have += len(chunk)
                bar.update(len(chunk))
                if expected is not None and have > expected:
                    break  # the check of the size will refuse it

    def _length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def _discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._validator_path.unlink(missing_ok=True)

    @property
    def _validator_path(self) -> Path:
        return self.path.with_suffix(".validator")

    def _validator(self) -> str:
        return self._validator_path.read_text(encoding="utf-8") if self._validator_path.exists() else ""

    def _keep_validator(self, response: requests.Response) -> None:
        """Keep what tells this version of the file: a strong ETag, else the date of its last change."""
        tag = response.headers.get("ETag", "")
        validator = tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
        self._validator_path.write_text(validator, encoding="utf-8")


_TRANSIENT = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


def _refuse_web_page(response: requests.Response, first: bytes) -> None:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    start = first[:512].lstrip().lower()
    if kind in ("text/html", "application/xhtml+xml") or start.startswith((b"<!doctype html", b"<html")):
        raise _RefusedError(
            f"{urlsplit(response.url).hostname} sent a web page instead of the file (a log-in, or a notice?)"
        )


def _total(response: requests.Response) -> int | None:
    """Length of the whole file as the server states it, or None."""
    if response.status_code == HTTPStatus.OK:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else None
    match = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _range_start(response: requests.Response) -> int | None:
    match = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _in_words(error: Exception, url: str) -> str:
    """Why the last attempt failed; the texts of requests are for programmers."""
    host = urlsplit(url).hostname
    if isinstance(error, requests.exceptions.ProxyError):
        return f"the proxy does not let us reach {host}"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the certificate of {host} is not trusted here"
    if isinstance(error, requests.Timeout):
        return f"{host} does not answer"
    if isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError):
        return f"the connection to {host} failed"
    return str(error)
