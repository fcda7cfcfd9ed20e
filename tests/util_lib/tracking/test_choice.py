"""Which backend is chosen, and why."""

import subprocess
import sys
from pathlib import Path

import pytest

from util_lib.errors import UserError
from util_lib.tracking.choice import choose

ROOT = Path(__file__).resolve().parents[3]
KEY = "k" * 40


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("NETRC", "WANDB_CONFIG_DIR"):
        monkeypatch.delenv(name)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)


def test_without_credentials_auto_is_local_and_says_where_to_read_on():
    chosen = choose("auto")
    assert chosen.backend == "local"
    assert chosen.reason == "no credentials for W&B at api.wandb.ai; see docs/wandb.md"


@pytest.mark.parametrize("variable", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_a_key_in_the_environment_is_enough(monkeypatch, variable):
    monkeypatch.setenv(variable, KEY)
    chosen = choose("auto")
    assert chosen == ("wandb", f"{variable} is set, for api.wandb.ai")
    assert KEY not in chosen.reason


def test_a_netrc_entry_counts_for_its_own_host_only(home, monkeypatch):
    write(home / ".netrc", f"machine wandb.example.test login user password {KEY}\n")
    assert choose("auto").backend == "local"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.test")
    chosen = choose("auto")
    assert chosen == ("wandb", f"credentials in {home}/.netrc, for wandb.example.test")


def test_the_netrc_that_the_environment_names_is_read_instead(home, monkeypatch):
    write(home / "other", f"machine api.wandb.ai login user password {KEY}\n")
    monkeypatch.setenv("NETRC", str(home / "other"))
    assert choose("auto").backend == "wandb"


def test_the_clients_settings_file_says_key_address_and_mode(home):
    settings = home / ".config" / "wandb" / "settings"
    write(settings, f"[default]\nbase_url = https://own.example.test\napi_key = {KEY}\n")
    assert choose("auto") == ("wandb", "api_key in the settings of W&B, for own.example.test")
    write(settings, f"[default]\napi_key = {KEY}\nmode = offline\n")
    assert choose("auto") == ("local", "the mode of W&B is offline, so nothing is sent")


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_a_mode_that_sends_nothing_makes_auto_local_and_wandb_an_error(monkeypatch, mode):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_MODE", mode)
    assert choose("auto").backend == "local"
    with pytest.raises(UserError, match=f"its mode is {mode}.*main.tracking=local"):
        choose("wandb")


def test_what_is_asked_for_wins_over_what_is_found(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    assert choose("local") == ("local", "main.tracking=local")
    monkeypatch.setenv("TRACKING_BACKEND", "local")
    assert choose("auto") == choose() == ("local", "TRACKING_BACKEND=local")
    assert choose("wandb") == ("wandb", "main.tracking=wandb")


def test_an_unknown_backend_is_named_with_those_there_are(monkeypatch):
    monkeypatch.setenv("TRACKING_BACKEND", "mlflow")
    with pytest.raises(UserError, match="must be one of auto, wandb, local, found 'mlflow'"):
        choose()


def test_a_broken_netrc_is_an_error_and_not_a_reason_to_keep_quiet(home):
    write(home / ".netrc", "machine api.wandb.ai nonsense user\n")
    with pytest.raises(UserError, match="netrc cannot be read"):
        choose("auto")


def test_on_the_local_backend_the_client_is_never_imported():
    source = (
        "import sys; from util_lib import tracking; tracking.init; print('wandb' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "False\n"
