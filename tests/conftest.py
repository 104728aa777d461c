from __future__ import annotations

import os

from hypothesis import settings

# no wall-clock verdicts on a busy machine; on CI the same examples every time, so that red means a change
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")
