"""What a step's environment file asks for and this Python lacks: for steps that run without one."""

from importlib import metadata
from pathlib import Path

import yaml

from util_lib import yaml_files
from util_lib.errors import UserError


def lacking(project: Path) -> list[str]:
    """List the packages that the conda.yml of the step in `project` asks pip for in vain."""
    return [text for text in _asked_for(project) if not _is_installed(text)]


def said_of_lack(packages: list[str]) -> str:
    """Say what follows from packages that are not there, and the way out."""
    return (
        f"its conda.yml asks for {', '.join(packages)}, which this Python lacks: install it "
        "here, or use main.env_manager=uv, which makes an environment that has it"
    )


def _asked_for(project: Path) -> list[str]:
    try:
        file = yaml_files.read(project / "MLproject").get("conda_env") or "conda.yml"
        asked = yaml_files.read(project / file).get("dependencies") or []
        lists = [one.get("pip") or [] for one in asked if isinstance(one, dict)]
        return [text for texts in lists for text in texts if isinstance(text, str)]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, UserError, AttributeError, TypeError):
        return []  # whoever makes an environment of it says so


def _is_installed(text: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        asked = Requirement(text)
        if asked.marker is None:  # else another system's, perhaps
            metadata.distribution(asked.name)
    except InvalidRequirement:  # a file, a folder or an option of pip
        return True
    except metadata.PackageNotFoundError:
        return False
    return True
