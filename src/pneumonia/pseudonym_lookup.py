"""Tell which file a pseudonym stands for: `python -m pneumonia.pseudonym_lookup NAME...`.

For whoever has both the raw images and the key; nothing of it is ever written to a file.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from pneumonia import paths
from pneumonia.command_line import ended_in_words
from pneumonia.errors import UserError
from pneumonia.sources.archive import Archive
from pneumonia.sources.pseudonyms import KEY_FILE, Pseudonyms, read_or_make_key


def lookup(wanted: Iterable[str], archive: Archive, root: Path) -> dict[str, str]:
    """Of each pseudonym of a file the file's path in the archive.

    Raises:
        UserError: there is no key, or none of the archive's files has such a pseudonym.
    """
    if not (root / KEY_FILE).is_file():
        raise UserError(f"There is no {root / KEY_FILE}, so no pseudonym was made here.")
    names = Pseudonyms(read_or_make_key(root))
    files = {names.of_file(file): file for file in archive.names()}
    unknown = [name for name in wanted if name not in files]
    if unknown:
        raise UserError(
            f"No file in {archive.path} has the pseudonym {unknown[0]!r} under {root / KEY_FILE}."
        )
    return {name: files[name] for name in wanted}


if __name__ == "__main__":
    with ended_in_words():
        for name, file in lookup(sys.argv[1:], Archive(paths.RAW_ARCHIVE), Path.cwd()).items():
            sys.stdout.write(f"{name}\t{file}\n")
