"""Nothing in the code makes objects, or runs code, out of what it reads."""

import ast
import re
from pathlib import Path

import mlflow.cli
import pytest

from pneumonia.summary import MLFLOW_UI

ROOT = Path(__file__).parents[2]
FILES = [file for folder in ("src", "stages", "benchmarks") for file in sorted((ROOT / folder).rglob("*.py"))]

PICKLES = ("pickle", "_pickle", "cloudpickle", "dill", "marshal")
FORBIDDEN = {
    *(f"{module}.{name}" for module in PICKLES for name in ("load", "loads", "Unpickler")),
    *("shelve.open", "joblib.load", "joblib.Memory", "pandas.read_pickle"),
    *("torch.jit.load", "torch.hub.load", "torch.package.PackageImporter"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"),
    *("eval", "exec", "compile", "__import__", "builtins.eval", "builtins.exec"),
    *("importlib.import_module", "runpy.run_path", "runpy.run_module", "os.system", "os.popen"),
    *(f"{module}.*" for module in (*PICKLES, "shelve", "joblib", "torch", "numpy", "yaml")),
}
BY_ARGUMENT = {"torch.load", "numpy.load", "yaml.load", "yaml.load_all"}
SAFE_LOADERS = {"yaml.SafeLoader", "yaml.CSafeLoader"}

EXCEPTIONS = {
    # Questions to and answers from a process that this very process has started, with the same rights, over a
    # pipe that nobody else can open: no file, and nothing that came from outside. It is pickle because it
    # must carry exceptions; joblib sends the same objects to the workers of a cluster as pickles, too.
    ("src/pneumonia/imaging/isolation.py", "pickle.load"),
    # One of the stages, by the name that the benchmark of their growth gives it.
    ("benchmarks/one_stage.py", "importlib.import_module"),
}


def unsafe(code: str) -> set[str]:
    """Full names of what some code uses that could run what it reads."""
    nodes = list(ast.walk(ast.parse(code)))
    origin = {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in nodes
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    } | {
        alias.asname or alias.name.partition(".")[0]: alias.name
        if alias.asname
        else alias.name.partition(".")[0]
        for node in nodes
        if isinstance(node, ast.Import)
        for alias in node.names
    }

    def full_name(node: ast.AST) -> str:
        if isinstance(node, ast.Attribute):
            return f"{full_name(node.value)}.{node.attr}"
        return origin.get(node.id, node.id) if isinstance(node, ast.Name) else ""

    ours = {
        node.name
        for node in nodes
        if isinstance(node, ast.ClassDef) and {full_name(base) for base in node.bases} & SAFE_LOADERS
    }

    def is_safe(call: ast.Call) -> bool:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if None in given:  # **options may hold anything
            return False
        match full_name(call.func):
            case "torch.load":
                return is_constant(given.get("weights_only"), True)
            case "numpy.load":
                return len(call.args) < 3 and is_constant(
                    given.get("allow_pickle", ast.Constant(False)), False
                )
            case _:
                return len(call.args) < 2 and full_name(given.get("Loader", call)) in SAFE_LOADERS | ours

    safe = {id(node.func) for node in nodes if isinstance(node, ast.Call) and is_safe(node)}
    used = {full_name(node) for node in nodes if id(node) not in safe} | {
        name for name in origin.values() if name.endswith(".*")
    }
    shell = {
        "shell=True"
        for node in nodes
        if isinstance(node, ast.keyword) and node.arg == "shell" and not is_constant(node.value, False)
    }
    return used & (FORBIDDEN | BY_ARGUMENT) | shell


def is_constant(node: ast.AST | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_unpickles_or_runs_what_it_reads() -> None:
    found = {
        (file.relative_to(ROOT).as_posix(), name)
        for file in FILES
        for name in unsafe(file.read_text(encoding="utf-8"))
    }
    assert found == EXCEPTIONS
    assert len(FILES) > 80


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import pickle\npickle.load(file)", {"pickle.load"}),
        ("import pickle as p\nmap(p.loads, found)", {"pickle.loads"}),
        ("from pickle import loads as parse\nparse(text)", {"pickle.loads"}),
        ("from joblib import *", {"joblib.*"}),
        ("import torch\ntorch.load(path)", {"torch.load"}),
        ("import torch\ntorch.load(path, weights_only=False)", {"torch.load"}),
        ("import torch\ntorch.load(path, weights_only=safe)", {"torch.load"}),
        ("import torch\ntorch.load(path, **options)", {"torch.load"}),
        ("import torch\nread = torch.load", {"torch.load"}),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", {"numpy.load"}),
        ("import numpy as np\nnp.load(path, None, True)", {"numpy.load"}),
        ("import yaml\nyaml.load(text, Loader=yaml.Loader)", {"yaml.load"}),
        ("import yaml\nyaml.load(text, yaml.Loader)", {"yaml.load"}),
        ("from yaml import full_load\nfull_load(text)", {"yaml.full_load"}),
        ("import yaml\nclass L(yaml.Loader): ...\nyaml.load(text, Loader=L)", {"yaml.load"}),
        ("import pandas as pd\npd.read_pickle(path)", {"pandas.read_pickle"}),
        ("eval(text)", {"eval"}),
        ("import subprocess\nsubprocess.run(text, shell=True)", {"shell=True"}),
        ("import os\nos.system(text)", {"os.system"}),
        ("module.eval()\nre.compile(x)\nself.load(path)", set()),
        ("import pickle\npickle.dumps(x)", set()),
        ("import torch\ntorch.load(path, weights_only=True)", set()),
        ("import numpy as np\nnp.load(path, mmap_mode='r', allow_pickle=False)\nnp.load(path)", set()),
        ("import yaml\nclass L(yaml.SafeLoader): ...\nyaml.load(text, Loader=L)\nyaml.safe_load(x)", set()),
    ],
)
def test_the_search_finds_what_it_is_for(code: str, names: set[str]) -> None:
    assert unsafe(code) == names


@pytest.mark.parametrize("document", [(ROOT / "README.md").read_text(encoding="utf-8"), MLFLOW_UI])
def test_the_documented_server_listens_to_this_machine_alone_and_reports_to_nobody(document: str) -> None:
    commands = re.findall(r"(?:\S+ )?mlflow (?:ui|server)[^\n,`]*", document)
    assert commands
    for command in commands:
        setting, _, name, *options = command.split()
        assert setting == "MLFLOW_DISABLE_TELEMETRY=true"
        parsed = mlflow.cli.cli.get_command(None, name).make_context(name, options)
        assert parsed.params["host"] == "127.0.0.1"
