"""What is replaced in pages before they are run: sizes for a large machine, and places on it.

A page says what users want to do, with a thousand episodes or on a GPU; the tests do the same with
less. Words that a page no longer has are an error.
"""

CARTPOLE = "--device cpu --num-envs 2 --set env.episode_length_s=0.2"
SHORT = "--device cpu --num-envs 2 --set env.max_episode_length=20"
G1 = "--command twist=0.5,0,0"
TWO_RANKS = "--device cpu --num-envs 2 --set agent.num_steps_per_env=4 --iterations 1"

SMALLER: dict[str, dict[str, str]] = {
    "README": {
        'num_envs=64, device="cpu", seed': 'num_envs=4, device="cpu", seed',
        'num_envs=64, device="cpu")': 'num_envs=4, device="cpu", episode_length_s=0.2)',
        "num_episodes=200": "num_episodes=2",
        '"robot.xml"': '"robot.mjb"',
        'trained_policy, "exported"': 'trained_policy, "exported", **quick',
        "Mjlab-Cartpole-Balance   # does": "Mjlab-Cartpole-Balance --num-envs 2 --steps 8   # does",
        "--num-envs 64 --iterations 120": f"{CARTPOLE} --iterations 1",
        "runs/cartpole --video": f"runs/cartpole {CARTPOLE} --video",
    },
    "adapters": {'num_envs=4096, device="cuda:0"': 'num_envs=2, device="cpu"'},
    "cli": {
        "serve --protocol": "serve --port 0 --protocol",
        "--model g1.xml": "--model g1.mjb",
        G1: f"{G1} --steps 5",
        "--num-episodes 100 --out": f"{CARTPOLE} --num-episodes 2 --out",
    },
    "coming_from/isaacteleop": {
        'app_name="demo",': 'app_name="demo", mode=SessionMode.REPLAY, mcap_config=recording,',
        "while running:": "for events in [ExecutionEvents()] * 20:",
        "session_config(build_pipeline)": (
            'session_config(build_pipeline, mode="replay", mcap="session.mcap")'
        ),
        "max_episodes=10": "max_episodes=2",
        "mjlab:Mjlab-Lift-Cube-Yam": "holdstep:PointMass",
    },
    "deployment": {"--model g1.xml": "--model g1.mjb", G1: f"{G1} --steps 5"},
    "generation": {
        "--num-episodes 1000 --out": f"{CARTPOLE} --num-episodes 2 --out",
        "--only-successes": "--only-successes --num-episodes 2 --num-envs 2 --device cpu",
        "--replay lifted": "--replay lifted --num-envs 2 --device cpu",
        "--nproc-per-node 8": "--nproc-per-node 2",
        "mjlab:Mjlab-Cartpole-Balance --policy": "holdstep:CartPole --policy",
        "--num-episodes 100000": f"{SHORT} --num-episodes 3",
    },
    "index": {"num_envs=64": "num_envs=2"},
    "lazy_rendering": {"num_envs=64": "num_envs=2", "range(160)": "range(20)"},
    "quickstart": {
        "--num-envs 64 --iterations 120": f"{CARTPOLE} --iterations 1",
        "learning_rate=3e-4": "learning_rate=3e-4 --iterations 1 --num-envs 2 --device cpu",
        "--video": "--num-envs 2 --device cpu --video",
    },
    "remote_policies": {
        "serve --protocol": "serve --port 0 --protocol",
        "--device cuda:0": "--device cpu",
        "127.0.0.1:5555, Ctrl-C stops": "127.0.0.1:..., Ctrl-C stops\nstopped",
    },
    "rl_libraries": {
        "mjlab:Mjlab-Velocity-Flat-Unitree-Go1 --num-envs 4096": f"holdstep:CartPole {TWO_RANKS}"
    },
    "scale": {
        "mjlab:Mjlab-Velocity-Flat-Unitree-Go1 --num-envs 4096": f"holdstep:CartPole {TWO_RANKS}",
        "mjlab:Mjlab-Cartpole-Balance": "holdstep:CartPole",  # two ranks need not import mjlab
        "cartpole --num-episodes 1000": f"cartpole {SHORT} --num-episodes 3",
        "--nproc-per-node 8": "--nproc-per-node 2",
        "--num-episodes 100000": f"{SHORT} --num-episodes 3",
        'backend="nccl"': 'backend="gloo"',
        "policy, 1000": "policy, 3",
    },
    "teleop": {'mjlab:Mjlab-Lift-Cube-Yam", num_envs': 'holdstep:PointMass", num_envs'},
    "troubleshooting": {"Balance": "Balance --num-envs 2 --steps 8"},
}
