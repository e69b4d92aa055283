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
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest


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
    """A SLURM of one node; yields the variables by which its commands find it."""
    if os.name == "nt" or os.geteuid() != 0:
        pytest.skip("SLURM's services can be started by root alone")
    require("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "sinfo")
    with scratch("slurm-") as folder:
        key, sock, config = folder / "munge.key", folder / "munge.sock", folder / "slurm.conf"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        for name in ("state", "spool"):
            (folder / name).mkdir()
        host = socket.gethostname()
        config.write_text(f"""\
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={sock},cred_expire=10
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes={host} Default=YES MaxTime=INFINITE State=UP
""")
        log = folder / "log"
        variables = {"SLURM_CONF": str(config)}
        munge = [f"--socket={sock}", f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log"]
        options = [f"--key-file={key}", *munge, f"--seed-file={folder}/seed", "--force", "--foreground"]
        environ = os.environ | variables

        def idle() -> bool:
            asked = ["sinfo", "--noheader", "--format=%T"]
            return subprocess.run(asked, env=environ, capture_output=True, text=True).stdout.strip() == "idle"

        with (
            service(log, found("munged") or "", *options),
            service(log, found("slurmctld") or "", "-c", "-D", env=environ),
            service(log, found("slurmd") or "", "-D", env=environ),
        ):
            wait_for("SLURM's node is idle", idle, log=log)
            try:
                yield variables
            finally:
                # Jobs are no descendants of the services.
                subprocess.run(["scancel", "--user=root", "--full", "--signal=KILL"], env=environ)
                subprocess.run(["scancel", "--user=root"], env=environ)
                wait_for("SLURM's jobs have ended", idle)


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
    # It refuses to be run by root.
    who: dict[str, Any] = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    with scratch("pg-") as folder:
        if who:
            shutil.chown(folder, who["user"], who["group"])
        data, log, port = folder / "data", folder / "log", free_port()
        made = [found("initdb") or "", f"--pgdata={data}", "--username=flowerbench", "--auth=trust", "--no-sync"]
        done = subprocess.run(
            [*made, "--encoding=UTF8", "--locale=C"], capture_output=True, text=True, cwd=folder, **who
        )
        assert done.returncode == 0, done.stderr
        listen = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder)]
        with service(log, found("postgres") or "", "-D", data, *listen, cwd=folder, **who):
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
