"""The values of a run by name: its config, which does not change in passing, and its summary."""

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from util_lib.errors import UserError
from util_lib.tracking.store import values

if TYPE_CHECKING:
    from util_lib.tracking.local.run import Run


class ConfigError(UserError):
    """A value of the config was to be changed in passing."""


class Values(Mapping):
    """Named values of a run; `values["a"]` and `values.a` are the same."""

    def __init__(self, run: "Run", items: dict[str, Any]):
        """Show `items`; what is set is stored with `run`."""
        object.__setattr__(self, "_run", run)
        object.__setattr__(self, "_items", items)

    def __getitem__(self, key: str) -> Any:
        """Return a value; `KeyError` if there is none."""
        return self._items[key]

    def __getattr__(self, key: str) -> Any:
        """Return a value; `AttributeError` if there is none."""
        if key.startswith("_") or key not in self._items:
            raise AttributeError(f"this run's {type(self).__name__.lower()} has no {key!r}")
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a value."""
        self.update({key: value})

    __setattr__ = __setitem__

    def __iter__(self) -> Iterator[str]:
        """Give the keys in the order in which they came."""
        return iter(self._items)

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._items)

    def __repr__(self) -> str:
        """Show the values as a dict."""
        return repr(self._items)

    def as_dict(self) -> dict[str, Any]:
        """Return a copy as a plain dict."""
        return dict(self._items)


class Config(Values):
    """The parameters of a run.

    A value that is there is changed only by `update(..., allow_val_change=True)`, as at W&B.
    """

    def update(self, d: Mapping | argparse.Namespace, allow_val_change: bool | None = None) -> None:
        """Add values; a dict inside replaces the one of the same name as a whole."""
        self._run._refuse_if_finished("config.update")
        new = config_items(d)
        for key, value in new.items():
            if not allow_val_change and key in self._items and self._items[key] != value:
                raise ConfigError(
                    f'Attempted to change value of key "{key}" from {self._items[key]} to {value}\n'
                    "If you really want to do this, pass allow_val_change=True to config.update()"
                )
        self._items.update(new)
        self._run._store.update_run(self._run.id, config=values.dumps(self._items))

    def setdefaults(self, d: Mapping) -> None:
        """Add the values whose keys are not there yet."""
        self.update({k: v for k, v in config_items(d).items() if k not in self._items})


class Summary(Values):
    """Single values of a run: what was logged last under each name, or what is set here."""

    def update(self, d: Mapping) -> None:
        """Set several values; an image or a figure is kept as a file of the run."""
        self._run._refuse_if_finished("summary.update")
        self._items.update(self._run._storable(d))
        self._save()

    def __delitem__(self, key: str) -> None:
        """Remove a value."""
        self._run._refuse_if_finished("summary.__delitem__")
        del self._items[key]
        self._save()

    def _save(self) -> None:
        self._run._store.update_run(self._run.id, summary=values.dumps(self._items))


def config_items(config: Mapping | argparse.Namespace) -> dict[str, Any]:
    """Return a config as a dict of plain values; dashes before a name are left out."""
    plain = values.plain(config)
    if not isinstance(plain, dict):
        raise TypeError(f"config must be a dictionary, not {type(config).__name__}")
    return {key.strip("-"): value for key, value in plain.items()}
