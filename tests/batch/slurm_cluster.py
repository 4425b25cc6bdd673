"""A Slurm of our own on this machine alone: munged, slurmctld and one slurmd, for tests with a real scheduler.

Everything lies in a private folder (configuration, key, socket, state, logs), the ports are chosen free and the address is
loopback, so that clusters live side by side. The settings are the smallest that work without systemd, cgroups and a database
(slurm.conf(5) and cgroup.conf(5) of 22.05). Nothing outlives the cluster: the daemons are started by a keeper process (`keep`)
that adopts whatever they leave behind, and that kills it all when its standard input ends, also if this process is killed.
"""

from __future__ import annotations

import ctypes
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable

DAEMONS = ("munged", "slurmctld", "slurmd")
COMMANDS = ("sbatch", "scancel", "scontrol", "sinfo", "squeue")
SBIN = "/usr/sbin:/usr/local/sbin:/sbin"  # where the daemons are, which is not in everybody's PATH
# Requeued jobs wait for the end of their old credential: cred_expire, 120 s unless told, at least 5 s.
CONFIGURATION = """\
ClusterName=fastsim
SlurmctldHost=localhost({address})
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
{listen}
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=3
MinJobAge=86400
NodeName=localhost NodeAddr={address} CPUs={cpus} RealMemory=20000
PartitionName=main Nodes=localhost Default=YES MaxTime=INFINITE
"""
FINAL = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
PATIENCE = 60  # seconds for daemons to come up
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


def missing() -> list[str]:
    """What this machine lacks for a cluster, in words; empty if nothing."""
    lacks = [name for name in DAEMONS + COMMANDS if _which(name) is None]
    return lacks if os.geteuid() == 0 else [*lacks, "root's rights"]


class SlurmCluster:
    """One node with `cpus` CPUs and one partition, `main`; a context manager, or `start` and `stop`."""

    def __init__(self, cpus: int = 2):
        self.cpus = cpus
        self.pids: dict[str, int] = {}
        self.env: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the daemons and wait until the node takes jobs; RuntimeError with the logs if it never does."""
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the daemons, their jobs and what these started, and remove the folder; harmless if nothing runs."""
        self._stack.close()

    def run(self, *words: object, timeout: float = 60) -> str:
        """Standard output of a Slurm command, stripped; RuntimeError with its standard error if it fails."""
        command = [str(word) for word in words]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            message = f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}"
            raise RuntimeError(message)
        return done.stdout.strip()

    def tasks(self, job: object) -> dict[int, tuple[str, str]]:
        """State and exit code ("75:0": code, signal) of each task of an array; a job without an array is its task 0."""
        found = {}
        for record in self.run("scontrol", "show", "job", "--oneliner", job).splitlines():
            fields = dict(re.findall(r"(\S+?)=(\S*)", record))
            for task in _expand(fields.get("ArrayTaskId", "0")):
                found[task] = fields["JobState"], fields["ExitCode"]
        return dict(sorted(found.items()))

    def wait(self, job: object, timeout: float = 60) -> dict[int, tuple[str, str]]:
        """`tasks`, once all of them have ended; TimeoutError after `timeout` seconds."""
        end = time.monotonic() + timeout
        while True:
            tasks = self.tasks(job)
            if FINAL.issuperset(state for state, _ in tasks.values()):
                return tasks
            if time.monotonic() > end:
                message = f"job {job} did not end in {timeout} s: {tasks}"
                raise TimeoutError(message)
            time.sleep(0.2)

    def kill_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End slurmctld; with SIGKILL it forgets what it had not yet written (it writes within 5 s)."""
        controller = psutil.Process(self.pids.pop("slurmctld"))
        helpers = controller.children(recursive=True)
        controller.send_signal(how)
        psutil.wait_procs([controller], timeout=60)
        for helper in psutil.wait_procs(helpers, timeout=2)[1]:
            helper.kill()

    def restart_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End slurmctld if it runs, and start it again on the same state; jobs run on meanwhile."""
        if "slurmctld" in self.pids:
            self.kill_controller(how)
        self._launch("slurmctld", "-D")
        self._wait_until(lambda: " UP" in self._answers("scontrol", "ping"))

    def _start(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        self._stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        outside = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))}
        # Lists of array tasks are cut at 64 characters unless SLURM_BITSTR_LEN is 0 (scontrol(1)).
        self.env = outside | {"SLURM_CONF": str(self.folder / "slurm.conf"), "SLURM_BITSTR_LEN": "0"}
        self._write_configuration()
        self._keeper = subprocess.Popen(
            [sys.executable, __file__, self.folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=self.env,
            start_new_session=True,  # Ctrl-C is for pytest, which then calls stop
        )
        self._stack.callback(self._end_keeper)
        paths = {"socket": "socket", "key-file": "key", "seed-file": "seed", "pid-file": "pid", "log-file": "log"}
        self._launch(
            "munged", "--foreground", *(f"--{option}={self.folder}/munge.{end}" for option, end in paths.items())
        )
        self._wait_until((self.folder / "munge.socket").exists)
        self._launch("slurmctld", "-D")
        self._launch("slurmd", "-D", "-N", "localhost")
        self._wait_until(lambda: self._answers("sinfo", "-h", "-o", "%T") == "idle")

    def _write_configuration(self) -> None:
        # munged wants a socket that all users could reach. Daemons that listen on one address only take that of the host
        # name: where it is not loopback (containers) they listen on all addresses, and munge keeps strangers out.
        self.folder.chmod(0o755)
        own = own_address()
        text = CONFIGURATION.format(
            folder=self.folder,
            cpus=self.cpus,
            ports=_free_ports(2),
            address=own if own.startswith("127.") else "127.0.0.1",
            listen="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny" if own.startswith("127.") else "",
        )
        for name in ("state", "spool"):
            (self.folder / name).mkdir()
        (self.folder / "munge.key").touch(0o600)
        (self.folder / "munge.key").write_bytes(os.urandom(128))
        (self.folder / "slurm.conf").write_text(text)
        # slurmd loads a cgroup plug-in although nothing uses it. Of those in 22.05, v1 does nothing until used, v2 needs
        # systemd's D-Bus; "disabled" is in the manual from 24.05.
        version = [int(number) for number in re.findall(r"\d+", self.run(_which("slurmctld"), "-V"))[:2]]
        (self.folder / "cgroup.conf").write_text(f"CgroupPlugin={'disabled' if version >= [24, 5] else 'cgroup/v1'}\n")

    def _launch(self, *words: str) -> None:
        self._keeper.stdin.write(json.dumps([_which(words[0]), f"{self.folder}/{words[0]}.out", *words[1:]]) + "\n")
        self._keeper.stdin.flush()
        self.pids[words[0]] = int(self._keeper.stdout.readline())

    def _answers(self, *words: str) -> str:
        try:
            return self.run(*words)
        except RuntimeError:
            return ""

    def _wait_until(self, holds: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > end or not all(map(psutil.pid_exists, self.pids.values())):
                raise RuntimeError(self._trouble())
            time.sleep(0.1)

    def _trouble(self) -> str:
        """Last lines of all logs, for messages."""
        logs = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.out")])
        return "\n".join(f"{log.name}:\n" + "\n".join(log.read_text().splitlines()[-8:]) for log in logs)

    def _end_keeper(self) -> None:
        self._keeper.communicate(timeout=60)
        self.pids = {}
        if self._keeper.returncode:
            message = f"the keeper of the Slurm daemons ended with {self._keeper.returncode}"
            raise RuntimeError(message)


def keep(folder: str) -> None:
    """Start the commands that come as lines of JSON (program, log, arguments) and print their process ids.

    At the end of standard input kill all descendants, orphans included (they are handed to us and not to init, prctl(2)),
    and remove `folder`.
    """
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGCHLD, _reap)
    for line in sys.stdin:
        program, log, *arguments = json.loads(line)
        with Path(log).open("a") as output:
            daemon = subprocess.Popen([program, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        print(daemon.pid, flush=True)
    while children := psutil.Process().children(recursive=True):
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        time.sleep(0.02)
    shutil.rmtree(folder)


def _reap(*_signal: object) -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _which(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SBIN}")


def own_address() -> str:
    try:
        return socket.gethostbyname(socket.gethostname())
    except OSError:
        return ""


def _free_ports(number: int) -> list[int]:
    """Ports below those that Linux gives to outgoing connections (32768), so that a restarted daemon finds its own free."""
    ports: list[int] = []
    while len(ports) < number:
        port = random.SystemRandom().randrange(20000, 32000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


def _expand(tasks: str) -> list[int]:
    """The numbers in "0,4-6,10-20:5%2": a list of ranges with steps, and how many may run together."""
    numbers: list[int] = []
    for first, last, step in re.findall(r"(\d+)(?:-(\d+))?(?::(\d+))?", tasks.partition("%")[0]):
        numbers += range(int(first), int(last or first) + 1, int(step or 1))
    return numbers


if __name__ == "__main__":
    keep(sys.argv[1])
