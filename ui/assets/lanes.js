// The lanes: for each role, in the model and live, the pile that waits, what runs, and what is done.

import { el, keyed, setAttr, setStyle, setText } from "./dom.js";
import { SIDES, SIDE_NAMES } from "./state.js";
import { count, share, story } from "./words.js";

const ZONES = [
  { cards: "pending_cards", total: (role) => role.pending + role.retry_wait, name: "waiting" },
  { cards: "running_cards", total: (role) => role.running, name: "running" },
  { cards: "finished_cards", total: (role) => role.completed + role.dead, name: "finished" },
];
const HEADINGS = [
  ["Role", ""],
  ["In queue", "Tasks in state PENDING; the bar is measured against the deepest queue of this session."],
  ["Pending", "The first to be served stands first; ↻ waits for a retry (RETRY_WAIT)."],
  ["Running", "Claimed by a worker, under a lease."],
  ["Finished", "The newest first: ✓ completed, ✕ dead letter."],
];
const CARD_GAP_PX = 3;

/** The lanes in `parent`. Returns {paint(state), stop()}. */
export function lanes(parent, roleColours) {
  const head = el("div", { class: "lane lane-head" });
  for (const [name, help] of HEADINGS) head.append(el("span", { text: name, title: help }));
  const body = el("div", { class: "lanes-body" });
  const tip = el("div", { class: "tip", role: "tooltip", "data-away": "" });
  parent.append(head, body, tip);
  explain(body, tip);
  const room = measure(body);
  const tops = { session: null, depth: 1 };

  let paints = 0;
  const paint = (state) => {
    paints += 1;
    const still = SIDES.find((side, i) => takesTurns(state) && i === paints % SIDES.length);
    const known = state.model ?? state.live;
    const names = state.session?.roles?.length ? state.session.roles : (known?.roles.map((role) => role.name) ?? []);
    deepest(state, tops);
    const rows = names.map((name, index) => ({ name, index, state, still }));
    keyed(
      body,
      rows,
      (row) => row.index,
      () => lane(),
      (node, row) => fill(node, row, roleColours, room, tops.depth),
    );
  };
  return { paint, stop: room.stop };
}

/**
 * Whether the cards of model and live are painted in turn. In High Traffic Mode every card is another one each time,
 * and nobody reads ten hands of cards a second: five of each side are enough. Counts, bars and curves are painted each
 * time.
 */
function takesTurns(state) {
  return state.session?.state === "running" && SIDES.every((side) => state[side]?.high_traffic);
}

/** How many cards fit into each zone; asked of the layout once and after each change of size, never while painting. */
function measure(body) {
  const room = { waiting: 14, running: 8, finished: 10 };
  const look = () => {
    for (const zone of ZONES) {
      const node = body.querySelector(`.zone-${zone.name} .cards`);
      if (!node || !node.clientWidth) continue;
      const style = getComputedStyle(node);
      const width = parseFloat(style.getPropertyValue("--card-w"));
      const rows = parseInt(style.getPropertyValue("--card-rows"), 10);
      room[zone.name] = Math.max(1, Math.floor((node.clientWidth + CARD_GAP_PX) / (width + CARD_GAP_PX))) * rows;
    }
  };
  const watcher = new ResizeObserver(look);
  watcher.observe(body);
  room.stop = () => watcher.disconnect();
  room.look = look;
  return room;
}

/** The deepest queue of the session so far: what the bars are measured against. */
function deepest(state, tops) {
  if (tops.session !== state.session?.id) Object.assign(tops, { session: state.session?.id, depth: 10 });
  for (const side of SIDES)
    for (const role of state[side]?.roles ?? []) tops.depth = Math.max(tops.depth, role.pending);
}

function lane() {
  const name = el("span", { class: "role-name" });
  const node = el("div", { class: "lane", role: "group" }, el("div", { class: "role" }, name));
  node.parts = { name };
  for (const side of SIDES) {
    const bar = el("div", { class: "depth-bar" });
    const depth = el("b", { class: "depth-number" });
    const queue = el("div", { class: `queue ${side}`, style: `grid-row: ${1 + SIDES.indexOf(side)}` });
    queue.append(el("span", { class: "side-name", text: SIDE_NAMES[side] }), depth, bar);
    const note = el("div", { class: "side-note", "data-away": "", style: `grid-row: ${1 + SIDES.indexOf(side)}` });
    node.append(queue);
    const zones = ZONES.map((zone) => {
      const cards = el("div", { class: "cards", "aria-hidden": "true" });
      const more = el("span", { class: "more" });
      const style = `grid-row: ${1 + SIDES.indexOf(side)}`;
      node.append(el("div", { class: `zone zone-${zone.name} ${side}`, style }, cards, more));
      return { ...zone, node: cards, more };
    });
    node.append(note);
    node.parts[side] = { bar, depth, queue, zones, note };
  }
  return node;
}

function fill(node, { name, index, state, still }, roleColours, room, deepestYet) {
  if (node.fresh) room.look();
  setText(node.parts.name, name);
  setAttr(node.parts.name, "title", name);
  setStyle(node, "--role", roleColours[index % roleColours.length]);
  setAttr(node, "aria-label", summary(name, index, state));
  for (const side of SIDES) {
    fillHead(node.parts[side], side, state, index, deepestYet);
    if (side !== still) fillCards(node.parts[side], state[side]?.roles[index], room);
  }
}

function fillHead(parts, side, state, index, deepestYet) {
  const frame = state[side];
  const role = frame?.roles[index];
  const note = index === 0 ? sideNote(side, state) : "";
  setText(parts.note, note);
  setAttr(parts.note, "data-bad", frame?.phase === "failed" ? "" : null);
  setAttr(parts.note, "data-away", note ? null : "");
  setText(parts.depth, role ? count(role.pending) : "–");
  setStyle(parts.bar, "--full", share(role ? role.pending / deepestYet : 0));
}

function fillCards(parts, role, room) {
  for (const zone of parts.zones) {
    const cards = (role?.[zone.cards] ?? []).slice(0, room[zone.name]);
    keyed(zone.node, cards, (card) => card.id, card, fillCard);
    const more = role ? zone.total(role) - cards.length : 0;
    setText(zone.more, more > 0 ? `+${count(more)} more` : "");
  }
}

/** Why a side shows no cards, if it does not. */
function sideNote(side, state) {
  const frame = state[side];
  if (frame && frame.phase === "failed") return `${SIDE_NAMES[side]} stopped: ${frame.note || "no reason was given"}`;
  if (!frame && side === "live" && state.session?.live === false && state.model)
    return "Live is off: the model runs alone.";
  return "";
}

const SIGNS = { RUNNING: "▸", RETRY_WAIT: "↻", COMPLETED: "✓", PERMANENT_FAILURE: "✕", CANCELLED: "⊘" };
const RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** One element with one text: hundreds of cards change in one paint. */
const card = () => el("div", { class: "card" });

function fillCard(node, one) {
  node.shown = one;
  const attempt = one.a > 1 ? `${one.a}`.replace(/\d/g, (digit) => RAISED[digit]) : "";
  setText(node, `${SIGNS[one.s] ?? "○"} ${one.id}${attempt}`);
  setAttr(node, "data-s", one.s);
  setAttr(node, "data-p", `${one.p}`);
}

/** One tooltip for all cards: its words are made when somebody asks. */
function explain(body, tip) {
  body.addEventListener("pointerover", (event) => {
    const node = event.target.closest?.(".card");
    setAttr(tip, "data-away", node ? null : "");
    if (!node) return;
    tip.textContent = story(node.shown);
    const place = node.getBoundingClientRect();
    const frame = tip.parentElement.getBoundingClientRect();
    const left = Math.min(place.left - frame.left, frame.width - tip.offsetWidth - 8);
    tip.style.transform = `translate(${Math.max(0, left)}px, ${place.top - frame.top - tip.offsetHeight - 4}px)`;
  });
  body.addEventListener("pointerleave", () => setAttr(tip, "data-away", ""));
}

function summary(name, index, state) {
  const told = SIDES.filter((side) => state[side]?.roles[index]).map((side) => {
    const role = state[side].roles[index];
    return `${SIDE_NAMES[side]}: ${role.pending} pending, ${role.running} running, ${role.completed} completed`;
  });
  return `${name}. ${told.join(". ")}`;
}
