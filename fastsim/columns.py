"""Columns: every array that travels through the program, with its table, type, unit and meaning.

Tables, flat, with per-event offsets: `event`, `weight` (all weights of the generator), `vertex`, `particle` (both as in the
generator's record), `track` (candidates for a track: charged, final, of a tracked species), and the objects that modules of
the card make of them: `electron`, `muon`, `photon`, `jet`, `jet_constituent`; `cluster`, `tower` (of
calorimeters). A column that is not declared cannot be written.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

Table = Literal[
    "event", "weight", "vertex", "particle", "track", "electron", "muon", "photon", "jet", "jet_constituent", "cluster", "tower"
]  # fmt: skip
TABLES: tuple[Table, ...] = get_args(Table)

PARAMETERS = ("dca_xy", "dca_z", "phi", "tan_lambda", "q_over_pt")  # the order of every 5-vector and covariance
PARAMETER_UNITS = ("cm", "cm", "rad", "", "1/GeV")


class Column(NamedTuple):
    """Name, table, numpy dtype, unit ("" for none), one line of meaning, and the shape of one row."""

    name: str
    table: Table
    dtype: str
    unit: str
    doc: str
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


# What a reader delivers.
EVENT_ID = Column("event_id", "event", "uint64", "", "position of the event in the whole input, from 0")
EVENT_NUMBER = Column("event_number", "event", "int64", "", "the generator's event number (repeats across files)")
WEIGHT = Column("weight", "event", "float64", "", "first generator weight, 1 where there is none")
IMPACT_PARAMETER = Column("impact_parameter", "event", "float64", "fm", "of a heavy-ion collision, NaN if not given")
EVENT_PLANE_ANGLE = Column("event_plane_angle", "event", "float64", "rad", "of a heavy-ion collision, NaN if not given")
HEAVY_ION = (
    *(
        Column(name, "event", "float64", "", f"{doc} of a heavy-ion collision, NaN if not given")
        for name, doc in (
            ("n_coll_hard", "hard collisions"),
            ("n_part_projectile", "participants from the projectile"),
            ("n_part_target", "participants from the target"),
            ("n_coll", "collisions"),
        )
    ),
    IMPACT_PARAMETER,
    EVENT_PLANE_ANGLE,
)
CROSS_SECTION = tuple(
    Column(name, "event", "float64", "pb", f"{doc}, NaN if not given")
    for name, doc in (("cross_section", "the generator's estimate so far"), ("sigma_cross_section", "its uncertainty"))
)
PARTONS = tuple(
    Column(f"parton_{name}", "event", "float64", unit, f"{doc}, NaN if not given")
    for name, unit, doc in (
        ("pdg_1", "", "PDG code of the first incoming parton"),
        ("pdg_2", "", "PDG code of the second incoming parton"),
        ("x_1", "", "momentum fraction of the first incoming parton"),
        ("x_2", "", "momentum fraction of the second incoming parton"),
        ("scale", "GeV", "factorisation scale"),
        ("xf_1", "", "x times the density of the first incoming parton"),
        ("xf_2", "", "x times the density of the second incoming parton"),
    )
)
DNCH_DETA_GIVEN = Column(
    "dnch_deta_given", "event", "float64", "", "charged density that a particle gun stands in, NaN: count the particles"
)
WEIGHT_VALUE = Column("weight", "weight", "float64", "", "generator weights, in the order of their names (provenance)")
VERTEX_TRUE = tuple(
    Column(f"vertex_{axis}_true", "event", "float64", unit, "generated primary vertex")
    for axis, unit in (("x", "cm"), ("y", "cm"), ("z", "cm"), ("t", "ns"))
)
VERTEX_POSITION = tuple(
    Column(axis, "vertex", "float64", unit, "position of a generator vertex (inherited from upstream if not given)")
    for axis, unit in (("x", "cm"), ("y", "cm"), ("z", "cm"), ("t", "ns"))
)
PDG = Column("pdg", "particle", "int32", "", "PDG particle code")
STATUS = Column("status", "particle", "int32", "", "HepMC status: 1 final, 2 decayed, 4 beam, others the generator's")
MOMENTUM = tuple(
    Column(p, "particle", "float64", "GeV", "momentum component at production") for p in ("px", "py", "pz")
)
ENERGY = Column("energy", "particle", "float64", "GeV", "energy at production")
MASS = Column("mass", "particle", "float64", "GeV", "generated mass")
PRODUCTION_VERTEX = Column("production_vertex", "particle", "int32", "", "position in the event's vertices, -1 if none")
END_VERTEX = Column("end_vertex", "particle", "int32", "", "position in the event's vertices, -1 if none")
COLLISION = Column(
    "collision", "particle", "int32", "", "0 for the event's own particles, else the number of the pile-up collision"
)

READ: tuple[Column, ...] = (
    EVENT_ID, EVENT_NUMBER, WEIGHT, *HEAVY_ION, *CROSS_SECTION, *PARTONS, DNCH_DETA_GIVEN, WEIGHT_VALUE, *VERTEX_TRUE,
    *VERTEX_POSITION, PDG, STATUS, *MOMENTUM, ENERGY, MASS, PRODUCTION_VERTEX, END_VERTEX, COLLISION,
)  # fmt: skip

# What modules that make particles make.
PROCESS = Column(
    "process",
    "particle",
    "uint8",
    "",
    "0 for the generator's, else what made it (TMCProcess): 5 pair, 8 bremsstrahlung",
)
LEAVES_TRACKER = Column(
    "leaves_tracker",
    "particle",
    "bool",
    "",
    "final, or what is left of a final electron that radiated: calorimeters see it",
)
FIT_SHIFT = Column(
    "fit_shift", "particle", "float64", "", "how far radiation puts the five fitted track parameters off", (5,)
)

# What the tracking makes.
CHARGE_TRUE = Column("charge", "particle", "int8", "e", "charge by the PDG code, -128 if the code is unknown")
FROM_LONG_LIVED = Column(
    "is_from_long_lived",
    "particle",
    "bool",
    "",
    "an ancestor with lifetime above 1 cm/c decayed (ALICE-PUBLIC-2017-005)",
)
IS_PRIMARY = Column(
    "is_physical_primary", "particle", "bool", "", "long-lived and not from a long-lived decay (ALICE-PUBLIC-2017-005)"
)
TRACK_STATUS = Column("track_status", "particle", "uint8", "", "what became of the particle: fastsim.tracking.STATUS")
DNCH_DETA = Column("dnch_deta", "event", "float64", "", "charged physical primaries per unit of pseudorapidity")
B_Z = Column("b_z", "event", "float64", "T", "field along z in the tracker, which its helices are made in")
PARTICLE_INDEX = Column("particle_index", "track", "int32", "", "position of the particle in its event")
SPECIES = Column("species", "track", "int8", "", "index of the true species in fastsim.species.SPECIES")
IS_RECONSTRUCTED = Column("is_reconstructed", "track", "bool", "", "found by the tracking")
EFFICIENCY = Column("efficiency", "track", "float64", "", "probability to be found")
PT_TRUE = Column("pt_true", "track", "float64", "GeV", "generated transverse momentum")
ETA_TRUE = Column("eta_true", "track", "float64", "", "generated pseudorapidity")
TRUE = tuple(
    Column(f"{name}_true", "track", "float64", unit, "generated, at closest approach to the beam line x = y = 0")
    for name, unit in zip(PARAMETERS, PARAMETER_UNITS, strict=True)
)
RECONSTRUCTED = tuple(
    Column(name, "track", "float64", unit, "reconstructed, at closest approach to the beam line x = y = 0")
    for name, unit in zip(PARAMETERS, PARAMETER_UNITS, strict=True)
)
COV_PACKED = Column(
    "cov_packed", "track", "float64", "", "covariance of the five parameters, lower triangle row by row", (15,)
)
PT = Column("pt", "track", "float64", "GeV", "reconstructed transverse momentum")
ETA = Column("eta", "track", "float64", "", "reconstructed pseudorapidity")
CHARGE = Column("charge", "track", "int8", "e", "reconstructed charge")

# What the vertex module makes.
VERTEX = tuple(
    Column(f"vertex_{axis}", "event", "float64", "cm", "reconstructed primary vertex") for axis in ("x", "y", "z")
)
VERTEX_COV = Column(
    "vertex_cov", "event", "float64", "cm^2", "covariance of the primary vertex: xx, xy, yy, xz, yz, zz", (6,)
)
VERTEX_CHI2 = Column("vertex_chi2", "event", "float64", "", "chi2 of the primary vertex, 0 if it was not fitted")
N_CONTRIBUTORS = Column("n_contributors", "event", "int32", "", "tracks in the primary vertex")
IS_CONTRIBUTOR = Column("is_contributor", "track", "bool", "", "reconstructed, and in the primary vertex")

# What modules of objects make. A position is that of a row in its event.
ELECTRON_TRACK = Column("track_index", "electron", "int32", "", "position of the electron's track in its event")
MUON_TRACK = Column("track_index", "muon", "int32", "", "position of the muon's track in its event")
ELECTRON_SUM_PT = Column("sum_pt_charged", "electron", "float64", "GeV", "sum of pt of the other tracks in the cone")
MUON_SUM_PT = Column("sum_pt_charged", "muon", "float64", "GeV", "sum of pt of the other tracks in the cone")
ELECTRON_SUM_NEUTRAL = Column(
    "sum_pt_neutral", "electron", "float64", "GeV", "sum of pt of the energy flow's neutrals in the cone"
)
MUON_SUM_NEUTRAL = Column(
    "sum_pt_neutral", "muon", "float64", "GeV", "sum of pt of the energy flow's neutrals in the cone"
)
PHOTON_CLUSTER = Column("cluster_index", "photon", "int32", "", "position of the photon's cluster in its event")
PHOTON = tuple(
    Column(name, "photon", "float64", unit, f"{doc}, seen from the reconstructed primary vertex")
    for name, unit, doc in (
        ("pt", "GeV", "transverse momentum of the photon"),
        ("eta", "", "pseudorapidity of the photon"),
        ("phi", "rad", "azimuth of the photon"),
    )
)
PHOTON_ENERGY = Column("energy", "photon", "float64", "GeV", "energy of the photon")
PHOTON_SUM_PT = Column("sum_pt_charged", "photon", "float64", "GeV", "sum of pt of the tracks in the cone")
PHOTON_SUM_NEUTRAL = Column(
    "sum_pt_neutral", "photon", "float64", "GeV", "sum of pt of the energy flow's other neutrals in the cone"
)
PHOTON_HAD_OVER_EM = Column(
    "had_over_em", "photon", "float64", "", "energy of hadronic calorimeters within 0.15 over that of the photon"
)
JET = tuple(
    Column(name, "jet", "float64", unit, f"{doc} of the jet")
    for name, unit, doc in (
        ("pt", "GeV", "transverse momentum"),
        ("eta", "", "pseudorapidity"),
        ("phi", "rad", "azimuth"),
        ("mass", "GeV", "invariant mass"),
    )
)
JET_CHARGE = Column("charge", "jet", "int32", "e", "sum of the charges of the jet's tracks")
JET_N_CHARGED = Column("n_charged", "jet", "int32", "", "tracks in the jet")
JET_N_NEUTRAL = Column("n_neutral", "jet", "int32", "", "neutral constituents of the jet, or towers")
JET_FLAVOR = Column("flavor", "jet", "int32", "", "true flavour as a PDG code: 5 b, 4 c, 15 tau, 21, 1 to 3, 0 none")
JET_B_TAG = Column("b_tag", "jet", "uint32", "", "bit i: tagged as b by the i-th working point")
JET_C_TAG = Column("c_tag", "jet", "uint32", "", "bit i: tagged as c by the i-th working point")
JET_TAU_TAG = Column("tau_tag", "jet", "uint32", "", "bit i: tagged as tau by the i-th working point")
CONSTITUENT_JET = Column("jet_index", "jet_constituent", "int32", "", "position of the jet in its event")
CONSTITUENT_TRACK = Column(
    "track_index", "jet_constituent", "int32", "", "position of the track in its event, -1 if it is none"
)
CONSTITUENT_CLUSTER = Column(
    "cluster_index", "jet_constituent", "int32", "", "position of the neutral cluster in its event, -1 if it is none"
)
CONSTITUENT_TOWER = Column("tower_index", "jet_constituent", "int32", "", "position of the tower in its event")
MET = Column(
    "met", "event", "float64", "GeV", "missing transverse momentum: of the negative sum of what was reconstructed"
)
MET_PHI = Column("met_phi", "event", "float64", "rad", "azimuth of the missing transverse momentum")
SCALAR_HT = Column("scalar_ht", "event", "float64", "GeV", "sum of the transverse momenta of what was reconstructed")

# What the calorimeters make. The index of a calorimeter is its position among the [[calorimeters]] of the detector file.
CLUSTER_ENERGY = Column("energy", "cluster", "float64", "GeV", "measured energy of the cluster")
CLUSTER_SIGMA = Column(
    "sigma_energy", "cluster", "float64", "GeV", "uncertainty of the energy, if a photon's (ecal) or hadron's"
)
CLUSTER_PLACE = tuple(
    Column(axis, "cluster", "float64", "cm", "measured place on the surface of the calorimeter")
    for axis in ("x", "y", "z")
)
CLUSTER_ETA = Column("eta", "cluster", "float64", "", "pseudorapidity of the place, seen from the origin")
CLUSTER_PHI = Column("phi", "cluster", "float64", "rad", "azimuth of the place, seen from the origin")
CLUSTER_TIME = Column("time", "cluster", "float64", "ns", "measured time, NaN if the calorimeter measures none")
CLUSTER_N_CELLS = Column("n_cells", "cluster", "int32", "", "cells that belong to the cluster by half or more")
CLUSTER_CALORIMETER = Column("calorimeter", "cluster", "int8", "", "position among the detector's calorimeters")
CLUSTER_IS_HCAL = Column("is_hcal", "cluster", "bool", "", "in a hadronic calorimeter")
CLUSTER_TRACK = Column(
    "track_index", "cluster", "int32", "", "position of the nearest linked track in its event, -1 if none"
)
CLUSTER_DISTANCE = Column(
    "track_distance", "cluster", "float64", "cm", "between that track and the cluster, NaN if none"
)
CLUSTER_NEUTRAL = Column(
    "neutral_energy", "cluster", "float64", "GeV", "energy that tracks do not explain, 0 if not significant"
)
CLUSTER_PARTICLE = Column(
    "particle_index", "cluster", "int32", "", "position in its event of the particle that left most of the energy"
)
CLUSTER_EM_TRUE = Column(
    "em_fraction_true", "cluster", "float64", "", "share of the energy that photons and electrons brought in"
)
CLUSTER = (
    CLUSTER_ENERGY, CLUSTER_SIGMA, *CLUSTER_PLACE, CLUSTER_ETA, CLUSTER_PHI, CLUSTER_TIME, CLUSTER_N_CELLS,
    CLUSTER_CALORIMETER, CLUSTER_IS_HCAL, CLUSTER_TRACK, CLUSTER_DISTANCE, CLUSTER_NEUTRAL, CLUSTER_PARTICLE, CLUSTER_EM_TRUE,
)  # fmt: skip
TOWER = (
    Column("energy", "tower", "float64", "GeV", "energy of the tower, sum of the two"),
    Column("em_energy", "tower", "float64", "GeV", "measured by electromagnetic calorimeters"),
    Column("had_energy", "tower", "float64", "GeV", "measured by hadronic calorimeters"),
    Column("eta", "tower", "float64", "", "pseudorapidity of the tower's centre"),
    Column("phi", "tower", "float64", "rad", "azimuth of the tower's centre"),
)


def _declared() -> frozenset[Column]:
    groups = [
        value if isinstance(value, tuple) and not isinstance(value, Column) else (value,)
        for value in globals().values()
    ]
    return frozenset(item for group in groups for item in group if isinstance(item, Column))


DECLARED = _declared()  # all of the above; modules make others too, named by the devices that they serve
