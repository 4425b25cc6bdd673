"""Objects that analyses begin with, made of tracks and clusters: jets, leptons, photons, missing transverse momentum."""
