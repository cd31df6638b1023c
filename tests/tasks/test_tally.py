"""Sums of a run, with what its fallback did."""

from backends.messages import Usage
from tasks.tally import Tally


def test_what_a_fallback_did_is_added_and_what_it_answered_has_not_failed() -> None:
    own = Tally(prompts=9, sent=4, failed=5, overflows=1, alerts=2, requests=6, usage=Usage(input_tokens=40))
    other = Tally(prompts=4, sent=3, failed=1, overflows=1, requests=4, usage=Usage(input_tokens=30))
    both = own.with_stand_in(other)
    assert (both.prompts, both.sent, both.failed, both.requests) == (9, 7, 2, 10)
    assert (both.overflows, both.alerts, both.usage.input_tokens) == (2, 2, 70)
