"""The version, in one place: pyproject.toml, saved models and written embeddings all read it here."""

__version__ = "0.1.0"
