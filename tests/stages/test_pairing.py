import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from rgbir_jax.stages.pairing import check_identities, partners

N, M = 8, 2


@pytest.fixture(scope="module")
def drawn():
    return np.asarray(jax.vmap(lambda key: partners(key, N, M))(jax.random.split(jax.random.key(0), 500)))


def test_every_appearance_is_used_once(drawn):
    np.testing.assert_array_equal(np.sort(drawn, axis=1), np.broadcast_to(np.arange(N * M), drawn.shape))


def test_the_partner_is_another_identity(drawn):
    assert np.all(drawn // M != np.arange(N * M) // M)


def test_all_other_identities_and_both_modalities_occur(drawn):
    own_identity, own_modality = np.divmod(np.arange(N * M), M)
    identity, modality = np.divmod(drawn, M)
    shift = (identity - own_identity) % N
    assert set(shift.ravel()) == set(range(1, N))
    across = np.mean(modality != own_modality)
    assert across == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("swaps", ["within", "across"])
def test_the_modality_of_the_partner_can_be_chosen(swaps):
    keys = jax.random.split(jax.random.key(0), 50)
    chosen = np.asarray(jax.vmap(lambda key: partners(key, N, M, swaps))(keys))
    np.testing.assert_array_equal(np.sort(chosen, axis=1), np.broadcast_to(np.arange(N * M), chosen.shape))
    assert np.all(chosen // M != np.arange(N * M) // M)
    assert np.all((chosen % M == np.arange(N * M) % M) == (swaps == "within"))


def test_one_identity_has_no_partner():
    with pytest.raises(ValueError, match="one identity has no different-identity pairs"):
        partners(jax.random.key(0), 1, 2)


@pytest.mark.parametrize(
    ("identities", "parts", "sentence"),
    [
        (8, 8, "config.batch.parts = 8 leaves one identity per part, .*; set config.batch.parts to 4 or less"),
        (1, 1, "one identity has no different-identity pairs; set config.batch.identities >= 2"),
    ],
)
def test_a_part_of_one_identity_is_refused_with_the_solution(identities, parts, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_identities(ConfigDict({"identities": identities, "parts": parts}))
    check_identities(ConfigDict({"identities": 8, "parts": 4}))
