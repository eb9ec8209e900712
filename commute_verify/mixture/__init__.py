"""A dataset that follows a weight schedule: whose turn it is, samples of a domain, and both together."""

from commute_verify.mixture.scheduled import ScheduledMixture

__all__ = ["ScheduledMixture"]
