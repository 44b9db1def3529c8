"""Trains a recipe: `python train.py --config quickstart --workdir runs/quickstart`; --help lists the flags."""

from rgbir_jax.commands.train import main

if __name__ == "__main__":
    main()
