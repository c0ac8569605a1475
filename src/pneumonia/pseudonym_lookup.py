"""Tell for which files a pseudonym of a file or patient stands: `python -m pneumonia.pseudonym_lookup NAME`.

For whoever has both the raw images and the key; nothing of it is ever written to a file.
"""

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from pneumonia import paths
from pneumonia.command_line import ended_in_words
from pneumonia.errors import UserError
from pneumonia.sources.archive import Archive
from pneumonia.sources.pseudonyms import KEY_FILE, Pseudonyms, read_or_make_key
from pneumonia.store import read_index


def lookup(wanted: Iterable[str], archive: Archive, root: Path) -> dict[str, list[str]]:
    """Of each pseudonym, of a file or of a patient, the paths in the archive.

    Raises:
        UserError: there is no key, or nothing in the archive has such a pseudonym.
    """
    if not (root / KEY_FILE).is_file():
        raise UserError(f"There is no {root / KEY_FILE}, so no pseudonym was made here.")
    names = Pseudonyms(read_or_make_key(root))
    files = {names.of_file(file): [file] for file in archive.names()}
    found = _of_patients(files, root) | files
    unknown = [name for name in wanted if name not in found]
    if unknown:
        raise UserError(
            f"No file in {archive.path}, and no patient in {paths.INDEX}, has the pseudonym {unknown[0]!r} "
            f"under {root / KEY_FILE}."
        )
    return {name: found[name] for name in wanted}


def _of_patients(files: Mapping[str, list[str]], root: Path) -> dict[str, list[str]]:
    """Of each patient of the index, if there is one, the files."""
    if not (root / paths.INDEX).is_file():
        return {}
    index = read_index(root / paths.INDEX)
    known = index[index["file"].isin(list(files))]
    return {
        str(patient): sorted(path for name in of_patient["file"] for path in files[name])
        for patient, of_patient in known.groupby("patient")
    }


if __name__ == "__main__":
    with ended_in_words():
        for name, files in lookup(sys.argv[1:], Archive(paths.RAW_ARCHIVE), Path.cwd()).items():
            sys.stdout.writelines(f"{name}\t{file}\n" for file in files)
