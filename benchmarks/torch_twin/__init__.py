"""The same networks and losses in PyTorch: the JAX ones are compared with them, in value and in speed."""
