"""The SQL of the hot path, for asyncpg. What each does and promises stands in `store.py`, in the same order.

`unnest` and `= any` take whole batches: no statement is sent for a single task. Every value comes in as a parameter.
"""

from __future__ import annotations

from typing import Final

SUBMIT: Final = """
with new as (
    insert into task (id, role, priority, class, state, patience_s)
    select id, role, priority, class, $6, patience_s
    from unnest($1::bigint[], $2::text[], $3::smallint[], $4::smallint[], $5::float8[])
         as t (id, role, priority, class, patience_s)
    on conflict (id) do nothing
    returning id),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, '', $6, 0, 0, $7 from new)
select id from new"""

SUBMIT_WITH_MORE: Final = """
with asked as (
    select * from unnest($1::bigint[], $2::text[], $3::smallint[], $4::smallint[], $5::text[], $6::text[], $7::bytea[])
                  as t (id, role, priority, class, payload, key, digest)),
kept as (
    insert into submission_key (key, digest, task)
    select key, digest, id from asked where key is not null
    on conflict (key) do nothing
    returning task),
new as (
    insert into task (id, role, priority, class, state)
    select id, role, priority, class, $8 from asked where key is null or id in (select task from kept)
    on conflict (id) do nothing
    returning id),
carried as (
    insert into payload (task, body)
    select id, payload::json from asked where payload is not null and id in (select id from new)),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, '', $8, 0, 0, $9 from new)
select id from new"""

KEYED: Final = """
select key, digest, task from submission_key where key = any($1)"""

BLOCK: Final = """
select nextval('task_block')"""

KNOWN: Final = """
select id from task where id = any($1) order by id"""

CLAIM: Final = """
with won as (
    update task
    set state = $3, attempt = attempt + 1, token = token + 1, worker = $2, changed_at = now(),
        waited_s = extract(epoch from now() - changed_at), lease_until = now() + $6::float8 * interval '1 second'
    where id = any($1::bigint[]) and state = $4
        and (patience_s is null or changed_at + patience_s * interval '1 second' > now())
    returning id, attempt, token, forgiven, waited_s, class, role, priority),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason)
    select id, $4, $3, $2, attempt, token, $5 from won)
select id, attempt, token, forgiven, waited_s, class, role, priority, payload.body::text
from won left join payload on payload.task = won.id"""

MINE: Final = """
select id, attempt, token, forgiven, waited_s, class, role, priority, payload.body::text
from task left join payload on payload.task = task.id
where id = any($1) and worker = $2 and state = $3"""

COMPLETE: Final = """
with moved as (
    update task set state = $3, changed_at = now(), lease_until = null
    where id = any($1::bigint[]) and token = $2 and state = $4
    returning id, worker, attempt, token),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason)
    select id, $4, $3, worker, attempt, token, $5 from moved)
select id from moved"""

SETTLE: Final = """
with verdict as (
    select * from unnest($1::bigint[], $2::integer[], $3::integer[], $4::text[], $5::float8[], $6::text[],
                         $7::float8[], $8::text[], $9::text[])
             as v (id, token, attempt, state, delay_s, reason, patience_s, result, error)),
moved as (
    update task
    set state = verdict.state, attempt = verdict.attempt, changed_at = now(), lease_until = null,
        due_at = now() + verdict.delay_s * interval '1 second', patience_s = verdict.patience_s
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = $10
    returning task.id, task.attempt, task.token, task.worker, task.state, verdict.delay_s, verdict.reason, task.due_at,
              verdict.result, verdict.error),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason, delay_s)
    select id, $10, state, worker, attempt, token, reason, delay_s from moved),
gave as (
    insert into result (task, token, body) select id, token, result::json from moved where result is not null
    on conflict (task) do nothing),
said as (
    insert into failure (task, attempt, token, error)
    select id, attempt, token, error from moved where error is not null),
died as (
    insert into dead_letter (task) select id from moved where state = $11
    on conflict (task) do update set at = now(), discarded_at = null)
select id, extract(epoch from due_at)::float8 from moved"""

ALREADY: Final = """
select id, coalesce(extract(epoch from due_at), 0)::float8, class
from task join unnest($1::bigint[], $2::integer[], $3::text[]) as v (id, token, state) using (id, token, state)"""

DUE: Final = """
with moved as (
    update task set state = $3, changed_at = now()
    where id = any($1::bigint[]) and state = $4 and due_at <= now()
    returning id, class, attempt, token),
logged as (
    insert into transition (task, from_state, to_state, worker, attempt, token, reason)
    select id, $4, $3, $2, attempt, token, $5 from moved)
select id, class from moved order by id"""

LOOK: Final = """
select count(*) filter (where state = $1 and changed_at <= now() - $2::float8 * interval '1 second'),
    array_agg(id order by lease_until) filter (where state = $3 and lease_until <= now()),
    array_agg(id order by due_at) filter (where state = $4 and due_at <= now() - $5::float8 * interval '1 second')
from open_task where state = $1 or state = $3 or state = $4"""

LAPSED: Final = """
select id, attempt, token, forgiven from task where id = any($1) and state = $2 and lease_until <= now()"""

RECLAIM: Final = """
with verdict as (
    select * from unnest($1::bigint[], $2::integer[], $3::text[], $4::float8[]) as v (id, token, state, patience_s)),
moved as (
    update task set state = verdict.state, changed_at = now(), lease_until = null, patience_s = verdict.patience_s
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = $5 and task.lease_until <= now()
    returning task.id, task.class, task.attempt, task.token, task.state),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, $5, state, attempt, token, $6 from moved),
said as (
    insert into failure (task, attempt, token, error) select id, attempt, token, $8 from moved),
died as (
    insert into dead_letter (task) select id from moved where state = $7
    on conflict (task) do update set at = now(), discarded_at = null)
select id, class, state from moved order by id"""

EXPIRE: Final = """
with left_ones as (
    select id from open_task where state = $2 and changed_at + patience_s * interval '1 second' <= now()),
moved as (
    update task set state = $1, changed_at = now()
    from left_ones
    where task.id = left_ones.id and task.state = $2
        and task.changed_at + task.patience_s * interval '1 second' <= now()
    returning task.id, task.class, task.attempt, task.token),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, $2, $1, attempt, token, $3 from moved)
select id, class from moved order by id"""

STILL: Final = """
select id from task where id = any($1) and state = $2"""

WAITING: Final = """
select id, class from open_task
where state = $1 and changed_at <= now() - $2::float8 * interval '1 second' order by changed_at, id"""

ADVANCE: Final = """
with before as (
    select ceiling, next_ceiling from sweep where noted_at <= now() - $1::float8 * interval '1 second' for update),
moved as (
    update sweep
    set ceiling = before.next_ceiling, noted_at = now(),
        next_ceiling = greatest(before.next_ceiling, coalesce((select max(id) + 1 from task), 0))
    from before),
remembered as (
    insert into straggler (task)
    select task.id from before, task
    where task.id >= before.ceiling and task.id < before.next_ceiling and task.state <> all($2)
    on conflict (task) do nothing)
select ceiling from before"""

FORGET_FINISHED: Final = """
delete from straggler using task where task.id = straggler.task and task.state = any($1)"""

COUNTS: Final = """
select state, count(*) from open_task group by state"""

FLEET: Final = """
select distinct on (place) place, extract(epoch from now() - seen_at)::float8, gate, active from worker
order by place, started_at desc"""

LIVING: Final = """
select id from worker where left_at is null and seen_at > now() - $1::float8 * interval '1 second'"""

DEAD: Final = """
select id, attempt, token, forgiven from dead_letter join task on task.id = dead_letter.task
where state = $1 and discarded_at is null and ($2::text is null or role = $2)
    and ($3::bigint[] is null or id = any($3)) order by id"""

REDRIVE: Final = """
with verdict as (
    select * from unnest($1::bigint[], $2::integer[], $3::text[], $4::integer[], $5::float8[])
             as v (id, token, state, forgiven, patience_s)),
moved as (
    update task
    set state = verdict.state, forgiven = verdict.forgiven, changed_at = now(), patience_s = verdict.patience_s
    from verdict
    where task.id = verdict.id and task.token = verdict.token and task.state = $6
    returning task.id, task.class, task.attempt, task.token, task.state),
logged as (
    insert into transition (task, from_state, to_state, attempt, token, reason)
    select id, $6, state, attempt, token, $7 from moved order by id),
risen as (
    delete from dead_letter where task in (select id from moved)),
open_again as (
    insert into straggler (task) select id from moved on conflict (task) do nothing)
select id, class from moved order by id"""

HELLO: Final = """
insert into worker (id, place, pid, host, slots) values ($1, $2, $3, $4, $5)
on conflict (id) do update set seen_at = now()"""

FAREWELL: Final = """
update worker set left_at = now(), active = 0 where id = $1"""

NOTE: Final = """
insert into note (kind, worker, task, detail)
select $1, $2, task, detail from unnest($3::bigint[], $4::text[]) as t (task, detail)"""

AGES: Final = """
select id, extract(epoch from now() - changed_at)::float8 from task where id = any($1)"""
