"""What tests of every room share."""

import logging
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.wandb_service.process import Account

ROOT = Path(__file__).resolve().parents[1]
PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1366, "height": 768}


def pytest_unconfigure() -> None:
    from tests import warm

    warm.end()


@pytest.fixture(autouse=True)
def _own_surroundings(monkeypatch, tmp_path):
    """No test reads or writes the user's store, MLflow database or W&B account."""
    for name in list(os.environ):
        if name.startswith(("WANDB_", "MLFLOW_", "TRACKING_", "PIPELINE_")):
            if name != "PIPELINE_TEST_DATA":
                monkeypatch.delenv(name)
    monkeypatch.setenv("TRACKING_STORE", str(tmp_path / "store" / "tracking_store"))
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-wandb"))
    before, level = dict(os.environ), logging.root.level
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False  # which making MLflow's tables does to all that it finds
    yield
    # What a pipeline run in this process left in the environment must not reach the next test.
    os.environ.clear()
    os.environ.update(before)
    logging.root.setLevel(level)  # Hydra's makes the next test miss its warnings


@pytest.fixture(scope="session")
def empty_mlflow_database(tmp_path_factory) -> Path:
    """MLflow's database, made once: that takes longer than most tests."""
    pytest.importorskip("mlflow", reason="MLflow is not installed")
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    from tests import warm

    code = "import mlflow, sys; mlflow.MlflowClient(sys.argv[1]).search_experiments()"
    # In another process: what makes the tables switches off the loggers that it finds.
    # Where it stands lie the files of runs of the database's own experiment.
    subprocess.run([warm.python(), "-c", code, f"sqlite:///{path}"], check=True, cwd=path.parent)
    return path


@pytest.fixture(scope="session")
def _wandb_double(tmp_path_factory):
    from tests.wandb_service.process import Process

    double = Process(tmp_path_factory.mktemp("wandb_service"))
    yield double
    double.stop()


@pytest.fixture
def wandb_service(_wandb_double):
    """The test double of the W&B service, in a process of its own, without faults."""
    _wandb_double.start()  # a pipeline run that is stopped ends all processes below its own
    yield _wandb_double
    _wandb_double.order()


@pytest.fixture
def wandb_account(wandb_service, tmp_path) -> "Account":
    """A new account of the double."""
    folder = tmp_path / "wandb_client"
    folder.mkdir()
    return wandb_service.account(folder)


@pytest.fixture
def wandb_api(wandb_account, monkeypatch):
    """The genuine client's read side on that account."""
    wandb = pytest.importorskip("wandb", reason="the genuine W&B client is not installed")
    for name, value in wandb_account.environment.items():
        monkeypatch.setenv(name, value)
    yield wandb.Api()
    wandb.teardown()


@pytest.fixture
def real_data() -> Path:
    """The folder of real tables; the test is skipped where there is none."""
    folder = Path(os.environ.get("PIPELINE_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}; set PIPELINE_TEST_DATA to its folder")
    return folder


@pytest.fixture(scope="module")
def browser():
    """Chromium; one for a file of tests, for its event loop is in the way of others'."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    name = next(filter(shutil.which, ("chromium", "chromium-browser", "google-chrome")), None)
    if name is None:
        pytest.skip("no Chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=shutil.which(name), args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def for_everybody(browser):
    """Open a file: nothing is fetched, axe finds nothing, a phone shows it all, light and dark."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is missing")

    def check(path: Path):
        assert path.stat().st_size < 4e6
        for options in (
            {"viewport": PHONE, "is_mobile": True, "color_scheme": "dark"},
            {"viewport": LAPTOP},
        ):
            page = browser.new_context(offline=True, **options).new_page()
            asked = []
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto(path.absolute().as_uri())
            assert asked == [path.absolute().as_uri()]
            page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
            assert axe.Axe().run(page).response["violations"] == []
            assert (
                page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]
            )
        return page

    return check
