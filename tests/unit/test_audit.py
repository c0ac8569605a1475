"""What the audit makes of what pip-audit says; the audit itself needs the internet."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.audit import FILES, OPTIONS, verdict

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
SOUND = {"name": "numpy", "version": "2.4.6", "vulns": []}
FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["3.1.7"], "aliases": [], "description": "..."}


def output(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_a_vulnerability_is_named_with_the_version_that_mends_it() -> None:
    vulnerable = {"name": "jinja2", "version": "3.1.6", "vulns": [FAULT, {**FAULT, "fix_versions": []}]}
    assert verdict(output(SOUND, vulnerable), "Found 2 known vulnerabilities in 1 package") == (
        2,
        ["jinja2 3.1.6: PYSEC-2026-1, mended in 3.1.7", "jinja2 3.1.6: PYSEC-2026-1, mended in no version"],
    )
    assert verdict(output(SOUND), "") == (1, [])


@pytest.mark.parametrize(
    ("printed", "complaints", "sentence"),
    [
        (
            "",
            "Traceback (most recent call last):\n  ...\nrequests.exceptions.ProxyError: no connection\n",
            r"could not be made \(requests.exceptions.ProxyError: no connection\); it needs pypi.org",
        ),
        (
            "",
            "ERROR:pip_audit._cli:yarl: Dependency not found on PyPI and could not be audited: yarl (1.25.1)",
            r"could not be made.*not found on PyPI.*yarl \(1.25.1\)\)",
        ),
        ("", "", "it did not say why"),
        (output(SOUND, {"name": "yarl", "skip_reason": "not found"}), "", "left out yarl"),
        (output(), "", "left out everything"),
    ],
)
def test_no_answer_is_no_clean_bill(printed: str, complaints: str, sentence: str) -> None:
    with pytest.raises(SystemExit, match=f"^error: .*{sentence}") as refused:
        verdict(printed, complaints)
    assert "\n" not in str(refused.value)


def test_a_package_that_cannot_be_looked_up_is_a_failure() -> None:
    assert {"--strict", "--require-hashes"} <= set(OPTIONS)


def test_ci_runs_on_the_lowest_and_the_highest_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lowest, above = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    workflow = yaml.safe_load((WORKFLOWS / "test.yaml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    assert job["strategy"]["matrix"]["python"] == [f"3.{lowest}", f"3.{int(above) - 1}"]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert f"(3, {lowest}) <= sys.version_info < (3, {above})" in makefile


def test_ci_audits_every_week_and_when_the_lock_changes() -> None:
    workflow = yaml.load((WORKFLOWS / "audit.yaml").read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    assert len(workflow["on"]["schedule"]) == 1
    for event in ("push", "pull_request"):
        assert set(FILES) <= set(workflow["on"][event]["paths"])
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == "make audit"
