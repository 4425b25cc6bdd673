"""The simulated schedule against closed forms, hand-made cases, and itself at another size."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("simpy", reason="needs SimPy: pip install 'fastsim[test]'")
import simpy

from benchmarks import schedule
from benchmarks import schedule_model as model
from benchmarks.schedule import merge_tree
from benchmarks.schedule_model import Dispatcher, Link, Site, simulate

# No failures, no costs: what a test does not speak of.
QUIET = Site(
    n_events=1000, cores=10, cores_per_node=5, events_per_shard=10, seconds_per_event=1.0, input_mb=0.0, output_mb=0.0,
    start_warm=0.0, start_cold=0.0, launch_seconds=0.0, starts_per_s=1e12, submit_seconds=0.0, read_mb_per_s=1e12,
    write_mb_per_s=1e12, most_each=math.inf, node_deaths=0.0, kills=0.0, stage_failures=0.0,
)  # fmt: skip


@pytest.mark.parametrize("cores", [1, 7, 10, 100, 300])
def test_without_failures_the_makespan_is_that_of_full_rounds(cores):
    """100 equal jobs of 10 s: ceil(100 / cores) rounds."""
    result = simulate(replace(QUIET, cores=cores))
    assert result.makespan == pytest.approx(math.ceil(100 / cores) * 10, rel=1e-9)
    assert result.lost == result.failures == 0
    assert result.events == 1000
    assert result.almost <= result.makespan


def test_start_up_is_once_a_job_and_compilation_once_a_node():
    site = replace(QUIET, start_warm=2.0, start_cold=20.0, launch_seconds=1.0, shards_per_job=5)
    result = simulate(site)
    # 20 jobs of 5 x 10 s on 2 nodes of 5 cores: two rounds; in the first all wait 18 s for their node's compilation
    assert result.makespan == pytest.approx(18 + 2 * (1 + 2 + 50))
    assert result.n_cold == 2
    assert simulate(replace(site, node_cache=False)).n_cold == 20
    assert simulate(replace(site, node_cache=False)).makespan == pytest.approx(2 * (18 + 1 + 2 + 50))


@pytest.mark.parametrize("rate", [0.2, 1.0, 2.0])
def test_time_of_a_job_that_starts_anew_after_each_failure(rate):
    """(exp(r t) - 1) / r on average; the variance is (exp(2 r t) - 2 r t exp(r t) - 1) / r^2."""
    t, n = 3600.0, 4000
    site = replace(QUIET, n_events=n, events_per_shard=1, seconds_per_event=t, kills=rate, checkpoints=False)
    r, x = rate / 3600, rate
    mean, variance = math.expm1(x) / r, (math.exp(2 * x) - 2 * x * math.exp(x) - 1) / r**2
    result = simulate(site)
    assert abs(result.occupied / n - mean) < 4 * math.sqrt(variance / n)
    assert result.occupied == pytest.approx(result.useful + result.lost)
    assert result.events == n


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_time_of_a_job_that_keeps_what_is_done(rate):
    """Each kill costs a new start s, which may be killed too: t + (1 + r t) (exp(r s) - 1) / r, with r t kills on average.

    Variance of the number of kills: r t; of a start's time: as above. An event of 0.1 s is lost by half on average each time.
    """
    t, s, n, tau = 3600.0, 300.0, 4000, 0.1
    site = replace(
        QUIET, n_events=n * 36_000, events_per_shard=36_000, seconds_per_event=tau, launch_seconds=s, kills=rate,
        share_with_warning=1.0, events_per_batch=1,
    )  # fmt: skip
    r = rate / 3600
    one = math.expm1(r * s) / r
    of_one = (math.exp(2 * r * s) - 2 * r * s * math.exp(r * s) - 1) / r**2
    mean = t + (1 + r * t) * one + r * t * tau / 2
    sigma = math.sqrt((r * t * one**2 + (1 + r * t) * of_one) / n)
    assert abs(simulate(site).occupied / n - mean) < 4 * sigma


def test_nodes_that_die_take_all_their_jobs_and_nothing_is_done_twice():
    site = replace(
        QUIET,
        n_events=20_000,
        seconds_per_event=60.0,
        node_deaths=0.5,
        start_cold=5.0,
        stage_failures=0.01,
        output_mb=1.0,
    )
    result = simulate(site)
    assert result.failures > 100
    assert result.events == 20_000
    assert result.n_cold > 2
    assert simulate(site).makespan == result.makespan  # the seed decides


def test_dispatcher_is_a_queue_with_one_server():
    """M/D/1: the mean wait is rho / (2 mu (1 - rho)) (Pollaczek and Khinchine), here with batch means for its error."""
    mu, rho = 20.0, 0.7
    rng, dispatcher = np.random.default_rng(3), Dispatcher(mu)
    arrivals = np.cumsum(rng.exponential(1 / (rho * mu), 400_000))
    waits = np.array([dispatcher.delay(t) - 1 / mu for t in arrivals]).reshape(100, -1).mean(axis=1)
    assert abs(waits.mean() - rho / (2 * mu * (1 - rho))) < 4 * waits.std() / 10


def _times(link_of, arrivals, sizes):
    env = simpy.Environment()
    link, times = link_of(env), np.empty(len(sizes))

    def one(i):
        yield env.timeout(arrivals[i])
        yield link.transfer(sizes[i])
        times[i] = env.now - arrivals[i]

    for i in range(len(sizes)):
        env.process(one(i))
    env.run()
    return times


def test_link_gives_equal_parts():
    """By hand: 10 MB from 0 s and 10 MB from 5 s at 1 MB/s share from 5 to 15 s; then the second has it alone, until 20 s."""
    assert _times(lambda env: Link(env, 1.0), [0, 5], [10, 10]) == pytest.approx([15, 15])
    # Three at once of 3 MB/s, at most 0.5 each: nobody waits for another
    assert _times(lambda env: Link(env, 3.0, 0.5), [0, 0, 0], [1, 2, 3]) == pytest.approx([2, 4, 6])
    assert _times(lambda env: Link(env, 1.0), [0, 0], [0, 1]) == pytest.approx([0, 1])


def test_link_under_load():
    """M/G/1 with processor sharing: the mean time is size / (rate (1 - rho)), whatever the sizes (Kleinrock)."""
    rho, n = 0.6, 100_000
    rng = np.random.default_rng(5)
    sizes = rng.choice([0.5, 1.5], n)
    times = _times(lambda env: Link(env, 1.0), np.cumsum(rng.exponential(1 / rho, n)), sizes)
    for size in (0.5, 1.5):
        means = np.array([part.mean() for part in np.array_split(times[sizes == size], 50)])
        assert abs(means.mean() - size / (1 - rho)) < 4 * means.std() / math.sqrt(50)


def test_saturated_link_decides():
    """All input passes at the bandwidth; what is not hidden is the first job's start and the last one's work."""
    site = replace(
        QUIET, n_events=10_000, cores=100, input_mb=10.0, read_mb_per_s=100.0, seconds_per_event=0.01, events_per_file=1
    )
    result = simulate(site)
    assert result.read == 100_000
    assert 1000 <= result.makespan <= 1000 + 100 * 0.1
    assert result.first == "reading"


def test_part_of_a_file_costs_the_file():
    site = replace(QUIET, events_per_shard=10, events_per_file=40, input_mb=2.0, text_mb=5.0)
    assert site.shard_input_mb == 80
    assert site.reread_seconds(0) == pytest.approx(30 * 5 * model.REREAD_S_PER_MB)
    assert replace(site, events_per_shard=80).shard_input_mb == 160
    assert replace(site, events_per_shard=80).reread_seconds(0) == 0


def test_submission_keeps_within_what_the_scheduler_takes():
    """Arrays of 10 jobs, 30 at most: submitted one a second, so that the last of 100 jobs is there after 10 s at the earliest."""
    slow = replace(QUIET, cores=100, array_size=10, submit_seconds=1.0, most_jobs=100)
    assert simulate(slow).makespan == pytest.approx(10 + 10)
    # 30 at most: arrays at 1, 2, 3 s; each end of ten makes room for the next, a second later: rounds of 11 s, 4 of them
    assert simulate(replace(slow, most_jobs=30)).makespan == pytest.approx(1 + 3 * 11 + 10)


def test_sample_is_like_the_whole():
    """An eighth of the site, with failures and a loaded link, in the same time: both differ by their own luck, some percent."""
    site = replace(
        Site(), n_events=4_000_000, cores=2048, events_per_shard=500, events_per_file=500,
        read_mb_per_s=2000.0, write_mb_per_s=2000.0, kills=0.5, most_jobs=20_000, array_size=100, submit_seconds=0.1,
    )  # fmt: skip
    whole, eighth = (simulate(site, most_shards=most, seed=seed) for most, seed in ((10**9, 1), (1000, 2)))
    assert (whole.sampled, eighth.sampled) == (1, 8)
    assert eighth.makespan == pytest.approx(whole.makespan, rel=0.03)
    assert eighth.read == pytest.approx(whole.read, rel=0.03)
    assert eighth.used["scheduler"] == pytest.approx(whole.used["scheduler"], rel=0.03)


def test_merge_tree():
    """1000 files of 1 MB by tens: 100, 10, 1; each round reads and writes everything."""
    site = replace(QUIET, cores=10, start_warm=1.0)
    levels = merge_tree(site, 1000, 1.0, fan_in=10)
    assert [(v.n_files, v.mb_per_file) for v in levels] == [(100, 10), (10, 100), (1, 1000)]
    assert all(v.moved == 2000 for v in levels)
    speed = model.MERGE_MB_PER_S
    assert [v.seconds for v in levels] == pytest.approx([10 * (1 + 10 / speed), 1 + 100 / speed, 1 + 1000 / speed])
    assert [v.n_files for v in merge_tree(site, 1000, 1.0, fan_in=10, most_mb=50)] == [100, 20]
    assert merge_tree(site, 1000, 1.0, fan_in=10, most_mb=1.5) == []
    assert merge_tree(site, 1, 1.0, fan_in=10) == []
    narrow = merge_tree(replace(site, read_mb_per_s=1.0), 100, 1.0, fan_in=100)
    assert narrow[0].seconds == pytest.approx(100)


def test_what_is_printed(capsys, tmp_path):
    """A row for each size and number of shards a job; times and sizes are for people."""
    small = replace(Site(), n_events=10**6, cores=16)
    found = schedule.tables(small, (1000, 10_000))
    schedule.variations(small)
    schedule.merges(small)
    printed = capsys.readouterr().out
    assert printed.count("\n| 1,000 |") == printed.count("\n| 10,000 |") == 4 + 3
    assert printed.count("\n| 1,000 x ") == 4
    assert all(result.events == 10**6 for rows in found.values() for _, result in rows)
    schedule.draw(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[:4] == b"\x89PNG"
    assert [schedule.time_of(s) for s in (5, 119, 240, 3600 * 3, 86_400 * 3)] == [
        "5 s",
        "119 s",
        "4.0 min",
        "3.0 h",
        "3.0 d",
    ]
    assert [schedule.size_of(mb) for mb in (2, 2e3, 2e6, 2e9)] == ["2 MB", "2 GB", "2 TB", "2 PB"]
