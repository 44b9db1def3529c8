"""The same networks and losses in PyTorch: what the JAX ones are compared with, in value and in speed."""
