"""Trained models: a network in ONNX with a sidecar that says what it reads and makes. See docs/learned.md."""
