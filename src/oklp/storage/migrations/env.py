"""Alembic's entry: runs on the connection that `migrate` hands in, inside its transaction."""

from alembic import context

from oklp.storage.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,  # the caller's transaction spans all of it
    render_as_batch=True,
)
context.run_migrations()
