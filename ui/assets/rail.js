// What can be done to the mesh while it runs: faults, and knobs.

import { el, icon, keyed, setAttr, setText } from "./dom.js";
import { SIDES, SIDE_NAMES, strikes } from "./state.js";
import { clock, count, number } from "./words.js";

const CHAOS = [
  [
    "kill_worker",
    "kill",
    "Kill a worker",
    "SIGKILL to the busiest worker. Its tasks come back when their leases lapse. (k)",
  ],
  [
    "pause_worker",
    "pause",
    "Pause a worker",
    "SIGSTOP to the busiest worker for 3 s: silent, then it wakes with old tokens.",
  ],
  ["slow_provider", "slow", "Slow the provider", "Work that starts in the next 10 s takes three times as long."],
  ["wipe_redis", "erase", "Wipe Redis", "Redis loses every queue. PostgreSQL is the authority: the index is rebuilt."],
  [
    "restart_postgres",
    "database",
    "Restart Postgres",
    "PostgreSQL is stopped at once and recovers: no commit is lost.",
  ],
  ["fail_role", "role", "Fail", "Every attempt of this role that starts in the next 10 s fails, and is retried."],
];

/** Sliders stand at one of so many positions; of a cubic one the lower values have most of the room. */
const POSITIONS = 1_000;
const [LINEAR, CUBIC] = [1, 3];

const KNOBS = [
  ["rate", "Rate", (value) => `${number(value)}/s`, "New tasks per second, from now on.", CUBIC],
  ["workers", "Workers", count, "Processes. Fewer: the last ones finish what they run and leave."],
  ["slots", "Slots", count, "Concurrent tasks of every worker."],
  ["failure_rate", "Failures", (value) => `${number(100 * value)} %`, "Share of the attempts that fail, from now on."],
  [
    "retry_base_s",
    "Retry base",
    (value) => `${number(value)} s`,
    "After the k-th failure a task waits base × factor^k.",
  ],
  ["rss_limit_mib", "RSS limit", (value) => `${count(value)} MiB`, "At this much memory a worker's gate closes."],
];

/** The buttons of chaos in `parent`. Returns {paint(state, usable), killBusiest()}. */
export function chaos(parent, act) {
  const roles = el("select", { class: "role-choice", "aria-label": "Which role fails", title: "Which role fails" });
  const buttons = new Map();
  let state = null;
  const strike = (what) => {
    const more = what.endsWith("_worker")
      ? { worker: busiest(state) }
      : what === "fail_role"
        ? { role: roles.value }
        : {};
    act({ do: "chaos", what, ...more });
  };
  const grid = el("div", { class: "chaos-grid" });
  for (const [what, sign, name, help] of CHAOS) {
    const options = { class: "chaos", type: "button", title: help, on: { click: () => strike(what) } };
    const button = el("button", options, icon(sign), el("span", { text: name }));
    buttons.set(what, button);
    grid.append(what === "fail_role" ? el("div", { class: "chaos-role" }, button, roles) : button);
  }
  const tally = lastStrike();
  parent.append(grid, tally.node);
  const paint = (known, usable) => {
    state = known;
    const can = known.session?.can ?? {};
    for (const [what, button] of buttons) {
      const allowed = usable && can[what] !== false;
      setAttr(button, "disabled", allowed ? null : "");
    }
    const names = known.session?.roles ?? [];
    keyed(
      roles,
      names,
      (name) => name,
      () => el("option"),
      (node, name) => {
        setText(node, name);
        node.value = name;
      },
    );
    setAttr(roles, "disabled", usable && names.length ? null : "");
    tally.paint(known);
  };
  return { paint, kill: () => strike("kill_worker") };
}

/** The place of the worker with the most tasks in its hands. */
function busiest(state) {
  const all = (state?.live ?? state?.model)?.workers.filter((one) => one.alive) ?? [];
  const most = all.reduce((best, one) => (!best || one.tasks.length > best.tasks.length ? one : best), null);
  return most ? most.place : 0;
}

/** What the last strike did to the tasks it met. */
function lastStrike() {
  const title = el("div", { class: "strike-title", text: "Break something: every task is counted." });
  const rows = SIDES.map((side) => el("div", { class: `strike-side ${side}` }));
  const node = el("div", { class: "strike", role: "status" }, title, ...rows);
  const paint = (state) => {
    const last = strikes(state)[0];
    setText(title, last ? `${words(last.what)} at ${clock(last.t)}` : "Break something: every task is counted.");
    SIDES.forEach((side, i) => {
      const strike = last?.[side];
      setText(rows[i], strike ? `${SIDE_NAMES[side]} ${told(strike)}` : "");
      setAttr(rows[i], "data-over", strike ? `${strike.over && !strike.lost && !strike.doubled}` : null);
    });
  };
  return { node, paint };
}

/** 5 in hand → 5 back → 5 done · lost 0 · doubled 0 */
export function told(strike) {
  const way = `${strike.in_hand} in hand → ${strike.reclaimed} back → ${strike.ended} done`;
  return `${way} · lost ${strike.lost} · doubled ${strike.doubled}`;
}

const STRIKE_WORDS = {
  redis_flush: "Redis wiped",
  postgres_restart: "Postgres restarted",
  slow_service: "Provider slow",
  role_outage: "Role down:",
  kill_worker: "Killed",
  stop_worker: "Stopped",
  pause_worker: "Paused",
};

/** The name of a strike as people say it: "kill_worker worker 1" is "Killed worker 1". */
export function words(what) {
  const [kind, ...rest] = what.split(" ");
  const named = kind === "role_outage" ? rest.slice(1) : rest;
  return [STRIKE_WORDS[kind] ?? kind.replaceAll("_", " "), ...named].join(" ");
}

/** The knobs in `parent`. Returns {paint(state, usable)}. */
export function knobs(parent, act) {
  const all = KNOBS.map(([name, label, show, help, scale = LINEAR]) => {
    const value = el("output", { class: "knob-value" });
    const slider = el("input", { type: "range", "aria-label": label, title: help });
    const knob = { name, slider, value, show, scale, bounds: null, heldUntil: 0 };
    slider.addEventListener("input", () => {
      knob.heldUntil = Infinity;
      tell(knob, valueAt(knob));
    });
    slider.addEventListener("change", async () => {
      await act({ do: "knob", knob: name, value: valueAt(knob) });
      knob.heldUntil = performance.now() + HELD_MS;
    });
    const words = el("span", { class: "knob-name", text: label });
    parent.append(el("label", { class: "knob", title: help }, words, slider, value));
    return knob;
  });
  return { paint: (state, usable) => all.forEach((knob) => paintKnob(knob, state.session, usable)) };
}

/** After a knob was turned the frames under way may still say the old value: they are passed over this long. */
const HELD_MS = 600;

/** The value where a slider stands, on the grid of the knob's steps. */
function valueAt({ slider, scale, bounds: [low, high, step] }) {
  const share = (slider.valueAsNumber / POSITIONS) ** scale;
  return +(low + step * Math.round(((high - low) * share) / step)).toPrecision(12);
}

function paintKnob(knob, session, usable) {
  const { name, slider, scale } = knob;
  const bounds = session?.limits?.[name];
  const now = session?.knobs?.[name];
  setAttr(slider, "disabled", usable && bounds ? null : "");
  if (!bounds || now === undefined || now === null || performance.now() < knob.heldUntil) return;
  const [low, high] = (knob.bounds = bounds);
  setAttr(slider, "min", "0");
  setAttr(slider, "max", `${POSITIONS}`);
  setAttr(slider, "step", scale === LINEAR ? `${(POSITIONS * bounds[2]) / (high - low)}` : "1");
  const place = POSITIONS * ((now - low) / (high - low)) ** (1 / scale);
  if (valueAt(knob) !== now) slider.value = `${place}`;
  tell(knob, now);
}

function tell({ slider, value, show }, now) {
  setText(value, show(now));
  setAttr(slider, "aria-valuetext", show(now));
}
