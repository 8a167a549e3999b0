"""Tasks, their audit log, workers and their reports, and notes of what happened to the mesh.

No index mentions a column that changes: it would cost every update its HOT path (measured: 83 → 53 thousand tasks a
second). Tasks are found by id; sweeps start at the lowest id that is not finished. `fillfactor` leaves room for the
two updates of a task's life.
"""

from alembic import op

revision = "0001"
down_revision = None

TABLES = """
create table task (
    id          bigint primary key,
    role        text not null,
    priority    smallint not null,
    class       smallint not null,
    state       text not null,
    attempt     integer not null default 0,
    token       integer not null default 0,
    forgiven    integer not null default 0,
    worker      text not null default '',
    changed_at  timestamptz not null default now(),
    due_at      timestamptz,
    lease_until timestamptz
) with (fillfactor = 40);

create table transition (
    seq        bigint generated always as identity,
    task       bigint not null,
    from_state text not null,
    to_state   text not null,
    at         timestamptz not null default now(),
    worker     text not null default '',
    attempt    integer not null,
    token      integer not null,
    reason     text not null,
    delay_s    double precision not null default 0
);
create index transition_task on transition using brin (task);

create table worker (
    id         text primary key,
    place      integer not null,
    pid        integer not null,
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null default now(),
    left_at    timestamptz,
    rss_bytes  bigint not null default 0,
    active     integer not null default 0,
    gate       boolean not null default true
);

create table report (
    worker    text not null,
    at        timestamptz not null default now(),
    rss_bytes bigint not null,
    cpu       double precision not null,
    active    integer not null,
    gate      boolean not null
);

create table note (
    at     timestamptz not null default now(),
    kind   text not null,
    worker text not null default '',
    task   bigint not null default -1,
    detail text not null default ''
);
"""


def upgrade() -> None:
    op.execute(TABLES)


def downgrade() -> None:
    op.execute("drop table note, report, worker, transition, task")
