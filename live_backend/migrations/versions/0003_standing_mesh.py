"""What a standing mesh keeps beside its tasks: payloads, results, failures, dead letters, keys, and who reaps.

The hot row stays narrow: every update copies it, so what is written once stands in tables of its own. `xid` orders the
audit log as a reader may follow it: whatever is below the oldest transaction under way is complete (a sequence alone
would hide rows that commit late). It is found by a BRIN index, which costs writers nothing.

Sweeps look at `open_task`: every task from `sweep.ceiling` on, and the few below it that are not finished
(`straggler`). So they stay quick above ten million finished rows without an index on the state. The ceiling is asked
for by a stable function: the planner may then look it up, where a subquery would leave it to guess.
"""

from alembic import op

revision = "0003"
down_revision = "0002"

UP = """
alter table transition add column xid bigint not null default (pg_current_xact_id()::text::bigint);
create index transition_xid on transition using brin (xid) with (pages_per_range = 32);

create table payload (
    task bigint primary key,
    body json not null
);

create table result (
    task  bigint primary key,
    token integer not null,
    at    timestamptz not null default now(),
    body  json not null
);

create table failure (
    task    bigint not null,
    attempt integer not null,
    token   integer not null,
    at      timestamptz not null default now(),
    error   text not null
);
create index failure_task on failure (task);

create table dead_letter (
    task         bigint primary key,
    at           timestamptz not null default now(),
    discarded_at timestamptz
);

create table submission_key (
    key    text primary key,
    digest bytea not null,
    task   bigint not null,
    at     timestamptz not null default now()
);

create table mesh (
    one        boolean primary key default true check (one),
    scenario   json not null,
    base       text not null,
    changed_at timestamptz not null default now()
);

create table leadership (
    job    text primary key,
    holder text not null,
    until  timestamptz not null,
    term   bigint not null
);

create table sweep (
    one          boolean primary key default true check (one),
    ceiling      bigint not null default 0,
    next_ceiling bigint not null default 0,
    noted_at     timestamptz not null default now()
);
insert into sweep default values;

create table straggler (
    task bigint primary key
);

create function sweep_ceiling() returns bigint stable language plpgsql as
'begin return (select ceiling from sweep); end';

create view open_task as
select task.* from task where id >= sweep_ceiling()
union all
select task.* from straggler join task on task.id = straggler.task where task.id < sweep_ceiling();

create sequence task_block;

alter table worker add column host text not null default '', add column slots integer not null default 0,
    add column cpu double precision not null default 0;

insert into dead_letter (task, at) select id, changed_at from task where state = 'PERMANENT_FAILURE';
"""

DOWN = """
alter table worker drop column cpu, drop column slots, drop column host;
drop sequence task_block;
drop view open_task;
drop function sweep_ceiling();
drop table straggler, sweep, leadership, mesh, submission_key, dead_letter, failure, result, payload;
drop index transition_xid;
alter table transition drop column xid;
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    op.execute(DOWN)
