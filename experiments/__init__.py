"""Experiments: settings in, numbers out, and the report of them; run ``python -m experiments``."""
