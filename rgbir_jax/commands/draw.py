"""rgbir-draw, which is `python -m rgbir_jax.synthetic`: Ctrl-C is handled while the drawing code is imported too."""

from rgbir_jax.synthetic.__main__ import main as main

if __name__ == "__main__":
    main()
