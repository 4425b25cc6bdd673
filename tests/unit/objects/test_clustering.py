"""Jets are what the algorithms' definitions say, by brute force; and FastJet is announced where results are not."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest

from fastsim.errors import PluginError
from fastsim.objects.clustering import announce_fastjet, cluster
from tests.object_events import brute_force


def random_momenta(seed, n):
    rng = np.random.default_rng(seed)
    pt, eta, phi = rng.exponential(3.0, n) + 0.1, rng.uniform(-2.5, 2.5, n), rng.uniform(-np.pi, np.pi, n)
    p = pt * np.cosh(eta)
    return np.array([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), np.hypot(p, 0.13957039)])


def jets_of(found, event):
    """{rows: momentum} of an event."""
    ends = np.cumsum(found.n_constituents)
    return {
        frozenset(found.constituents[ends[j] - found.n_constituents[j] : ends[j]].tolist()): found.momenta[:, j]
        for j in range(found.offsets[event], found.offsets[event + 1])
    }


@pytest.mark.parametrize("radius", [0.4, 1.0])
@pytest.mark.parametrize(
    ("algorithm", "power"), [("antikt", 0.0), ("kt", 0.0), ("cambridge", 0.0), ("ee_genkt", -1.0), ("ee_genkt", 1.0)]
)
def test_the_algorithms_by_brute_force(algorithm, power, radius):
    sizes = [1, 2, 0, 8, 15, 25]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    momenta = np.hstack([random_momenta(seed, n) for seed, n in enumerate(sizes)])
    found = cluster(momenta, offsets, algorithm, radius, power, 1e-9)
    assert found.offsets[-1] == found.momenta.shape[1] == len(found.n_constituents)
    for event, (first, end) in enumerate(itertools.pairwise(offsets)):
        expected = brute_force(momenta[:, first:end], algorithm, radius, power)
        ours = jets_of(found, event)
        assert ours.keys() == {frozenset(i + first for i in rows) for rows in expected}
        for rows, p in expected.items():
            np.testing.assert_allclose(ours[frozenset(i + first for i in rows)], p, rtol=1e-12, atol=1e-12)


def test_soft_jets_are_left_out():
    momenta, offsets = random_momenta(3, 40), np.array([0, 40])
    everything = cluster(momenta, offsets, "antikt", 0.4, 0.0, 1e-9)
    hard = cluster(momenta, offsets, "antikt", 0.4, 0.0, 5.0)
    pt = np.hypot(*everything.momenta[:2])
    assert sorted(np.hypot(*hard.momenta[:2])) == sorted(pt[pt >= 5.0])
    assert 0 < hard.offsets[-1] < everything.offsets[-1]


def test_an_event_depends_on_no_other():
    """To the bit, whatever is clustered in the same call."""
    sizes = [30, 0, 200, 1, 60]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    momenta = np.hstack([random_momenta(10 + seed, n) for seed, n in enumerate(sizes)])
    whole = cluster(momenta, offsets, "antikt", 0.4, 0.0, 1.0)
    for event, n in enumerate(sizes):
        first = offsets[event]
        alone = cluster(np.ascontiguousarray(momenta[:, first : first + n]), np.array([0, n]), "antikt", 0.4, 0.0, 1.0)
        jets = slice(whole.offsets[event], whole.offsets[event + 1])
        np.testing.assert_array_equal(alone.momenta, whole.momenta[:, jets])
        np.testing.assert_array_equal(alone.n_constituents, whole.n_constituents[jets])
        assert {frozenset(i + first for i in rows) for rows in jets_of(alone, 0)} == jets_of(whole, event).keys()


@pytest.mark.parametrize("n_events", [0, 1, 3])
def test_nothing_to_cluster(n_events):
    found = cluster(np.empty((4, 0)), np.zeros(n_events + 1, dtype=np.int64), "antikt", 0.4, 0.0, 1.0)
    assert found.offsets.tolist() == [0] * (n_events + 1)
    assert found.momenta.shape == (4, 0)
    assert len(found.n_constituents) == len(found.constituents) == 0


def test_fastjet_asks_for_its_citation_on_stderr_once():
    script = (
        "import numpy as np\n"
        "from fastsim.objects.clustering import announce_fastjet, cluster\n"
        "print('before')\n"
        "announce_fastjet(); announce_fastjet()\n"
        "cluster(np.array([[1.0], [0.0], [0.0], [2.0]]), np.array([0, 1]), 'antikt', 0.4, 0.0, 0.1)\n"
        "print('after')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "before\nafter\n"
    assert done.stderr.count("arXiv:1111.6097") == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_fault(closed):
    script = "from fastsim.objects.clustering import announce_fastjet\nannounce_fastjet()\nimport os; os._exit(7)\n"
    done = subprocess.run(["bash", "-c", f'"$0" -c "$1" {closed}', sys.executable, script], check=False)
    assert done.returncode == 7


def test_a_worker_is_silent():
    """It was announced by the process that read the card."""
    script = (
        "import numpy as np\n"
        "from fastsim.objects.clustering import cluster\n"
        "cluster(np.array([[1.0], [0.0], [0.0], [2.0]]), np.array([0, 1]), 'antikt', 0.4, 0.0, 0.1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_without_fastjet(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastjet", None)
    with pytest.raises(PluginError, match="jets need the package fastjet") as caught:
        announce_fastjet.__wrapped__()
    assert caught.value.hint == (
        "pip install 'fastsim[jets]', or take the [[modules]] table with kind = 'jets' out of the card"
    )
