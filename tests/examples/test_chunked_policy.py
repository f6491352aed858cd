"""A slow policy that returns chunks, on real physics, in the process and behind real sockets."""

import pytest

from tests.examples.load import load_example


@pytest.fixture(scope="module")
def example():
    pytest.importorskip("mjlab", reason="the extra 'mjlab' is not installed")
    return load_example("chunked_policy")


def evaluated(example, **options):
    arguments = example.Arguments(num_envs=3, num_episodes=3, episode_length_s=4.4, **options)
    result = example.main(arguments)
    return result, [(episode.episode_return, episode.length) for episode in result.episodes]


@pytest.fixture(scope="module")
def local(example):
    return evaluated(example)


def test_the_policy_lifts_cubes(local):
    result, _ = local
    assert len(result.episodes) == 3
    assert result.success_rate >= 0.5
    assert result.determinism == "exact"


@pytest.mark.parametrize("protocol", ["groot", "openpi"])
def test_behind_a_server_it_does_the_very_same(example, local, protocol):
    pytest.importorskip("zmq" if protocol == "groot" else "websockets")
    _, expected = local
    _, served = evaluated(example, serve=protocol)
    assert served == expected
