"""Callbacks for trainers: ``hf`` needs transformers, ``lightning`` needs lightning; import what you have."""
