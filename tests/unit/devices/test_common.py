"""What devices share: where tracks come from."""

from __future__ import annotations

import numpy as np

from fastsim.devices.common import origins
from fastsim.events import production_points
from tests.calorimeter_events import make_batch, particle, pointing


def test_origins_are_the_production_points_of_some_particles():
    """With and without a vertex of their own, in several events, and of none."""
    kaon = {**pointing(310, 10.0), "status": 2, "ends": (5.0, 1.0, 2.0)}
    events = [
        [pointing(22, 1.0)],
        [],
        [kaon, particle(22, (5.0, 0.2, 0.0), mother=0), particle(11, at=(0.1, 0.2, 0.3))],
    ]
    batch = make_batch(events)
    rows = np.array([3, 0, 2])
    found = origins(batch, rows, np.array([2, 0, 2]))
    np.testing.assert_array_equal(found, production_points(batch)[rows])
    assert len(np.unique(found, axis=0)) == 3
    assert origins(batch, rows[:0], rows[:0]).shape == (0, 4)
