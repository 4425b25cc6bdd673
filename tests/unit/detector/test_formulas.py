"""Formulas are arithmetic and nothing else; their faults have a place."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastsim.detector.formulas import FormulaError, evaluate, faults_of_formulas

QUANTITIES = ("efficiency", "sigma_pt_over_pt", "sigma_dca_xy", "sigma_dca_z", "sigma_phi", "sigma_tan_lambda")
ETA = np.linspace(-4.0, 4.0, 161)
PT = np.geomspace(0.1, 100.0, 161)
VARIABLES = {
    "pt": PT,
    "eta": ETA,
    "p": PT * np.cosh(ETA),
    "theta": 2 * np.arctan(np.exp(-ETA)),
    "mass": 0.14,
    "charge": 1,
    "r": 0.0,
}


def test_published_resolution_of_cms():
    """Delphes' card of CMS, charged hadrons, as printed, against numpy."""
    text = (
        "(abs(eta) <= 0.5) * (pt > 0.1) * sqrt(0.06**2 + pt**2*1.3e-3**2) + "
        "(abs(eta) > 0.5 and abs(eta) <= 1.5) * (pt > 0.1) * sqrt(0.10**2 + pt**2*1.7e-3**2) + "
        "(abs(eta) > 1.5 and abs(eta) <= 2.5) * (pt > 0.1) * sqrt(0.25**2 + pt**2*3.1e-3**2)"
    )
    a = np.select([np.abs(ETA) <= 0.5, np.abs(ETA) <= 1.5, np.abs(ETA) <= 2.5], [0.06, 0.10, 0.25], 0.0)
    b = np.select([np.abs(ETA) <= 0.5, np.abs(ETA) <= 1.5, np.abs(ETA) <= 2.5], [1.3e-3, 1.7e-3, 3.1e-3], 0.0)
    expected = np.where(PT > 0.1, np.hypot(a, b * PT), 0.0)
    assert evaluate(text, VARIABLES) == pytest.approx(expected)


def test_impact_parameter_resolution():
    """a + b / (p beta sin^(3/2) theta), the textbook form."""
    p, theta = VARIABLES["p"], VARIABLES["theta"]
    expected = np.hypot(5e-4, 15e-4 / (p * p / np.sqrt(p**2 + 0.14**2) * np.sin(theta) ** 1.5))
    text = "hypot(5e-4, 15e-4 / (p * p / sqrt(p**2 + mass**2) * sin(theta)**1.5))"
    assert evaluate(text, VARIABLES) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 + 2 * 3 - 4 / 8", 6.5),
        ("-2 ** 2", -4.0),
        ("+3", 3.0),
        ("2 ** -1", 0.5),
        ("7 if 1 < 2 <= 2 else 8", 7.0),
        ("7 if 1 < 2 < 2 else 8", 8.0),
        ("(1 < 2) + (2 > 1) + (1 >= 2)", 2.0),
        ("not 0 and (1 or 0)", 1.0),
        ("min(1, 2) + max(1, 2) * 10 + abs(-100)", 121.0),
        ("exp(log(2)) + log10(100) + tanh(0) + cosh(0) + sinh(0) + tan(0) + cos(pi)", 4.0),
        ("  1e2  ", 100.0),
        ("1 / 0", math.inf),
    ],
)
def test_arithmetic(text, expected):
    assert evaluate(text, {}) == pytest.approx(expected)


def test_nan_where_there_is_none_and_no_warning():
    assert np.isnan(evaluate("sqrt(eta)", {"eta": np.array([-1.0, 4.0])})).tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pt.real", "'pt.real' is not allowed in a formula"),
        ("pt.__class__.__bases__", "is not allowed in a formula"),
        ("lambda: 1", "'lambda: 1' is not allowed in a formula"),
        ("(lambda x: x)(1)", "is not allowed in a formula"),
        ("'text'", "\"'text'\" is not allowed in a formula"),
        ("f'{pt}'", "is not allowed in a formula"),
        ("True", "'True' is not allowed in a formula"),
        ("1j", "'1j' is not allowed in a formula"),
        ("[x for x in (1, 2)]", "is not allowed in a formula"),
        ("{pt}", "'{pt}' is not allowed in a formula"),
        ("(pt, 1)", "'(pt, 1)' is not allowed in a formula"),
        ("pt[0]", "'pt[0]' is not allowed in a formula"),
        ("(pt := 3)", "'pt := 3' is not allowed in a formula"),
        ("sqrt(x=1)", "'sqrt(x=1)' is not allowed in a formula"),
        ("max(*pt, 1)", "'*pt' is not allowed in a formula"),
        ("max(pt)", "max takes 2 arguments (got 1)"),
        ("sqrt()", "sqrt takes 1 argument (got 0)"),
        ("sqrt(1, 2)", "sqrt takes 1 argument (got 2)"),
        ("open('/etc/passwd')", "'open' is not a function (allowed: sqrt, exp, log, log10, sin, "),
        ("__import__('os').system('true')", "is not allowed in a formula"),
        ("energy + 1", "'energy' is not a variable (allowed: pt, pi)"),
        ("5 % 2", "'5 % 2' is not allowed in a formula"),
        ("5 // 2", "'5 // 2' is not allowed in a formula"),
        ("pt == 1", "'pt == 1' is not allowed in a formula"),
        ("pt is pt", "'pt is pt' is not allowed in a formula"),
        ("~1", "'~1' is not allowed in a formula"),
        ("1 +", "not a formula (invalid syntax"),
        ("1; 2", "not a formula (invalid syntax"),
        ("pt = 1", "not a formula (invalid syntax"),
        ("import os", "not a formula (invalid syntax"),
        ("", "not a formula (invalid syntax"),
        ("1\0", "not a formula (source code string cannot contain null bytes)"),
        ("not " * 1200 + "1", "nested too deeply"),
        ("-" * 4900 + "1", "not a formula ("),
        ("(" * 2000 + "1" + ")" * 2000, "not a formula (too many nested parentheses"),
        ("1 + " * 30000 + "1", "longer than 100000 characters"),
        ("1" * 4999, "not a formula (Exceeds the limit"),
        ("1" + "0" * 400, ""),
    ],
)
def test_what_is_no_formula(text, message):
    with pytest.raises(FormulaError) as caught:
        evaluate(text, {"pt": np.ones(2)})
    assert message in str(caught.value)


def test_faults_of_formulas_have_their_place():
    good = dict.fromkeys(QUANTITIES, "0.01")
    tables = [
        {"species": ["mu", "pi"], **good, "sigma_phi": "p +* eta"},
        {"species": ["pi", "ka"], **good, "efficiency": "energy"},
        "no table",
        {"species": 3},
    ]
    assert list(faults_of_formulas(tables)) == [
        (("formulas", 0, "sigma_phi"), "not a formula (invalid syntax (<unknown>, line 1))"),
        (("formulas", 1, "efficiency"), "'energy' is not a variable (allowed: pt, p, eta, theta, mass, charge, r, pi)"),
        (("formulas", 1, "species"), "'pi' has formulas already, in formulas[0]"),
    ]
    assert list(faults_of_formulas(None)) == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("(x > 1 and x < 4) + (x > 1 or x < 0)", 2.0),
        ("-(x > 1 and x < 4)", -1.0),
        ("(x > 1 and x < 4) - (x > 5 or x > 6)", 1.0),
        ("exp(x > 1 and x < 4)", math.e),
        ("(not x > 5) * 3 + (not x > 1)", 3.0),
    ],
)
def test_conditions_are_numbers(text, value):
    """True is 1.0 in double precision, so conditions add up and may be subtracted."""
    found = evaluate(text, {"x": np.full(3, 2.0)})
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, value, rtol=1e-15)
