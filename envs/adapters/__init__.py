"""One adapter per simulator: each makes a backend env keep the TorchVectorEnv contract."""
