"""Flavour of jets by association: the heaviest of the true hadrons, taus and partons that lie nearest to the jet.

b and c are the flavours of weakly decaying hadrons, which do not depend on the generator's shower: so label ATLAS (hadrons of
5 GeV within 0.3, arXiv:1907.05120) and CMS (hadrons clustered as ghosts, arXiv:1712.07158). Or, as Delphes'
JetFlavorAssociation has it, of partons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from fastsim import columns as c
from fastsim import toml
from fastsim.jit import kernel
from fastsim.objects.kinematics import distance_1, offsets_of_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastsim.columns import Column
    from fastsim.events import EventBatch

# Hadrons that decay weakly, by PDG code (PDG 2024, "Monte Carlo particle numbering scheme"); excited ones end as these.
B_HADRONS = (511, 521, 531, 541, 5122, 5132, 5232, 5332)  # B0, B+, Bs, Bc, Lambda_b, Xi_b-, Xi_b0, Omega_b
C_HADRONS = (411, 421, 431, 4122, 4132, 4232, 4332)  # D+, D0, Ds, Lambda_c, Xi_c0, Xi_c+, Omega_c
LIGHT, HEAVY, TAU, GLUON = (1, 2, 3), (4, 5), 15, 21
INVISIBLE = (12, 14, 16)
NOT_HADRONIC = (11, 13, 15, 24)  # a tau that decays to one of these is leptonic, or a copy (Delphes' TauTagging)

NEEDS: tuple[Column, ...] = (c.PDG, *c.MOMENTUM, c.PRODUCTION_VERTEX, c.END_VERTEX)


class Flavor(toml.Strict):
    """What gives a jet its flavour."""

    heavy: Annotated[
        Literal["hadrons", "partons"],
        Field(description='b and c by weakly decaying hadrons, or by "partons" as Delphes'),
    ] = "hadrons"
    delta_r: Annotated[float, Field(gt=0, le=10, description="farthest from the jet's axis, in eta and phi")] = 0.3
    pt_min: Annotated[float, Field(ge=0, description="softest hadrons, visible taus and partons that count [GeV]")] = (
        5.0
    )


class Truth(NamedTuple):
    """What gives flavour, event by event: its code, pt [GeV], eta and phi."""

    offsets: NDArray[np.int64]
    code: NDArray[np.int32]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]


@kernel
def rank_1(code: int) -> int:
    """What wins in one jet: b over c over tau over light quarks and gluons."""
    return 3 if code == 5 else 2 if code == 4 else 1 if code == 15 else 0


@kernel
def fill_flavor(
    offsets: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64],
    true_offsets: NDArray[np.int64], true_code: NDArray[np.int32], true_pt: NDArray[np.float64],
    true_eta: NDArray[np.float64], true_phi: NDArray[np.float64], delta_r: float, flavor: NDArray[np.int32],
) -> None:  # fmt: skip
    """Give each jet the code of what is nearest to it and within `delta_r`: by rank, then by pt; 0 if there is nothing."""
    for event in range(len(offsets) - 1):
        hardest = np.zeros(offsets[event + 1] - offsets[event])
        for i in range(true_offsets[event], true_offsets[event + 1]):
            nearest, smallest = -1, delta_r
            for jet in range(offsets[event], offsets[event + 1]):
                distance = distance_1(eta[jet], phi[jet], true_eta[i], true_phi[i])
                if distance <= smallest:
                    nearest, smallest = jet, distance
            if nearest < 0:
                continue
            best, local = flavor[nearest], nearest - offsets[event]
            rank = rank_1(true_code[i]) - rank_1(best)
            if best == 0 or rank > 0 or (rank == 0 and true_pt[i] > hardest[local]):
                flavor[nearest] = true_code[i]
                hardest[local] = true_pt[i]


def flavor_of_jets(
    batch: EventBatch, offsets: NDArray[np.int64], eta: NDArray[np.float64], phi: NDArray[np.float64], options: Flavor
) -> NDArray[np.int32]:
    """Flavour of jets at eta and phi (n,), with offsets by event: 5, 4, 15, 1 to 3, 21, or 0 if nothing is near."""
    truth = find_truth(batch, options)
    flavor = np.zeros(len(eta), dtype=np.int32)
    fill_flavor(offsets, eta, phi, *truth, options.delta_r, flavor)
    return flavor


def find_truth(batch: EventBatch, options: Flavor) -> Truth:
    """The hadrons, hadronic taus (their visible momentum) and partons of a batch that can give flavour."""
    pdg = np.abs(batch[c.PDG])
    code = np.where(np.isin(pdg, [*LIGHT, GLUON]), pdg, 0)
    if options.heavy == "partons":
        code = np.where(np.isin(pdg, HEAVY), pdg, code)
    else:
        code = np.where(np.isin(pdg, C_HADRONS), 4, np.where(np.isin(pdg, B_HADRONS), 5, code))
    px, py, pz = (batch[column].copy() for column in c.MOMENTUM)
    taus, visible = hadronic_taus(batch, pdg)
    code[taus] = TAU
    px[taus], py[taus], pz[taus] = visible
    pt = np.hypot(px, py)
    rows = np.flatnonzero((code > 0) & (pt > options.pt_min))
    return Truth(
        offsets_of_rows(rows, batch, "particle"),
        code[rows].astype(np.int32),
        pt[rows],
        np.arcsinh(pz[rows] / pt[rows]),
        np.arctan2(py[rows], px[rows]),
    )


def hadronic_taus(batch: EventBatch, pdg: NDArray[np.int32]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Rows of the taus that decay to hadrons, and what is visible of their momenta, (3, n) [GeV]. `pdg` is absolute."""
    first = np.repeat(batch.offsets["vertex"][:-1], np.diff(batch.offsets["particle"]))
    taus = np.flatnonzero((pdg == TAU) & (batch[c.END_VERTEX] >= 0))
    taus = taus[np.argsort(first[taus] + batch[c.END_VERTEX][taus], kind="stable")]
    ends = first[taus] + batch[c.END_VERTEX][taus]
    born = np.where(batch[c.PRODUCTION_VERTEX] >= 0, first + batch[c.PRODUCTION_VERTEX], -1)
    daughters = np.flatnonzero(np.isin(born, ends))
    mother = np.searchsorted(ends, born[daughters])  # the first, should two taus go into one vertex
    other = np.bincount(mother[np.isin(pdg[daughters], NOT_HADRONIC)], minlength=len(taus))
    seen = ~np.isin(pdg[daughters], INVISIBLE)
    visible = np.empty((3, len(taus)))
    for axis, column in enumerate(c.MOMENTUM):
        visible[axis] = np.bincount(mother[seen], batch[column][daughters[seen]], minlength=len(taus))
    has_daughters = np.bincount(mother[seen], minlength=len(taus)) > 0
    hadronic = (other == 0) & has_daughters
    return taus[hadronic], visible[:, hadronic]
