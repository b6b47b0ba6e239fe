"""PyTorch in float64: outputs, final states and gradients of whole and packed sequences, in one and both directions."""

from __future__ import annotations

import numpy as np
import pytest
from peers import torch_answer, torch_expected
from theirs import LENGTHS, ROWS, STEPS, TORCH, torch_found, torch_given

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("x64")]

TOLERANCE = 1e-12
every_kind = pytest.mark.parametrize("kind", TORCH)
whole_and_packed = pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "packed"])


@every_kind
@whole_and_packed
@pytest.mark.parametrize("executor", ["scan", "fused"])
def test_one_direction(torch, kind, lengths, executor, agree):
    given = torch_given(torch, kind, lengths=lengths)
    agree(torch_answer(kind, given, executor), torch_expected(kind, given, torch_found(torch, kind, given)), TOLERANCE)


@every_kind
@whole_and_packed
def test_both_directions(torch, kind, lengths, agree):
    given = torch_given(torch, kind, bidirectional=True, lengths=lengths)
    agree(torch_answer(kind, given), torch_expected(kind, given, torch_found(torch, kind, given)), TOLERANCE)


@every_kind
def test_two_layers_in_both_directions_packed(torch, kind, agree):
    given = torch_given(torch, kind, layers=2, bidirectional=True, lengths=LENGTHS)
    agree(torch_answer(kind, given), torch_expected(kind, given, torch_found(torch, kind, given)), TOLERANCE)


@every_kind
def test_two_layers_without_bias(torch, kind, agree):
    given = torch_given(torch, kind, layers=2, bias=False)
    agree(torch_answer(kind, given), torch_expected(kind, given, torch_found(torch, kind, given)), TOLERANCE)


def test_fault_a_row_of_no_steps_cannot_be_packed(torch):
    """PyTorch refuses a length of 0; here such a row gives zeros and keeps its initial state."""
    given = torch_given(torch, "lstm", lengths=np.array([4, 0, STEPS, 2], np.int32))
    with pytest.raises(RuntimeError, match="greater than 0"):
        torch_found(torch, "lstm", given)
    answer = torch_answer("lstm", given)
    assert not answer.outputs[1].any()
    np.testing.assert_array_equal(answer.state["0.c"][1], given["start"]["c"][0, 1])
    assert not answer.gradients["inputs"][1].any()
    np.testing.assert_array_equal(answer.gradients["start.0.c"][1], given["weigh"]["c"][0, 1])


def test_fault_what_is_not_packed_is_read_backwards_from_its_padding(torch, close):
    """A padded batch that is handed over whole: PyTorch's backward direction begins in the padding."""
    padded = torch_given(torch, "gru", bidirectional=True)
    padded["inputs"][:, 4:] = 0
    packed = padded | {"lengths": np.full(ROWS, 4, np.int32)}
    wrong, right = (torch_found(torch, "gru", given)["final"]["h"][1] for given in (padded, packed))
    close(torch_answer("gru", packed).state["0.backward.h"], right, TOLERANCE)
    assert np.abs(wrong - right).max() > 0.01
