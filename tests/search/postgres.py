"""A PostgreSQL server of the test's own, in a directory that goes with it."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest


def _programs() -> Path | None:
    """Where Debian puts them, newest first, or wherever PATH leads."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = str(debian[-1]) if debian else shutil.which("initdb")
    return Path(found).parent if found else None


@dataclass(frozen=True)
class Server:
    """A running one.

    Attributes:
        url: of an empty database.
        stop, start: cut every connection, as when the machine goes down; and have it back.
    """

    url: str
    stop: Callable[[], object]
    start: Callable[[], object]


@contextlib.contextmanager
def postgres() -> Iterator[Server]:
    """A server of its own; skips the test where there is no PostgreSQL."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="its driver is not installed: pip install psycopg[binary]")
    # The server refuses to be root's.
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="convlab-pg-", ignore_cleanup_errors=True) as folder:
        if user is not None:
            os.chown(folder, pwd.getpwnam(user).pw_uid, -1)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        data = f"{folder}/data"
        made = [programs / "initdb", "-D", data, "-U", "convlab", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(made, user=user, cwd=folder, check=True, capture_output=True, timeout=60)
        settings = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        control = [programs / "pg_ctl", "-D", data, "-w", "-l", f"{folder}/log"]

        def start() -> None:
            command = [*control, "-o", settings, "start"]
            # Its log goes to a file: a pipe would stay open as long as the server runs.
            null = subprocess.DEVNULL
            subprocess.run(command, user=user, cwd=folder, check=True, stdout=null, stderr=null, timeout=60)

        def stop() -> None:
            command = [*control, "-m", "immediate", "stop"]
            subprocess.run(command, user=user, cwd=folder, check=False, capture_output=True, timeout=60)

        start()
        try:
            yield Server(f"postgresql+psycopg://convlab@127.0.0.1:{port}/postgres", stop, start)
        finally:
            stop()
