"""How long the client of a task waits for its next try, and how long the last try had waited when it was claimed.

`patience_s` counts from `changed_at` while the task is PENDING; null: the client waits for ever. No index: see 0001.
"""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute("alter table task add column patience_s double precision, add column waited_s double precision")


def downgrade() -> None:
    op.execute("alter table task drop column patience_s, drop column waited_s")
