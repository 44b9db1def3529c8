"""Recipes: one file an experiment."""
