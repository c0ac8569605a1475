"""Names of patients and files replaced by keyed hashes, before they reach any table.

HMAC-SHA-256 (RFC 2104), 80 bits of it: equal names stay equal, and without the key nobody can try out names
until a hash fits. The key is made once, in a file at the repository's root that git ignores. Whoever has it
can tell which pseudonym a given name has; whoever has another one gets other pseudonyms, hence another
order of images and another split. So keep the file, and share it, over a safe way, with those who are
to rebuild the same numbers from the raw images.
"""

import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from filelock import FileLock

from pneumonia.atomic import disk_errors_in_words, whole_file
from pneumonia.errors import UserError

KEY_FILE = "pseudonym.key"
LOCK_FILE = ".cache/pseudonym.lock"
KEY_BYTES = 32
HEX_DIGITS = 20
_ENDINGS = frozenset({".dcm", ".dicom", ".png", ".jpg", ".jpeg"})
"""Any other could be part of a name."""


@dataclass(frozen=True, slots=True)
class Pseudonyms:
    """What a file and a patient are called in the tables."""

    key: bytes | None
    """None leaves the names as they are."""

    def of_file(self, file: str) -> str:
        """A hash with the file's ending."""
        if self.key is None:
            return file
        ending = PurePosixPath(file).suffix.lower()
        return self._hash("file", file) + (ending if ending in _ENDINGS else "")

    def of_patient(self, patient: str, file: str) -> str:
        """A hash; the same as the file's where the patient is not known, see `Record.patient`."""
        if self.key is None:
            return patient
        return self.of_file(file) if patient == file else self._hash("patient", patient)

    def _hash(self, kind: str, name: str) -> str:
        assert self.key is not None
        return hmac.digest(self.key, f"{kind}:{name}".encode(), "sha256").hex()[:HEX_DIGITS]


NO_PSEUDONYMS = Pseudonyms(None)


def read_or_make_key(root: Path) -> bytes:
    """The repository's key; made at the first call, readable for its owner only.

    Raises:
        UserError: the file is there and holds no key; it cannot be written.
    """
    path = root / KEY_FILE
    if not path.exists():
        _make_key(path, root / LOCK_FILE)
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise UserError(
            f"{path} must hold {2 * KEY_BYTES} hexadecimal digits; restore it, or remove it to get new "
            "pseudonyms and a new split."
        )
    return key


def _make_key(path: Path, lock: Path) -> None:
    """Make the key, whole or not at all, unless another process has made it by now."""
    with disk_errors_in_words(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if not path.exists():
                with whole_file(path) as part:
                    part.touch(mode=0o600)
                    part.write_text(secrets.token_hex(KEY_BYTES) + "\n", encoding="ascii")
