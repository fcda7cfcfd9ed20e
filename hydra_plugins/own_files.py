"""Hydra's door to the user's own configuration files: within the limits of `yaml_files`.

Hydra imports this file at every start, so it imports as little as it can.
"""

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult

from util_lib import yaml_files


class OwnFiles(FileConfigSource):
    """The folder `conf` where the user stands, as `own://<path>`."""

    @staticmethod
    def scheme() -> str:
        """Name the scheme of such an address."""
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return a file's content; `UserError` for one that stands for more than a person writes."""
        path = f"{self.path}/{self._normalize_file_name(config_path)}"
        yaml_files.text_of(path)
        return super().load_config(config_path)
