"""Whether a locked or optional package has a known vulnerability: pip-audit, in an environment of its own.

`make audit`. It asks pypi.org; where that does not answer it says so in a sentence and exits with status 1,
as it does where a package is vulnerable. Nothing of ours runs on pip-audit, so it is not in the lock.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = ("requirements.lock", "requirements-pretrained.txt")
PLACE = ROOT / ".cache" / "pip-audit"
TOOL = "pip-audit==2.10.1"
# Every package is pinned with its hashes: nothing is resolved, and one that cannot be looked up is a failure.
OPTIONS = ["--strict", "--require-hashes", "--disable-pip", "--progress-spinner", "off", "--format", "json"]


def install() -> Path:
    """Make the environment where there is none; return its interpreter."""
    python = PLACE / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    for command in (
        [sys.executable, "-m", "venv", str(PLACE)],
        [str(python), "-m", "pip", "install", "--quiet", TOOL],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"error: {TOOL} cannot be installed ({last_line(done.stderr)}).")
    return python


def verdict(output: str, complaints: str) -> tuple[int, list[str]]:
    """What pip-audit found.

    Args:
        output: what it printed: JSON, or nothing where it gave up.
        complaints: what it said on stderr.

    Returns:
        How many packages were looked up, and a line for each vulnerability.

    Raises:
        SystemExit: it gave up, or left out a package.
    """
    try:
        packages = json.loads(output)["dependencies"]
    except ValueError:
        sys.exit(
            f"error: the audit could not be made ({last_line(complaints)}); it needs pypi.org, so run it "
            "where there is internet."
        )
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    if skipped or not packages:
        sys.exit(f"error: the audit left out {', '.join(skipped) or 'everything'}.")
    faults = [(package, fault) for package in packages for fault in package["vulns"]]
    return len(packages), [
        f"{package['name']} {package['version']}: {fault['id']}, "
        f"mended in {', '.join(fault['fix_versions']) or 'no version'}"
        for package, fault in faults
    ]


def last_line(text: str) -> str:
    """Where programs in Python say what was wrong; shortened."""
    return (text.strip().splitlines() or ["it did not say why"])[-1][:200]


def main() -> None:
    """Audit the lock and the optional packages."""
    files = [part for name in FILES for part in ("-r", str(ROOT / name))]
    command = [str(install()), "-m", "pip_audit", *OPTIONS, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    count, vulnerable = verdict(done.stdout, done.stderr)
    if vulnerable:
        sys.exit("\n".join(["error: known vulnerabilities; `make lock` takes newer versions:", *vulnerable]))
    print(f"{count} packages, no known vulnerability")


if __name__ == "__main__":
    main()
