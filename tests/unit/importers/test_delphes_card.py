"""Delphes cards: their language, their formulas, what each module becomes, and that nothing is dropped in silence."""

from __future__ import annotations

import math
import tomllib
from itertools import pairwise

import numpy as np
import pytest

from fastsim.cards import load_card
from fastsim.detector import load_detector
from fastsim.detector.formulas import FormulaError, evaluate
from fastsim.errors import CardError
from fastsim.importers import import_card
from fastsim.importers.tcl import commands, read_tcl
from fastsim.importers.text import toml_text
from fastsim.importers.tformula import translate
from fastsim.luts.build import build_lut
from fastsim.luts.file import Grid
from fastsim.run import check_card
from fastsim.species import by_name
from tests.commands import run_fastsim

PROPAGATOR = """
module ParticlePropagator Field {
  set InputArray Delphes/stableParticles
  set ChargedHadronOutputArray hadrons
  set ElectronOutputArray electrons ; set MuonOutputArray muons
  set Radius 1.5
  set HalfLength 3.0
  set Bz $B
}
"""
# Our own detector in Delphes' language: every kind of module once, other numbers than any card of theirs.
CARD = (
    """\
# a small detector
set B 2.5 ;# tesla
set RandomSeed 11
set ExecutionPath {
  Field  HadronEff ElectronEff MuonEff  HadronRes ElectronRes MuonRes  AllTracks Angles Points
  Ecal Hcal Flow  ElectronPick ElectronId ElectronIso MuonId MuonIso  Met Neutrinos GenJets RecoJets Scale
  Flavor Loose Tight Taus Unique Sum Pid Photons Odd Write
}
"""
    + PROPAGATOR
    + """
module Efficiency HadronEff {
  set InputArray Field/hadrons
  set OutputArray kept
  # {braces} in comments count, as in Tcl
  set EfficiencyFormula { (pt > 0.2) * \\
     (abs(eta) <= 2.0 && !(pt > 50)) * (0.9) + (abs(eta) <= 2.0) * (pt > 50 || pt == 50) * (0.8) }
}
module Efficiency ElectronEff { set InputArray Field/electrons
  set OutputArray kept
  set EfficiencyFormula {(pt > 0.2)*(abs(eta) <= 2.0)*(energy > 1 ? 0.7 : 0.5)} }
module Efficiency MuonEff { set InputArray Field/muons
  set OutputArray kept
  set EfficiencyFormula {(pt > 0.2)*(abs(eta) <= 2.0)*(1.2 - TMath::Exp(-pt)*0.1)} }
module MomentumSmearing HadronRes { set InputArray HadronEff/kept
  set OutputArray hadrons
  set ResolutionFormula {sqrt(0.01^2 + pt^2*2.0e-4^2)} }
module EnergySmearing ElectronRes { set InputArray ElectronEff/kept
  set OutputArray electrons
  set ResolutionFormula {sqrt(energy^2*0.02^2 + energy*0.1^2)} }
module MomentumSmearing MuonRes { set InputArray MuonEff/kept
  set OutputArray muons
  set ResolutionFormula {pt > 0.5 ? 0.02*pt : 0} }
module Merger AllTracks {
  add InputArray HadronRes/hadrons
  add InputArray ElectronRes/electrons MuonRes/muons
  set OutputArray tracks
}
module AngularSmearing Angles { set InputArray AllTracks/tracks
  set OutputArray tracks
  set EtaResolutionFormula {0.001}
  set PhiResolutionFormula {0.0005 + 0.001/pt} }
module ImpactParameterSmearing Points { set InputArray Angles/tracks
  set OutputArray tracks
  set ResolutionFormula {0.01 + 0.03/pt} }
module SimpleCalorimeter Ecal {
  set ParticleInputArray Field/stableParticles
  set TrackInputArray Points/tracks
  set EFlowTrackOutputArray eflowTracks
  set IsEcal true
  set EnergyMin 0.3
  set EnergySignificanceMin 1.5
  set pi [expr {acos(-1)}]
  set PhiBins {}
  for {set i -90} {$i <= 90} {incr i} { add PhiBins [expr {$i * $pi/90.0}] }
  for {set i -100} {$i <= 100} {incr i} { set eta [expr {$i * 0.03}]
    add EtaPhiBins $eta $PhiBins }
  add EnergyFraction {0} {0.1}
  add EnergyFraction {11} {1.0}
  add EnergyFraction {310} {0.4}
  add EnergyFraction {3122} {0.4}
  add EnergyFraction {1000022} {0.0}
  set ResolutionFormula {(abs(eta) <= 1.4) * (1 + 0.5*eta^2) * sqrt(energy^2*0.01^2 + energy*0.12^2 + 0.3^2) +
    (abs(eta) > 1.4 && abs(eta) <= 2.4) * (2 - 0.5*abs(eta)) * sqrt(energy^2*0.01^2 + energy*0.12^2) +
    (abs(eta) > 2.4) * pow(energy, 0.7)}
}
module SimpleCalorimeter Hcal {
  set ParticleInputArray Field/stableParticles
  set TrackInputArray Ecal/eflowTracks
  set EnergySignificanceMin 1.5
  set PhiBins {-3.1416 -1.5708 0 1.5708 3.1416}
  foreach eta {-2 -1 0 1 2} { add EtaPhiBins $eta $PhiBins }
  set ResolutionFormula {sqrt(energy^2*0.05^2 + energy*0.8^2)}
}
module Merger Flow { add InputArray Hcal/eflowTracks
  add InputArray Ecal/eflowPhotons
  set OutputArray eflow }
module PdgCodeFilter ElectronPick { set InputArray Hcal/eflowTracks
  set OutputArray electrons
  set Invert true
  add PdgCode {11}
  add PdgCode {-11} }
module Efficiency ElectronId { set InputArray ElectronPick/electrons
  set OutputArray electrons
  set EfficiencyFormula {(pt > 5)*0.9} }
module Isolation ElectronIso { set CandidateInputArray ElectronId/electrons
  set IsolationInputArray Flow/eflow
  set OutputArray electrons
  set DeltaRMax 0.3
  set PTMin 0.4
  set PTRatioMax 0.15 }
module Efficiency MuonId { set InputArray MuonRes/muons
  set OutputArray muons
  set EfficiencyFormula {(energy > 3)*0.95} }
module Isolation MuonIso { set CandidateInputArray MuonId/muons
  set OutputArray muons
  set PTRatioMax 9999. }
module Merger Met { add InputArray Flow/eflow
  set MomentumOutputArray momentum }
module PdgCodeFilter Neutrinos { set InputArray Delphes/stableParticles
  set OutputArray visible
  add PdgCode {12} }
module FastJetFinder GenJets { set InputArray Neutrinos/visible
  set OutputArray jets }
module FastJetFinder RecoJets { set InputArray Flow/eflow
  set OutputArray jets
  set JetAlgorithm 5
  set ParameterR 0.8
  set JetPTMin 12.0
  set ComputeNsubjettiness 1 }
module EnergyScale Scale { set InputArray RecoJets/jets
  set OutputArray jets
  set ScaleFormula {1.00} }
module JetFlavorAssociation Flavor { set JetInputArray Scale/jets
  set DeltaR 0.4
  set PartonPTMin 2.0 }
module BTagging Loose { set JetInputArray Scale/jets
  set BitNumber 0
  add EfficiencyFormula {0} {0.05}
  add EfficiencyFormula {4} {0.2}
  add EfficiencyFormula {5} {0.9*tanh(0.02*pt)} }
module BTagging Tight { set JetInputArray Scale/jets
  set BitNumber 1
  add EfficiencyFormula {4} {0.5}
  add EfficiencyFormula {5} {0.1}
  add EfficiencyFormula {7} {0.1} }
module TauTagging Taus { set JetInputArray Scale/jets
  add EfficiencyFormula {15} {0.55} }
module UniqueObjectFinder Unique {
  add InputArray ElectronIso/electrons electrons
  add InputArray Scale/jets jets
  add InputArray MuonIso/muons muons
}
module Merger Sum { add InputArray Unique/jets
  add InputArray Unique/electrons
  add InputArray Unique/photons
  set EnergyOutputArray energy }
module IdentificationMap Pid { set InputArray Points/tracks
  set OutputArray tracks
  add EfficiencyFormula {211} {211} {0.9}
  add EfficiencyFormula {211} {-13} {0.05 + 0.2*exp(-pt)}
  add EfficiencyFormula {211} {13} {0.1}
  add EfficiencyFormula {321} {9999} {0.1}
  add EfficiencyFormula {0} {0} {0.5*(energy > 1)} }
module Efficiency Photons { set InputArray Ecal/eflowPhotons
  set EfficiencyFormula {0.9} }
module Teleporter Odd { set Distance 3
  if {$B > 1} { set Distance 4 } }
module Efficiency Spare { set EfficiencyFormula {0.5} }
module TreeWriter Write {
  add Branch Delphes/allParticles Particle GenParticle
  add Branch Points/tracks Track Track
  add Branch Unique/electrons Electron Electron
  add Branch MuonIso/muons Muon Muon
  add Branch Unique/jets Jet Jet
  add Branch GenJets/jets GenJet Jet
  add Branch Met/momentum MissingET MissingET
  add Branch Sum/energy ScalarHT ScalarHT
  add Branch Ecal/ecalTowers Tower Tower
}
"""
)


@pytest.fixture
def translated(tmp_path):
    """Call with the text of a card: loads what comes out, and gives card, detector and rows by name."""

    def call(text=CARD, **options):
        source = tmp_path / "small.tcl"
        source.write_text(text)
        found = import_card(source, name="small", detector_file="small_detector.toml", **options)
        (tmp_path / "small.toml").write_text(found.card)
        (tmp_path / "small_detector.toml").write_text(found.detector)
        loaded = load_card(tmp_path / "small.toml")
        check_card(loaded)
        return loaded.card, loaded.detector, {row.name or row.text: row for row in found.rows}

    return call


def fault_of(tmp_path, text):
    path = tmp_path / "bad.tcl"
    path.write_text(text)
    with pytest.raises(CardError) as caught:
        import_card(path, name="bad", detector_file="d.toml")
    return "\n".join(caught.value.problems).replace(f"{tmp_path}/", "")


def points(species):
    """A grid of pt and eta with what formulas of detectors know."""
    eta, pt = np.meshgrid(np.linspace(-2.5, 2.5, 101) + 1e-4, np.geomspace(0.1, 200, 60), indexing="ij")
    mass = by_name(species).mass
    return {"pt": pt, "p": pt * np.cosh(eta), "eta": eta, "mass": mass, "charge": 1.0, "r": 0.0}


# --- the language ---


def test_words_braces_comments_and_continued_lines(tmp_path):
    text = 'set A {x {y z}} ;# no\n# gone \\\nstill gone\nset B "two words"; set C one\\\n  add D {a} $A'
    found = [[word.text for word in command] for command in commands(text, tmp_path)]
    assert found == [["set", "A", "x {y z}"], ["set", "B", "two words"], ["set", "C", "one", "add", "D", "a", "$A"]]
    lines = [command[0].line for command in commands("set A {1\n2}\n\nset B 3", tmp_path)]
    assert lines == [1, 4]
    for end in ("\n", "\r\n"):
        (tmp_path / "x.tcl").write_bytes(end.join(["module K M {", "  set A 1 \\", "  ;", "}", ""]).encode())
        assert read_tcl(tmp_path / "x.tcl").modules["M"].text("A") == "1"


def test_variables_loops_and_sourced_files(tmp_path):
    (tmp_path / "inner.tcl").write_text("set FromFile [expr {$N * 2.5}]\n")
    path = tmp_path / "card.tcl"
    path.write_text(
        "set N 4\nmodule K M {\n  source inner.tcl\n  set Half [expr 7/2]\n  set L {}\n"
        "  for {set i 0} {$i < 3} {incr i 2} { add L [expr {$i + int(1.5)}] }\n  foreach x {a b} { add L ${x}1 }\n}\n"
    )
    module = read_tcl(path).modules["M"]
    assert module.number("FromFile", 0.0) == 10.0
    assert module.number("Half", 0.0) == 3  # of whole numbers, as in Tcl
    assert module.get("L").values == ["1", "3", "a1", "b1"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("exec rm x", "'exec rm x' is not understood"),
        ("set A [glob *]", "of commands in brackets only expr is"),
        ("set A $Nowhere", "$Nowhere is set nowhere"),
        ("set A [expr {acos(2)}]", "the expression 'acos(2)' is not understood"),
        ("set A [expr {__import__(1)}]", "the expression '__import__(1)' is not understood"),
        ("set A [expr {9**9**9}]", "the expression '9**9**9' is not understood"),
        ("if {1} {set A 1}", "'if 1 set A 1' is not understood"),
    ],
)
def test_what_is_not_understood_is_kept_with_its_line(tmp_path, command, why):
    path = tmp_path / "card.tcl"
    path.write_text(f"set B 1\n{command}\n")
    ((place, what, module),) = read_tcl(path).unknown
    assert (place.line, module) == (2, "")
    assert why in what


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("module K M {\n set A {1 \n}", "bad.tcl:1: a brace that is opened here is not closed: the card is cut short"),
        ('set A "x', "bad.tcl:1: a quote that is opened here is not closed"),
        ("set A [expr 1", "bad.tcl:1: a bracket that is opened here is not closed"),
        ("for {set i 0} {$i < 2} {set j 1} {set k 1}", "more than 100000 commands, loops included"),
        ("source bad.tcl", "files or loops more than 20 deep"),
        ("source nowhere.tcl", "nowhere.tcl: cannot be read (No such file or directory)"),
        ("set A 1", "bad.tcl: has no modules: not a Delphes card"),
        (
            "set ExecutionPath {A B}\nmodule Merger A {}",
            "bad.tcl:1: ExecutionPath names B, which the card does not define",
        ),
        ("module Merger A {}", "bad.tcl: no ParticlePropagator runs"),
        (PROPAGATOR.replace("$B", "2"), "nothing leads from Field to tracks"),
        (PROPAGATOR.replace("$B", "much"), "bad.tcl:8: Field: Bz must be a number (got 'much')"),
        (PROPAGATOR.replace("$B", "2").replace("1.5", "0"), "Field: Radius and HalfLength must be above 0"),
        (CARD.replace("set B 2.5", "set B 0"), "b_z: must not be 0"),
        (CARD.replace("{310} {0.4}", "{310} {some}"), "Ecal: 'some' is not a number"),
        (CARD.replace("{310} {0.4}", "{K0} {0.4}"), "Ecal: 'K0' is not a PDG code"),
        (CARD.replace("{0} {0} {0.5", "{pi} {0} {0.5"), "Pid: 'pi' is not a PDG code"),
    ],
)
def test_what_cannot_be_a_card_is_refused(tmp_path, text, fault):
    assert fault in fault_of(tmp_path, text)


def test_files_that_are_no_cards(tmp_path):
    for content, fault in ((b"\xff\xfe", "not text"), (b" " * 10_000_001, "larger than 10 MB: not a card")):
        (tmp_path / "x.tcl").write_bytes(content)
        with pytest.raises(CardError, match=fault):
            read_tcl(tmp_path / "x.tcl")


def test_modules_in_circles_are_refused(tmp_path):
    mergers = "".join(
        f"module Merger M{i} {{ add InputArray M{(i + 1) % 3}/a\n add InputArray M{(i + 2) % 3}/a }}\n"
        for i in range(3)
    )
    assert "modules read each other in circles" in fault_of(tmp_path, PROPAGATOR.replace("$B", "2") + mergers)


# --- formulas ---

E, PT = 1.25, 3.0


@pytest.mark.parametrize(
    ("text", "value"),  # for pt = 3, eta = 1.25
    [
        ("pt^2 - -pt", 12.0),
        ("-pt**2", -9.0),
        ("2*pt^-1", 2 / 3),
        ("(pt > 2 && eta < 1) + 3*(pt > 2 || eta < 1)", 3.0),
        ("!(pt > 2) + 2*!0", 2.0),  # C's ! binds tighter than its neighbours, Python's `not` does not
        ("!pt*5 + 1", 1.0),
        ("pt == 3", 1.0),
        ("(pt != 3) + 4", 4.0),
        ("pt > 2 ? eta > 2 ? 1 : 2 : 3", 2.0),
        ("1 - (2 - 3) - 4", -2.0),
        ("12./(2*3)", 2.0),
        ("pow(pt, 2) + sq(eta + 1)", 9 + 2.25**2),
        ("TMath::Power(pt,0.5)*TMath::Pi()", math.sqrt(3) * math.pi),
        ("fabs(-pt) + TMath::Abs(-1) + min(1,pt) + TMath::Max(1,pt)", 8.0),
        ("TMath::SinH(eta) - sinh(eta) + pi", math.pi),
        ("ctgTheta", math.sinh(1.25)),
        ("energy*2", 2 * math.hypot(3 * math.cosh(1.25), 0.5)),
        ("05 + .5 + 1.e1 \\\n + 1", 16.5),
        ("+".join(["(pt > 2)*1.0"] * 2000), 2000.0),  # deeper than one reads recursively
    ],
)
def test_formulas_have_the_same_value(text, value):
    formula = translate(text, {"pt": "pt", "eta": "eta", "energy": "hypot(p, mass)", "ctgTheta": "sinh(eta)"})
    variables = {"pt": np.full(1, PT), "eta": np.full(1, E), "p": np.full(1, PT * math.cosh(E)), "mass": 0.5}
    assert float(np.ravel(evaluate(formula, variables))[0]) == pytest.approx(value, rel=1e-14)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("1/2*pt", "a quotient of whole numbers, which C++ cuts to a whole one, at '2*pt'"),
        ("2^3^2", "a power of a power: which comes first? at '^2'"),
        ("0 < eta < 1", "two comparisons in a row, which C reads otherwise than one expects, at '< 1'"),
        ("1 == eta == 1", "two comparisons in a row, which C reads otherwise than one expects, at '== 1'"),
        ("density*pt", "'density' is not a variable here (allowed: pt, eta) at 'density*pt'"),
        ("gRandom(pt)", "gRandom with 1 argument is not a function here at 'gRandom(pt)'"),
        ("min(1, 2, 3)", "min with 3 arguments is not a function here"),
        ("(pt", "')' is missing at 'its end'"),
        ("pt $ 3", "not a formula at '$ 3'"),
        ("pt 3", "not a formula at '3'"),
        ("", "not a formula at 'its end'"),
        ("(" * 5000, "nested too deeply"),
    ],
)
def test_formulas_with_no_meaning_here_are_refused(text, fault):
    with pytest.raises(FormulaError) as caught:
        translate(text, {"pt": "pt", "eta": "eta"})
    assert fault in str(caught.value)


# --- tracks ---


def test_tracks(translated):
    card, detector, rows = translated()
    assert (detector.b_z, detector.r_edges, card.seed, card.output.format, card.output.truth) == (
        2.5, [0.0, 150.0], 11, "delphes", "all",
    )  # fmt: skip
    assert card.tracking.grid.eta_max == 2.0
    el, mu, hadrons = detector.formulas
    assert (el.species, mu.species) == (["el"], ["mu"])
    assert hadrons.species == ["pi", "ka", "pr", "de", "tr", "he3", "al"]

    v = points("pi")
    pt, eta = v["pt"], v["eta"]
    inside = (pt > 0.2) & (np.abs(eta) <= 2.0)
    value = {
        name: np.broadcast_to(evaluate(getattr(hadrons, name), v), pt.shape)
        for name in type(hadrons).model_fields
        if name != "species"
    }
    np.testing.assert_allclose(value["efficiency"], np.where(inside, np.where(pt < 50, 0.9, 0.8), 0.0), atol=1e-15)
    np.testing.assert_allclose(value["sigma_pt_over_pt"], np.hypot(0.01, 2e-4 * pt), rtol=1e-12)
    np.testing.assert_allclose(value["sigma_phi"], 0.0005 + 0.001 / pt, rtol=1e-12)
    np.testing.assert_allclose(value["sigma_tan_lambda"], 0.001 * np.cosh(eta), rtol=1e-12)  # d sinh(eta)
    np.testing.assert_allclose(value["sigma_dca_xy"], 0.1 * (0.01 + 0.03 / pt), rtol=1e-12)  # mm
    np.testing.assert_allclose(value["sigma_dca_z"], value["sigma_dca_xy"], rtol=1e-12)

    v = points("el")
    energy = np.hypot(v["p"], v["mass"])
    np.testing.assert_allclose(
        np.broadcast_to(evaluate(el.efficiency, v), pt.shape),
        np.where(inside, np.where(energy > 1, 0.7, 0.5), 0.0),
        atol=1e-15,
    )
    by_energy = np.sqrt((0.02 * energy) ** 2 + 0.1**2 * energy)
    shifted = np.sqrt((energy + 1e-6 * by_energy) ** 2 - v["mass"] ** 2) / v["p"] - 1  # dp/p of a small dE
    np.testing.assert_allclose(evaluate(el.sigma_pt_over_pt, v), 1e6 * shifted, rtol=1e-3)

    v = points("mu")  # cut to 1 as Delphes does; no tracks where Delphes does not smear
    np.testing.assert_allclose(
        np.broadcast_to(evaluate(mu.efficiency, v), pt.shape),
        np.where(inside & (pt > 0.5), np.minimum(1, 1.2 - 0.1 * np.exp(-pt)), 0.0), atol=1e-15,
    )  # fmt: skip
    np.testing.assert_allclose(
        evaluate(mu.sigma_pt_over_pt, v)[pt > 0.5], np.minimum(1, 0.02 * pt)[pt > 0.5], rtol=1e-12
    )
    assert any(text.startswith("Muon: no tracks where sigma_pt_over_pt is 0") for text in rows)
    for species in ("el", "mu", "pi", "al"):
        build_lut(detector, by_name(species), Grid(n_pt=12, n_eta=10, eta_max=2.0))  # accepts them


SMEARED = PROPAGATOR.replace("$B", "3") + (
    "module TrackSmearing Smear { set InputArray Field/hadrons\n set OutputArray tracks\n"
    "set D0ResolutionFormula {0.02}\n set DZResolutionFormula { 0.0 }\n set PResolutionFormula {0.03}\n"
    "set CtgThetaResolutionFormula {0.004}\n set PhiResolutionFormula {0.002}\n set DZResolutionFile e.root }\n"
    "module DecayFilter Decay { set InputArray Smear/tracks\n set OutputArray tracks }\n"
    "module TreeWriter Write { add Branch Decay/tracks Track Track }\n"
)


def test_track_smearing_in_p_and_cot_theta(translated):
    """pt = p / cosh(eta), so that both of what Delphes draws are in sigma(pt): a numerical derivative tells how much."""
    card, detector, rows = translated(SMEARED)
    (hadrons,) = detector.formulas
    v = points("pi")
    t, p = np.sinh(v["eta"]), v["p"]
    step = 1e-6
    by_t = (p / np.hypot(1, t + step) - p / np.hypot(1, t - step)) / (2 * step) * 0.004
    expected = np.hypot(0.03, by_t / v["pt"])
    np.testing.assert_allclose(np.broadcast_to(evaluate(hadrons.sigma_pt_over_pt, v), t.shape), expected, rtol=1e-6)
    assert evaluate(hadrons.sigma_dca_xy, v) == pytest.approx(0.002)
    assert evaluate(hadrons.sigma_phi, v) == pytest.approx(0.002)
    shipped = {f.species[0]: f for f in load_detector("cms_like").formulas}["pi"]
    np.testing.assert_array_equal(evaluate(hadrons.sigma_dca_z, v), evaluate(shipped.sigma_dca_z, v))
    assert any(text.startswith("sigma_dca_z: the card says nothing") for text in rows)
    assert card.tracking.species == ["pi", "ka", "pr", "de", "tr", "he3", "al"]
    assert "histograms" not in rows["Smear"].text  # the formula stands above the file
    assert rows["Decay"].text == "without layers nobody knows where a track ends"


def test_layers_come_from_track_covariance(translated):
    table = "".join(f"    1 PIX -1 1 0.0{i} 0.0005 0.09375 2 0 1.5708 3e-6 3e-6 1\n" for i in (2, 3, 4, 5, 6, 7, 8))
    text = PROPAGATOR.replace("$B", "2") + (
        "module Efficiency Eff { set InputArray Field/hadrons\n set OutputArray a\n set EfficiencyFormula {0.9} }\n"
        "module TrackCovariance Cov {\n  set InputArray Eff/a\n  set NMinHits 6\n  set Bz 2.0\n"
        f"  set DetectorGeometry {{\n{table}  }}\n}}\n"
        "module DecayFilter Decay { set InputArray Cov/tracks\n set OutputArray tracks }\n"
        "module PhotonConversions Pairs { set InputArray Field/stableParticles\n set ConversionMap {(r < 1) * 0.1} }\n"
        "module TreeWriter Write { add Branch Decay/tracks Track Track }\n"
    )
    card, detector, rows = translated(text)
    (material,) = [module for module in card.modules if module["kind"] == "material"]
    assert (material["conversions"], material["bremsstrahlung"]) == (True, False)
    assert "not in those of ConversionMap" in rows["Pairs"].text
    assert card.tracking.decay_in_flight
    assert [layer.r for layer in detector.layers] == pytest.approx([2, 3, 4, 5, 6, 7, 8])
    assert (detector.tracking.min_hits, detector.b_z, detector.formulas) == (6, 2.0, [])
    assert rows["Cov"].status == "translated"
    assert rows["Eff"] == (
        "small.tcl:10",
        "Efficiency",
        "Eff",
        "no counterpart",
        "with layers, the efficiency of tracks is that of their hits",
    )


def test_conversions_need_layers(translated):
    card, _, rows = translated(SMEARED + "module PhotonConversions Pairs { set InputArray Field/stableParticles }\n")
    assert "material" not in {module["kind"] for module in card.modules}
    assert (rows["Pairs"].status, rows["Pairs"].text) == (
        "no counterpart",
        "photons convert in layers, and this card has none",
    )


# --- calorimeters ---


def test_calorimeters(translated):
    card, detector, rows = translated()
    devices = {device.name: device for device in detector.calorimeters}
    barrel = devices["ecal_1"]
    assert barrel.electromagnetic.model_dump() == pytest.approx(
        {"noise": 0.3, "stochastic": 0.12, "constant": 0.01, "eta_squared": 0.5}, rel=1e-4
    )
    assert (barrel.r, barrel.half_length) == pytest.approx((150.0, 150 * math.sinh(1.4)), rel=1e-6)
    assert (barrel.tower_eta, barrel.tower_phi) == pytest.approx((0.03, math.pi / 90), rel=1e-5)
    assert (barrel.thresholds.cell, barrel.hadron_fraction) == (0.3, 0.1)
    assert [entry.model_dump() for entry in barrel.fractions] == [{"pdg": [310, 3122], "fraction": 0.4}]
    rings = [d for name, d in devices.items() if name.startswith("ecal") and d is not barrel]
    edges = [math.asinh(rings[0].z / r) for ring in rings for r in (ring.r_max, ring.r_min)]
    assert edges[0] == pytest.approx(1.4, abs=1e-5)
    assert edges[-1] == pytest.approx(2.4, abs=1e-5)
    assert all(a <= b + 1e-5 for a, b in pairwise(edges))
    for ring in rings:  # piecewise constant, and no farther from the formula than it says
        for r in (ring.r_max, ring.r_min):
            ratio = ring.electromagnetic.stochastic / (0.12 * (2 - 0.5 * math.asinh(ring.z / r)))
            assert abs(ratio - 1) < 0.21
    assert "2.4 < |eta| < 6: the resolution is not a (+) b sqrt(E) (+) c E" in rows["Ecal"].text
    hcal = [devices[name] for name in ("hcal_1", "hcal_2")]
    assert [d.hadronic.stochastic for d in hcal] == [0.8, 0.8]
    assert hcal[1].z > rings[0].z
    assert math.asinh(hcal[1].z / hcal[1].r_min) == pytest.approx(2.0, abs=1e-5)  # as far as there are towers
    (module,) = [m for m in card.modules if m["kind"] == "calorimeter"]
    assert (module["significance"], module["tower_eta"]) == (1.5, 0.03)


def test_one_sided_calorimeters_and_towers_that_are_none(translated):
    text = CARD.replace("{sqrt(energy^2*0.05^2 + energy*0.8^2)}", "{(eta > 1.2 && eta < 2)*sqrt(energy*0.8^2)}")
    _, detector, _ = translated(text)
    (hcal,) = [d for d in detector.calorimeters if d.kind == "hcal"]
    assert (hcal.both_sides, hcal.is_barrel) == (False, False)
    for old, new, said in [
        ("set PhiBins {-3.1416 -1.5708 0 1.5708 3.1416}", "set PhiBins 4", "one edge in phi, of which Delphes makes no towers"),
        ("set PhiBins {-3.1416 -1.5708 0 1.5708 3.1416}", "set PhiBins {x y}", "EtaPhiBins: could not convert string to float"),
        ("sqrt(energy^2*0.05^2 + energy*0.8^2)", "(1+(eta<0))*energy*0.1", "the two sides differ"),
        ("sqrt(energy^2*0.05^2 + energy*0.8^2)", "(eta>0)*(eta<2)*energy*0.1", "on one side: barrels are symmetric"),
        ("sqrt(energy^2*0.05^2 + energy*0.8^2)", "energy*exp(10*abs(eta))", "changes with eta more than 6 rings can follow"),
    ]:  # fmt: skip
        _, _, rows = translated(CARD.replace(old, new))
        assert said in rows["Hcal"].text
        assert rows["Hcal"].status in {"partly", "no counterpart"}


# --- objects ---


def test_objects(translated):
    card, _, rows = translated()
    modules = {module["name"]: module for module in card.modules}
    electrons, muons, jets = modules["electrons"], modules["muons"], modules["jets"]
    assert electrons["efficiency"] == "(pt > 5) * 0.9"
    assert [electrons[f"isolation_{key}"] for key in ("delta_r", "pt_min", "max")] == [0.3, 0.4, 0.15]
    assert muons["efficiency"] == "(energy > 3) * 0.95"
    assert "isolation_max" not in muons
    assert [jets[key] for key in ("algorithm", "radius", "pt_min")] == ["cambridge", 0.8, 12.0]
    assert jets["exclude"] == ["electron"]  # muons come behind jets in UniqueObjectFinder
    assert jets["flavor"] == {"heavy": "partons", "delta_r": 0.4, "pt_min": 2.0}
    assert jets["tags"] == [
        {"name": "loose", "kind": "b", "efficiency": {"light": 0.05, "c": 0.2, "b": "0.9 * tanh(0.02 * pt)"}},
        {"name": "taus", "kind": "tau", "efficiency": {"light": 0.0, "tau": 0.55}},
        {"name": "tight", "kind": "c", "efficiency": {"light": 0.0, "c": 0.5, "b": 0.1}},
    ]
    assert modules["met"]["scalar_ht_of"] == ["jet", "electron"]
    assert "without photon" in rows["Sum"].text
    assert "EfficiencyFormula {7}: no flavour of ours" in rows["Tight"].text
    assert rows["RecoJets"].status == "partly"
    assert "not carried over: ComputeNsubjettiness" in rows["RecoJets"].text


# The same with an energy flow that is one, photons of it, and jets that are scaled.
FLOW = CARD + (
    "module Isolation PhotonIso { set CandidateInputArray Photons/photons\n  set IsolationInputArray Flow/eflow\n"
    "  set OutputArray photons\n  set DeltaRMax 0.35\n  set PTRatioMax 0.2 }\n"
)
for old, more in (
    ("  set EFlowTrackOutputArray eflowTracks", "\n  set EFlowTowerOutputArray eflowPhotons"),
    ("module UniqueObjectFinder Unique {", "\n  add InputArray PhotonIso/photons photons"),
    ("module Efficiency Photons { set InputArray Ecal/eflowPhotons", "\n  set OutputArray photons"),
    (
        "  add Branch Points/tracks Track Track",
        "\n  add Branch Unique/photons Photon Photon\n  add Branch Hcal/towers HcalTower Tower",
    ),
):
    FLOW = FLOW.replace(old, old + more)
FLOW = FLOW.replace("Pid Photons Odd", "Pid Odd").replace("Unique Sum Pid", "Photons PhotonIso Unique Sum Pid")
FLOW = FLOW.replace("set EfficiencyFormula {0.9} }\nmodule Tele", "set EfficiencyFormula {(pt > 5)*0.8} }\nmodule Tele")
FLOW = FLOW.replace("{1.00}", "{1 + 2.0/pt}")


def test_objects_of_the_energy_flow(translated):
    card, _, rows = translated(FLOW)
    modules = {module["name"]: module for module in card.modules}
    assert modules["photons"] == {
        "name": "photons", "kind": "photons", "level": "parametric", "isolation_delta_r": 0.35, "isolation_pt_min": 0.5,
        "isolation_max": 0.2, "efficiency": "(pt > 5) * 0.8", "fake_rate": "(pt > 5) * 0.8",
    }  # fmt: skip
    assert modules["electrons"]["isolation_input"] == "energy_flow"
    assert "isolation_input" not in modules["muons"]  # theirs names no array
    assert (modules["jets"]["input"], modules["met"]["input"]) == ("energy_flow", "energy_flow")
    assert modules["jets"]["exclude"] == ["photon", "electron"]
    assert modules["jets"]["scale"] == "1 + 2.0 / pt"
    assert modules["met"]["scalar_ht_of"] == ["jet", "electron", "photon"]
    assert {rows[name].status for name in ("Photons", "PhotonIso", "Unique", "Scale", "Met", "Sum")} == {"translated"}
    assert rows["RecoJets"].text.startswith("module jets, of energy flow")
    assert rows["Write"].text.endswith("without branch HcalTower; without branch GenJet")
    assert any(text.startswith("photons are clusters that no track is linked to") for text in rows)


def test_objects_of_towers(translated):
    """As Delphes' ATLAS card: jets of towers do not hold tracks, so that overlaps are distances."""
    text = FLOW.replace("set InputArray Flow/eflow", "set InputArray Towers/towers")
    text = text.replace("Flow  ElectronPick", "Flow Towers ElectronPick").replace("Tower Tower", "Track Track")
    text += (
        "module Merger Towers { add InputArray Ecal/towers\n  add InputArray Hcal/towers\n  set OutputArray towers }\n"
    )
    text += "module TreeWriter More { add Branch Photons/photons Soft Photon }\n"
    text = text.replace("HcalTower Tower", "A Track").replace("Odd Write", "Odd Write More")
    card, _, rows = translated(text)
    modules = {module["name"]: module for module in card.modules}
    assert (modules["jets"]["input"], modules["jets"]["exclude"]) == ("towers", ["photon", "electron"])
    assert (modules["calorimeter"]["tower_eta"], modules["met"]["input"]) == (0.03, "energy_flow")
    assert "of towers, those within 0.2 of one" in rows["Unique"].text
    assert "branch Soft: there is one list of photons, that of branch Photon" in rows


def test_without_calorimeters_objects_are_of_tracks(translated):
    text = FLOW.replace("set PhiBins {-3.1416", "set PhiBins 4 ;# {").replace("add EtaPhiBins $eta $PhiBins", "")
    card, detector, rows = translated(text)
    assert detector.calorimeters == []
    modules = {module["name"]: module for module in card.modules}
    assert {"photons", "calorimeter"}.isdisjoint(modules)
    assert "input" not in modules["jets"]
    assert modules["jets"]["exclude"] == ["electron"]
    assert "module jets, of tracks (Delphes: of energy flow, at the same pt)" in rows["RecoJets"].text
    assert "sums are of tracks, Delphes': of energy flow" in rows["ElectronIso"].text
    assert "without branch Photon" in rows["Write"].text
    assert "without photon" in rows["Sum"].text


def test_photons_that_no_calorimeter_sees(translated):
    text = FLOW.replace("add Branch Unique/photons Photon Photon", "add Branch Points/tracks Photon Photon")
    card, _, rows = translated(text)
    assert "photons" not in {module["name"] for module in card.modules}
    assert "branch Photon: nothing leads from a calorimeter to it" in rows
    assert "not on the way of tracks, electrons, muons or photons" in rows["Photons"].text


def test_identification(translated):
    card, _, rows = translated()
    rules = next(module for module in card.modules if module["kind"] == "identification")["rules"]
    assert [(r["true"], r["taken_for"]) for r in rules] == [
        ("pi", "pi"), ("pi", "mu"), *((s, s) for s in ("el", "mu", "pr", "de", "tr", "he3", "al")),
    ]  # fmt: skip
    v = points("pi")
    first, second = (evaluate(str(rule["probability"]), v) for rule in rules[:2])
    np.testing.assert_allclose(
        second, np.minimum(0.05 + 0.2 * np.exp(-v["pt"]), 1 - first), rtol=1e-12
    )  # Delphes' loop
    v = points("pr")
    proton = next(rule for rule in rules if rule["true"] == "pr")
    np.testing.assert_array_equal(evaluate(proton["probability"], v), 0.5 * (np.hypot(v["p"], v["mass"]) > 1))
    assert "{211} {13}: charges of opposite sign" in rows["Pid"].text
    assert "{321} {9999}: no species of ours" in rows["Pid"].text


# --- pile-up ---

PILE_UP = (
    "module PileUpMerger Many { set MeanPileUp 35\n set ZVertexSpread 0.2\n set TVertexSpread 600E-12\n"
    "set VertexDistributionFormula {exp(-(t^2/200e-12^2/2))*exp(-(z^2/0.05^2/2))} }\n"
)


def test_pile_up_and_luminous_region(translated, tmp_path):
    card, _, rows = translated(PILE_UP + SMEARED, pile_up="minbias.hepmc")
    assert (card.pile_up.mean, card.pile_up.distribution) == (35.0, "poisson")
    assert card.pile_up.file == [str(tmp_path / "minbias.hepmc")]
    for region in (card.pile_up, card.beam_spot):
        assert (region.sigma_z, region.sigma_t) == pytest.approx((5.0, 0.2))  # cm, ns
    card, _, rows = translated(PILE_UP + SMEARED)
    assert card.pile_up is None
    assert "name a file of minimum-bias events with --pile-up" in rows["Many"].text
    for old, new, said in [
        ("z^2/0.05", "z^4/0.05", "not a Gaussian in z and t"),
        ("exp(-(z^2/0.05^2/2))", "(abs(z) <= 0.1)", "not a Gaussian in z and t"),
        ("z^2", "y^2", "'y' is not a variable here"),
        ("Spread 0.2", "Spread 0.1", "Delphes cuts the Gaussian in z at 2 sigma"),
        ("set Mean", "set PileUpDistribution 1\nset Mean", "taken as Poisson of the same mean"),
    ]:
        _, _, rows = translated(PILE_UP.replace(old, new) + SMEARED)
        assert said in rows["Many"].text, said


# --- the list ---


def test_every_module_is_on_the_list_and_unknown_ones_say_so(translated):
    _, _, rows = translated()
    names = set(read_tcl_modules(CARD))
    assert names <= set(rows)
    status = {name: rows[name].status for name in names}
    assert {name for name, what in status.items() if what == "no counterpart"} == {"Photons", "Odd"}
    assert {name for name, what in status.items() if what == "generator"} == {"Neutrinos", "GenJets"}
    assert {name for name, what in status.items() if what == "routing"} == {"AllTracks", "Flow", "ElectronPick"}
    assert status["Spare"] == "not run"
    assert rows["Odd"].text == "Teleporter is no kind that is known here"
    assert any("in Odd: 'if $B > 1 set Distance 4' is not understood" in text for text in rows)


def read_tcl_modules(text):
    return [line.split()[2] for line in text.splitlines() if line.startswith("module ")]


def test_the_list_is_the_head_of_both_files(translated, tmp_path):
    _, _, rows = translated()
    for name in ("small.toml", "small_detector.toml"):
        head = [line for line in (tmp_path / name).read_text().splitlines() if line.startswith("# ")]
        for row in rows.values():
            assert any(row.text in line and row.name in line for line in head), row


def test_the_writer_is_read_back():
    data = {
        "a": 1,
        "b": "x" * 50 + " + " + "y" * 90,
        "c": 'a "b" \\',
        "t": {"d": [1.5, True], "u": {"e": "f"}},
        "m": [{"n": [{"o": 1}]}],
    }
    text = toml_text(data, ["head"])
    read = tomllib.loads(text)
    assert text.startswith("# head\n")
    assert read["b"] == "(\n  " + "x" * 50 + " +\n  " + "y" * 90 + "\n)"
    assert {key: value for key, value in read.items() if key != "b"} == {
        key: value for key, value in data.items() if key != "b"
    }


# --- the command ---


def test_card_import(tmp_path, capsys):
    source, card = tmp_path / "x.tcl", tmp_path / "mine.toml"
    source.write_text(CARD)
    done = run_fastsim(capsys, "card", "import", source, "-o", card)
    assert done.code == 0
    assert "Teleporter is no kind that is known here" in done.out
    assert run_fastsim(capsys, "card", "check", card).code == 0
    assert load_card(card).detector.name == "mine"
    done = run_fastsim(capsys, "card", "import", source, "-o", card)
    assert (done.code, "exists already" in done.err) == (2, True)
    done = run_fastsim(capsys, "card", "import", source, "-o", card, "--overwrite", "--json")
    assert '"status": "routing"' in done.out
    source.write_text("module {")
    assert run_fastsim(capsys, "card", "import", source, "-o", tmp_path / "y.toml").code == 3
    assert not (tmp_path / "y.toml").exists()
