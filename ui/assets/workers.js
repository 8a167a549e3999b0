// The workers: slots, memory against its limit, health score and gate, and the two buttons that hurt.

import { el, icon, keyed, setAttr, setStyle, setText } from "./dom.js";
import { SIDES, SIDE_NAMES, isOn } from "./state.js";
import { mib, share } from "./words.js";

/** More slots than this are drawn as one bar. */
const DOTS_MAX = 12;
const BANDS = { green: "under 70 % of the limit", yellow: "from 70 % of the limit", red: "from 90 % of the limit" };

/** The workers in `parent`; `act(command)` sends what a button means. Returns {paint(state)}. */
export function workers(parent, act) {
  const list = el("div", { class: "worker-list" });
  const none = el("p", { class: "quiet", text: "Workers appear here: their slots, memory and gates." });
  parent.append(none, list);
  const paint = (state, usable) => {
    const places = placesOf(state);
    setAttr(none, "hidden", places.length ? "" : null);
    const can = state.session?.can ?? {};
    const make = () => worker(act);
    keyed(
      list,
      places,
      (one) => one.place,
      make,
      (node, one) => fill(node, one, usable, can, isOn(state.session)),
    );
  };
  return { paint };
}

/** [{place, model: worker|undefined, live: worker|undefined}], by place. */
function placesOf(state) {
  const places = new Map();
  for (const side of SIDES) {
    for (const one of state[side]?.workers ?? []) {
      const pair = places.get(one.place) ?? { place: one.place };
      pair[side] = one;
      places.set(one.place, pair);
    }
  }
  return [...places.values()].sort((one, other) => one.place - other.place);
}

function worker(act) {
  const title = el("span", { class: "worker-name" });
  const node = el("div", { class: "worker", role: "group" });
  const button = (what, name, help) =>
    el(
      "button",
      {
        class: "tool",
        type: "button",
        title: help,
        on: { click: () => act({ do: "chaos", what, worker: node.key }) },
      },
      icon(name),
      el("span", { text: what === "kill_worker" ? "Kill" : "Pause" }),
    );
  const pause = button(
    "pause_worker",
    "pause",
    "SIGSTOP, and SIGCONT 3 s later: a process that froze. Its leases lapse.",
  );
  const kill = button("kill_worker", "kill", "SIGKILL: gone at once. Its tasks come back when their leases lapse.");
  node.append(el("div", { class: "worker-head" }, title, pause, kill));
  node.parts = { title, pause, kill };
  for (const side of SIDES) {
    const parts = sideRow(side);
    node.append(parts.row);
    node.parts[side] = parts;
  }
  return node;
}

function sideRow(side) {
  const slots = el("span", { class: "slots" });
  const dots = Array.from({ length: DOTS_MAX }, () => el("i"));
  const many = el("span", { class: "many", hidden: true });
  slots.append(...dots, many);
  const memory = el("span", { class: "rss" });
  const score = el("span", { class: "score", title: "HealthScore = 1 − RSS / limit; at 0 the gate closes." });
  const gate = el("span", { class: "gate" });
  const row = el("div", { class: `worker-side ${side}` }, slots, memory, score, gate);
  return { row, slots, dots, many, memory, score, gate };
}

function fill(node, pair, usable, can, on) {
  setText(node.parts.title, `Worker ${pair.place}`);
  setAttr(node, "aria-label", `Worker ${pair.place}`);
  for (const [what, button] of [
    ["pause_worker", node.parts.pause],
    ["kill_worker", node.parts.kill],
  ]) {
    setAttr(button, "disabled", usable && can[what] !== false ? null : "");
    setAttr(button, "aria-label", `${what === "kill_worker" ? "Kill" : "Pause"} worker ${pair.place}`);
  }
  for (const side of SIDES) fillSide(node.parts[side], pair[side], side, on);
}

/** A worker that is gone while the session is on has died; at its end all of them leave. */
function fillSide(parts, one, side, on) {
  const gate = one?.alive ? (one.gate ? "open" : "closed") : on ? "down" : "left";
  setAttr(parts.row, "data-state", !one ? "absent" : one.alive ? "alive" : "gone");
  if (!one) {
    setText(parts.gate, "");
    return;
  }
  fillSlots(parts, one);
  setStyle(parts.memory, "--full", share(one.rss / one.limit));
  setAttr(parts.memory, "data-band", one.band);
  setText(parts.memory, one.alive ? mib(one.rss) : "gone");
  setAttr(
    parts.memory,
    "title",
    `${SIDE_NAMES[side]} ${one.id}: ${mib(one.rss)} of ${mib(one.limit)}, ${BANDS[one.band] ?? ""}`,
  );
  setText(parts.score, one.alive ? one.score.toFixed(2) : "–");
  setText(parts.gate, gate);
  setAttr(parts.gate, "data-gate", gate);
  setAttr(
    parts.gate,
    "title",
    one.gate ? "The gate is open: it may take tasks." : "The gate is closed: it takes no task.",
  );
}

function fillSlots(parts, one) {
  const busy = one.tasks.length;
  const asBar = one.slots > DOTS_MAX;
  setAttr(parts.many, "hidden", asBar ? null : "");
  if (asBar) setStyle(parts.many, "--full", share(busy / one.slots));
  parts.dots.forEach((dot, i) => {
    setAttr(dot, "hidden", asBar || i >= one.slots ? "" : null);
    setAttr(dot, "data-busy", i < busy ? "" : null);
  });
  setAttr(parts.slots, "title", `${busy} of ${one.slots} slots busy`);
}
