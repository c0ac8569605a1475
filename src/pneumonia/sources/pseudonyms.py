"""Names of patients and files replaced by keyed hashes, before they reach any table.

HMAC-SHA-256 (RFC 2104), 80 bits of it: equal names stay equal, and without the key nobody can try out names
until a hash fits. The key is made once, in a file at the repository's root that git ignores. Whoever has it
can tell which pseudonym a given name has; whoever has another one gets other pseudonyms, hence another
order of images and another split. So keep the file, and share it, over a safe way, with those who are
to rebuild the same numbers from the raw images.
"""

import hmac
import os
import secrets
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pneumonia.errors import UserError

KEY_FILE = "pseudonym.key"
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
        UserError: the file is there and holds no key.
    """
    path = root / KEY_FILE
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        pass
    else:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
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
