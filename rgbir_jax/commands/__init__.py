"""What the command lines call: train, evaluate and draw."""
