"""What the files of a step must have in common, for any folder: the project's steps and others."""

import importlib.util
from pathlib import Path

import yaml


def read(path: Path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def load(folder: Path, module: str = "run"):
    """Import a script of a step by its path."""
    name = f"{folder.name}_{module}"
    spec = importlib.util.spec_from_file_location(name, folder / f"{module}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def arguments(script):
    return [action for action in script.build_parser()._actions if action.dest != "help"]


def packages(path: Path):
    listed = read(path)["dependencies"]
    plain = [entry for entry in listed if isinstance(entry, str)]
    return plain, next(entry["pip"] for entry in listed if isinstance(entry, dict))


def declares_what_the_script_reads_in_the_same_order(folder: Path, entry: str, script) -> None:
    declared = read(folder / "MLproject")["entry_points"][entry]
    flags = [action.dest for action in arguments(script)]
    assert list(declared["parameters"]) == flags
    passed = " ".join(f"--{flag} {{{flag}}}" for flag in flags)
    assert declared["command"].strip() == f"python {Path(script.__file__).name} {passed}"


def has_the_same_defaults_in_both_places_and_descriptions(folder: Path, entry: str, script) -> None:
    declared = read(folder / "MLproject")["entry_points"][entry]["parameters"]
    for action in arguments(script):
        parameter = declared[action.dest]
        assert parameter["description"] and parameter["type"] in ("string", "float")
        assert ("default" in parameter) == (not action.required)
        assert parameter.get("default") == action.default
        assert action.help


def has_one_name_in_all_files(folder: Path, script) -> None:
    project, name = read(folder / "MLproject"), folder.name
    assert project["name"] == name
    assert project["conda_env"] == "conda.yml"
    assert read(folder / "conda.yml")["name"] == name
    assert script.logger.name == name
    assert (folder / "README.md").read_text(encoding="utf-8").startswith(f"# {name}\n")


def readme_names_every_parameter_and_how_to_run_it(folder: Path, place: str) -> None:
    text = (folder / "README.md").read_text(encoding="utf-8")
    for entry in read(folder / "MLproject")["entry_points"].values():
        for name in entry["parameters"]:
            assert f"`{name}`" in text, name
    assert f"mlflow run {place}" in text and "python run.py" in text


def environment_has_the_shape_that_every_manager_takes(folder: Path) -> None:
    plain, pip = packages(folder / "conda.yml")
    assert read(folder / "conda.yml")["channels"] == ["conda-forge"]
    assert plain == ["python=3.11.7", "pip=26.3"]
    assert all("==" in package for package in pip)
    assert pip[:3] == ["mlflow-skinny==3.17.2", "sqlalchemy==2.1.9", "alembic==1.20.1"]


def requirements(path: Path) -> list[str]:
    lines = [line.partition("#")[0].strip() for line in path.read_text().splitlines()]
    return [line for line in lines if line and not line.startswith("-r")]


def a_package_has_one_version(paths: list[Path]) -> None:
    """Compare all conda.yml and requirements files among `paths`."""
    versions = {}
    for path in paths:
        listed = requirements(path) if path.suffix == ".txt" else sum(packages(path), [])
        for entry in listed:
            name, _, version = entry.replace("==", "=").partition("=")
            versions.setdefault(name, {}).setdefault(version, []).append(str(path))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
