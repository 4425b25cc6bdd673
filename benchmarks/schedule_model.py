"""A simulated schedule of a large batch (SimPy): jobs on cores, what they read and write, what fails and is tried again.

More than 100,000 shards are sampled: cores, bandwidths, rates and events of 1/k of the site, where the share of each core stays
the same. tests/unit/test_schedule.py compares such a sample with the whole, and the simulation with closed forms.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy

if TYPE_CHECKING:
    from collections.abc import Generator

# Measured, of the sample PbPb_5.5TeV_6.hepmc.zst: six events of 30,000 particles on average (benchmarks/README.md: the machine).
TEXT_MB = 6.12  # HepMC3 text of an event (36,726,324 B / 6)
ZST_MB = 1.64  # the same as it lies on disk (9,836,049 B / 6)
CPU_S_PER_MB = 4.33e-3  # read, simulate, select the truth, write: `make bench`
REREAD_S_PER_MB = 1.1e-3  # text of the file that is not of the shard, which is cut and hashed all the same
OUTPUT_MB = {  # an event, by format: with the standard truth, and without truth
    "ao2d": (0.546, 0.125), "delphes": (1.049, 0.327), "nano": (0.423, 0.115),
    "parquet": (0.803, 0.376), "rntuple": (0.767, 0.381),
}  # fmt: skip
START_WARM_S, START_COLD_S = 2.3, 19.4  # from the command to the first event: kernels in the cache, or to be compiled
GENERATE_S = 0.42  # Pythia 8.317 Angantyr: 0.80 s an event of 58,000 particles, scaled to 30,000
GENERATE_START_S = 10.0  # its beginning, with given cross sections (HeavyIon:SigFitNGen = 0)
MERGE_MB_PER_S = 18.0  # of AO2D as it lies on disk, one core: ten shards of six events, 32.8 MB
PLAN_S_PER_MB = 1.0e-3  # text, counted and hashed once by `batch plan`
HOUR = 3600.0
_ROUNDING = 1e-6  # of times, seconds


@dataclass(frozen=True)
class Site:
    """What is to be done, and with what. Times in seconds, sizes in MB, failures per hour; beside each number its source."""

    n_events: int = 1_000_000_000  # the question
    cores: int = 10_000  # the question
    cores_per_node: int = 64  # assumed
    # The work
    events_per_shard: int = 1000
    shards_per_job: int = 1
    seconds_per_event: float = TEXT_MB * CPU_S_PER_MB  # measured
    input_mb: float = ZST_MB  # an event; 0 with a generator in the job; measured
    text_mb: float = TEXT_MB  # an event; measured
    output_mb: float = OUTPUT_MB["ao2d"][0]  # an event; measured
    events_per_file: int = 1000  # of the inputs, 1.6 GB each; assumed
    start_warm: float = START_WARM_S  # measured
    start_cold: float = START_COLD_S  # measured
    start_more: float = 0.0  # of a generator; measured where there is one
    node_cache: bool = True  # compiled once a node (else once a job: a cache in the job's own folder)
    # The scheduler
    starts_per_s: float = 20.0  # jobs; assumed (Slurm's high_throughput guide: up to 500, tuned; many sites: few)
    array_size: int = 1000  # slurm.conf(5): MaxArraySize is 1001
    submit_seconds: float = 1.0  # of one array; assumed
    most_jobs: int = 50_000  # waiting and running; assumed (slurm.conf(5): MaxJobCount is 10,000 unless raised)
    launch_seconds: float = 2.0  # prologue of a job; assumed
    # The shared file system, or the network to it: each way
    read_mb_per_s: float = 12_500.0  # 100 Gbit/s; assumed
    write_mb_per_s: float = 12_500.0  # 100 Gbit/s; assumed
    most_each: float = 125.0  # of one transfer, 1 Gbit/s; assumed
    # What fails
    node_deaths: float = 1 / (1000 * 24)  # of a node per hour: once in 1000 days; assumed
    repair_hours: float = 4.0  # assumed
    kills: float = 0.01  # of a job per hour: evicted, out of time or memory; assumed (docs/scale.md)
    share_with_warning: float = 0.8  # of the kills: SIGTERM or SIGUSR1 comes first; assumed
    stage_failures: float = 0.002  # of a transfer; assumed
    checkpoints: bool = True  # fastsim's: a warned job keeps what it has done
    events_per_batch: int = 1000  # what can be kept: `--batch-size`

    @property
    def n_shards(self) -> int:
        """How many there are."""
        return math.ceil(self.n_events / self.events_per_shard)

    @property
    def n_jobs(self) -> int:
        """How many there are, without retries."""
        return math.ceil(self.n_shards / self.shards_per_job)

    @property
    def shard_input_mb(self) -> float:
        """Bytes that a shard reads: whole files."""
        n_files = math.ceil(self.events_per_shard / self.events_per_file)
        return n_files * self.events_per_file * self.input_mb

    def reread_seconds(self, done: int) -> float:
        """Time for text that is not simulated: of the file's other events, and of events that were done before."""
        if not self.input_mb:
            return 0.0
        n_files = math.ceil(self.events_per_shard / self.events_per_file)
        others = n_files * self.events_per_file - self.events_per_shard
        return (others + done) * self.text_mb * REREAD_S_PER_MB

    def sample(self, k: int) -> Site:
        """1/k of it."""
        return replace(
            self, n_events=self.n_events // k, cores=self.cores // k, starts_per_s=self.starts_per_s / k,
            submit_seconds=self.submit_seconds * k, most_jobs=max(self.most_jobs // k, self.cores // k + self.array_size),
            read_mb_per_s=self.read_mb_per_s / k, write_mb_per_s=self.write_mb_per_s / k,
        )  # fmt: skip


class Link:
    """A shared resource whose users get equal parts of it, each at most so much (processor sharing)."""

    def __init__(self, env: simpy.Environment, mb_per_s: float, most_each: float = math.inf) -> None:
        self.moved = 0.0
        self._env, self._whole, self._most = env, mb_per_s, most_each
        self._given, self._since = 0.0, 0.0  # MB that everyone who was there all the time has got, until when
        self._users: list[tuple[float, int, simpy.Event]] = []  # ends when so much was given to each
        self._numbers, self._timer = count(), 0

    def transfer(self, mb: float) -> simpy.Event:
        """Happens when so much has been transferred."""
        event = self._env.event()
        if mb <= 0:
            return event.succeed()
        self._advance()
        self.moved += mb
        heappush(self._users, (self._given + mb, next(self._numbers), event))
        self._wait()
        return event

    def _rate(self) -> float:
        return min(self._most, self._whole / len(self._users))

    def _advance(self) -> None:
        if self._users:
            self._given += self._rate() * (self._env.now - self._since)
        self._since = self._env.now

    def _wait(self) -> None:
        """For the next end; what was waited for before is out of date."""
        self._timer += 1
        delay = max((self._users[0][0] - self._given) / self._rate(), 0.0)
        self._env.timeout(delay, self._timer).callbacks.append(self._end)

    def _end(self, timer: simpy.Event) -> None:
        if timer.value != self._timer:
            return
        self._advance()
        self._given = max(self._given, self._users[0][0])  # by the rounding of times
        while self._users and self._users[0][0] <= self._given * (1 + 1e-12) + 1e-9:
            heappop(self._users)[2].succeed()
        if self._users:
            self._wait()


class Dispatcher:
    """Starts jobs one after another, each in the same time (a queue with one server)."""

    def __init__(self, per_second: float) -> None:
        self.n_started = 0
        self._each, self._free = 1 / per_second, 0.0

    def delay(self, now: float) -> float:
        """Until a job that is ready now is started."""
        self.n_started += 1
        self._free = max(self._free, now) + self._each
        return self._free - now


@dataclass
class Node:
    """A machine: when it dies, when it is back, since when its kernels are compiled."""

    dies_at: float
    up_at: float = 0.0
    warm_at: float = math.inf


@dataclass
class Shard:
    """Events, and those that are kept from earlier attempts."""

    events: int
    done: int = 0


@dataclass
class Result:
    """What came of it. Core-seconds and MB; shares of the makespan that each resource was used."""

    makespan: float = 0.0
    almost: float = 0.0  # until 99 % of the events are done
    useful: float = 0.0  # of the simulation and the generator
    lost: float = 0.0  # of attempts that failed
    occupied: float = 0.0  # from the start of jobs to their ends
    events: int = 0
    failures: int = 0
    n_jobs: int = 0  # with retries
    n_cold: int = 0
    read: float = 0.0
    written: float = 0.0
    used: dict[str, float] = field(default_factory=dict)
    sampled: int = 1

    @property
    def first(self) -> str:
        """What is used most: it gives way first."""
        return max(self.used, key=self.used.__getitem__)


class Simulation:
    """Slots of nodes take jobs from a queue that a submitter fills."""

    def __init__(self, site: Site, seed: int = 1) -> None:
        self.site, self.result = site, Result()
        self.env = simpy.Environment()
        self._rng = np.random.default_rng(seed)
        self._read = Link(self.env, site.read_mb_per_s, site.most_each)
        self._write = Link(self.env, site.write_mb_per_s, site.most_each)
        self._dispatcher = Dispatcher(site.starts_per_s)
        self._queue: deque[deque[Shard]] = deque()
        self._idle: deque[simpy.Event] = deque()
        self._n_in_system = 0
        self._left = site.n_shards
        self._finished, self._room = self.env.event(), self.env.event()

    def run(self) -> Result:
        """Until all is done."""
        site, result = self.site, self.result
        for first in range(0, site.cores, site.cores_per_node):
            node = Node(self._draw(site.node_deaths))
            for _ in range(min(site.cores_per_node, site.cores - first)):
                self.env.process(self._slot(node))
        self.env.process(self._submit())
        self.env.run(until=self._finished)
        result.makespan, result.useful = self.env.now, site.n_events * site.seconds_per_event
        result.n_jobs, result.read, result.written = self._dispatcher.n_started, self._read.moved, self._write.moved
        result.used = {
            "cores": result.useful / (site.cores * self.env.now),
            "reading": self._read.moved / (site.read_mb_per_s * self.env.now),
            "writing": self._write.moved / (site.write_mb_per_s * self.env.now),
            "scheduler": self._dispatcher.n_started / (site.starts_per_s * self.env.now),
        }
        return result

    def _draw(self, per_hour: float) -> float:
        """Seconds until something that happens so often."""
        return float(self._rng.exponential(HOUR / per_hour)) if per_hour else math.inf

    def _submit(self) -> Generator[simpy.Event, Any, None]:
        """Arrays, while the scheduler takes more jobs."""
        site = self.site
        n_left = site.n_events
        while n_left:
            while self._n_in_system + site.array_size > site.most_jobs:
                self._room = self.env.event()
                yield self._room
            yield self.env.timeout(site.submit_seconds)
            for _ in range(site.array_size):
                job: deque[Shard] = deque()
                while n_left and len(job) < site.shards_per_job:
                    job.append(Shard(min(site.events_per_shard, n_left)))
                    n_left -= job[-1].events
                if job:
                    self._n_in_system += 1
                    self._put(job)

    def _put(self, job: deque[Shard]) -> None:
        self._queue.append(job)
        if self._idle:
            self._idle.popleft().succeed()

    def _slot(self, node: Node) -> Generator[simpy.Event, Any, None]:
        """A core: one job after another."""
        while True:
            if not self._queue:
                self._idle.append(self.env.event())
                yield self._idle[-1]
                continue
            job = self._queue.popleft()
            yield self.env.timeout(self._dispatcher.delay(self.env.now))
            while self.env.now >= node.dies_at - _ROUNDING or self.env.now < node.up_at:
                self._dies(node, node.dies_at)
                yield self.env.timeout(max(node.up_at - self.env.now, 0.0))
            begin = self.env.now
            yield from self._run_job(node, job)
            self.result.occupied += self.env.now - begin

    def _run_job(self, node: Node, job: deque[Shard]) -> Generator[simpy.Event, Any, None]:
        """Shard after shard; what is left when it fails goes back to the queue."""
        dies_at, killed_at = node.dies_at, self.env.now + self._draw(self.site.kills)
        end, mark = min(dies_at, killed_at), self.env.now
        try:
            yield from self._wait(self._start(node), end)
            while job:
                yield from self._make(job[0], end, is_killed=killed_at < dies_at)
                self.result.events += job.popleft().events
                if not self.result.almost and self.result.events >= 0.99 * self.site.n_events:
                    self.result.almost = self.env.now
                self._left -= 1
                mark = self.env.now
        except _FailedError as failed:
            self.result.failures += 1
            self.result.lost += self.env.now - mark - failed.kept
            if self.env.now >= dies_at - _ROUNDING:
                self._dies(node, dies_at)
            self._put(job)
            return
        self._n_in_system -= 1
        if not self._room.triggered and self._n_in_system + self.site.array_size <= self.site.most_jobs:
            self._room.succeed()
        if not self._left and not self._finished.triggered:
            self._finished.succeed()

    def _start(self, node: Node) -> float:
        """Time until the first event; on a node whose kernels are not compiled yet the first job compiles, others wait."""
        site, now = self.site, self.env.now
        compiling = site.start_cold - site.start_warm
        if not site.node_cache or node.warm_at == math.inf:
            self.result.n_cold += 1
            node.warm_at = now + compiling
        wait = compiling if not site.node_cache else max(node.warm_at - now, 0.0)
        return site.launch_seconds + wait + site.start_warm + site.start_more

    def _make(self, shard: Shard, end: float, *, is_killed: bool) -> Generator[simpy.Event, Any, None]:
        """Inputs, events, output."""
        site = self.site
        yield from self._move(self._read, site.shard_input_mb, end)
        yield from self._wait(site.reread_seconds(shard.done), end)
        begin = self.env.now
        try:
            yield from self._wait((shard.events - shard.done) * site.seconds_per_event, end)
        except _FailedError:
            if not (is_killed and site.checkpoints and self._rng.random() < site.share_with_warning):
                raise
            n_batches = int((self.env.now - begin) / (site.seconds_per_event * site.events_per_batch))
            kept = n_batches * site.events_per_batch
            shard.done += kept
            raise _FailedError(kept * site.seconds_per_event) from None
        yield from self._move(self._write, shard.events * site.output_mb, end)

    def _wait(self, seconds: float, end: float) -> Generator[simpy.Event, Any, None]:
        """Some seconds, unless the job ends before."""
        left = end - self.env.now
        yield self.env.timeout(max(min(seconds, left), 0.0))
        if seconds >= left:
            raise _FailedError

    def _move(self, link: Link, mb: float, end: float) -> Generator[simpy.Event, Any, None]:
        """A transfer; one that a job does not survive goes on to its end all the same."""
        if not mb:
            return
        yield link.transfer(mb)
        if self.env.now >= end or self._rng.random() < self.site.stage_failures:
            raise _FailedError

    def _dies(self, node: Node, when: float) -> None:
        """Whoever sees it first; the node comes back with an empty cache."""
        if node.dies_at == when and self.env.now >= when - _ROUNDING:
            node.up_at, node.warm_at = when + self.site.repair_hours * HOUR, math.inf
            node.dies_at = node.up_at + self._draw(self.site.node_deaths)


class _FailedError(Exception):
    """A job ended before its end; so many seconds of its work are kept."""

    def __init__(self, kept: float = 0.0) -> None:
        super().__init__(kept)
        self.kept = kept


def simulate(site: Site, *, most_shards: int = 100_000, seed: int = 1) -> Result:
    """The schedule; of a sample if there are more shards, but of 128 cores at least."""
    k = 1
    while site.n_shards / k > most_shards and site.cores / (2 * k) >= 2 * site.cores_per_node:
        k *= 2
    result = Simulation(site.sample(k) if k > 1 else site, seed).run()
    for name in ("useful", "lost", "occupied", "events", "failures", "n_jobs", "n_cold", "read", "written"):
        setattr(result, name, getattr(result, name) * k)
    result.sampled = k
    return result
