"""Curation: how instruction data is imported, judged and frozen. Never imports streamlit."""

__version__ = "0.1.0"
