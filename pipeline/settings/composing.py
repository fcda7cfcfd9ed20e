"""The checked configuration of a command that is not main.py itself."""

from collections.abc import Mapping

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.settings import overrides, schema
from pipeline.settings.schema import Settings
from util_lib.project import ROOT


def settings_of(words: list[str], keys: Mapping[str, str] | None = None) -> Settings:
    """Return the configuration with `keys` set, as main.py would check it."""
    given = [*words, *(f"{key}='{value}'" for key, value in (keys or {}).items())]
    try:
        GlobalHydra.instance().clear()
        with initialize_config_dir(config_dir=str(ROOT), version_base="1.3"):
            config = compose("config", overrides=given, return_hydra_config=True)
        HydraConfig.instance().set_config(config)
        with_dataset = config.hydra.runtime.choices.get("dataset")
        OmegaConf.set_struct(config, False)
        del config["hydra"]
        return schema.check(config, with_dataset)
    except (HydraException, OmegaConfBaseException) as error:
        raise overrides.explain(error, words) from error
