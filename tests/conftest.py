"""Settings of Hypothesis for all tests: how long an example takes says how busy the machine is, and no more."""

from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
