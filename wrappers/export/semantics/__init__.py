"""What simulators' quantities mean: role, unit, frame, quaternion order, element names."""
