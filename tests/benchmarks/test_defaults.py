"""The comparison of the defaults with a plain VAE, in small."""

import numpy as np
import pytest
from scipy import stats

from benchmarks.defaults import compare, table
from ppl_vae.data.memory import corpus_of


def test_a_table_is_compared() -> None:
    corpus = corpus_of(table(60, 4))
    row = compare("numbers", corpus, 2, range(1))
    train, test = (getattr(corpus, split).values.double().numpy() for split in ("train", "test"))
    by_hand = stats.norm(train.mean(0), train.std(0, ddof=1)).logpdf(test).sum(1).mean()
    assert row["baseline"] == pytest.approx(by_hand, rel=1e-3)
    assert len(row["plain"]) == len(row["defaults"]) == 1
    assert np.isfinite([*row["plain"], *row["defaults"]]).all()
