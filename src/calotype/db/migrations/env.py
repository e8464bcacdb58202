"""Run by Alembic: the steps of the history on the connection that `calotype.db.migrate` opened and locked."""

from alembic import context

_attributes = context.config.attributes

context.configure(
    connection=_attributes["connection"],
    target_metadata=_attributes["target_metadata"],
    render_as_batch=True,  # SQLite changes a table by making a new one
)
context.run_migrations()
