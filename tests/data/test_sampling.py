import time

import numpy as np
import pytest

from rgbir_jax.data.sampling import IdentitySampler
from rgbir_jax.datasets.records import Records


def make_records(counts: dict[int, tuple[int, int]]) -> Records:
    """Makes records in shuffled order. `counts` has (RGB images, IR images) of each person_id."""
    person, modality = np.array(
        [(p, m) for p, images in counts.items() for m in (0, 1) for _ in range(images[m])], np.int32
    ).T
    order = np.random.default_rng(0).permutation(len(person))
    return Records(
        path=np.arange(len(person)).astype(str),
        person_id=person[order],
        camera=np.where(modality[order] == 1, 3, 1).astype(np.int32),
        index=np.ones(len(person), np.int32),
        modality=modality[order],
        split=np.full(len(person), "train"),
    )


COUNTS = {40: (5, 3), 7: (4, 4), 19: (2, 6), 3: (9, 2), 88: (3, 3), 21: (4, 2), 30: (2, 2)}


def make_sampler(records: Records, **changes) -> IdentitySampler:
    arguments = {"identities": 3, "shots": 2, "modalities": (0, 1), "seed": 5} | changes
    return IdentitySampler(records, np.arange(len(records)), **arguments)


@pytest.fixture(scope="module")
def records() -> Records:
    return make_records(COUNTS)


def test_a_batch_is_a_function_of_seed_and_step(records):
    forwards = [make_sampler(records)(step) for step in range(20)]
    sampler = make_sampler(records)
    backwards = [sampler(step) for step in reversed(range(20))][::-1]
    np.testing.assert_array_equal(forwards, backwards)
    assert any((make_sampler(records, seed=6)(step) != forwards[step]).any() for step in range(20))
    assert forwards[0].dtype == np.int64
    assert forwards[0].shape == (3, 2, 2)


def test_rows_have_the_identity_and_modality_of_their_place(records):
    sampler = make_sampler(records)
    for step in range(50):
        rows = sampler(step)
        people = records.person_id[rows]
        assert (people == people[:, :1, :1]).all()
        assert len(set(people[:, 0, 0])) == 3
        assert (records.modality[rows] == np.array([0, 1])[:, None]).all()
        assert all(len(set(shots)) == 2 for shots in rows.reshape(-1, 2))


def test_modalities_come_in_the_requested_order(records):
    rows = make_sampler(records, modalities=(1, 0))(0)
    assert (records.modality[rows] == np.array([1, 0])[:, None]).all()
    assert make_sampler(records, modalities=(0,))(0).shape == (3, 1, 2)


def test_an_epoch_shows_each_identity_at_most_once(records):
    sampler = make_sampler(records)
    history = []
    for epoch in range(30):
        people = np.concatenate([records.person_id[sampler(2 * epoch + i)[:, 0, 0]] for i in range(2)])
        assert len(set(people)) == 6
        history.extend(people)
    counts = [history.count(person) for person in COUNTS]
    assert min(counts) >= 20  # the identity that is left out changes
    assert len({tuple(history[6 * e : 6 * e + 6]) for e in range(30)}) == 30


def test_images_are_drawn_evenly(records):
    """Each of n images has probability shots / n; five standard deviations allowed."""
    sampler = make_sampler(records, identities=7)
    counts = np.bincount(np.concatenate([sampler(step).ravel() for step in range(3000)]), minlength=len(records))
    for row, count in enumerate(counts):
        probability = 2 / COUNTS[records.person_id[row]][records.modality[row]]
        deviation = np.sqrt(3000 * probability * (1 - probability))
        assert abs(count - 3000 * probability) <= 5 * deviation


def test_too_few_images_repeat_only_after_all_were_shown(records):
    rows = make_sampler(records, identities=7, shots=5)(0)
    for shots in rows.reshape(-1, 5):
        available = COUNTS[records.person_id[shots[0]]][records.modality[shots[0]]]
        times = np.unique(shots, return_counts=True)[1]
        assert len(times) == min(available, 5)
        assert times.max() - times.min() <= 1


def test_label_is_the_rank_among_training_identities(records):
    rows = np.flatnonzero(np.isin(records.person_id, [88, 7, 30]))
    sampler = IdentitySampler(records, rows, identities=2, shots=1)
    assert sampler.people.tolist() == [7, 30, 88]
    expected = {7: 0, 30: 1, 88: 2}
    assert sampler.label.dtype == np.int32
    assert sampler.label.tolist() == [expected.get(person, -1) for person in records.person_id]
    for step in range(10):
        assert set(sampler(step).ravel()) <= set(rows)


def test_processes_share_the_global_batch(records):
    rows = make_sampler(records, identities=6)(4)
    shares = [make_sampler(records, identities=6, process_index=index, process_count=3)(4) for index in range(3)]
    np.testing.assert_array_equal(np.concatenate(shares), rows)
    assert shares[0].shape == (2, 2, 2)
    with pytest.raises(ValueError, match="6 identities cannot be divided among 4 processes"):
        make_sampler(records, identities=6, process_index=0, process_count=4)


def test_impossible_batches_are_named(records):
    with pytest.raises(ValueError, match=r"8 identities cannot be drawn from 7.*config.batch.identities"):
        make_sampler(records, identities=8)
    with pytest.raises(ValueError, match="training identity 5 has no IR image"):
        make_sampler(make_records(COUNTS | {5: (2, 0)}))
    make_sampler(make_records(COUNTS | {5: (2, 0)}), modalities=(0,))


def test_a_batch_costs_far_less_than_a_step():
    """At SYSU-MM01's size; a step takes tens of milliseconds on the fastest accelerator."""
    sampler = make_sampler(make_records({person: (56, 30) for person in range(1, 396)}), identities=8)
    start = time.perf_counter()
    for step in range(100):
        sampler(step)
    assert (time.perf_counter() - start) / 100 < 5e-3
