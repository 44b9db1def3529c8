"""Scores a run: `python eval.py --workdir runs/quickstart`; --help lists the flags and what else can be scored."""

from rgbir_jax.commands.evaluate import main

if __name__ == "__main__":
    main()
