"""Orders of an epoch: each number once, no place and no company favoured, and the same however they are looked up."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rnnjax.tasks.shuffling import SORTED, Shuffled, shuffle


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


@pytest.mark.parametrize(("count", "size"), [(7, 1), (1000, 30), (SORTED + 1, 1), (SORTED + 1, 64), (54_961, 30)])
def test_each_number_comes_once_at_most(count, size):
    drawn = np.asarray(shuffle(jax.random.key(count), count, size)).ravel()
    assert len(np.unique(drawn)) == len(drawn) == count // size * size
    assert drawn.min() >= 0 and drawn.max() < count


def test_what_is_left_out_is_not_always_the_same():
    left = [set(range(5000)) - set(np.asarray(shuffle(key, 5000, 30)).ravel().tolist()) for key in keys(4)]
    assert all(len(each) == 20 for each in left)
    assert len(set.union(*left)) > 40


def test_no_number_is_likelier_at_any_place():
    """In tenths of 5,000 numbers: at a place, and at two places together, over 4,000 orders."""
    count, draws, tenths = 5000, 4000, 10
    drawn = np.asarray(jax.vmap(lambda key: shuffle(key, count, 10)[np.asarray([0, 1, 250])])(keys(draws)))
    parts = drawn * tenths // count
    places = [(0, 0), (0, 7), (1, 3), (2, 9)]
    for batch, row in places:
        seen = np.bincount(parts[:, batch, row], minlength=tenths)
        assert np.abs(seen - draws / tenths).max() < 5 * np.sqrt(draws / tenths)  # five standard deviations
    steps = (drawn[:, 1, 4] - drawn[:, 0, 4]) % 500  # along a lane
    assert np.abs(np.bincount(steps // 50, minlength=10) - draws / 10).max() < 10 * np.sqrt(draws / 10)


def test_two_orders_have_no_company_in_common():
    """Of pairs that share a batch in one order, as many share one in another as chance has it."""
    count, size = 6000, 30
    first, second = (np.asarray(shuffle(key, count, size)) for key in keys(2))
    batch_of = np.empty(count, int)
    batch_of[second.ravel()] = np.repeat(np.arange(len(second)), size)
    together = sum(np.sum(np.bincount(batch_of[batch]) * (np.bincount(batch_of[batch]) - 1)) for batch in first)
    expected = count * (size - 1) * (size - 1) / (count - 1)
    assert abs(together - expected) < 6 * np.sqrt(2 * expected)


def test_batches_after_one_another_are_far_apart():
    order = np.asarray(shuffle(jax.random.key(3), 20_000, 20))
    assert np.median(np.abs(np.diff(order, axis=0))) > 20


@pytest.mark.parametrize("count", [100, 10_000])
def test_rows_and_strides(count):
    key = jax.random.key(1)
    flat, rows = shuffle(key, count, 7, flat=True), shuffle(key, count, 7, stride=20)
    assert isinstance(flat, Shuffled) == (count > SORTED)
    assert rows.shape == (count // 7, 7) and len(rows) == count // 7
    whole = np.asarray(flat)[: count // 7 * 7].reshape(-1, 7) * 20
    np.testing.assert_array_equal(np.asarray(rows), whole)
    np.testing.assert_array_equal(rows[3], whole[3])
    np.testing.assert_array_equal(jax.jit(lambda order, k: order[k])(rows, 5), whole[5])
    np.testing.assert_array_equal(flat[np.arange(14, 21)] * 20, whole[2])


def test_another_key_is_another_order():
    first, second = (np.asarray(shuffle(jax.random.key(k), 10_000, 10)) for k in (0, 1))
    assert np.mean(first == second) < 0.01


def test_fewer_numbers_than_a_batch():
    assert shuffle(jax.random.key(0), 10, 20).shape == (0, 20)
    assert sorted(shuffle(jax.random.key(0), 10, 20, flat=True).tolist()) == list(range(10))
