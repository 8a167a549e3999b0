// What is said about the session: header, totals, events, strikes, the first words to a stranger, and the help.

import { el, icon, keyed, setAttr, setShown, setText } from "./dom.js";
import { told, words } from "./rail.js";
import { events, isOn, SIDES, SIDE_NAMES, strikes } from "./state.js";
import { clock, count } from "./words.js";

const TOTALS = [
  ["arrived", "Arrived", "Tasks whose moment has come."],
  ["pending", "Pending", "Accepted, waiting in a queue."],
  ["running", "Running", "Claimed by a worker, under a lease."],
  ["retry_wait", "Backing off", "Failed; waiting for the retry (RETRY_WAIT)."],
  ["completed", "Completed", "Done, exactly once."],
  ["retries", "Retries", "Attempts that failed and were given another one."],
  ["reclaimed", "Reclaimed", "Taken back after a lease lapsed."],
  ["dead", "Dead letters", "All attempts used up (PERMANENT_FAILURE)."],
];
const STATES = {
  idle: "Ready",
  starting: "Starting",
  running: "Running",
  stopping: "Saving",
  ended: "Ended",
  failed: "Failed",
};
const EVENTS_SHOWN = 40;
const STRIKES_SHOWN = 12;

/** The header in `parent`. Returns {paint(state, link, stats)}. */
export function header(parent, openHelp) {
  const sign = el("span", { class: "state-sign" });
  const word = el("span", { class: "state-word" });
  const time = el("span", { class: "clock" });
  const message = el("span", { class: "message" });
  const kept = { icon: icon("check"), lost: el("b"), doubled: el("b") };
  const promise = el("div", {
    class: "promise",
    role: "status",
    title: "Lost: accepted and never ended. Doubled: completed twice. Model and live together.",
  });
  const [lost, doubled] = ["lost ", " · doubled "].map((text) => el("span", { text }));
  promise.append(kept.icon, lost, kept.lost, doubled, kept.doubled);
  const traffic = el("span", {
    class: "traffic",
    title: "High Traffic Mode: more than 50 events in one paint; off at the first quiet one.",
  });
  traffic.append(icon("bolt"), el("span", { text: "High traffic" }));
  const help = el(
    "button",
    { class: "tool round", type: "button", "aria-label": "Help", title: "Help (?)", on: { click: openHelp } },
    icon("help"),
  );
  const legend = el("span", { class: "legend" });
  for (const side of SIDES)
    legend.append(el("span", { class: `key ${side}` }, el("i"), el("span", { text: SIDE_NAMES[side] })));
  parent.append(
    el("div", { class: "state" }, sign, word, time),
    message,
    el("span", { class: "spring" }),
    traffic,
    promise,
    legend,
    help,
  );
  const paint = (state, link) => {
    const session = state.session;
    const shown = link === "lost" ? "lost" : (session?.state ?? "connecting");
    setAttr(parent, "data-state", shown);
    setText(word, link === "lost" ? "Connection lost" : (STATES[session?.state] ?? "Connecting"));
    setText(time, session && session.state !== "idle" ? clock(session.t) : "");
    setText(message, link === "lost" ? LOST : session?.message || news(state) || PURPOSE);
    setAttr(message, "title", message.shownText);
    const sum = (name) => SIDES.reduce((all, side) => all + (state[side]?.counts[name] ?? 0), 0);
    const [lost, doubled] = [sum("lost"), sum("doubled")];
    setText(kept.lost, count(lost));
    setText(kept.doubled, count(doubled));
    setAttr(promise, "data-broken", lost + doubled > 0 ? "" : null);
    setAttr(traffic, "data-on", SIDES.some((side) => state[side]?.high_traffic) ? "" : null);
  };
  return { paint };
}

/** The last thing that happened, while a session runs. */
function news(state) {
  const last = state.session?.state === "running" ? events(state)[0] : null;
  return last ? `${clock(last.t)} ${SIDE_NAMES[last.side]}: ${last.text}` : "";
}

const PURPOSE = "One mesh, twice: a model, and real workers on Redis and PostgreSQL.";
const LOST = "The app does not answer. What you see is the last that is known; this page connects again by itself.";

/** The totals of both sides in `parent`; `act(command)` redrives. Returns {paint(state, striking)}. */
export function totals(parent, act) {
  const cells = TOTALS.map(([name, label, help]) => {
    const values = SIDES.map((side) => el("b", { class: side, text: "–" }));
    const head = el("span", { text: label });
    parent.append(el("div", { class: "total", title: help, "data-name": name }, head, el("div", {}, ...values)));
    return [name, values];
  });
  const redrive = el("button", {
    class: "tool redrive",
    type: "button",
    text: "Redrive",
    title: REDRIVE,
    "data-away": "",
  });
  redrive.addEventListener("click", () => act({ do: "redrive" }));
  parent.lastChild.append(redrive);
  return {
    paint: (state, striking) => {
      for (const [name, values] of cells) {
        SIDES.forEach((side, i) => setText(values[i], state[side] ? count(state[side].counts[name]) : "–"));
      }
      setShown(redrive, striking && SIDES.some((side) => state[side]?.counts.dead > 0));
    },
  };
}

const REDRIVE = "Give every dead letter a new start: its attempts count from 0 again.";

/** The last events and all strikes in `parent`. Returns {paint(state)}. */
export function log(parent) {
  const lines = el("ol", { class: "events" });
  const none = el("p", { class: "quiet", text: "Faults, gates, workers and dead letters are told here." });
  const table = el("div", { class: "strikes" });
  const unhurt = el("p", {
    class: "quiet",
    text: "After each blow: how many tasks were in its hands, and what became of them.",
  });
  parent.append(
    el("section", { class: "card-surface" }, el("h3", { text: "Events" }), none, lines),
    el("section", { class: "card-surface" }, el("h3", { text: "Blows, and what they did" }), unhurt, table),
  );
  let last = null;
  const paint = (state) => {
    const all = events(state).slice(0, EVENTS_SHOWN);
    const mark = all.length ? `${state.session?.id} ${all.length} ${all[0].side} ${all[0].n} ${all[0].t}` : "";
    if (mark !== last) keyed(lines, all, (event) => `${event.side}${event.n}`, eventLine, fillEvent);
    last = mark;
    setShown(none, all.length === 0, true);
    const blows = strikes(state).slice(0, STRIKES_SHOWN);
    keyed(table, blows, (one) => one.key, strikeLine, fillStrike);
    setShown(unhurt, blows.length === 0, true);
  };
  return { paint };
}

function eventLine() {
  const parts = {
    t: el("span", { class: "at" }),
    side: el("span", { class: "side" }),
    text: el("span", { class: "what" }),
  };
  const node = el("li", {}, parts.t, parts.side, parts.text);
  node.parts = parts;
  return node;
}

function fillEvent(node, event) {
  setText(node.parts.t, clock(event.t));
  setText(node.parts.side, SIDE_NAMES[event.side]);
  setAttr(node.parts.side, "class", `side ${event.side}`);
  setText(node.parts.text, event.text);
  setAttr(node, "data-level", event.level);
}

function strikeLine() {
  const head = el("div", { class: "blow-head" });
  const rows = SIDES.map((side) => el("div", { class: `strike-side ${side}` }));
  const node = el("div", { class: "blow" }, head, ...rows);
  node.parts = { head, rows };
  return node;
}

function fillStrike(node, pair) {
  setText(node.parts.head, `${clock(pair.t)}  ${words(pair.what)}`);
  SIDES.forEach((side, i) => {
    const strike = pair[side];
    setText(node.parts.rows[i], strike ? `${SIDE_NAMES[side]}: ${told(strike)}` : "");
    setAttr(node.parts.rows[i], "data-over", strike ? `${strike.over && !strike.lost && !strike.doubled}` : null);
  });
}

/** The first words to a stranger, over the empty charts; then what is being started. Returns {paint(state, usable)}. */
export function welcome(parent, start) {
  const text = el("span", { text: "Send 500 tasks" });
  const button = el("button", { class: "primary large", type: "button", on: { click: start } }, icon("bolt"), text);
  const first = el(
    "div",
    { class: "welcome" },
    el("h2", { text: "Watch a mesh of agents take a hit" }),
    el("p", { text: FIRST_WORDS }),
    button,
    el("p", { class: "quiet", text: "Takes about a minute. Nothing leaves this machine." }),
  );
  const steps = Object.fromEntries(SIDES.map((side) => [side, el("p", { class: `step ${side}` })]));
  const begin = el(
    "div",
    { class: "welcome", role: "status" },
    el("h2", { text: "Starting" }),
    ...Object.values(steps),
  );
  parent.append(first, begin);
  const paint = (state, usable) => {
    const starting = state.session?.state === "starting";
    const empty = !isOn(state.session) && state.model === null && state.live === null;
    setShown(first, empty, true);
    setShown(begin, starting, true);
    setAttr(button, "disabled", usable ? null : "");
    setAttr(parent, "data-empty", empty || starting ? "" : null);
    if (starting) for (const side of SIDES) step(steps[side], side, state);
  };
  return { paint };
}

const FIRST_WORDS =
  "500 tasks arrive at once, in a model and on real workers. The queues explode, then drain. " +
  "Then break something: nothing gets lost.";

/** How far one side is on its way to its start. */
function step(node, side, state) {
  const frame = state[side];
  const wanted = side === "model" || state.session.live;
  const phase = wanted ? (frame?.phase ?? "starting") : "off";
  const said = { ready: "ready", running: "ready", off: "not asked for", failed: frame?.note || "could not start" };
  setText(node, `${SIDE_NAMES[side]}: ${said[phase] ?? (frame?.note || "starting its process …")}`);
  setAttr(node, "data-phase", phase);
}

const HELP = [
  [
    "Two meshes, one plan",
    "The blue one is a model (SimPy), the orange one real: worker processes, Redis, PostgreSQL. Both get the " +
      "same tasks, with the same failures and service times, and obey the same rules. Where their curves lie " +
      "on each other, the model can be trusted.",
  ],
  [
    "Lanes",
    "A lane for each role. A card is a task: ○ pending, ▸ running, ↻ backing off, ✓ completed, ✕ dead " +
      "letter. The wider its right edge, the higher its priority; a small number is the attempt.",
  ],
  [
    "Workers",
    "A dot is a slot. The bar is resident memory against the limit: yellow from 70 %, red from 90 %. " +
      "HealthScore = 1 − RSS / limit; at 0 the gate closes and the worker takes nothing until it has recovered.",
  ],
  [
    "Blows",
    "Each one hits model and live alike. In hand: tasks that were running there. Back: those that returned " +
      "to their queue, by a lapsed lease. Done: those that have ended since. Lost and doubled stay 0: " +
      "at-least-once execution, exactly-once completion.",
  ],
  [
    "Afterwards",
    "Stop saves both records. Compare them task by task, or download the session as a scenario and run it " +
      "again with meshlab run.",
  ],
];
const KEYS = [
  ["s", "live stress mode on and off"],
  ["k", "kill the busiest worker"],
  ["?", "this help"],
];

/** The help, as a dialog. Returns the function that opens it. */
export function helpDialog(parent) {
  const close = el(
    "button",
    { class: "tool round", type: "button", "aria-label": "Close", on: { click: () => dialog.close() } },
    icon("close"),
  );
  const dialog = el(
    "dialog",
    { class: "help", "aria-label": "Help" },
    el("div", { class: "help-head" }, el("h2", { text: "What you see" }), close),
  );
  for (const [name, text] of HELP) dialog.append(el("h3", { text: name }), el("p", { text }));
  const keys = el("p", { class: "keys" });
  for (const [key, what] of KEYS) keys.append(el("kbd", { text: key }), el("span", { text: what }));
  dialog.append(el("h3", { text: "Keys" }), keys);
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  parent.append(dialog);
  return () => (dialog.open ? dialog.close() : dialog.showModal());
}
