"""One task's audit log stays quick to find when several API processes submit; keys can be pruned with their task.

Each API process hands out ids of a block of its own, so the log of two interleaves two ranges of ids. A plain BRIN
index keeps one minimum and one maximum for a range of pages, which then covers nearly everything (measured with 1 M
tasks of two blocks: 140 to 290 ms to find one task's rows). `minmax_multi` keeps several intervals (0.6 ms).
"""

from alembic import op

revision = "0004"
down_revision = "0003"

UP = """
drop index if exists transition_task;
create index transition_task on transition using brin (task int8_minmax_multi_ops) with (pages_per_range = 128);
create index submission_key_task on submission_key using brin (task int8_minmax_multi_ops)
    with (pages_per_range = 128);
"""

DOWN = """
drop index submission_key_task, transition_task;
create index transition_task on transition using brin (task);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
