"""Events that are made instead of read, and what is done to events before the detector sees them."""
