"""Every style of rsl_rl configuration since Isaac Lab 2.3 becomes rsl_rl 5's."""

import pytest

from holdstep.envs.adapters.isaaclab.runner_config import for_rsl_rl_5
from holdstep.errors import ConfigError

POLICY = {
    "class_name": "ActorCritic",
    "init_noise_std": 0.5,
    "noise_std_type": "log",
    "state_dependent_std": False,
    "actor_hidden_dims": [32],
    "critic_hidden_dims": [64],
    "activation": "elu",
}


def test_a_policy_becomes_two_models():
    config = for_rsl_rl_5(
        {
            "policy": POLICY,
            "empirical_normalization": True,
            "obs_groups": {"policy": ["policy"], "critic": ["policy", "critic"]},
            "device": "cuda:0",
            "num_steps_per_env": 16,
        }
    )
    assert config == {
        "num_steps_per_env": 16,
        "obs_groups": {"actor": ["policy"], "critic": ["policy", "critic"]},
        "actor": {
            "class_name": "MLPModel",
            "activation": "elu",
            "hidden_dims": [32],
            "obs_normalization": True,
            "distribution_cfg": {
                "class_name": "GaussianDistribution",
                "init_std": 0.5,
                "std_type": "log",
            },
        },
        "critic": {
            "class_name": "MLPModel",
            "activation": "elu",
            "hidden_dims": [64],
            "obs_normalization": True,
        },
    }


def test_a_recurrent_policy_keeps_its_memory():
    rnn = {"rnn_type": "lstm", "rnn_hidden_dim": 8, "rnn_num_layers": 1}
    config = for_rsl_rl_5(
        {
            "policy": POLICY
            | rnn
            | {"class_name": "ActorCriticRecurrent", "state_dependent_std": True}
        }
    )
    for model in (config["actor"], config["critic"]):
        assert model["class_name"] == "RNNModel"
        assert {key: model[key] for key in rnn} == rnn
    distribution = config["actor"]["distribution_cfg"]["class_name"]
    assert distribution == "HeteroscedasticGaussianDistribution"


def test_normalization_of_one_network_is_kept_apart():
    config = for_rsl_rl_5({"policy": POLICY | {"actor_obs_normalization": True}})
    assert config["actor"]["obs_normalization"]
    assert not config["critic"]["obs_normalization"]


def test_models_with_options_for_noise_get_a_distribution():
    model = {"class_name": "MLPModel", "hidden_dims": [8], "activation": "elu"}
    config = for_rsl_rl_5(
        {
            "actor": model | {"stochastic": True, "init_noise_std": 2.0, "distribution_cfg": None},
            "critic": model | {"stochastic": False, "distribution_cfg": None},
        }
    )
    assert config["actor"]["distribution_cfg"]["init_std"] == 2.0
    assert config["critic"] == model


def test_models_of_rsl_rl_5_stay_as_they_are():
    actor = {
        "class_name": "MLPModel",
        "hidden_dims": [8],
        "distribution_cfg": {"class_name": "GaussianDistribution", "init_std": 1.0},
    }
    critic = {"class_name": "MLPModel", "hidden_dims": [8]}
    config = {"actor": actor, "critic": critic, "obs_groups": {"actor": ["policy"]}}
    assert for_rsl_rl_5(config) == config


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"policy": POLICY | {"class_name": "StudentTeacher"}}, "StudentTeacher"),
        ({"class_name": "DistillationRunner", "student": {}}, "DistillationRunner"),
    ],
)
def test_what_has_no_counterpart_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        for_rsl_rl_5(config)
