"""The Delphes-like tree: tracks in Delphes' parameters against its own formulas, families, objects, both spellings."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

from fastsim import columns as c
from fastsim.io import delphes
from fastsim.io.flat import View
from fastsim.kernels.helix import perigee_1
from tests.flat_events import output, simulated, write
from tests.oracles import PARAMETERS

C_LIGHT = 0.299792458  # GeV / (T m)


@pytest.fixture(scope="module")
def batch(ttbar):
    return simulated(ttbar, 6)


@pytest.fixture(scope="module")
def tree(batch, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("delphes") / "out.root", [batch], output("delphes"))
    with uproot.open(path) as file:
        return file["Delphes"].arrays()


def flat(tree, branch):
    return ak.to_numpy(ak.flatten(tree[branch]))


def x_p_to_par(x, p, charge, b_z):
    """(D [m], phi0, C [1/m], z0 [m], cot theta): TrkUtil::XPtoPar of Delphes' external/TrackCovariance, in metres."""
    a = -charge * b_z * C_LIGHT
    pt = np.hypot(p[0], p[1])
    r2, cross = x[0] ** 2 + x[1] ** 2, x[0] * p[1] - x[1] * p[0]
    t = np.sqrt(pt**2 - 2.0 * a * cross + a**2 * r2)
    phi = np.arctan2(p[1] - a * x[0], p[0] + a * x[1])
    half_curvature, ct = a / (2.0 * pt), p[2] / pt
    s = (np.arctan2(p[1], p[0]) - phi + np.pi) % (2.0 * np.pi) - np.pi
    return np.array(
        [(-2.0 * cross + a * r2) / (t + pt), phi, half_curvature, x[2] - ct * s / (2.0 * half_curvature), ct]
    )


def replaced(batch, parameters, charge, b_z):
    """The batch with these parameters for all its reconstructed tracks."""
    n = len(batch[c.PT])
    columns = {column: np.full(n, value) for column, value in zip(c.RECONSTRUCTED, parameters, strict=True)}
    pt = abs(charge / parameters[4])
    columns |= {c.CHARGE: np.full(n, charge, dtype=np.int8), c.PT: np.full(n, pt), c.B_Z: np.full(batch.n_events, b_z)}
    return batch.with_columns(columns)


def delphes_parameters(batch):
    """D0, phi, C, DZ, cot theta of the first track, in Delphes' mm."""
    view = View(batch, None)
    fields = {field.name: field for field in delphes.TRACK.fields}
    return np.array(
        [np.asarray(fields[name].source(view), dtype=float)[0] for name in ("D0", "Phi", "C", "DZ", "CtgTheta")]
    )


@pytest.mark.parametrize("charge", [-2, -1, 1, 2])
@pytest.mark.parametrize("b_z", [-0.5, 2.0])
def test_parameters_are_those_of_delphes(batch, charge, b_z):
    """A particle at some point: our helix, written, against Delphes' own conversion of the same point and momentum."""
    rng = np.random.default_rng(charge + 5)
    for _ in range(5):
        x, p = rng.normal(0.0, 2.0, 3), rng.normal(0.0, 1.0, 3)
        found = delphes_parameters(replaced(batch, perigee_1(*x, *p, float(charge), b_z), charge, b_z))
        expected = x_p_to_par(x / 100.0, p, charge, b_z)  # cm to m
        expected *= [1e3, 1.0, 1e-3, 1e3, 1.0]  # m to mm (TrkUtil::ParToMm)
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8)


def test_closest_approach_lies_left_of_the_momentum(tree):
    """Xd = -D0 sin(Phi), Yd = D0 cos(Phi) (TrkUtil::ParToX): with D0 > 0 the z axis is to the right, the point to the left."""
    phi, d0 = flat(tree, "Track.Phi"), flat(tree, "Track.D0")
    left = -np.sin(phi) * flat(tree, "Track.Xd") + np.cos(phi) * flat(tree, "Track.Yd")
    np.testing.assert_allclose(left, d0, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(flat(tree, "Track.Zd"), flat(tree, "Track.DZ"))
    np.testing.assert_array_equal(flat(tree, "Track.X"), flat(tree, "Track.Xd"))


def test_positive_charges_have_negative_curvature(tree, batch):
    """In ALICE's field along +z positive particles turn clockwise: d(phi)/ds = 2C < 0."""
    assert (batch[c.B_Z] > 0).all()
    np.testing.assert_array_equal(np.sign(flat(tree, "Track.C")), -np.sign(flat(tree, "Track.Charge")))


def test_covariances_are_propagated(batch):
    """Against J V J^T with derivatives by differences of what is written; Delphes' off-diagonals are in metres."""
    view = View(batch, None)
    fields = {field.name: field for field in delphes.TRACK.fields}
    track = view.tracks[0]
    parameters = np.array([batch[column][track] for column in c.RECONSTRUCTED])
    charge, b_z = int(batch[c.CHARGE][track]), float(batch[c.B_Z][0])
    covariance = np.zeros((5, 5))
    covariance[np.tril_indices(5)] = batch[c.COV_PACKED][track]
    covariance += np.tril(covariance, -1).T

    def written(values):
        d0, phi, half_curvature, dz, ct = delphes_parameters(replaced(batch, values, charge, b_z))
        pt = abs(charge / values[4])
        return np.array([d0 / 1e3, phi, half_curvature * 1e3, dz / 1e3, ct, pt, pt * np.hypot(1.0, values[3])])

    steps = 1e-4 * np.sqrt(np.diag(covariance))
    jacobian = np.column_stack(
        [(written(parameters + step) - written(parameters - step)) / (2.0 * step.sum()) for step in np.diag(steps)]
    )
    expected = jacobian @ covariance @ jacobian.T
    names = ("D0", "Phi", "C", "DZ", "CtgTheta", "PT", "P")
    millimetres = {"D0": 1e3, "DZ": 1e3, "C": 1e-3}
    for i, name in enumerate(names):
        sigma = float(np.asarray(fields[f"Error{name}"].source(view))[0])
        np.testing.assert_allclose(sigma, np.sqrt(expected[i, i]) * millimetres.get(name, 1.0), rtol=1e-6, err_msg=name)
    for i, a in enumerate(names[:5]):
        for j, b in enumerate(names[:i]):
            found = float(np.asarray(fields[f"Error{b}{a}"].source(view))[0])
            tolerance = 1e-6 * np.sqrt(expected[i, i] * expected[j, j])
            np.testing.assert_allclose(found, expected[i, j], rtol=0, atol=tolerance, err_msg=b + a)
    assert len(PARAMETERS) == 5


def test_families_agree_both_ways(tree):
    """Every particle is in the range of daughters of its first mother; one mother is M1 alone; ranges name mothers back."""
    for m1, m2, d1, d2 in zip(*(ak.to_list(tree[f"Particle.{k}"]) for k in ("M1", "M2", "D1", "D2")), strict=True):
        for row, (first, last) in enumerate(zip(m1, m2, strict=True)):
            assert (last == -1) or (first < last)
            if first >= 0:
                assert d1[first] <= row <= d2[first]
        for row, (first, last) in enumerate(zip(d1, d2, strict=True)):
            assert (first == -1) == (last == -1)
            for daughter in range(first, last + 1) if first >= 0 else ():
                assert m1[daughter] <= row <= max(m1[daughter], m2[daughter])


def test_particles_have_delphes_units(tree, batch):
    """mm, s, GeV; the link of a track goes to its particle."""
    assert len(tree["Particle.PID"][0]) == batch.offsets["particle"][1]
    energy2 = sum(flat(tree, f"Particle.P{x}").astype(float) ** 2 for x in "xyz") + flat(tree, "Particle.Mass") ** 2.0
    np.testing.assert_allclose(flat(tree, "Particle.E") ** 2.0, energy2, rtol=1e-4, atol=1e-2)
    order = View(batch, delphes._siblings)
    np.testing.assert_allclose(flat(tree, "Particle.X"), order.point(0) * 10.0, rtol=1e-6)
    np.testing.assert_allclose(flat(tree, "Particle.T"), order.point(3) * 1e-9, rtol=1e-6)
    matched = tree["Particle.PID"][tree["Track.Particle"]]
    assert ak.to_list(matched) == ak.to_list(tree["Track.PID"])


def test_charges_of_unknown_codes_are_as_in_delphes(batch):
    charge = batch[c.CHARGE_TRUE].copy()
    charge[0] = -128
    view = View(batch.with_columns({c.CHARGE_TRUE: charge}), delphes._siblings)
    assert view.particle_charge[view.family.position[0]] == -999


def test_generator_numbers_that_are_missing_are_zero(tree, batch):
    """This file has no PDF information: Delphes leaves 0."""
    assert np.isnan(batch[c.PARTONS[0]]).all() == (flat(tree, "Event.ID1") == 0).all()
    np.testing.assert_array_equal(flat(tree, "Event.Number"), batch[c.EVENT_NUMBER])
    np.testing.assert_allclose(flat(tree, "Weight.Weight"), batch[c.WEIGHT_VALUE], rtol=1e-6)


def test_objects_are_their_tracks(ttbar, tmp_path):
    """With a card that makes leptons, jets and missing momentum, against the columns and the tracks they name."""
    batch = simulated(ttbar, 40, "all", "atlas_like")
    with uproot.open(write(tmp_path / "out.root", [batch], output("delphes"))) as file:
        tree = file["Delphes"].arrays()
    assert ak.sum(tree["Electron_size"]) + ak.sum(tree["Muon_size"]) > 10
    for name, code in (("Electron", 11), ("Muon", 13)):
        for branch in ("PT", "Eta", "Phi", "Charge", "D0", "DZ", "ErrorD0", "ErrorDZ"):
            assert ak.to_list(tree[f"{name}.{branch}"]) == ak.to_list(tree[f"Track.{branch}"][tree[f"{name}.Track"]])
        assert set(ak.flatten(abs(tree["Particle.PID"][tree[f"{name}.Particle"]]))) <= {code}
        isolation = ak.flatten(tree[f"{name}.SumPtCharged"] / tree[f"{name}.PT"])
        np.testing.assert_allclose(ak.flatten(tree[f"{name}.IsolationVar"]), isolation, rtol=1e-6)
    for column, branch in zip(c.JET, ("PT", "Eta", "Phi", "Mass"), strict=True):
        np.testing.assert_array_equal(flat(tree, f"Jet.{branch}"), batch[column].astype(np.float32))
    constituents = tree["Track.PT"][tree["JetConstituent.Track"]]
    counts = [
        np.bincount(jets, minlength=n)
        for jets, n in zip(ak.to_list(tree["JetConstituent.Jet"]), tree["Jet_size"], strict=True)
    ]
    assert ak.to_list(counts) == ak.to_list(tree["Jet.NCharged"])
    assert ak.all(constituents > 0)
    np.testing.assert_array_equal(flat(tree, "MissingET.MET"), batch[c.MET].astype(np.float32))
    np.testing.assert_array_equal(flat(tree, "ScalarHT.HT"), batch[c.SCALAR_HT].astype(np.float32))


def test_the_vertex(tree, batch):
    np.testing.assert_allclose(flat(tree, "Vertex.Z"), batch[c.VERTEX[2]] * 10.0, rtol=1e-6)
    np.testing.assert_allclose(flat(tree, "Vertex.ErrorZ"), np.sqrt(batch[c.VERTEX_COV][:, 5]) * 10.0, rtol=1e-6)
    in_vertex = tree["Track.VertexIndex"] == 0
    np.testing.assert_allclose(flat(tree, "Vertex.SumPT2"), ak.sum(tree["Track.PT"][in_vertex] ** 2, axis=1), rtol=1e-4)
    assert ak.to_list(ak.sum(in_vertex, axis=1)) == batch[c.N_CONTRIBUTORS].tolist()


def test_the_other_spelling(batch, tmp_path):
    path = write(tmp_path / "out.root", [batch], output("delphes", delphes_names="path"))
    with uproot.open(path) as file:
        names = {branch.name for branch in file["Delphes"].branches}
    assert {"Track/Track.PT", "Track_size", "Particle/Particle.M1", "Event/Event.Number"} <= names
    assert not any(name.startswith("Track.") for name in names)
