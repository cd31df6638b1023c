"""The rows of a report that compare ways of labelling."""

from dataclasses import replace

from flows.ways import ways
from tests.flows.icm_results import found
from tests.tasks.icm.made_up import made_claims


async def test_labels_of_all_batches_count_each_for_its_own_claim() -> None:
    result = await found(claims=made_claims(12), batches=3, iterations=60, bootstrap_rounds=2, test=False)
    rows = {way.method: way for way in ways(result)}
    right = total = bootstrapped = 0
    for batch in result.batches:
        assert batch.bootstrapped
        gold = [claim.gold for claim in batch.claims]
        right += sum(gold[uid] == label for uid, label in batch.final.assigned.items())
        bootstrapped += sum(gold[uid] == label for uid, label in batch.bootstrapped.labels.items())
        total += len(batch.final.assigned)
    assert rows["found labels"].label_accuracy == right / total
    assert rows["bootstrapped labels"].label_accuracy == bootstrapped / 48


async def test_without_tests_and_bootstrapping_the_search_is_the_only_way() -> None:
    result = await found(iterations=5)
    assert [way.method for way in ways(result)] == [score.method for score in result.test_scores]
    assert [way.method for way in ways(replace(result, test_scores=()))] == ["found labels"]
