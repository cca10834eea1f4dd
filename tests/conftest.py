"""Random tests look for new cases at every run by hand, and take the same ones in CI, which must be repeatable."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
