"""Hypothesis profiles: ``dev`` by default, ``ci`` where CI is set, or the one HYPOTHESIS_PROFILE names.

Tests and the commands that they start take one thread: small tensors are quicker on one, workers of
``pytest -n`` share the cores, and sums come out the same everywhere. A shell has its background jobs ignore
Ctrl-C, and those commands would inherit that.
"""

import os
import signal

from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("dev", deadline=None, max_examples=25)
settings.register_profile("ci", deadline=None, max_examples=40, derandomize=True, database=None)
settings.register_profile("nightly", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "dev"))
