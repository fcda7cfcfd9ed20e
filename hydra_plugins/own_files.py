"""Hydra's door to the user's own configuration files: within the limits of `yaml_files`.

Hydra imports this file at every start, so it imports as little as it can.
"""

import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.plugins.config_source import ConfigResult
from omegaconf.errors import OmegaConfBaseException

from util_lib import yaml_files
from util_lib.errors import UserError


class OwnFiles(FileConfigSource):
    """The folder `conf` where the user stands, as `own://<path>`."""

    @staticmethod
    def scheme() -> str:
        """Name the scheme of such an address."""
        return "own"

    def load_config(self, config_path: str) -> ConfigResult:
        """Return what a file holds; `UserError` for more than a person would write."""
        path = f"{self.path}/{self._normalize_file_name(config_path)}"
        try:
            yaml_files.text_of(path)
            return super().load_config(config_path)
        except (yaml.YAMLError, OmegaConfBaseException):
            raise
        except yaml_files.UNREADABLE as error:
            raise UserError(f"{path} is no YAML file: {error}") from None
