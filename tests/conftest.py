"""Random tests look for new cases at every run by hand, and take the same ones in CI, which must be repeatable.

Neither has a deadline: machines are shared, and no test is about time.
"""

import os

from hypothesis import settings

settings.register_profile("hand", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "hand")
