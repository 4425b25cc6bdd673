"""Objects that analyses begin with, made of the tracks: jets, electrons, muons, missing transverse momentum."""
