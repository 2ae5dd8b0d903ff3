import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from scipy.sparse import random as random_sparse
from scipy.stats import multinomial

from ppl_vae.data.counts import PackedCounts
from ppl_vae.data.inputs import concatenate

DENSE = np.array([[2, 0, 1, 0], [0, 0, 0, 0], [0, 5, 0, 1], [1, 1, 1, 1]])


def dense(x: PackedCounts) -> np.ndarray:
    return x.to_csr().toarray()


@pytest.mark.parametrize(
    "index",
    [
        slice(1, 3),
        slice(2, 2),
        slice(3, 1),
        slice(None, None, 2),
        slice(None, None, -1),
        [3, 0, 0],
        [],
        np.array([2, 1]),
    ],
    ids=str,
)
def test_indexing_picks_documents(index):
    x = PackedCounts.from_dense(DENSE)
    picked = x[index]
    np.testing.assert_array_equal(dense(picked), DENSE[index if not isinstance(index, list) else np.array(index, int)])
    assert len(picked) == len(picked.lengths)


def test_mask_and_permutation():
    x = PackedCounts.from_dense(DENSE)
    np.testing.assert_array_equal(dense(x[x.lengths > 3]), DENSE[DENSE.sum(1) > 3])
    order = torch.randperm(4)
    np.testing.assert_array_equal(dense(x[order]), DENSE[order])


def test_concatenation_is_undone_by_slicing():
    x = PackedCounts.from_dense(DENSE)
    np.testing.assert_array_equal(dense(PackedCounts.concatenate([x[:1], x[1:1], x[1:]])), DENSE)


def test_product_and_its_gradient_are_those_of_the_dense_matrix(float64):
    matrix = random_sparse(30, 50, 0.1, "csr", random_state=0, data_rvs=np.ones)
    x = PackedCounts.from_csr(csr_matrix(matrix))
    weight = torch.randn(50, 4, requires_grad=True)
    table = torch.from_numpy(matrix.toarray())
    torch.testing.assert_close(x @ weight, table @ weight)
    upstream = torch.randn(30, 4)
    (ours,) = torch.autograd.grad(x @ weight, weight, upstream)
    torch.testing.assert_close(ours, table.T @ upstream)


def test_empty_document_counts_nothing():
    x = PackedCounts.from_dense(DENSE)
    assert x.lengths[1] == 0
    assert (x @ torch.ones(4, 2))[1].tolist() == [0, 0]
    assert x.log_coefficient[1] == 0


def test_coefficient_and_saturated_likelihood_match_scipy():
    x = PackedCounts.from_dense(DENSE[[0, 2, 3]])
    for row, coefficient, saturated in zip(DENSE[[0, 2, 3]], x.log_coefficient, x.saturated, strict=True):
        total = row.sum()
        assert saturated.item() == pytest.approx(multinomial.logpmf(row, total, row / total), abs=1e-12)
        uniform = multinomial.logpmf(row, total, np.full(4, 0.25)) + total * np.log(4)
        assert coefficient.item() == pytest.approx(uniform, abs=1e-12)


def test_the_same_device_is_no_copy():
    x = PackedCounts.from_dense(DENSE)
    assert x.to("cpu") is x


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_on_cuda_agree_with_the_cpu():
    x, weight = PackedCounts.from_dense(DENSE), torch.randn(4, 3)
    there = x.to("cuda")
    torch.testing.assert_close((there @ weight.cuda()).cpu(), x @ weight)
    torch.testing.assert_close((there[[3, 0]] @ weight.cuda()).cpu(), x[[3, 0]] @ weight)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[1, -2]], r"positive whole numbers, got -2 for word 1 of document 0"),
        ([[1.0, 0.5]], r"got 0.5 for word 1 of document 0; give raw counts"),
        ([[np.nan, 1]], r"got nan for word 0"),
    ],
)
def test_malformed_counts_are_refused(table, message):
    with pytest.raises(ValueError, match=message):
        PackedCounts.from_dense(table)


def test_malformed_arrays_are_refused():
    one = torch.tensor([0, 1])
    with pytest.raises(ValueError, match=r"word ids must lie in \[0, 3\), got 3"):
        PackedCounts(one, torch.tensor([3]), torch.ones(1), 3)
    with pytest.raises(ValueError, match="row pointers must rise from 0 to 1"):
        PackedCounts(torch.tensor([0, 2]), torch.tensor([0]), torch.ones(1), 3)
    with pytest.raises(ValueError, match="one count per word"):
        PackedCounts(one, torch.tensor([0]), torch.ones(2), 3)
    with pytest.raises(ValueError, match="matrix of as many rows"):
        PackedCounts.from_dense([[1, 2]]) @ torch.ones(3, 1)


def test_batches_of_one_kind_are_joined() -> None:
    x = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(concatenate([x[:1], x[1:1], x[1:]]), x)
    packed = PackedCounts.from_dense([[1, 2], [0, 3]])
    assert concatenate([packed, packed]).lengths.tolist() == [3, 3, 3, 3]
