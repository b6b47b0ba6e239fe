"""Orders of an epoch: each number once, no place favoured, and the same however they are looked up."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from rnnjax.tasks.shuffling import SORTED, Shuffled, permuted, shuffle


def keys(count: int) -> jax.Array:
    return jax.random.split(jax.random.key(0), count)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 1000, SORTED + 1, 54_961])
def test_each_number_comes_once(count):
    words = jax.random.bits(jax.random.key(count), (2,), "uint32")
    assert sorted(np.asarray(permuted(words, np.arange(count), count))) == list(range(count))


def test_no_number_is_likelier_at_any_place():
    count, draws = 8, 6000
    words = jax.vmap(lambda key: jax.random.bits(key, (2,), "uint32"))(keys(draws))
    drawn = np.asarray(jax.vmap(lambda w: permuted(w, np.arange(count), count))(words))
    seen = np.stack([np.bincount(drawn[:, place], minlength=count) for place in range(count)])
    assert np.abs(seen - draws / count).max() < 5 * np.sqrt(draws / count)  # five standard deviations
    pairs = np.bincount(drawn[:, 0] * count + drawn[:, 1], minlength=count * count).reshape(count, count)
    expected = draws / (count * (count - 1))
    assert np.all(np.diag(pairs) == 0)
    assert np.abs(pairs[~np.eye(count, dtype=bool)] - expected).max() < 5 * np.sqrt(expected)


def test_neighbours_are_torn_apart():
    order = np.asarray(shuffle(jax.random.key(3), 20_000))
    places = np.argsort(order)
    assert abs(np.corrcoef(places[:-1], places[1:])[0, 1]) < 0.03
    assert abs(np.corrcoef(order, np.arange(len(order)))[0, 1]) < 0.03


@pytest.mark.parametrize("count", [100, 10_000])
def test_rows_and_strides(count):
    key = jax.random.key(1)
    flat, rows = shuffle(key, count), shuffle(key, count, row=7, stride=20)
    assert isinstance(flat, Shuffled) == (count > SORTED)
    assert rows.shape == (count // 7, 7) and len(rows) == count // 7
    whole = np.asarray(flat)[: count // 7 * 7].reshape(-1, 7) * 20
    np.testing.assert_array_equal(np.asarray(rows), whole)
    np.testing.assert_array_equal(rows[3], whole[3])
    np.testing.assert_array_equal(jax.jit(lambda order, k: order[k])(rows, 5), whole[5])
    np.testing.assert_array_equal(flat[np.arange(14, 21)] * 20, whole[2])


def test_another_key_is_another_order():
    first, second = (np.asarray(shuffle(jax.random.key(k), 10_000)) for k in (0, 1))
    assert np.mean(first == second) < 0.01
