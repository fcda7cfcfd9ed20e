"""Which backend keeps runs and artifacts, and why. Decided from what lies here, never by a call."""

import configparser
import netrc
import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from util_lib.errors import UserError

BACKENDS = ("auto", "wandb", "local")
DEFAULT_URL = "https://api.wandb.ai"
VARIABLE = "TRACKING_BACKEND"
NOT_ONLINE = ("offline", "disabled", "dryrun")  # values of WANDB_MODE; dryrun is its older name


class Choice(NamedTuple):
    """`backend` is wandb or local; `reason` is words for people."""

    backend: str
    reason: str


def choose(setting: str | None = None) -> Choice:
    """Return the backend for `setting`: auto, wandb or local; None stands for `TRACKING_BACKEND`.

    auto is `TRACKING_BACKEND` where it says more, else wandb where the client would find
    credentials (`WANDB_API_KEY` or an identity token, netrc, its settings file), else local.
    """
    source = "main.tracking"
    if setting in (None, "auto"):
        setting, source = os.environ.get(VARIABLE) or "auto", VARIABLE
    if setting not in BACKENDS:
        raise UserError(
            f"{source} must be one of {', '.join(BACKENDS)}, found {setting!r}; correct or unset it"
        )
    if setting == "local":
        return Choice("local", f"{source}=local")
    settings = _settings()
    mode = current_mode()
    if setting == "wandb":
        if mode in NOT_ONLINE:
            raise UserError(
                f"W&B was asked for ({source}=wandb), but its mode is {mode} and then no step "
                "can fetch what another one made: unset WANDB_MODE or run `wandb online`, or use "
                "main.tracking=local, which sends nothing"
            )
        return Choice("wandb", f"{source}=wandb")
    if mode in NOT_ONLINE:
        return Choice("local", f"the mode of W&B is {mode}, so nothing is sent")
    url = base_url()
    if found := _credentials(url, settings):
        return Choice("wandb", f"{found}, for {urlsplit(url).netloc}")
    return Choice("local", f"no credentials for W&B at {urlsplit(url).netloc}; see docs/wandb.md")


def base_url() -> str:
    """Return the address of the W&B service that the client would use."""
    return os.environ.get("WANDB_BASE_URL") or _settings().get("base_url") or DEFAULT_URL


def current_mode() -> str:
    """Return the mode that the client would work in; the empty string is its usual one."""
    return os.environ.get("WANDB_MODE") or _settings().get("mode") or ""


def git_is_disabled() -> bool:
    """Say whether the client is told to leave git alone."""
    told = os.environ.get("WANDB_DISABLE_GIT") or _settings().get("disable_git") or ""
    return told.lower() in ("true", "1", "yes", "on", "t", "y")


def as_variables() -> dict[str, str]:
    """Return what the client's settings files say of the service, as environment variables."""
    known = {"base_url": "WANDB_BASE_URL", "entity": "WANDB_ENTITY", "api_key": "WANDB_API_KEY"}
    return {known[key]: value for key, value in _settings().items() if key in known}


def has_credentials() -> bool:
    """Say whether the client would find credentials; whether they are right is another matter."""
    return _credentials(base_url(), _settings()) is not None


def _credentials(url: str, settings: dict[str, str]) -> str | None:
    """Say where the client would find credentials, None if nowhere. Nothing of them is shown."""
    for variable in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        if os.environ.get(variable):
            return f"{variable} is set"
    path = _netrc_path()
    try:
        entry = netrc.netrc(path).authenticators(urlsplit(url).netloc)
    except FileNotFoundError:
        entry = None
    except (OSError, netrc.NetrcParseError) as error:
        raise UserError(
            f"{path} cannot be read, and it may hold the credentials for W&B: {error}; correct "
            "it, or use main.tracking=local"
        ) from error
    if entry and entry[2]:
        return f"credentials in {path}"
    return "api_key in the settings of W&B" if settings.get("api_key") else None


def _netrc_path() -> Path:
    if path := os.environ.get("NETRC"):
        return Path(path).expanduser()
    usual, windows = Path("~/.netrc").expanduser(), Path("~/_netrc").expanduser()
    return windows if windows.exists() and not usual.exists() else usual


def _settings() -> dict[str, str]:
    """Read the client's settings files: the user's, then that of the working directory."""
    config = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    directory = Path(os.environ.get("WANDB_DIR") or ".")
    # The client itself takes the hidden folder where there is one.
    hidden = directory / ".wandb"
    workspace = hidden if hidden.is_dir() else directory / "wandb"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([config / "settings", workspace / "settings"])
    except configparser.Error as error:
        raise UserError(
            f"the settings of W&B cannot be read: {' '.join(str(error).split())}; correct them"
        ) from error
    return dict(parser["default"]) if parser.has_section("default") else {}
