"""Hypothesis settings for all tests: no deadline, because an example's time only shows how busy the machine is."""

from hypothesis import HealthCheck, settings

settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")
