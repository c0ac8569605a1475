"""dvc.yaml declares exactly the code, parameters and data that each stage uses: derived, not believed."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from pneumonia import paths
from pneumonia.nested import leaves
from pneumonia.params import Params, Training, load_params

ROOT = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))
STAGES: dict[str, Any] = PIPELINE["stages"]
OURS = {"pneumonia": ROOT / "src", "stages": ROOT}


def names(entries: list[Any]) -> list[str]:
    """Entries of dvc.yaml without their options."""
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def file_of(module: str) -> Path | None:
    """File of one of our own modules, or None."""
    parts = module.split(".")
    if parts[0] not in OURS:
        return None
    path = OURS[parts[0]].joinpath(*parts)
    return next((f for f in (path.with_suffix(".py"), path / "__init__.py") if f.is_file()), None)


@cache
def direct_imports(file: Path) -> frozenset[Path]:
    """Our own files that a file imports, wherever in it; with the packages that Python runs on the way."""
    imported = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        for module in modules:
            parts = module.split(".")
            ways = [".".join(parts[: end + 1]) for end in range(len(parts))]
            imported |= {found for way in ways if (found := file_of(way))}
    return frozenset(imported)


def all_imports(stage: str) -> set[Path]:
    """Closure of the imports of a stage."""
    waiting, seen = [ROOT / "stages" / f"{stage}.py", ROOT / "stages" / "__init__.py"], set()
    while waiting:
        file = waiting.pop()
        if file not in seen:
            seen.add(file)
            waiting += direct_imports(file)
    return seen


def code_deps(stage: str) -> list[Path]:
    return [ROOT / dep for dep in STAGES[stage]["deps"] if dep.startswith(("stages/", "src/"))]


def attribute_chains(stage: str, root: str) -> set[str]:
    """Dotted names used below a variable, e.g. `evaluate.threshold` of `params.evaluate.threshold`."""
    nodes = list(ast.walk(ast.parse((ROOT / "stages" / f"{stage}.py").read_text(encoding="utf-8"))))
    inner = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
    chains = set()
    for node in nodes:
        chain: list[str] = []
        here: ast.AST = node
        while isinstance(here, ast.Attribute) and id(node) not in inner:
            chain.insert(0, here.attr)
            here = here.value
        if chain and isinstance(here, ast.Name) and here.id == root:
            chains.add(".".join(chain))
    return chains


def test_the_chain_is_the_one_that_is_documented() -> None:
    assert list(STAGES) == ["download", "preprocess", "split", "train", "evaluate", "gallery"]
    assert {stage: body["cmd"] for stage, body in STAGES.items()} == {
        stage: f"python -m stages.{stage}" for stage in STAGES
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_imported_file_is_a_dependency_and_every_dependency_is_imported(stage: str) -> None:
    imported, declared = all_imports(stage), code_deps(stage)

    def covered(file: Path) -> bool:
        return any(dep == file or dep in file.parents for dep in declared)

    assert {str(f.relative_to(ROOT)) for f in imported if not covered(f)} == set()
    unused = {
        str(dep.relative_to(ROOT))
        for dep in declared
        if not any(dep == file or dep in file.parents for file in imported)
    }
    assert unused == set()


@pytest.mark.parametrize("stage", STAGES)
def test_every_used_parameter_is_declared_and_every_declared_one_is_used(stage: str) -> None:
    chains = attribute_chains(stage, "params")
    if stage == "gallery":  # the report shows all of params.yaml
        chains = set(Params.model_fields)
    if "training" in chains:
        chains = chains - {"training"} | set(Training.model_fields)
    used = {chain for chain in chains if not any(chain.startswith(f"{other}.") for other in chains)}
    assert used | overlooked(used) == set(STAGES[stage]["params"])


def overlooked(declared: set[str]) -> set[str]:
    """Keys within a declared section that DVC's run cache takes for facts of a file."""
    params = load_params(ROOT / "params.yaml").model_dump()
    return {
        key
        for key, _ in leaves(params)
        if key.partition(".")[0] in declared and key.rpartition(".")[2] in ("size", "nfiles")
    }


@pytest.mark.parametrize("stage", STAGES)
def test_every_file_that_is_read_or_written_is_declared(stage: str) -> None:
    body = STAGES[stage]
    data_deps = {dep for dep in body["deps"] if not dep.startswith(("stages/", "src/"))}
    outs = set(names(body.get("outs", []) + body.get("metrics", []) + body.get("plots", [])))
    declared = {
        re.sub(rf"^{paths.CURVES.as_posix()}/.*", paths.CURVES.as_posix(), d) for d in data_deps | outs
    }
    used = {getattr(paths, chain.split(".")[0]).as_posix() for chain in attribute_chains(stage, "paths")}
    assert used == declared


@pytest.mark.parametrize("stage", ["download", "preprocess", "split"])
def test_the_data_stages_never_import_torch(stage: str) -> None:
    statement = f"import sys, stages.{stage}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", statement], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert f"stages.{stage}" in loaded
    assert {"torch", "torchvision", "lightning", "timm", "mlflow"}.isdisjoint(loaded)


def test_metrics_and_plots_are_kept_by_git_and_all_else_by_the_cache() -> None:
    for body in STAGES.values():
        for entry in body.get("metrics", []) + body.get("plots", []):
            ((name, settings),) = entry.items()
            assert name.startswith(("metrics/", "plots/"))
            assert settings["cache"] is False


def test_the_run_cache_serves_every_stage() -> None:
    """DVC keeps no run of a stage with an output of git's that is neither metrics nor plots."""
    for body in STAGES.values():
        assert all(isinstance(entry, str) for entry in body.get("outs", [])), body


def test_every_curve_has_a_title_and_names_of_axes() -> None:
    by_stages = [plot for body in STAGES.values() for plot in body.get("plots", [])]
    curves = [plot for plot in by_stages + PIPELINE["plots"] if "plots/gallery" not in plot]
    assert len(curves) == 8
    for plot in curves:
        ((_, settings),) = plot.items()
        assert {"title", "x", "y", "x_label", "y_label"} <= set(settings)
