"""The conda environments ask for packages and versions of pyproject.toml."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FILES = {"gpu": ROOT / "environment.yml", "binder": ROOT / "binder" / "environment.yml"}
#: Packages whose names in conda's channels are not those of the package index.
CONDA_NAMES = {
    "cudf": "cudf-cu13",
    "dask-cudf": "dask-cudf-cu13",
    "kvikio": "kvikio-cu13",
    "pytorch-cpu": "torch",
    "pytorch-gpu": "torch",
}
#: Packages that only conda has, or that pyproject.toml names by another package.
CONDA_ONLY = {"python", "pip", "cuda-version"}


def required(*extras: str) -> dict[str, SpecifierSet]:
    """The versions that the package and its extras ask for, by name."""
    found: dict[str, SpecifierSet] = {}
    texts = list(PROJECT["dependencies"])
    waiting = list(extras)
    while waiting:
        for text in PROJECT["optional-dependencies"][waiting.pop()]:
            requirement = Requirement(text)
            if requirement.name == "laion_dask":
                waiting += requirement.extras
            else:
                texts.append(text)
    for text in texts:
        requirement = Requirement(text)
        found[requirement.name] = requirement.specifier
    found["distributed"] = found["dask"]
    return found


def conda_packages(name: str) -> dict[str, str]:
    """The versions that an environment asks conda for, by conda's name."""
    listed = yaml.safe_load(FILES[name].read_text())["dependencies"]
    words = [entry.partition(" ") for entry in listed if isinstance(entry, str)]
    return {package: versions for package, _, versions in words}


@pytest.mark.parametrize("name", FILES)
def test_conda_installs_what_pyproject_asks_for(name):
    versions = required("gpu", "all")
    for package, asked in conda_packages(name).items():
        if package not in CONDA_ONLY:
            assert SpecifierSet(asked) == versions[CONDA_NAMES.get(package, package)], package


@pytest.mark.parametrize("name", FILES)
def test_python_is_one_that_the_package_supports(name):
    asked = conda_packages(name)["python"].replace("=", "").strip()
    assert Version(asked) in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {asked}" in PROJECT["classifiers"]


def test_the_gpu_environment_has_the_whole_gpu_extra():
    names = {CONDA_NAMES.get(package, package) for package in conda_packages("gpu")}
    assert {Requirement(text).name for text in PROJECT["optional-dependencies"]["gpu"]} <= {
        *names,
        "laion_dask",
    }


def test_the_gpu_environment_has_the_dask_that_cudf_was_tested_with():
    (tested,) = re.findall(r"^dask==(.*)$", (ROOT / "constraints.txt").read_text(), re.M)
    assert Version(tested) in SpecifierSet(conda_packages("gpu")["dask"])


def test_binder_has_no_gpu_package():
    """The CUDA wheels of torch are 4 GB, which an image would carry for nothing."""
    names = {CONDA_NAMES.get(package, package) for package in conda_packages("binder")}
    assert "torch" in names
    assert not {name for name in names if "cu13" in name or "cuda" in name}
    assert "pytorch-gpu" not in conda_packages("binder")


def test_binder_installs_extras_that_exist_and_not_torch():
    script = (ROOT / "binder" / "postBuild").read_text()
    (extras,) = re.findall(r"--editable '\.\[(.*?)\]'", script)
    assert set(extras.split(",")) <= set(PROJECT["optional-dependencies"])
    assert {"notebook", "clip"} <= set(extras.split(","))
    left_out = re.findall(r"grep -v -E '(.*?)' constraints.txt", script)
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    dropped = {line for line in lines if re.search(left_out[0], line)}
    assert {line.partition("==")[0] for line in dropped} == {"torch", "torchvision"}


@pytest.mark.parametrize("script", ["postBuild", "start"])
def test_binder_scripts_end_at_the_first_failure(script):
    path = ROOT / "binder" / script
    assert os.access(path, os.X_OK)
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def test_binder_starts_what_it_is_given():
    """With a hub's prefix the dashboard goes through the proxy; the command is run as it is."""
    show = [
        "python3",
        "-c",
        "import os; print(os.environ.get('DASK_DISTRIBUTED__DASHBOARD__LINK'))",
    ]
    start = str(ROOT / "binder" / "start")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("JUPYTERHUB", "DASK"))}
    run = {"capture_output": True, "text": True, "check": True}
    alone = subprocess.run([start, *show], env=environment, **run)
    hub = {**environment, "JUPYTERHUB_SERVICE_PREFIX": "/user/x/"}
    assert alone.stdout.strip() == "None"
    assert subprocess.run([start, *show], env=hub, **run).stdout.strip() == (
        "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"
    )


def test_the_dashboard_link_of_a_hub(monkeypatch):
    """Dask fills in the port, and the prefix from the environment."""
    import dask
    from distributed.utils import format_dashboard_link

    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/x/")
    link = "{JUPYTERHUB_SERVICE_PREFIX}proxy/{port}/status"
    with dask.config.set({"distributed.dashboard.link": link}):
        assert format_dashboard_link("127.0.0.1", 8787) == "/user/x/proxy/8787/status"
