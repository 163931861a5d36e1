"""Settings of hypothesis for all tests."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("without deadline", deadline=None)  # machines that run tests are busy
settings.load_profile("without deadline")
