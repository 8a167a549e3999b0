"""Alembic's entry: runs the migrations on the connection, and in the schema, that `live_backend.database`
hands over.
"""

from alembic import context

connection = context.config.attributes["connection"]
schema = context.config.attributes["schema"]

context.configure(connection=connection, version_table_schema=schema)
with context.begin_transaction():
    context.run_migrations()
