"""Databases for tests: SQLite, DuckDB, and PostgreSQL by a real server that listens on a socket."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from util_lib.sql import connection

KINDS = ("sqlite", "duckdb", "postgresql")


def program(name: str) -> str | None:
    """Find a program of PostgreSQL's, which Debian keeps off the PATH."""
    kept = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(kept[-1]) if kept else None)


class Server:
    """A PostgreSQL server, run as an ordinary user: as root it refuses to start."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Others are root's own business.
        self.user = {"user": "nobody", "group": "nogroup", "extra_groups": []}
        if os.getuid():
            self.user = {}
        else:
            shutil.chown(folder, "nobody", "nogroup")
        self.n_databases = 0

    def _run(self, name: str, *words: str) -> None:
        subprocess.run(
            [program(name), *words],
            check=True,
            cwd=self.folder,
            stdout=subprocess.DEVNULL,
            **self.user,
        )

    def start(self) -> None:
        data = self.folder / "data"
        given = ["--username=tester", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        self._run("initdb", f"--pgdata={data}", *given)
        options = f"-k {self.folder} -c listen_addresses='' -c fsync=off"
        log = f"--log={self.folder / 'log'}"
        asks = data / "pg_hba.conf"
        asks.write_text(f"local all zaphod scram-sha-256\n{asks.read_text()}")
        self._run("pg_ctl", f"--pgdata={data}", f"--options={options}", log, "-w", "start")

    def stop(self) -> None:
        self._run("pg_ctl", f"--pgdata={self.folder / 'data'}", "-m", "immediate", "stop")

    def new_database(self) -> str:
        """Return the address of an empty database."""
        self.n_databases += 1
        name = f"made{self.n_databases}"
        self._run("createdb", f"--host={self.folder}", "--username=tester", name)
        return f"postgresql:///{name}?host={self.folder}&user=tester"


class Database:
    """An empty database, and what the tests do in it."""

    def __init__(self, address: str) -> None:
        self.address, self.kind = address, connection.kind_of(address)

    def execute(self, *statements: str) -> None:
        with connection.opened(self.address) as db:
            for statement in statements:
                db.execute(statement)
            db.commit()

    def rows(self, query: str) -> list[tuple]:
        with connection.opened(self.address, read_only=True) as db:
            return db.rows(query)

    def tables(self) -> set[str]:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema IN "
        query += "('public', 'main')"
        if self.kind == "sqlite":
            query = "SELECT name FROM sqlite_master WHERE type = 'table'"
        return {name for (name,) in self.rows(query)}


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    if program("initdb") is None:
        pytest.skip("PostgreSQL is not installed here: apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="pg") as folder:  # a socket's path must be short
        server = Server(Path(folder))
        server.start()
        yield server
        server.stop()


@pytest.fixture(params=KINDS)
def database(request, tmp_path) -> Database:
    if request.param == "postgresql":
        return Database(request.getfixturevalue("postgres").new_database())
    return Database(f"{request.param}:///{tmp_path / 'made.db'}")
