"""One task's audit log stays quick to find, keys can be pruned with their task, and sweeps keep their plan.

The log of a task is found by BRIN, which costs writers nothing. A plain BRIN index keeps one minimum and one maximum
for a range of pages: one row of an old task that is redriven today makes its range cover nearly everything, and so,
less so, do several API processes with blocks of ids of their own. `minmax_multi` keeps several intervals. Measured with
1 M tasks, pages read to find one: of 4 API processes 1,411 and 138; with one row in 5,000 redriven 19,851 and 138.

`sweep` and `straggler` are nearly always empty, but of a table that was never analyzed PostgreSQL expects a few
thousand rows, and then prefers to read all finished tasks (20 ms a sweep at 300,000 tasks, and rising).
"""

from alembic import op

revision = "0004"
down_revision = "0003"

UP = """
drop index if exists transition_task;
create index transition_task on transition using brin (task int8_minmax_multi_ops)
    with (pages_per_range = 128, autosummarize = on);
alter index transition_xid set (autosummarize = on);
create index submission_key_task on submission_key using brin (task int8_minmax_multi_ops)
    with (pages_per_range = 128);
analyze sweep;
analyze straggler;
"""

DOWN = """
drop index submission_key_task, transition_task;
alter index transition_xid reset (autosummarize);
create index transition_task on transition using brin (task);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
