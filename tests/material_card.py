"""The card of the tests of conversions and bremsstrahlung: ALICE 3, tracks and vertex."""

CARD = """
extends = "alice3"
[[modules]]
name = "vertex"
kind = "vertex"
level = "fit"
[[modules]]
name = "material"
kind = "material"
"""
