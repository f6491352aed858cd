"""Files of finished episodes: Isaac Lab's and robomimic's HDF5, LeRobot's, Minari's."""
