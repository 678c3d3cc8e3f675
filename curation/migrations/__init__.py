"""Numbered steps of the schema, run by alembic; never edited once shipped."""
