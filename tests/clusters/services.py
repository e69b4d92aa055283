"""Services that tests bring up in scratch folders on 127.0.0.1, and end by their process ids."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

# Databases refuse to be run by root.
NOBODY: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}


def require(*programs: str) -> None:
    """Skip the test where one of `programs` is not installed."""
    lacking = [name for name in programs if not found(name)]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)} (as root on Debian, bash .ci/services installs them)")


def found(program: str) -> str | None:
    """Where a program is: on the PATH, among the administrator's, or where Debian keeps PostgreSQL's."""
    folders = [os.environ["PATH"], "/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
    return shutil.which(program, path=os.pathsep.join(folders))


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def scratch(prefix: str) -> Iterator[Path]:
    """A folder with a short name, as sockets need, that other users can enter, as PostgreSQL's needs."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def service(log: Path, *command: str | Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A program in the foreground, ended with all the processes that it started."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=output, stdin=subprocess.DEVNULL, **options
        )
    try:
        yield process
    finally:
        end(process.pid)
        process.wait(timeout=30)


def end(pid: int) -> None:
    """End a process and its descendants: politely, then not."""
    with suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        family = [root, *root.children(recursive=True)]
        with suppress(psutil.NoSuchProcess):
            root.terminate()
        psutil.wait_procs([root], timeout=15)
        alive = [member for member in family if member.is_running()]
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        psutil.wait_procs(alive, timeout=15)


def wait_for(what: str, happens: Callable[[], Any], within: float = 60, log: Path | None = None) -> Any:
    """Wait until `happens()` is true, and return what it is."""
    deadline = time.monotonic() + within
    while not (answer := happens()):
        told = f"\n{log.read_text(errors='replace')[-3000:]}" if log and log.exists() else ""
        assert time.monotonic() < deadline, f"{what}: not within {within} s{told}"
        time.sleep(0.1)
    return answer


@contextmanager
def slurm(cpus: int = 2) -> Iterator[dict[str, str]]:
    """A SLURM of one node, with accounting; yields the variables by which its commands find it."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("SLURM's services can be started by root alone")
    require("munged", "slurmctld", "slurmd", "slurmdbd", "sbatch", "srun", "sacct", "mariadbd", "mariadb-install-db")
    with scratch("slurm-") as folder, ExitStack() as stack:
        log, key, sock = folder / "log", folder / "munge.key", folder / "munge.sock"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        environ = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

        def start(program: str, *options: str) -> None:
            stack.enter_context(service(log, found(program) or "", *options, env=environ))

        def says(words: str, *command: str) -> bool:
            return words in subprocess.run(command, env=environ, capture_output=True, text=True).stdout

        munge = [f"--socket={sock}", f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log"]
        start("munged", f"--key-file={key}", *munge, f"--seed-file={folder}/seed", "--force", "--foreground")
        wait_for("munged is up", sock.exists, log=log)
        accounts = free_port()
        _slurm_settings(folder, sock, accounts, stack.enter_context(_mariadb()), cpus)
        start("slurmdbd", "-D")
        wait_for("SLURM's accounting is up", lambda: says("one", "sacctmgr", "-i", "add", "cluster", "one"), log=log)
        start("slurmctld", "-c", "-D")
        start("slurmd", "-D")
        idle = ["sinfo", "--noheader", "--format=%T"]
        wait_for("SLURM's node is idle", lambda: says("idle", *idle), log=log)
        try:
            yield {"SLURM_CONF": environ["SLURM_CONF"]}
        finally:
            # Jobs are no descendants of the services.
            subprocess.run(["scancel", "--user=root", "--full", "--signal=KILL"], env=environ)
            subprocess.run(["scancel", "--user=root"], env=environ)
            wait_for("SLURM's jobs have ended", lambda: says("idle", *idle))


def _slurm_settings(folder: Path, munge_socket: Path, accounts_port: int, database_port: int, cpus: int) -> None:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname()
    (folder / "slurm.conf").write_text(f"""\
ClusterName=one
SlurmUser=root
AuthType=auth/munge
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmdUser=root
AuthInfo=socket={munge_socket},cred_expire=10
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={accounts_port}
AccountingStoragePass={munge_socket}
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
    accounting = folder / "slurmdbd.conf"
    accounting.write_text(f"""\
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={munge_socket}
DbdHost={host}
DbdAddr=127.0.0.1
DbdPort={accounts_port}
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={database_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
""")
    accounting.chmod(0o600)


@contextmanager
def _mariadb() -> Iterator[int]:
    """A MariaDB for SLURM's accounting; yields its port."""
    with scratch("mariadb-") as folder:
        if NOBODY:
            shutil.chown(folder, NOBODY["user"], NOBODY["group"])
        data, log, port = folder / "data", folder / "log", free_port()
        made = [found("mariadb-install-db") or "", "--no-defaults", f"--datadir={data}", "--skip-test-db"]
        subprocess.run(made, check=True, capture_output=True, cwd=folder, **NOBODY)
        first = folder / "first.sql"
        first.write_text(
            "CREATE DATABASE slurm;\nCREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm';\n"
            "GRANT ALL ON slurm.* TO slurm@'127.0.0.1';\n"
        )
        places = [f"--datadir={data}", f"--socket={folder}/sock", f"--pid-file={folder}/pid", f"--init-file={first}"]
        listen = ["--bind-address=127.0.0.1", f"--port={port}", "--skip-name-resolve"]
        with service(log, found("mariadbd") or "", "--no-defaults", *places, *listen, cwd=folder, **NOBODY):
            wait_for("MariaDB is up", lambda: "ready for connections" in log.read_text(errors="replace"), log=log)
            yield port


@contextmanager
def ray_nodes() -> Iterator[tuple[str, psutil.Process]]:
    """A Ray cluster of two nodes with one core each; yields its address and the raylet of the second."""
    ray = Path(sys.executable).with_name("ray")
    if not ray.exists():
        pytest.skip("Ray is not installed")
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    common = [
        "--node-ip-address=127.0.0.1",
        "--num-cpus=1",
        "--num-gpus=0",
        "--disable-usage-stats",
        "--block",
        "--object-store-memory=80000000",
    ]
    with scratch("ray-") as folder:
        address, log = f"127.0.0.1:{free_port()}", folder / "log"
        head = ["--head", f"--port={address.partition(':')[2]}", f"--temp-dir={folder}", "--include-dashboard=false"]
        with service(log, ray, "start", *head, *common, env=environ) as first:
            wait_for(
                "Ray's head node is up", lambda: raylet(first.pid) and "Ray runtime started" in log.read_text(), log=log
            )
            second_log = folder / "second.log"
            with service(second_log, ray, "start", f"--address={address}", *common, env=environ) as second:
                up = lambda: "Ray runtime started" in second_log.read_text() and raylet(second.pid)  # noqa: E731
                yield address, wait_for("Ray's second node is up", up, log=second_log)


def raylet(pid: int) -> psutil.Process | None:
    """The process that runs a Ray node, among those that `ray start` has started."""
    return next((child for child in psutil.Process(pid).children(recursive=True) if child.name() == "raylet"), None)


@contextmanager
def postgresql() -> Iterator[str]:
    """A PostgreSQL with an empty database; yields its URI."""
    require("initdb", "postgres")
    with scratch("pg-") as folder:
        if NOBODY:
            shutil.chown(folder, NOBODY["user"], NOBODY["group"])
        data, log, port = folder / "data", folder / "log", free_port()
        made = [found("initdb") or "", f"--pgdata={data}", "--username=flowerbench", "--auth=trust", "--no-sync"]
        done = subprocess.run(
            [*made, "--encoding=UTF8", "--locale=C"], capture_output=True, text=True, cwd=folder, **NOBODY
        )
        assert done.returncode == 0, done.stderr
        listen = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        with service(log, found("postgres") or "", "-D", data, *listen, cwd=folder, **NOBODY):
            ready = "database system is ready to accept connections"
            wait_for("PostgreSQL is up", lambda: ready in log.read_text(errors="replace"), log=log)
            yield f"postgresql+psycopg2://flowerbench@127.0.0.1:{port}/postgres"


@contextmanager
def mlflow_server(store: str) -> Iterator[str]:
    """An `mlflow server` on `store`; yields its address."""
    with scratch("mlflow-") as folder:
        port, log = free_port(), folder / "log"
        address = f"http://127.0.0.1:{port}"
        command = ["-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
        places = ["--backend-store-uri", store, "--artifacts-destination", str(folder / "artifacts")]
        environ = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"}

        def healthy() -> bool:
            with suppress(OSError), urllib.request.urlopen(f"{address}/health", timeout=5) as answer:
                return bool(answer.status == 200)
            return False

        with service(log, sys.executable, *command, *places, cwd=folder, env=environ):
            wait_for("the MLflow server answers", healthy, within=120, log=log)
            yield address
