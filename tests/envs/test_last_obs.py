import torch

from holdstep.envs.last_obs import LastObs


def observations(value):
    return {"a": torch.full((3, 2), value), "image": torch.full((3, 4), int(value)).byte()}


def test_nothing_is_kept_before_the_first_and_after_clear():
    last = LastObs()
    assert not last
    last.keep(observations(1.0))
    assert last
    last.clear()
    assert not last


def test_copies_are_apart_from_what_was_given_and_from_each_other():
    last = LastObs()
    given = observations(1.0)
    assert last.keep(given) is given
    given["a"].fill_(9.0)
    copy = last.copy()
    assert torch.equal(copy["a"], torch.full((3, 2), 1.0))
    copy["a"].fill_(8.0)
    assert torch.equal(last.copy()["a"], torch.full((3, 2), 1.0))


def test_merged_rows_are_kept_too():
    last = LastObs()
    last.keep(observations(1.0))
    merged = last.merged(torch.tensor([False, True, False]), observations(2.0))
    assert merged["a"][:, 0].tolist() == [1.0, 2.0, 1.0]
    assert merged["image"][:, 0].tolist() == [1, 2, 1]
    assert torch.equal(last.copy()["a"], merged["a"])


def test_kept_in_inference_mode_and_outside_it():
    last = LastObs()
    with torch.inference_mode():
        last.keep(observations(1.0))
    last.keep(observations(2.0))
    assert last.copy()["a"][0, 0] == 2.0


def test_memory_is_made_once():
    last = LastObs()
    allocated = []
    for value in (1.0, 2.0, 3.0):
        last.keep(observations(value))
        allocated.append(last._obs["a"].data_ptr())
    assert len(set(allocated)) == 1
